"""The Tekton tasks of mlgate: one that runs a stage, its aliases, what comes before and after."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from mlgate.ci.yaml_text import Value, dump
from mlgate.stage import Stage

VERSION: Final = "0.1.0"
FOLDER: Final = "tekton"
# Whoever installs the tasks says which image; a default that could be pulled would be a guess.
IMAGE: Final = "mlgate:set-the-image-parameter"
# Where an example needs one.
_EXAMPLE: Final = f"registry.example.com/mlgate@sha256:{'0' * 64}"
# The template's stages, in their order, by what they use.
TEMPLATE: Final = {
    "validate": "data",
    "evaluate": "better",
    "quantize": "int8",
    "benchmark": "latency",
}
RESULTS: Final = "/tekton/results"
USER: Final = 65532

_PARAMS: Final[Mapping[str, tuple[str, str | None]]] = {
    "image": ("mlgate's container image, by digest", IMAGE),
    "spec": ("Path of the spec in the repository", "mlgate.yaml"),
    "stage": ("Stage of the spec to run", None),
    "compiled": ("Digest of the spec that the pipeline was compiled from", ""),
    "run-id": ("Name of this run: results of another are refused", ""),
    "event": ("What the pipeline runs on: push or pull_request", "push"),
    "profile": ("Profile of the spec to apply", ""),
    "params": ("Parameters of the spec, as a JSON object of strings", "{}"),
}
_RESULTS: Final = {
    "outcome": "pass, warn, inconclusive, error or fail",
    "verdict-digest": "sha256 of the canonical verdict",
    "TEST_OUTPUT": "Summary of the gates, as Konflux reads it",
}


def run_task() -> dict[str, Value]:
    """The task that runs any stage."""
    about = "Run one stage of an mlgate spec and end as its gates say."
    return _task("mlgate-run", about, _PARAMS, _with_exit([]))


def stage_task(
    stage: Stage[Any], *, gpu_resource: str | None = None, fails: bool = True
) -> dict[str, Value]:
    """The task for one kind of stage: as `run_task`, with what the stage makes as results.

    Without `fails`, the task succeeds whatever the gates say: the step shows it, and the results.
    """
    name = f"mlgate-{stage.uses}" + ("-gpu" if gpu_resource else "")
    params = {**_PARAMS, "stage": (_PARAMS["stage"][0], stage.uses)}
    resources: dict[str, Value] | None = None
    if gpu_resource is not None:
        resources = {"limits": {gpu_resource: "1"}}
    about = f"{stage.summary.rstrip('.')}: run one {stage.uses} stage of an mlgate spec."
    steps = _with_exit([], resources)
    return _task(name, about, params, steps if fails else steps[:1], outputs=stage.outputs)


def plan_task() -> dict[str, Value]:
    """The task that says which stages have to run."""
    params = {name: row for name, row in _PARAMS.items() if name not in ("stage", "event")}
    params["stages"] = ("Stages that it is about, as a JSON list; empty: all", "")
    about = "Drop the stages of an mlgate spec whose evidence is known already."
    task = _task("mlgate-plan", about, params, [_step("plan", ["--plan"])], results={})
    spec = task["spec"]
    assert isinstance(spec, dict)
    spec["results"] = [
        {"name": "stages", "type": "array", "description": "Stages that have to run"}
    ]
    return task


def verdict_task() -> dict[str, Value]:
    """The task that joins the results of all stages into the verdict."""
    params = {name: row for name, row in _PARAMS.items() if name != "stage"}
    about = "Join the results of all stages of an mlgate spec, and fail unless all hold."
    return _task("mlgate-verdict", about, params, _with_exit(["--verdict"]))


def step_action() -> dict[str, Value]:
    """The step that runs a stage, for tasks of others."""
    params = {"source": ("Folder of the checked-out repository", None), **_PARAMS}
    return {
        "apiVersion": "tekton.dev/v1beta1",
        "kind": "StepAction",
        "metadata": _metadata("mlgate-run-step"),
        "spec": {
            "description": "Run one stage of an mlgate spec as a step of a task.",
            "params": _declared(params),
            "results": [
                {"name": name, "type": "string", "description": about}
                for name, about in _RESULTS.items()
            ],
            "image": "$(params.image)",
            "workingDir": "$(params.source)",
            "env": [*_env(_PARAMS), *_HOME],
            "command": ["mlgate"],
            "args": ["run", "--tekton", "$(step.results.outcome.path)"],
            "securityContext": _confined(read_only=False),
        },
    }


_HOME: Final[tuple[Value, ...]] = (
    {"name": "HOME", "value": "/tmp"},  # noqa: S108  # the only folder that is written to
    {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"},
)


def _metadata(name: str) -> Value:
    return {
        "name": name,
        "labels": {"app.kubernetes.io/version": VERSION},
        "annotations": {
            "tekton.dev/pipelines.minVersion": "1.0.0",
            "tekton.dev/categories": "Machine Learning, Testing",
            "tekton.dev/tags": "mlops, gate, onnx, quantization, benchmark",
            "tekton.dev/displayName": name.replace("-", " "),
            "tekton.dev/platforms": "linux/amd64,linux/arm64",
        },
    }


def _declared(params: Mapping[str, tuple[str, str | None]]) -> Value:
    rows: list[Value] = []
    for name, (about, default) in params.items():
        row: dict[str, Value] = {"name": name, "type": "string", "description": about}
        if default is not None:
            row["default"] = default
        rows.append(row)
    return rows


def _task(
    name: str,
    about: str,
    params: Mapping[str, tuple[str, str | None]],
    steps: list[dict[str, Value]],
    *,
    outputs: Mapping[str, str] = MappingProxyType({}),
    results: Mapping[str, str] = _RESULTS,
) -> dict[str, Value]:
    declared: list[Value] = [
        {"name": key, "type": "string", "description": text} for key, text in results.items()
    ]
    for port, kind in outputs.items():
        declared += _for_chains(port, kind)
    env = _env(params)
    for step in steps:
        step["env"] = [*env, {"name": "MLGATE_CACHE", "value": "$(workspaces.cache.path)"}, *_HOME]
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "Task",
        "metadata": _metadata(name),
        "spec": {
            "description": about,
            "params": _declared(params),
            "workspaces": [
                {"name": "source", "description": "The checked-out repository"},
                {"name": "cache", "optional": True, "description": "Results of earlier runs"},
            ],
            "results": declared,
            "steps": list(steps),
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }


def _for_chains(port: str, kind: str) -> list[Value]:
    """An output as a result by whose name Chains knows it: an image, or any other file."""
    if kind == "image":
        return [
            {
                "name": f"{port}_IMAGE_URL",
                "type": "string",
                "description": f"Repository of the {port} that the stage pushed",
            },
            {
                "name": f"{port}_IMAGE_DIGEST",
                "type": "string",
                "description": f"sha256 of the {port}'s manifest, for Tekton Chains",
            },
        ]
    return [
        {
            "name": f"{port}_ARTIFACT_OUTPUTS",
            "type": "object",
            "description": f"The {port} that the stage made, for Tekton Chains",
            "properties": {key: {"type": "string"} for key in ("uri", "digest", "isBuildArtifact")},
        }
    ]


def _env(params: Mapping[str, tuple[str, str | None]]) -> list[Value]:
    """Parameters as variables. None comes after a secret, so none can expand to one."""
    return [
        {"name": f"MLGATE_{name.upper().replace('-', '_')}", "value": f"$(params.{name})"}
        for name in params
        if name != "image"
    ]


def _with_exit(
    args: list[str], resources: dict[str, Value] | None = None
) -> list[dict[str, Value]]:
    """A step whose failure does not lose its results, and one that fails in its place."""
    first = _step("run", args)
    first["onError"] = "continue"
    if resources is not None:
        first["computeResources"] = resources
    return [first, _step("verdict", ["--exit"])]


def _step(name: str, args: list[str]) -> dict[str, Value]:
    return {
        "name": name,
        "image": "$(params.image)",
        "workingDir": "$(workspaces.source.path)",
        "env": [],
        "command": ["mlgate"],
        "args": ["run", *args, "--tekton", RESULTS],
        "securityContext": _confined(read_only=True),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }


def _confined(*, read_only: bool) -> Value:
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": read_only,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def catalog(stages: Mapping[str, Stage[Any]]) -> dict[str, str]:
    """Every file under tekton/ of mlgate's own repository, in the catalog's layout. Pure."""
    tasks = [run_task(), plan_task(), verdict_task(), *map(stage_task, stages.values())]
    files: dict[str, str] = {}
    for task in tasks:
        metadata, spec = task["metadata"], task["spec"]
        assert isinstance(metadata, dict)
        assert isinstance(spec, dict)
        name = str(metadata["name"])
        folder = f"{FOLDER}/task/{name}/{VERSION}"
        files[f"{folder}/{name}.yaml"] = dump(task)
        files[f"{folder}/README.md"] = _readme(name, spec)
        files[f"{folder}/samples/run.yaml"] = dump(_sample(name, spec))
        if (tried := _trial(name)) is not None:
            files[f"{folder}/tests/run.yaml"] = dump(tried)
    action = step_action()
    files[f"{FOLDER}/stepaction/mlgate-run-step/{VERSION}/mlgate-run-step.yaml"] = dump(action)
    return files


def _readme(name: str, spec: Mapping[str, Value]) -> str:
    def rows(of: str) -> list[str]:
        found = spec[of]
        assert isinstance(found, list)
        return [
            f"| `{row['name']}` | {row['description']} | "
            + (f"`{row['default']}`" if row.get("default") else "")
            + " |"
            for row in found
        ]

    parts = [f"# {name}", "", str(spec["description"]), ""]
    for of in ("params", "workspaces", "results"):
        parts += [f"## {of.capitalize()}", "", "| name | description | default |", "|---|---|---|"]
        parts += [*rows(of), ""]
    parts += [
        "No script, no shell: parameters reach mlgate as environment variables. The steps run as",
        f"user {USER} on a read-only file system; give the pod `fsGroup: {USER}` when the",
        "workspace is a volume.",
    ]
    return "\n".join(parts) + "\n"


def _sample(name: str, spec: Mapping[str, Value]) -> dict[str, Value]:
    params = spec["params"]
    assert isinstance(params, list)
    needed: list[Value] = [
        {"name": row["name"], "value": "data"} for row in params if "default" not in row
    ]
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "TaskRun",
        "metadata": {"generateName": f"{name}-"},
        "spec": {
            "taskRef": {"name": name},
            "params": [{"name": "image", "value": _EXAMPLE}, *needed],
            "podTemplate": {"securityContext": {"fsGroup": USER}},
            "workspaces": [
                {"name": "source", "persistentVolumeClaim": {"claimName": "my-repository"}}
            ],
        },
    }


def _trial(name: str) -> dict[str, Value] | None:
    """A run of a task on the template, which a new volume is filled with; None if it has none."""
    chain = [(f"mlgate-{uses}", stage) for uses, stage in TEMPLATE.items()]
    known = {
        **{task: chain[: index + 1] for index, (task, _) in enumerate(chain)},
        "mlgate-run": [("mlgate-run", chain[0][1])],
        "mlgate-plan": [("mlgate-plan", "")],
        "mlgate-verdict": [*chain, ("mlgate-verdict", "")],
    }
    if name not in known:
        return None
    given: Value = {"name": "image", "value": _EXAMPLE}
    bound: Value = {"name": "source", "workspace": "source"}
    first = _step("init", [])
    first |= {"image": _EXAMPLE, "env": list(_HOME), "args": ["init", ".", "--template", "digits"]}
    spec: dict[str, Value] = {
        "workspaces": [{"name": "source"}],
        "steps": [first],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    tasks: list[Value] = [{"name": "init", "taskSpec": spec, "workspaces": [bound]}]
    before = "init"
    for task, stage in known[name]:
        stages: list[Value] = [{"name": "stage", "value": stage}] if stage else []
        made: dict[str, Value] = {
            "name": stage or "last",
            "taskRef": {"name": task},
            "runAfter": [before],
            "params": [given, *stages],
            "workspaces": [bound],
        }
        tasks.append(made)
        before = stage
    volume: Value = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
    }
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"generateName": f"{name}-test-"},
        "spec": {
            "pipelineSpec": {"workspaces": [{"name": "source"}], "tasks": tasks},
            "taskRunTemplate": {"podTemplate": {"securityContext": {"fsGroup": USER}}},
            "workspaces": [{"name": "source", "volumeClaimTemplate": {"spec": volume}}],
        },
    }
