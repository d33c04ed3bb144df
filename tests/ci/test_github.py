"""The compiled workflow: no finding by any validator, least rights, nothing in scripts."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlgate.ci import actions, github
from mlgate.ci.jobs import Source, name_of
from mlgate.run.plan import resolve
from mlgate.spec.lint import load
from mlgate.stages import STAGES
from tests.actions.runner import load as load_yaml
from tests.fakes.fixtures import workflow
from tests.fakes.hostile import HOSTILE
from tests.fakes.stages import registered

GPU = ("self-hosted", "linux", "x64", "gpu")
_DIGEST = f"sha256:{'0' * 64}"


def _job(text: str, name: str) -> dict[str, Any]:
    job: dict[str, Any] = load_yaml(text)["jobs"][name]
    return job


def test_a_job_gets_what_its_stage_declares_and_no_more(project: Path) -> None:
    text = workflow(project)
    assert load_yaml(text)["permissions"] == {}
    assert _job(text, "data")["permissions"] == {"contents": "read"}
    assert "env" not in _job(text, "data")
    release = _job(text, "release")
    assert release["permissions"] == {
        "contents": "read",
        "id-token": "write",
        "packages": "write",
        "attestations": "write",
    }
    assert release["env"] == {"SIGNING_KEY": "${{ secrets.SIGNING_KEY }}"}
    assert "github.event_name == 'push'" in release["if"]
    assert _job(text, "rollout")["environment"] == "production"
    assert _job(text, "mlgate-verdict")["permissions"] == {"contents": "read"}
    more = _job(workflow(project, comment=True, sarif=True), "mlgate-verdict")["permissions"]
    assert more == {
        "contents": "read",
        "security-events": "write",
        "actions": "read",
        "pull-requests": "write",
    }


def test_a_gpu_stage_runs_where_a_gpu_is(project: Path) -> None:
    spec = (project / "mlgate.yaml").read_text()
    (project / "mlgate.yaml").write_text(spec.replace("copy}, ran", "copy}, gpu: true, ran", 1))
    text = workflow(project, gpu_runner=GPU)
    assert _job(text, "int8")["runs-on"] == list(GPU)
    assert _job(text, "data")["runs-on"] == "ubuntu-24.04"


def test_the_verdict_needs_every_checked_stage_and_always_runs(project: Path) -> None:
    verdict = _job(workflow(project), "mlgate-verdict")
    assert verdict["if"] == "${{ always() }}"
    assert sorted(verdict["needs"]) == [
        "data",
        "int8",
        "latency",
        "mlgate-plan",
        "other",
        "release",
    ]
    assert "mlgate-verdict" in _job(workflow(project), "rollout")["needs"]


def test_every_action_is_pinned_and_no_script_is_in_the_workflow(project: Path) -> None:
    text = workflow(project, comment=True, sarif=True)
    assert "run:" not in text
    for uses in re.findall(r"uses: (.*)", text):
        assert re.search(r"@[0-9a-f]{40}( # v[\d.]+)?$", uses)


def test_no_expression_stands_in_any_script_of_the_actions() -> None:
    for text in actions.catalog(STAGES).values():
        for step in load_yaml(text)["runs"]["steps"]:
            assert "${{" not in step.get("run", "")


_WORD = st.text("ABCxyz019_-", min_size=1, max_size=12).map(lambda s: f"s{s}")
_FAKE = st.fixed_dictionaries(
    {
        "uses": st.sampled_from(["weigh", "attest"]),
        "gpu": st.booleans(),
        "retries": st.integers(0, 3),
        "timeout": st.sampled_from(["90s", "2h", "1.5h"]),
    }
)


def _spec(names: list[str], blocks: list[dict[str, Any]], edges: list[bool]) -> str:
    lines = ["version: 1", "name: any", "stages:"]
    for index, (name, block) in enumerate(zip(names, blocks, strict=False)):
        above = names[index - 1] if index and edges[index % len(edges)] else None
        file = f"{{from: {above}.copy}}" if above else "a.bin"
        key = ", key: {env: SIGNING_KEY}" if block["uses"] == "attest" else ""
        lines.append(
            f"  {name}: {{uses: {block['uses']}, gpu: {str(block['gpu']).lower()}, file: {file},"
            f" retries: {block['retries']}, timeout: {block['timeout']}{key},"
            " gates: [{metric: bytes, max: 1}]}"
        )
    return "\n".join(lines) + "\n"


# Where this Python's own tools are: actionlint looks for shellcheck there.
_WITH_TOOLS = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def _tool(name: str) -> str:
    found = shutil.which(name, path=_WITH_TOOLS["PATH"])
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def _findings(folder: Path) -> str:
    """What the offline validators say of the workflows in a folder."""
    workflows = [str(path) for path in sorted(folder.glob(".github/workflows/*.yml"))]
    out = ""
    for command in (
        ["actionlint", "-oneline", *workflows],
        ["check-jsonschema", "-q", "--builtin-schema", "vendor.github-workflows", *workflows],
        ["zizmor", "--offline", "-q", "--no-progress", "--strict-collection", "--persona",
         "pedantic", "."],
    ):  # fmt: skip
        done = subprocess.run(
            [_tool(command[0]), *command[1:]],
            cwd=folder, env=_WITH_TOOLS, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            out += done.stdout + done.stderr
    return out


def test_a_bad_workflow_is_found(tmp_path: Path, project: Path) -> None:
    (tmp_path / ".github/workflows").mkdir(parents=True)
    text = workflow(project).replace("timeout-minutes", "timeout-minute", 1)
    (tmp_path / github.WORKFLOW).write_text(text)
    assert "timeout-minute" in _findings(tmp_path)


def test_no_finding_on_ours(tmp_path: Path, project: Path) -> None:
    for path, text in {
        github.WORKFLOW: workflow(project, comment=True, sarif=True, version="v1.0.0"),
        **actions.catalog(STAGES),
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert _findings(tmp_path) == ""
    done = subprocess.run(
        [_tool("check-jsonschema"), "--builtin-schema", "vendor.github-actions",
         *map(str, tmp_path.glob("actions/**/action.yml"))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


_SERVICE = Path(__file__).parent / "language_service" / "node_modules" / "check.bundle.mjs"


def _service(folder: Path, *files: str) -> str:
    """What GitHub's own language service finds, all files in one process."""
    if not _SERVICE.exists():
        pytest.skip("npm install && npm run bundle in tests/ci/language_service")
    done = subprocess.run(
        ["node", _SERVICE, *files], cwd=folder, capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) == (done.stdout + done.stderr == "")
    return done.stdout + done.stderr


