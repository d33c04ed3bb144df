"""`mlgate compile` and `mlgate run`, as people and CI call them."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from mlgate.ci import github, lock, tekton
from mlgate.ci.jobs import Given
from mlgate.cli import cli, show
from mlgate.cli.compile import installed_from
from mlgate.cli.outputs import TEKTON_BYTES, write_results
from mlgate.errors import MlgateError
from tests.fakes.hostile import HOSTILE

ACTIONS = f"acme/mlgate@{'0' * 40}"
COMMIT = "0" * 40
AT = f"acme/mlgate@{COMMIT}"
IMAGE = f"registry.example.com/mlgate@sha256:{'0' * 64}"

Call = Callable[..., Result]


@pytest.fixture
def call(project: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """The command line, errors shown as its last door shows them."""
    monkeypatch.chdir(project)
    (project / ".git").mkdir()

    def invoke(*words: str) -> Result:
        done = CliRunner().invoke(cli, words, standalone_mode=True)
        if isinstance(done.exception, MlgateError):
            with click.Context(cli):
                show(done.exception)
            done.exit_code = done.exception.exit_code
        return done

    return invoke


def test_options_are_given_once(call: Call, project: Path) -> None:
    assert call("compile", "github").exit_code == 2
    assert call("compile", "github", "--actions", ACTIONS, "--sarif").exit_code == 0
    first = (project / ".github/workflows/mlgate.yml").read_text()
    assert call("compile", "github").exit_code == 0
    assert (project / ".github/workflows/mlgate.yml").read_text() == first
    assert call("compile", "github", "--branch", "trunk").exit_code == 0
    after = (project / ".github/workflows/mlgate.yml").read_text()
    assert "branches: [trunk]" in after
    assert "upload-sarif" in after


@pytest.mark.parametrize("target", [("github", "--actions", ACTIONS), ("tekton", "--image", IMAGE)])
def test_check_finds_every_edit(call: Call, project: Path, target: tuple[str, ...]) -> None:
    assert call("compile", target[0], "--check", *target[1:]).exit_code == 1
    assert call("compile", *target).exit_code == 0
    assert call("compile", target[0], "--check").exit_code == 0
    spec = (project / "mlgate.yaml").read_text()
    (project / "mlgate.yaml").write_text(spec.replace("max: 10", "max: 9", 1))
    done = call("compile", target[0], "--check")
    assert done.exit_code == 1
    assert "is out of date" in done.output
    (project / "mlgate.yaml").write_text(spec)
    path = next(project.glob(".github/workflows/*.yml"), project / "tekton/mlgate-pipeline.yaml")
    path.write_text(path.read_text().replace("timeout", "timeouts", 1))
    assert call("compile", target[0], "--check").exit_code == 1


@pytest.mark.parametrize("target", [("github", "--actions", ACTIONS), ("tekton", "--image", IMAGE)])
def test_check_of_what_was_never_compiled(
    call: Call, project: Path, target: tuple[str, ...]
) -> None:
    for words in (target[:1], target):
        done = call("compile", words[0], "--check", *words[1:])
        assert done.exit_code == 1, done.output
        assert "mlgate-pipeline.yaml is not there yet" in done.output or (
            f"{github.WORKFLOW} is not there yet" in done.output
        )
        assert "is missing" not in done.output
    assert not (project / ".github").exists()
    assert not (project / "tekton").exists()


def test_check_of_what_forgot_its_options(call: Call, project: Path) -> None:
    assert call("compile", "github", "--actions", ACTIONS).exit_code == 0
    file = project / github.WORKFLOW
    file.write_text(file.read_text().replace("# mlgate-settings: {", "# settings: {"))
    done = call("compile", "github", "--check")
    assert (done.exit_code, f"{github.WORKFLOW} is out of date" in done.output) == (1, True)
    file.write_text("on: push\n")
    assert call("compile", "github", "--check").exit_code == 2  # somebody else's


@pytest.mark.parametrize(
    ("target", "anchor"),
    [
        (("tekton", "--image", IMAGE), tekton.PIPELINE),
    ],
)
def test_what_another_spec_was_made_into_is_not_replaced(
    call: Call,
    project: Path,
    target: tuple[str, ...],
    anchor: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (project / "sub").mkdir()
    spec = project / "sub/mlgate.yaml"
    shutil.copy(project / "mlgate.yaml", spec)
    assert call("compile", *target).exit_code == 0
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    for words in (target, (target[0], "--check"), target[:1]):
        done = call("compile", *words, "sub")
        assert done.exit_code == 2, done.output
        said = capsys.readouterr().err
        assert anchor in said
        assert "made from mlgate.yaml, and not from sub/mlgate.yaml" in said
        assert "--out" in said
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before
    (project / anchor).unlink()
    assert call("compile", *target, "sub").exit_code == (0 if target[0] == "github" else 2)
    for path in tekton.FROM_SPEC:
        (project / path).unlink(missing_ok=True)
    assert call("compile", *target, "sub").exit_code == 0
    assert call("compile", target[0], "--check", "sub").exit_code == 0
    assert call("compile", *target, "--out", "sub", "sub").exit_code == 0


@pytest.mark.parametrize(
    ("flag", "sign"),
    [("sarif", "upload-sarif"), ("ghes", "/ghes/"), ("comment", "pull-requests: write")],
)
def test_every_flag_that_is_remembered_can_be_turned_off(
    call: Call, project: Path, flag: str, sign: str
) -> None:
    words = ("compile", "github", "--actions", ACTIONS)
    assert call(*words).exit_code == 0
    plain = (project / github.WORKFLOW).read_text()
    assert sign not in plain
    assert call(*words, f"--{flag}").exit_code == 0
    assert call(*words).exit_code == 0
    assert sign in (project / github.WORKFLOW).read_text()
    assert call(*words, f"--no-{flag}").exit_code == 0
    assert (project / github.WORKFLOW).read_text() == plain


def test_the_bytes_do_not_depend_on_the_hash_seed(call: Call, project: Path, mlgate: Path) -> None:
    found = set()
    for seed in ("1", "2"):
        for target in (("github", "--actions", ACTIONS), ("tekton", "--image", IMAGE)):
            words = [mlgate, "compile", *target, "--set", "b=1", "--set", "a=2", "--out", seed]
            (project / seed).mkdir(exist_ok=True)
            shutil.copy(project / "mlgate.yaml", project / seed)
            spec = project / seed / "mlgate.yaml"
            text = spec.read_text()
            if "params" not in text:
                params = "{a: {type: string, default: x}, b: {type: string, default: y}}"
                spec.write_text(f"{text}params: {params}\nenv: [REGION, ZONE]\n")
            env = {**os.environ, "PYTHONHASHSEED": seed}
            subprocess.run([*words, spec], cwd=project, env=env, check=True, capture_output=True)
        files = sorted(p for p in (project / seed).rglob("*.y*ml") if p != spec)
        found.add("".join(f"{p.relative_to(project / seed)}\n{p.read_text()}" for p in files))
    assert len(found) == 1
    assert len(found.pop()) > 10_000


def test_nothing_is_written_when_something_is_wrong(call: Call, project: Path) -> None:
    spec = (project / "mlgate.yaml").read_text()
    (project / "mlgate.yaml").write_text(spec.replace("environment: production\n", "\n"))
    assert call("compile", "github", "--actions", ACTIONS).exit_code == 2
    assert call("compile", "tekton", "--image", IMAGE).exit_code == 2
    assert call("lint").exit_code == 2
    assert not (project / ".github").exists()
    assert not (project / "tekton").exists()


def test_a_file_of_somebody_elses_is_not_replaced(call: Call, project: Path) -> None:
    workflow = project / ".github/workflows/mlgate.yml"
    workflow.parent.mkdir(parents=True)
    workflow.write_text("on: push\n")
    assert call("compile", "github", "--actions", ACTIONS).exit_code == 2
    assert workflow.read_text() == "on: push\n"
    workflow.unlink()
    own = project / ".github/actionlint.yaml"
    own.write_text("self-hosted-runner: {labels: [gpu, mine]}\n")
    words = ("compile", "github", "--actions", ACTIONS, "--gpu-runner", "gpu")
    assert call(*words).exit_code == 0
    assert own.read_text() == "self-hosted-runner: {labels: [gpu, mine]}\n"
    assert call("compile", "github", "--check").exit_code == 0


def test_a_lock_has_to_list_the_workflow(call: Call, project: Path) -> None:
    words = ("compile", "github", "--actions", ACTIONS)
    assert call(*words).exit_code == 0
    file = project / lock.PATH
    names = lock.used((project / github.WORKFLOW).read_text())
    known = "".join(f"  {name}: {{ref: v1}}\n" for name in names)
    listed = ", ".join(names)
    for path, entries, code in (
        (github.WORKFLOW, listed, 0),
        (github.WORKFLOW, names[0], 1),
        (".github/workflows/ci.yml", listed, 0),
    ):
        file.write_text(f"workflows:\n  {path}: [{entries}]\ndependencies:\n{known}")
        checked = call("compile", "github", "--check")
        assert checked.exit_code == code, checked.output
        assert ("gh actions-lock" in checked.output) == (
            entries != listed or path != github.WORKFLOW
        )
        assert call(*words).exit_code == 0  # the lock is made of what is written
    file.write_text("[")
    assert call("compile", "github", "--check").exit_code == 2
    assert call(*words, "--ghes").exit_code == 0


def _direct(url: str, **vcs: str) -> str:
    return json.dumps({"url": url, "vcs_info": {"vcs": "git", **vcs}})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (_direct("https://github.com/acme/mlgate", commit_id=COMMIT), (AT, None)),
        (_direct("https://github.com/acme/mlgate.git", commit_id=COMMIT), (AT, None)),
        (_direct("ssh://git@github.com/acme/mlgate.git", commit_id=COMMIT), (AT, None)),
        (
            _direct(
                "https://github.com/acme/mlgate", commit_id=COMMIT, requested_revision="v1.2.3"
            ),
            (AT, "v1.2.3"),
        ),
        (
            _direct("https://github.com/acme/mlgate", commit_id=COMMIT, requested_revision="main"),
            (AT, None),
        ),
        (_direct("https://github.com.evil.example/acme/mlgate", commit_id=COMMIT), None),
        (_direct("https://user:pw@github.com/acme/mlgate", commit_id=COMMIT), None),
        (_direct("https://gitlab.com/acme/mlgate", commit_id=COMMIT), None),
        (_direct("https://github.com/acme/mlgate", commit_id="main"), None),
        (_direct("https://github.com/acme/mlgate"), None),
        ('{"url": "file:///src/mlgate", "dir_info": {"editable": true}}', None),
        ("{}", None),
        ("[]", None),
        ("", None),
    ],
)
def test_where_this_mlgate_was_installed_from(
    text: str, found: tuple[str, str | None] | None
) -> None:
    assert installed_from(text) == found


def test_an_enterprise_server_is_remembered(call: Call, project: Path) -> None:
    assert call("compile", "github", "--actions", "$", "--ghes").exit_code == 0
    text = (project / github.WORKFLOW).read_text()
    assert 'uses: "./actions/ghes/run"' in text
    assert "$/" not in text
    assert call("compile", "github", "--check").exit_code == 0


def test_results_that_tekton_has_no_room_for_are_left_out(tmp_path: Path) -> None:
    write_results(tmp_path, {"outcome": "pass", "long": "x" * TEKTON_BYTES, "after": "y"})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["after", "outcome"]


@pytest.mark.parametrize(
    "words",
    [
        ("compile", "github", "--actions", "acme/mlgate@main"),
        ("compile", "github", "--actions", ACTIONS, "--gpu-runner", "a b"),
        ("compile", "github", "--actions", ACTIONS, "--branch", "a\nb"),
        ("compile", "github", "--actions", ACTIONS, "--out", "/proc"),
        ("compile", "tekton", "--image", "mlgate:latest"),
        ("compile", "tekton", "--image", IMAGE, "--gpu-node", "x"),
        ("compile", "tekton", "--image", IMAGE, "--storage", "much"),
        ("run",),
        ("run", "nope"),
        ("run", "data", "--params", "[]"),
        ("run", "data", "--params", '{"x": "1"}'),
        ("run", "data", "--compiled", f"sha256:{'1' * 64}"),
        ("run", "--verdict", "--compiled", "x"),
        ("run", "--plan", "--profile", "nope"),
    ],
)
def test_what_is_wrong_is_exit_code_2(
    call: Call, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    done = call(*words)
    assert done.exit_code == 2, done.output
    said = done.output + capsys.readouterr().err
    assert said
    assert "Traceback" not in said
    assert "pattern" not in said


@pytest.mark.parametrize("model", [github.Settings, tekton.Settings])
def test_every_option_says_in_words_what_it_has_to_be(model: type[Given]) -> None:
    for name, field in model.model_fields.items():
        assert field.description or "attern" not in repr(field), name


@pytest.mark.parametrize("text", HOSTILE[::3])
def test_hostile_stages_are_names_that_are_not_there(call: Call, text: str, project: Path) -> None:
    assert call("run", "--", text).exit_code == 2
    assert not (project / "pwned").exists()


def test_results_of_nothing_are_an_error(call: Call) -> None:
    assert call("run", "--verdict").exit_code == 3
    assert call("run", "--exit", "--tekton", "nowhere").exit_code == 3


def test_a_missing_upstream_is_an_error(call: Call, project: Path) -> None:
    assert call("run", "int8").exit_code == 3
    assert not (project / ".mlgate/ci/results").exists()
