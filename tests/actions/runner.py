"""Workflows and composite actions, run as GitHub runs them, without GitHub.

Jobs in the order of their `needs`, `if:` with its implicit success(), steps in `bash -eo
pipefail` with the command files, nested actions out of this repository. Actions of others are
fakes that keep artifacts and caches in folders.
"""

import fnmatch
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mlgate.ci.pins import ENTERPRISE_PINS, PINS
from tests.actions.expressions import evaluate, interpolated

ROOT = Path(__file__).parent.parent.parent
_STATUS = re.compile(r"\b(always|failure|cancelled|success)\s*\(")


def load(text: str) -> dict[str, Any]:
    """A YAML file, with 1.1's `on` as the word that GitHub reads."""
    document: dict[Any, Any] = yaml.safe_load(text)
    return {"on" if key is True else key: value for key, value in document.items()}


@dataclass
class Step:
    """What one step that ran came to."""

    name: str
    outcome: str
    log: str = ""


@dataclass
class JobRun:
    """What one job came to: success, failure, skipped or cancelled."""

    result: str
    outputs: dict[str, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    summary: str = ""

    @property
    def log(self) -> str:
        return "".join(step.log for step in self.steps)


@dataclass
class Runner:
    """One run of workflows on one repository.

    `repository` is the checkout, `server` keeps artifacts and caches. `mlgate` is the command that
    the setup action would have installed. `cancel` names jobs that somebody stops before, `stop` those
    stopped after their last step; `lose` patterns
    of artifacts that get lost; `spoil` is called after each job. `enterprise`: a GitHub Enterprise Server, with artifacts of version
    3 and no references to an action's own repository. `committed`: .mlgate is in the checkout.
    """

    repository: Path
    server: Path
    mlgate: Path
    event: str = "push"
    run_id: str = "1"
    env: dict[str, str] = field(default_factory=dict)
    attempt: int = 1
    commit: str = "c" * 40
    cancel: frozenset[str] = frozenset()
    stop: frozenset[str] = frozenset()
    lose: tuple[str, ...] = ()
    spoil: Callable[[str, Path], None] = lambda job, artifacts: None
    enterprise: bool = False
    committed: bool = False
    jobs: dict[str, JobRun] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    _given: dict[str, str] = field(default_factory=dict)
    _needs: dict[str, list[str]] = field(default_factory=dict)
    _last: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def artifacts(self) -> Path:
        """Where this run's artifacts lie, a folder each."""
        return self.server / f"artifacts-{self.run_id}"

    def workflow(self, text: str) -> dict[str, JobRun]:
        """Run every job of a workflow; each has a machine of its own."""
        document = load(text)
        self._needs = {name: job.get("needs", []) for name, job in document["jobs"].items()}
        for name, job in document["jobs"].items():
            job["env"] = {**document.get("env", {}), **job.get("env", {})}
            self.jobs[name] = self._job(name, job)
            self.spoil(name, self.artifacts)
        return self.jobs

    def result(self) -> str:
        """The workflow's own conclusion."""
        results = {job.result for job in self.jobs.values()}
        return "failure" if results & {"failure", "cancelled"} else "success"

    def action(self, name: str, inputs: Mapping[str, str]) -> JobRun:
        """Run one of our composite actions alone; inputs are as they are, not expressions."""
        self._given = dict(inputs)
        inputs = {name: f"${{{{ given.{name} }}}}" for name in inputs}
        here = "./actions/ghes" if self.enterprise else "$/actions"
        return self._steps_of_job([{"id": "it", "uses": f"{here}/{name}", "with": inputs}], "it")

    def _job(self, name: str, job: Mapping[str, Any]) -> JobRun:
        needs = {other: self.jobs[other] for other in job.get("needs", [])}
        above = self._ancestors(name)
        contexts = {
            **self._contexts(),
            "needs": {n: {"result": j.result, "outputs": j.outputs} for n, j in needs.items()},
            "always": lambda: True,
            "cancelled": lambda: False,
            "failure": lambda: any(j.result == "failure" for j in above.values()),
            "success": lambda: all(j.result == "success" for j in above.values()),
        }
        if not _starts(job.get("if"), contexts):
            return JobRun("skipped")
        self.started.append(name)
        if name in self.cancel:
            return JobRun("cancelled")
        told = contexts["needs"]
        run = self._steps_of_job(job["steps"], name, job.get("env", {}), told)
        if name in self.stop:
            run.result = "cancelled"
        contexts["steps"] = {step: {"outputs": found} for step, found in self._last.items()}
        run.outputs = {k: interpolated(v, contexts) for k, v in job.get("outputs", {}).items()}
        return run

    def _ancestors(self, name: str) -> dict[str, JobRun]:
        """Every job above one, however far: what success() and failure() look at."""
        direct = self._needs.get(name, [])
        above = {other: self.jobs[other] for other in direct}
        for other in direct:
            above |= self._ancestors(other)
        return above

    def _contexts(self) -> dict[str, Any]:
        pull_request = None
        if self.event == "pull_request":
            head = {"repo": {"full_name": "acme/digits"}, "sha": self.commit}
            pull_request = {"number": 7, "head": head}
        return {
            "github": {
                "event_name": self.event,
                "run_id": self.run_id,
                "run_attempt": str(self.attempt),
                "workflow": "mlgate",
                "server_url": "https://github.example.com",
                "repository": "acme/digits",
                "token": "t0ken",
                "event": {"pull_request": pull_request},
            },
            "given": self._given,
            "secrets": {"SIGNING_KEY": "s3cret"},
            "vars": {"REGION": "eu"},
        }

    def _steps_of_job(
        self,
        steps: list[dict[str, Any]],
        name: str,
        env: Mapping[str, str] | None = None,
        needs: Mapping[str, Any] | None = None,
    ) -> JobRun:
        machine = self.server.parent / f"machine-{len(self.started)}-{name}"
        shutil.rmtree(machine, ignore_errors=True)
        (machine / "temp").mkdir(parents=True)
        workspace = machine / "workspace"
        left_out = [] if self.committed else [".mlgate"]
        shutil.copytree(self.repository, workspace, ignore=shutil.ignore_patterns(*left_out))
        run = JobRun("success")
        here = _Machine(self, machine, workspace, run)
        contexts = {**self._contexts(), "inputs": {}, "needs": needs or {}}
        given = {k: interpolated(v, contexts) for k, v in (env or {}).items()}
        failed, outputs = here.steps(steps, contexts, given, None)
        run.result = "failure" if failed else "success"
        self._last = outputs
        run.outputs = outputs.get("it", {})
        run.summary = (machine / "summary").read_text() if (machine / "summary").exists() else ""
        return run


@dataclass
class _Machine:
    runner: Runner
    folder: Path
    workspace: Path
    run: JobRun

    @property
    def enterprise(self) -> bool:
        return self.runner.enterprise

    def steps(
        self,
        steps: list[dict[str, Any]],
        contexts: Mapping[str, Any],
        env: Mapping[str, str],
        action: Path | None,
    ) -> tuple[bool, dict[str, dict[str, str]]]:
        """Run steps one after another; whether one failed, and the outputs of each."""
        failed = False
        outputs: dict[str, dict[str, str]] = {}
        for index, step in enumerate(steps):
            state = failed
            here = {
                **contexts,
                "runner": {"temp": str(self.folder / "temp"), "os": "Linux", "arch": "X64"},
                "steps": {name: {"outputs": found} for name, found in outputs.items()},
                "always": lambda: True,
                "cancelled": lambda: False,
                "failure": lambda state=state: state,
                "success": lambda state=state: not state,
            }
            if not _starts(step.get("if"), here):
                continue
            given = {k: interpolated(v, here) for k, v in step.get("env", {}).items()}
            inputs = {k: interpolated(v, here) for k, v in step.get("with", {}).items()}
            ok, found = self._step(step, inputs, {**env, **given}, action, contexts)
            outputs[step.get("id", f"__{index}")] = found
            failed = failed or not ok
        return failed, outputs

    def _step(
        self,
        step: Mapping[str, Any],
        inputs: dict[str, str],
        env: dict[str, str],
        action: Path | None,
        contexts: Mapping[str, Any],
    ) -> tuple[bool, dict[str, str]]:
        if step.get("id") == "setup":  # it is installed already
            return True, {"mlgate": str(self.runner.mlgate)}
        if "run" in step:
            return self._script(step, env, action)
        uses, _, commit = step["uses"].partition("@")
        if uses in ENTERPRISE_PINS:
            pins = ENTERPRISE_PINS if self.enterprise else PINS
            assert commit == pins[uses][0], "GitHub has no such artifacts"
        assert not (self.enterprise and uses.startswith("$"))
        own = re.search(r"(?:^[$.]|/mlgate)/actions/((?:ghes/)?\w+)$", uses)
        if own is None:
            log = _FAKES[uses](self, inputs)
            self.run.steps.append(Step(step.get("name", uses), log or "success", ""))
            return log is None, {}
        folder = ROOT / "actions" / own[1]
        document = load((folder / "action.yml").read_text(encoding="utf-8"))
        declared = document.get("inputs", {})
        unknown = set(inputs) - set(declared)
        assert not unknown, f"{uses} has no input {unknown}"
        missing = [n for n, d in declared.items() if d.get("required") and n not in inputs]
        assert not missing, f"{uses} needs {missing}"
        values = {n: inputs.get(n, str(d.get("default", ""))) for n, d in declared.items()}
        inner = {**contexts, "inputs": values}
        failed, outputs = self.steps(document["runs"]["steps"], inner, env, folder)
        known = {**inner, "steps": {name: {"outputs": o} for name, o in outputs.items()}}
        return not failed, {
            name: interpolated(row["value"], known)
            for name, row in document.get("outputs", {}).items()
        }

    def _script(
        self, step: Mapping[str, Any], env: Mapping[str, str], action: Path | None
    ) -> tuple[bool, dict[str, str]]:
        assert "${{" not in step["run"], "an expression in a script"
        assert step["shell"] == "bash"
        script, output = self.folder / "script.sh", self.folder / "output"
        script.write_text(step["run"], encoding="utf-8")
        output.write_text("")
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=self.workspace,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder),
                "CI": "true",
                "GITHUB_ACTIONS": "true",
                "GITHUB_WORKSPACE": str(self.workspace),
                "GITHUB_REPOSITORY": "acme/digits",
                "GITHUB_ACTION_PATH": str(action or ""),
                "GITHUB_OUTPUT": str(output),
                "GITHUB_STEP_SUMMARY": str(self.folder / "summary"),
                "RUNNER_TEMP": str(self.folder / "temp"),
                **self.runner.env,
                **env,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        ok = done.returncode == 0
        log = done.stdout + done.stderr
        self.run.steps.append(Step(step["name"], "success" if ok else str(done.returncode), log))
        return ok, _outputs(output.read_text(encoding="utf-8"))

    def upload(self, inputs: Mapping[str, str]) -> str | None:
        files = _files(Path(inputs["path"]), inputs.get("include-hidden-files") == "true")
        if not files:
            return "nothing to upload" if inputs["if-no-files-found"] == "error" else None
        target = self.runner.artifacts / inputs["name"]
        if not self.enterprise:
            assert not target.exists() or inputs.get("overwrite") == "true"
            shutil.rmtree(target, ignore_errors=True)
        if not any(fnmatch.fnmatch(inputs["name"], lost) for lost in self.runner.lose):
            shutil.copytree(inputs["path"], target, dirs_exist_ok=True)
        return None

    def download(self, inputs: Mapping[str, str]) -> str | None:
        server = self.runner.server / f"artifacts-{inputs.get('run-id', self.runner.run_id)}"
        if self.enterprise:
            assert set(inputs) == {"path"}
            if server.exists():
                shutil.copytree(server, inputs["path"], dirs_exist_ok=True)
            return None
        for pattern in _braces(inputs["pattern"]):
            for found in sorted(server.glob(pattern)):
                shutil.copytree(found, inputs["path"], dirs_exist_ok=True)
        return None

    def save(self, inputs: Mapping[str, str]) -> str | None:
        target = self.runner.server / "caches" / inputs["key"]
        if Path(inputs["path"]).exists() and not target.exists():
            shutil.copytree(inputs["path"], target)
        return None

    def restore(self, inputs: Mapping[str, str]) -> str | None:
        caches = self.runner.server / "caches"
        for pattern in (inputs["key"], inputs["restore-keys"] + "*"):
            for found in sorted(caches.glob(pattern), key=lambda p: p.stat().st_mtime_ns)[-1:]:
                shutil.copytree(found, inputs["path"], dirs_exist_ok=True)
                return None
        return None


