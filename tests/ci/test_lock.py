"""GitHub's lock file: a workflow that it lists in part is found before GitHub refuses to start it."""

from pathlib import Path

import pytest

from mlgate.ci import github, lock
from mlgate.errors import UsageError
from tests.fakes.fixtures import workflow

COMMIT = "0" * 40


def _lock(names: tuple[str, ...], path: str = github.WORKFLOW) -> str:
    listed = "".join(f"        - '{name}'\n" for name in names)
    known = "".join(
        f"    '{name}':\n        ref: 'v1'\n        commit: 'sha1-{COMMIT}'\n        owner_id: 1\n"
        for name in names
    )
    return (
        "# machine-generated\nversion: 'v0.0.3'\nworkflows:\n"
        f"    '{path}':\n{listed}dependencies:\n{known}"
    )


def test_what_a_workflow_uses(project: Path) -> None:
    names = lock.used(workflow(project, sarif=True))
    assert [name.split("@")[0] for name in names] == [
        "acme/mlgate",
        "actions/checkout",
        "github/codeql-action",
    ]
    assert all(len(name.split("@")[1]) == 40 for name in names)
    own = lock.used(workflow(project, actions="$"))
    assert [name.split("@")[0] for name in own] == ["actions/checkout"]


def test_every_lack_is_found(project: Path) -> None:
    text = workflow(project)
    names = lock.used(text)
    assert lock.unlisted(_lock(names), github.WORKFLOW, text) == ()
    assert lock.unlisted(_lock((*names, "a/b@v1")), github.WORKFLOW, text) == ()
    assert lock.unlisted(_lock(names[1:]), github.WORKFLOW, text) == names[:1]
    assert lock.unlisted(_lock(names, ".github/workflows/ci.yml"), github.WORKFLOW, text) is None
    half = _lock(names).replace(f"    '{names[0]}':\n", "    'x/y@v1':\n")
    assert lock.unlisted(half, github.WORKFLOW, text) == names[:1]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "a: b: c", "workflows: {}\n", "workflows: []\ndependencies: {}\n", "\0", "&a *a"],
)
def test_what_is_no_lock_is_an_error(text: str) -> None:
    with pytest.raises(UsageError):
        lock.unlisted(text, github.WORKFLOW, "")
