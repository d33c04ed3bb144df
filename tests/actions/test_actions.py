"""The composite actions: values stay values, mlgate is installed by hash, one comment is kept."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from mlgate.ci import actions
from mlgate.ci.servers import ENTERPRISE, GITHUB, Server
from mlgate.ci.yaml_text import dump
from mlgate.evidence import digest_of
from mlgate.stages import STAGES
from tests.actions.runner import ROOT, Runner, load
from tests.fakes.fixtures import SMALL, workflow
from tests.fakes.hostile import HOSTILE

Make = Callable[..., Runner]

# Stands for mlgate: writes down what it was called with. A shell's, for it is called often.
_ECHO = """#!/bin/sh
{{ printf '%s\\0' "$@"; printf '\\0'; env -0; }} > {log}
"""


@pytest.fixture
def called(tmp_path: Path) -> Path:
    return tmp_path / "called.json"


@pytest.fixture
def echo(runner: Make, tmp_path: Path, called: Path) -> Runner:
    command = tmp_path / "echo"
    command.write_text(_ECHO.format(log=called))
    command.chmod(0o755)
    run = runner()
    run.mlgate = command
    return run


def _heard(called: Path) -> tuple[list[str], dict[str, str]]:
    """The words and the environment that mlgate was called with."""
    words, _, env = called.read_bytes().decode().partition("\0\0")
    rows = (row.partition("=") for row in env.split("\0") if row)
    return words.split("\0"), {name: value for name, _, value in rows}


ACTIONS = [
    path.parent.relative_to(ROOT / "actions").as_posix()
    for path in sorted((ROOT / "actions").glob("**/action.yml"))
    if path.parent.name != "setup"
]


@pytest.mark.parametrize("action", ACTIONS)
def test_every_input_of_every_action_is_a_value(echo: Runner, called: Path, action: str) -> None:
    """Fifty hostile texts through every input at once, but where the artifact goes."""
    kind = action.removeprefix("ghes/")
    echo.enterprise = action != kind
    declared = load((ROOT / "actions" / action / "action.yml").read_text())["inputs"]
    names = set(declared) - {"artifact"}
    for text in HOSTILE:
        given = dict.fromkeys(names, text)
        done = echo.action(kind, {**given, **({"artifact": "a"} if "artifact" in declared else {})})
        assert done.result == "success", (text, done.log)
        words, env = _heard(called)
        passed = names - {
            "python-version", "extra", "requirements", "retention-days", "upstream", "run-id",
            "comment",
        }  # fmt: skip
        if kind == "check":
            assert words[1:] == [
                "--format",
                "github",
                "--no-cache",
                f"--params={text}",
                f"--profile={text}",
                "--",
                text,
            ]
        else:
            assert words[0] in ("run", "verify")
            assert text not in words
        assert {env[f"MLGATE_{name.upper()}"] for name in passed} == {text}
    assert not list(echo.server.parent.rglob("pwned"))


def test_an_alias_runs_its_own_kind(echo: Runner, called: Path) -> None:
    uses = next(uses for uses in STAGES if (ROOT / "actions" / uses).exists())
    assert echo.action(uses, {}).result == "success"
    assert _heard(called)[1]["MLGATE_STAGE"] == uses


def test_check_gives_its_outputs(runner: Make, tmp_path: Path) -> None:
    done = runner(env={"SIGNING_KEY": "x"}).action("check", {})
    assert done.result == "success", done.log
    assert done.outputs["outcome"] == "pass"
    assert done.outputs["verdict-digest"].startswith("sha256:")
    assert Path(done.outputs["report-path"]).name == "report.html"
    assert "## ✓ digits: PASS" in done.summary


def test_check_measures_whatever_the_checkout_brings_along(
    runner: Make, project: Path, mlgate: Path, tmp_path: Path
) -> None:
    """A pull request may commit a cache in which everything is fine."""
    small = SMALL.replace("RAN", str(tmp_path / "ran"))
    (project / "mlgate.yaml").write_text(small[: small.index("  rollout")])
    subprocess.run([mlgate, "check", project], capture_output=True, check=True)
    (tmp_path / "ran").unlink()
    done = runner(committed=True).action("check", {})
    assert done.result == "success", done.log
    assert sorted((tmp_path / "ran").read_text().split()) == ["data", "int8", "other"]


def test_a_message_cannot_speak_to_the_runner(runner: Make, project: Path) -> None:
    spec = (project / "mlgate.yaml").read_text()
    hostile = 'name: "digits\\n::error::spoofed"'
    (project / "mlgate.yaml").write_text(spec.replace("name: digits", hostile))
    done = runner().action("check", {})
    free, stopped = [], None
    for line in done.log.splitlines():
        if line.startswith("::stop-commands::"):
            stopped = line.removeprefix("::stop-commands::")
        elif stopped and line == f"::{stopped}::":
            stopped = None
        elif not stopped and line.startswith("::"):
            free.append(line)
    assert free == ["::notice title=mlgate::PASS: digits%0A::error::spoofed may ship"]


def _install(server: Server, folder: Path, **env: str) -> int:
    """Run the installing step with a uv that only writes down what it was asked for."""
    step = load(dump(actions.setup(server)))["runs"]["steps"][1]
    fake = folder / "bin" / "uv"
    fake.parent.mkdir(exist_ok=True)
    fake.write_text(
        f'#!/bin/sh\nprintf "%s\\0" "$@" >> {folder}/log; printf "\\0" >> {folder}/log\n'
        'case "$1" in venv) for v in "$@"; do :; done; mkdir -p "$v/bin";'
        ' touch "$v/bin/mlgate"; chmod +x "$v/bin/mlgate";; esac\n'
    )
    fake.chmod(0o755)
    known = {
        "PATH": f"{fake.parent}:{os.environ['PATH']}",
        "RUNNER_TEMP": str(folder),
        "GITHUB_ACTION_PATH": str(ROOT / "actions" / server.folder / "setup"),
        "GITHUB_OUTPUT": str(folder / "output"),
        "MLGATE_EXTRA": "cpu",
        "MLGATE_PYTHON": "3.12",
    }
    command = ["bash", "-eo", "pipefail", "-c", step["run"]]
    return subprocess.run(command, env={**known, **env}, cwd=folder, check=False).returncode


def _asked(folder: Path) -> list[list[str]]:
    """What uv was asked for, call by call."""
    calls = (folder / "log").read_bytes().decode().split("\0\0")
    return [call.split("\0") for call in calls if call]


@pytest.mark.parametrize("server", [GITHUB, ENTERPRISE])
def test_setup_installs_this_commit_by_hash(tmp_path: Path, server: Server) -> None:
    for _ in range(2):  # the second action of a job finds it there
        assert _install(server, tmp_path) == 0
    venv, locked, own = _asked(tmp_path)
    assert venv[0] == "venv"
    assert "--require-hashes" in locked
    assert Path(locked[-1]).resolve() == ROOT / "locks/cpu.txt"
    assert {"--no-deps", "--no-build-isolation"} <= {*own}
    assert Path(own[-1]).resolve() == ROOT
    assert (tmp_path / "output").read_text().count(f"mlgate={tmp_path}/mlgate/venv-cpu") == 2


def test_setup_takes_values_for_values(tmp_path: Path) -> None:
    for text in HOSTILE:
        shutil.rmtree(tmp_path / "mlgate", ignore_errors=True)
        assert _install(GITHUB, tmp_path, MLGATE_EXTRA=text) == 2
        assert not (tmp_path / "log").exists()
        assert _install(GITHUB, tmp_path, MLGATE_PYTHON=text) == 0
        assert f"--python={text}" in _asked(tmp_path)[0]
        (tmp_path / "log").unlink()
    assert (tmp_path / "output").read_text().count("\n") == len(HOSTILE)
    assert not list(tmp_path.rglob("pwned"))


class _Api(BaseHTTPRequestHandler):
    """The three calls of GitHub's API that a comment takes."""

    comments: list[dict[str, Any]]

    def do_GET(self) -> None:
        assert self.headers["Authorization"] == "Bearer t0ken"
        page = int(self.path.rsplit("page=", 1)[1])
        self._answer(self.comments[(page - 1) * 100 : page * 100])

    def do_POST(self) -> None:
        comment = {"id": 1000 + len(self.comments), "user": {"type": "Bot"}, **self._body()}
        self.comments.append(comment)
        self._answer(comment)

    def do_PATCH(self) -> None:
        number = int(self.path.rsplit("/", 1)[1])
        comment = next(c for c in self.comments if c["id"] == number)
        comment.update(self._body())
        self._answer(comment)

    def _body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return body

    def _answer(self, what: object) -> None:
        data = json.dumps(what).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def api() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    others = [
        {"id": i, "user": {"type": "User"}, "body": "<!-- mlgate:digits -->\nnot ours"}
        for i in range(150)
    ]
    _Api.comments = others
    server = HTTPServer(("127.0.0.1", 0), _Api)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", others
    server.shutdown()
    thread.join()
    server.server_close()


