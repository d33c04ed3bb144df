"""Pipelines, run as Tekton runs them, without a cluster.

Tasks in the order of `runAfter` and of the results that they read, `when`, parameters and
variables replaced in text as Tekton does it, steps without a shell, results as files, the 4,096
bytes that a step may say at its end, `onError`, and `finally`.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

MESSAGE_BYTES = 4096


@dataclass
class TaskRun:
    """What one task came to: Succeeded, Failed, Skipped or Cancelled."""

    status: str
    results: dict[str, Any] = field(default_factory=dict)
    log: str = ""


@dataclass
class Cluster:
    """Tasks and pipelines that were applied. `command` stands for the image's mlgate.

    `cancel` names tasks whose pod gets killed. `forget` is called after each task, and may lose
    what is in the workspace.
    """

    manifests: list[dict[str, Any]]
    command: Path
    folder: Path
    cancel: frozenset[str] = frozenset()
    forget: Callable[[str, Path], None] = lambda name, source: None
    runs: dict[str, TaskRun] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, texts: Mapping[str, str], command: Path, folder: Path, **how: Any) -> "Cluster":
        manifests = [m for text in texts.values() for m in yaml.safe_load_all(text)]
        return cls(manifests, command, folder, **how)

    def run(
        self,
        params: Mapping[str, str],
        workspaces: Mapping[str, Path],
        *,
        uid: str = "run-1",
        secrets: Mapping[str, str] | None = None,
    ) -> str:
        """Run the one pipeline there is, or that a run brings along; Succeeded or Failed."""
        named = [m["spec"] for m in self.manifests if m["kind"] == "Pipeline"]
        brought = [m["spec"]["pipelineSpec"] for m in self.manifests if m["kind"] == "PipelineRun"
                   and "pipelineSpec" in m["spec"]]  # fmt: skip
        (pipeline,) = named or brought
        known = {row["name"]: str(row.get("default", "")) for row in pipeline.get("params", [])}
        known.update(params)
        values = {f"params.{k}": v for k, v in known.items()}
        values["context.pipelineRun.uid"] = uid
        self.runs, self.started = {}, []
        waiting = list(pipeline["tasks"])
        failed = False
        while waiting:
            ready = [task for task in waiting if self._above(task) <= set(self.runs)]
            assert ready, "a cycle"
            for task in ready:
                waiting.remove(task)
                if failed or not self._wanted(task, values):
                    self.runs[task["name"]] = TaskRun("Skipped")
                    continue
                run = self._task(task, values, workspaces, secrets or {})
                self.forget(task["name"], workspaces["source"])
                failed |= run.status != "Succeeded" and task.get("onError") != "continue"
        for task in pipeline.get("finally", []):
            run = self._task(task, values, workspaces, secrets or {})
            failed |= run.status != "Succeeded"
        return "Failed" if failed else "Succeeded"

    def _above(self, task: Mapping[str, Any]) -> set[str]:
        read = re.findall(r"\$\(tasks\.([^.)]+)\.results", json.dumps(task))
        return {*task.get("runAfter", []), *read}

    def _wanted(self, task: Mapping[str, Any], values: Mapping[str, str]) -> bool:
        for row in task.get("when", []):
            allowed: list[str] = []
            for value in row["values"]:
                whole = re.fullmatch(r"\$\(tasks\.(.+)\.results\.(.+)\[\*\]\)", value)
                if whole:
                    allowed += self.runs[whole[1]].results[whole[2]]
                else:
                    allowed.append(_replaced(value, values))
            inside = _replaced(row["input"], values) in allowed
            if inside != (row["operator"] == "in"):
                return False
        return True

    def _task(
        self,
        task: Mapping[str, Any],
        values: Mapping[str, str],
        workspaces: Mapping[str, Path],
        secrets: Mapping[str, str],
    ) -> TaskRun:
        name = task["name"]
        self.started.append(name)
        spec = task.get("taskSpec") or next(
            m["spec"]
            for m in self.manifests
            if (m["kind"], m["metadata"].get("name")) == ("Task", task["taskRef"]["name"])
        )
        given = {row["name"]: _replaced(row["value"], values) for row in task.get("params", [])}
        params = {r["name"]: given.get(r["name"], r.get("default")) for r in spec.get("params", [])}
        inner = {f"params.{k}": v for k, v in params.items()}
        inner |= {f"workspaces.{row['name']}.path": "" for row in spec["workspaces"]}
        for row in task["workspaces"]:
            bound = workspaces.get(row["workspace"])
            inner[f"workspaces.{row['name']}.path"] = str(bound or "")
        run = TaskRun("Cancelled")
        if name not in self.cancel:
            run = self._steps(name, spec, inner, secrets)
        self.runs[name] = run
        return run

    def _steps(
        self,
        name: str,
        spec: Mapping[str, Any],
        values: Mapping[str, str],
        secrets: Mapping[str, str],
    ) -> TaskRun:
        results = self.folder / f"results-{name}"
        shutil.rmtree(results, ignore_errors=True)
        results.mkdir(parents=True)
        run = TaskRun("Succeeded")
        for step in spec["steps"]:
            known = values
            if "ref" in step:
                step, known = self._action(step, values, results)
            assert "script" not in step
            env = _environment(step["env"], known, secrets)
            words = [_expanded(_replaced(w, known), env) for w in step["args"]]
            assert step["command"] == ["mlgate"]
            done = subprocess.run(
                [str(self.command), *(w.replace("/tekton/results", str(results)) for w in words)],
                cwd=_replaced(step["workingDir"], known),
                env={"PATH": os.environ["PATH"], **env},
                capture_output=True,
                text=True,
                check=False,
            )
            run.log += done.stdout + done.stderr
            declared = {row["name"]: row["type"] for row in spec.get("results", [])}
            said = {f.name: f.read_text() for f in results.iterdir() if f.name in declared}
            if message_bytes(said) > MESSAGE_BYTES:
                run.log += "Termination message is above max allowed size 4096"
                return TaskRun("Failed", {}, run.log)
            run.results = {
                k: v if declared[k] == "string" else json.loads(v) for k, v in said.items()
            }
            if done.returncode and step.get("onError") != "continue":
                run.status = "Failed"
                return run
        return run

    def _action(
        self, step: Mapping[str, Any], values: Mapping[str, str], results: Path
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """The StepAction that a step refers to, and what it knows: its own parameters only.

        Its results are a step's; that the task hands them on under their names is taken as given.
        """
        spec = next(
            m["spec"]
            for m in self.manifests
            if (m["kind"], m["metadata"].get("name")) == ("StepAction", step["ref"]["name"])
        )
        given = {row["name"]: _replaced(row["value"], values) for row in step["params"]}
        known = {
            f"params.{r['name']}": given.get(r["name"], r.get("default")) for r in spec["params"]
        }
        known |= {
            f"step.results.{r['name']}.path": f"{results}/{r['name']}" for r in spec["results"]
        }
        return {**spec, **{k: v for k, v in step.items() if k == "onError"}}, known


def message_bytes(results: Mapping[str, str]) -> int:
    """What results weigh in a container's termination message, beside when it started."""
    rows: list[dict[str, object]] = [
        {"key": "StartedAt", "value": "2006-01-02T15:04:05.999Z", "type": 3}
    ]
    rows += [{"key": key, "value": value, "type": 1} for key, value in results.items()]
    return len(json.dumps(rows, separators=(",", ":")).encode())


def _replaced(text: str, values: Mapping[str, str]) -> str:
    """Tekton's variables, replaced in the text once."""
    return re.sub(
        r"\$\(((?:params|workspaces|context|step)\.[^)]+)\)", lambda match: values[match[1]], text
    )


def _environment(
    rows: list[dict[str, Any]], values: Mapping[str, str], secrets: Mapping[str, str]
) -> dict[str, str]:
    """The variables in their order: a later one may name an earlier one, as the kubelet has it."""
    found: dict[str, str] = {}
    for row in rows:
        found[row["name"]] = _expanded(_replaced(row["value"], values), found)
    return {**found, **secrets}


def _expanded(text: str, env: Mapping[str, str]) -> str:
    """What the kubelet makes of `$(NAME)`: a variable that it knows, or the text as it stands."""
    return re.sub(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)", lambda m: env.get(m[1], m[0]), text)