_FAKES: dict[str, Callable[[_Machine, dict[str, str]], str | None]] = {
    "actions/checkout": lambda machine, inputs: None,  # each machine has a copy already
    "actions/upload-artifact": _Machine.upload,
    "actions/download-artifact": _Machine.download,
    "actions/cache/save": _Machine.save,
    "actions/cache/restore": _Machine.restore,
    "astral-sh/setup-uv": lambda machine, inputs: None,
    "github/codeql-action/upload-sarif": lambda machine, inputs: (
        None if Path(inputs["sarif_file"]).exists() else "no such file"
    ),
}


def _starts(condition: object, contexts: Mapping[str, Any]) -> bool:
    """GitHub puts `success() &&` before a condition that asks for no status."""
    if condition is None:
        return bool(contexts["success"]())
    asked = bool(evaluate(str(condition), contexts))
    return asked and (bool(_STATUS.search(str(condition))) or bool(contexts["success"]()))


def _files(path: Path, hidden: bool) -> list[Path]:
    found = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
    return [f for f in found if hidden or not any(p.startswith(".") for p in f.parts[-3:])]


def _braces(pattern: str) -> list[str]:
    match = re.fullmatch(r"(.*)\{(.*)\}(.*)", pattern)
    if match is None:
        return [pattern]
    return [f"{match[1]}{one}{match[3]}" for one in match[2].split(",")]


def _outputs(text: str) -> dict[str, str]:
    """What a step wrote into GITHUB_OUTPUT."""
    found: dict[str, str] = {}
    lines = iter(text.splitlines())
    for line in lines:
        heredoc = re.fullmatch(r"([^=]+?)<<(.+)", line)
        if heredoc:
            value = []
            for inner in lines:
                if inner == heredoc[2]:
                    break
                value.append(inner)
            found[heredoc[1]] = "\n".join(value)
        elif "=" in line:
            name, _, value_text = line.partition("=")
            found[name] = value_text
    return found