def _comment(url: str, key: str, report: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-I", ROOT / "actions/lib/comment.py", report],
        env={
            "MLGATE_COMMENT": key,
            "MLGATE_PULL_REQUEST": "7",
            "GITHUB_API_URL": url,
            "GITHUB_REPOSITORY": "acme/digits",
            "GH_TOKEN": "t0ken",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_one_comment_per_key_is_kept(api: tuple[str, list[dict[str, Any]]], tmp_path: Path) -> None:
    url, comments = api
    report = tmp_path / "report.md"
    for text, key in (("first", "digits"), ("second", "digits"), ("other", "tumours")):
        report.write_text(text)
        assert _comment(url, key, report) == ""
    ours = [c["body"] for c in comments[150:]]
    firsts = [body.split("\n\n<sub>")[0] for body in ours]
    assert firsts == ["<!-- mlgate:digits -->\nsecond", "<!-- mlgate:tumours -->\nother"]


def test_a_long_report_is_cut_and_says_so(
    api: tuple[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    url, comments = api
    (tmp_path / "report.md").write_text("line of a report\n" * 10_000)
    _comment(url, "k --> <b>", tmp_path / "report.md")
    body = comments[-1]["body"]
    assert len(body) < 65_536
    assert "more lines not shown" in body
    assert body.startswith("<!-- mlgate:k-----------b- -->\n") or "-->" in body.split("\n")[0]


def test_no_comment_is_not_the_verdict(tmp_path: Path) -> None:
    (tmp_path / "report.md").write_text("x")
    said = _comment("http://127.0.0.1:9", "k", tmp_path / "report.md")
    assert said.startswith("::warning title=mlgate::no comment was written")


def _approved(runner: Make, project: Path, action: str) -> tuple[Path, Path]:
    """What a passed run made, as a deployment has it, and its record on the server."""
    small = SMALL.replace(", ran: RAN", "")
    (project / "mlgate.yaml").write_text(small[: small.index("  rollout")])
    run = runner()
    if action == "check":
        assert run.action("check", {}).result == "success"
    else:
        run.workflow(workflow(project))
        assert run.result() == "success"
    record = run.artifacts / "mlgate-report"
    model = project.parent / "model.bin"
    model.write_bytes((record / "outputs" / "int8" / "copy.bin").read_bytes())
    return model, record


@pytest.mark.parametrize("action", ["check", pytest.param("report", marks=pytest.mark.slow)])
def test_verify_says_what_a_run_approved(runner: Make, project: Path, action: str) -> None:
    model, record = _approved(runner, project, action)
    deploy = runner(run_id="2")
    given = {"artifacts": f"{model}\na.bin", "run-id": "1"}
    done = deploy.action("verify", given)
    assert done.result == "success", done.log
    verdict = (record / "verdict.json").read_bytes()
    assert done.outputs == {"verified": "true", "verdict-digest": digest_of(verdict)}
    assert "int8.copy" in done.log

    model.write_bytes(b"another model")
    done = deploy.action("verify", given)
    assert (done.result, done.outputs["verified"]) == ("failure", "false")
    assert "::error title=mlgate verify MG405::" in done.log


def _altered(record: Path) -> None:
    evidence = record / "evidence" / "other.json"
    evidence.chmod(0o644)
    evidence.write_text(evidence.read_text().replace("5", "4", 1))


def _nothing(record: Path) -> None:
    pass


@pytest.mark.slow
def test_verify_never_passes_by_accident(runner: Make, project: Path, tmp_path: Path) -> None:
    model, record = _approved(runner, project, "check")
    shutil.copytree(record, tmp_path / "kept")
    cases: list[tuple[Callable[[Path], object], dict[str, str], str]] = [
        (_altered, {}, "1"),
        (lambda record: shutil.rmtree(record / "evidence"), {}, "1"),
        (shutil.rmtree, {}, "3"),
        (_nothing, {"artifacts": ""}, "2"),
        (_nothing, {"artifacts": " \n\n"}, "2"),
        (_nothing, {"artifacts": "gone.bin"}, "3"),
        (_nothing, {"profile": "quick"}, "2"),
        (_nothing, {"spec": "nope.yaml"}, "2"),
        (_nothing, {"run-id": "7"}, "3"),
    ]
    for spoil, given, code in cases:
        spoil(record)
        done = runner().action("verify", {"artifacts": str(model), **given})
        assert done.result == "failure", given
        assert done.steps[-1].outcome == code, done.log
        shutil.rmtree(record, ignore_errors=True)
        shutil.copytree(tmp_path / "kept", record)
    assert runner().action("verify", {"artifacts": str(model)}).result == "success"
