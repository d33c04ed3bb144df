"""What Tekton would refuse, found without a cluster: at admission, or when a run begins.

Fields and types (strict decoding), names, the graph, parameters, results and workspaces that nobody
declares, `when` operators, durations, `onError` with `retries`.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from tests.ci.tekton_schema import refused

_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
_DURATION = re.compile(r"^0$|^(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+$")
_VARIABLE = re.compile(r"\$\((params|results|tasks|workspaces|context|step|steps)\.([^)]*)\)")
_ON_ERROR = ("continue", "stopAndFail")
_CONTEXT = {"pipelineRun.uid", "pipelineRun.name", "taskRun.name", "taskRun.uid", "pipeline.name"}


def problems(*texts: str) -> list[str]:
    """Everything that is wrong with the manifests, taken together."""
    found: list[str] = []
    manifests = [m for text in texts for m in yaml.safe_load_all(text)]
    tasks = {m["metadata"]["name"]: m for m in manifests if m["kind"] == "Task"}
    for manifest in manifests:
        kind = manifest["kind"]
        strict = [f"{kind}: {what}" for what in refused(manifest)]
        found += strict
        if strict:  # the webhook looks no further either
            continue
        name = manifest["metadata"].get("name") or manifest["metadata"]["generateName"] + "x"
        if not _LABEL.match(name):
            found.append(f"{kind}: {name!r} must be a valid DNS label")
        found += _durations(manifest)
        if kind == "Task":
            found += _task(manifest["spec"])
        if kind == "PipelineRun":
            found += _time(manifest["spec"].get("timeouts", {}))
            found += _pipeline(manifest["spec"].get("pipelineSpec", {"tasks": []}), tasks)
        if kind == "Pipeline":
            found += _pipeline(manifest["spec"], tasks)
    return found


def _durations(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            texts = [inner] if key == "timeout" else inner.values() if key == "timeouts" else []
            for text in texts:
                if not _DURATION.match(str(text)):
                    yield f"{key}: {text!r} is no duration"
            yield from _durations(inner)
    elif isinstance(value, list):
        for item in value:
            yield from _durations(item)


def _time(timeouts: Mapping[str, str]) -> Iterator[str]:
    """All three, in seconds as we write them: tasks and finally fill the pipeline's time."""
    times = {key: int(text.removesuffix("s")) for key, text in timeouts.items()}
    if times.get("tasks", 0) + times.get("finally", 0) > times.get("pipeline", 0):
        yield "timeouts.tasks and timeouts.finally are longer than timeouts.pipeline"


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _task(spec: Mapping[str, Any]) -> Iterator[str]:
    params = {row["name"] for row in spec.get("params", [])}
    spaces = {row["name"] for row in spec.get("workspaces", [])}
    for text in _strings(spec["steps"]):
        for kind, name in _VARIABLE.findall(text):
            if kind == "params" and name not in params:
                yield f"non-existent variable in {text!r}"
            if kind == "workspaces" and name.split(".")[0] not in spaces:
                yield f"non-existent workspace in {text!r}"
    for step in spec["steps"]:
        if step.get("onError", "continue") not in _ON_ERROR:
            yield f"step {step['name']}: onError must be continue or stopAndFail"
        if not _LABEL.match(step["name"]):
            yield f"step {step['name']!r} must be a valid DNS label"


def _pipeline(spec: Mapping[str, Any], tasks: Mapping[str, Any]) -> Iterator[str]:
    names = [task["name"] for task in spec["tasks"]]
    params = {row["name"] for row in spec.get("params", [])}
    spaces = {row["name"] for row in spec.get("workspaces", [])}
    edges: dict[str, set[str]] = {}
    last = {task["name"] for task in spec.get("finally", [])}
    if len({*names, *last}) != len(names) + len(last):
        yield "two tasks have one name"
    for task in [*spec["tasks"], *spec.get("finally", [])]:
        name = task["name"]
        after = set(task.get("runAfter", []))
        for text in _strings([task.get("params"), task.get("when"), task.get("matrix")]):
            for kind, path in _VARIABLE.findall(text):
                if kind == "params" and path not in params:
                    yield f"{name}: non-existent variable in {text!r}"
                if kind == "context" and path not in _CONTEXT:
                    yield f"{name}: non-existent context in {text!r}"
                if kind == "tasks":
                    after.add(path.split(".")[0])
                    yield from _result(name, path, spec, tasks)
        edges[name] = after
        for other in after - set(names):
            yield f"task {name} depends on {other} but {other} wasn't present"
        if not _LABEL.match(name):
            yield f"task {name!r} must be a valid DNS label"
        for row in task.get("when", []):
            if row["operator"] not in ("in", "notin"):
                yield f"operator {row['operator']!r} is not recognized"
        if task.get("onError", "continue") not in _ON_ERROR:
            yield f"{name}: onError must be continue or stopAndFail"
        if task.get("onError") == "continue" and task.get("retries"):
            yield f"{name}: onError cannot be continue when retries is greater than 0"
        for row in task.get("workspaces", []):
            if row.get("workspace", row["name"]) not in spaces:
                yield f"{name}: workspace {row} is not declared"
        yield from _reference(task, tasks)
    yield from _circle(edges)


def _result(
    name: str, path: str, spec: Mapping[str, Any], tasks: Mapping[str, Any]
) -> Iterator[str]:
    other, _, rest = path.partition(".results.")
    ref = next((t["taskRef"]["name"] for t in spec["tasks"] if t["name"] == other), "")
    if ref in tasks and rest:
        declared = {row["name"] for row in tasks[ref]["spec"].get("results", [])}
        if re.split(r"[.\[]", rest)[0] not in declared:
            yield f"{name}: {other} has no result {rest!r}"


def _reference(task: Mapping[str, Any], tasks: Mapping[str, Any]) -> Iterator[str]:
    if "taskSpec" in task:
        yield from _task(task["taskSpec"])
        return
    ref = task["taskRef"]["name"]
    if ref not in tasks:
        return
    spec = tasks[ref]["spec"]
    declared = {row["name"]: row for row in spec.get("params", [])}
    given = {row["name"] for row in task.get("params", [])}
    given |= {row["name"] for row in task.get("matrix", {}).get("params", [])}
    for extra in given - set(declared):
        yield f"{task['name']}: {ref} has no parameter {extra!r}"
    for name, row in declared.items():
        if "default" not in row and name not in given:
            yield f"{task['name']}: {ref} needs the parameter {name!r}"
    spaces = {row["name"] for row in spec.get("workspaces", [])}
    for row in task.get("workspaces", []):
        if row["name"] not in spaces:
            yield f"{task['name']}: {ref} has no workspace {row['name']!r}"


def _circle(edges: Mapping[str, set[str]]) -> Iterator[str]:
    left = {name: set(after) & set(edges) for name, after in edges.items()}
    while left:
        free = [name for name, after in left.items() if not after]
        if not free:
            yield f"cycle among {sorted(left)}"
            return
        for name in free:
            del left[name]
        for after in left.values():
            after.difference_update(free)