@pytest.mark.node
def test_githubs_own_language_service_finds_nothing(tmp_path: Path, project: Path) -> None:
    files = {"bad.yml": "on: push\njobs:\n  a:\n    runs-on: x\n    steps: [{run: a, uze: b}]\n"}
    files[github.WORKFLOW] = workflow(project, comment=True, sarif=True, version="v1.0.0")
    files |= actions.catalog(STAGES)
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    bad, *good = files
    assert "uze" in _service(tmp_path, bad)
    assert _service(tmp_path, *good) == ""


@st.composite
def _projects(draw: st.DrawFn) -> tuple[str, dict[str, Any], str]:
    """A spec, how it is compiled, and its path in the repository."""
    names = draw(st.lists(_WORD, min_size=1, max_size=5, unique_by=name_of))
    blocks = draw(st.lists(_FAKE, min_size=5, max_size=5))
    edges = draw(st.lists(st.booleans(), min_size=3, max_size=3))
    spec = _spec(names, blocks, edges)
    if draw(st.booleans()):
        spec = spec.replace("name: any\n", "name: any\nenv: [REGION, A_B]\n")
    more = {"comment": draw(st.booleans()), "sarif": draw(st.booleans())}
    where = draw(st.sampled_from([f"acme/mlgate@{'0' * 40}", "$"]))
    how = {"actions": where, "gpu_runner": GPU, **more}
    if where != "$":  # `./` of an enterprise server is what zizmor advises against
        how |= {"version": "v1.0.0", "ghes": draw(st.booleans())}
    if draw(st.booleans()):
        how["params"] = {"p": draw(st.sampled_from(HOSTILE))}
    how["branch"] = draw(st.sampled_from(["main", "release/1.x", "on", "1.0"]))
    return spec, how, draw(st.sampled_from(["mlgate.yaml", "a b/mlgate.yaml", "é/${{ x }}.yaml"]))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with hundreds of workflows, compiled from specs that hypothesis thought of."""
    folder = tmp_path_factory.mktemp("specs")
    (folder / ".git").mkdir()  # where actionlint looks for its settings
    (folder / ".github/workflows").mkdir(parents=True)
    written: set[str] = set()

    @settings(
        max_examples=330, deadline=None, database=None, derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip
    @given(_projects())
    def write(project: tuple[str, dict[str, Any], str]) -> None:
        spec, how, path = project
        (folder / "mlgate.yaml").write_text(spec)
        plan = resolve(load(folder / "mlgate.yaml"), include_deploys=True)
        given = github.Settings.model_validate(how)
        text = github.compile_plan(plan, Source(path, _DIGEST), given)
        (path,) = (name for name in text if name.startswith(".github/workflows/"))
        written.add(text[path])
        (folder / github.ACTIONLINT).write_text(text[github.ACTIONLINT])

    fakes = registered()  # a fixture of tests; this one comes before them
    next(fakes)
    write()
    next(fakes, None)
    assert len(written) >= 200
    for index, text in enumerate(sorted(written)):
        (folder / f".github/workflows/{index:03}.yml").write_text(text)
    return folder


def _workflows(folder: Path, capsys: pytest.CaptureFixture[str], who: str) -> list[str]:
    """The workflows there are; says how many."""
    found = sorted(p.relative_to(folder).as_posix() for p in folder.glob(".github/workflows/*"))
    with capsys.disabled():
        print(f"\n{len(found)} generated workflows read by {who}")
    return found


@pytest.mark.slow
def test_no_finding_on_200_specs(many: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(_workflows(many, capsys, "actionlint, check-jsonschema, zizmor")) >= 200
    assert _findings(many) == ""


@pytest.mark.slow
@pytest.mark.node
def test_no_finding_of_the_language_service_on_200_specs(
    many: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _service(many, *_workflows(many, capsys, "GitHub's language service")) == ""
