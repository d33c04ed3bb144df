"""actions/ and tekton/ say what the stage list says."""

import re
from collections.abc import Callable
from pathlib import Path

from mlgate.ci import actions, tasks
from mlgate.ci.pins import ENTERPRISE_PINS, PINS
from mlgate.stages import STAGES

ROOT = Path(__file__).parent.parent.parent


def test_actions_and_tasks_are_up_to_date(assert_file: Callable[[str, str], None]) -> None:
    for path, text in {**actions.catalog(STAGES), **tasks.catalog(STAGES)}.items():
        assert_file(path, text)


def test_nothing_is_left_of_stages_that_are_gone() -> None:
    made = {*actions.catalog(STAGES), *tasks.catalog(STAGES)}
    found = {
        path.relative_to(ROOT).as_posix()
        for pattern in (
            "actions/**/action.yml",
            "tekton/task/**/*.yaml",
            "tekton/stepaction/**/*.yaml",
        )
        for path in ROOT.glob(pattern)
    }
    assert found - made == set()


def test_every_action_of_others_is_pinned_to_a_commit() -> None:
    for commit, version in (*PINS.values(), *ENTERPRISE_PINS.values()):
        assert re.fullmatch(r"[0-9a-f]{40}", commit)
        assert re.fullmatch(r"v\d+\.\d+\.\d+(-node20)?", version)
    used: set[str] = set()
    for path, text in actions.catalog(STAGES).items():
        for uses in re.findall(r"uses: (.*)", text):
            assert re.fullmatch(r"\S+@[0-9a-f]{40} # v[\d.]+(-node20)?", uses), (path, uses)
            used.add(uses.partition("@")[0])
    assert set(PINS) - used == {"actions/checkout", "github/codeql-action/upload-sarif"}


def test_no_artifact_of_version_4_on_an_enterprise_server() -> None:
    for path, text in actions.catalog(STAGES).items():
        newer = [name for name in ENTERPRISE_PINS if PINS[name][0] in text]
        assert not newer or not path.startswith("actions/ghes/")
