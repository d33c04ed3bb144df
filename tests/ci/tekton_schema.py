"""Which fields Tekton's objects have, and of what type: only those that our files use.

After the CustomResourceDefinitions of Tekton Pipelines 1.x (config/300-crds/*.yaml) and Triggers
(config/300-*.yaml), and Kubernetes' core/v1 where those embed it. The webhook decodes strictly: a
field that is not there, or a number where a string belongs, is refused.
"""

from collections.abc import Iterator
from typing import Any, Final

STRING: Final = "a string"
BOOLEAN: Final = "true or false"
INTEGER: Final = "an integer"
# resource.Quantity: x-kubernetes-int-or-string
QUANTITY: Final = "a quantity"
# ParamValue and whatever else has no type of its own (x-kubernetes-preserve-unknown-fields).
ANY: Final = "anything"

# A list has one shape for every item; a dictionary with "*" has any key, and values of one shape.
Shape = str | list["Shape"] | dict[str, "Shape"]

_TEXTS: Final[Shape] = {"*": STRING}
_RESOURCES: Final[Shape] = {"limits": {"*": QUANTITY}, "requests": {"*": QUANTITY}}
_KEY: Final[Shape] = {"name": STRING, "key": STRING, "optional": BOOLEAN}
_ENV: Final[Shape] = [
    {
        "name": STRING,
        "value": STRING,
        "valueFrom": {"secretKeyRef": _KEY, "configMapKeyRef": _KEY},
    }
]
_CONFINED: Final[Shape] = {
    "runAsNonRoot": BOOLEAN,
    "runAsUser": INTEGER,
    "allowPrivilegeEscalation": BOOLEAN,
    "readOnlyRootFilesystem": BOOLEAN,
    "capabilities": {"drop": [STRING]},
    "seccompProfile": {"type": STRING},
}
_PROPERTIES: Final[Shape] = {"*": {"type": STRING}}
_PARAMS: Final[Shape] = [
    {
        "name": STRING,
        "type": STRING,
        "default": ANY,
        "description": STRING,
        "properties": _PROPERTIES,
    }
]
_RESULTS: Final[Shape] = [
    {"name": STRING, "type": STRING, "description": STRING, "properties": _PROPERTIES}
]
_STEP: Final[Shape] = {
    "name": STRING,
    "image": STRING,
    "workingDir": STRING,
    "command": [STRING],
    "args": [STRING],
    "env": _ENV,
    "computeResources": _RESOURCES,
    "securityContext": _CONFINED,
    "volumeMounts": [{"name": STRING, "mountPath": STRING}],
    "onError": STRING,
}
_TASK: Final[Shape] = {
    "description": STRING,
    "params": _PARAMS,
    "results": _RESULTS,
    "workspaces": [{"name": STRING, "description": STRING, "optional": BOOLEAN}],
    "steps": [_STEP],
    "volumes": [{"name": STRING, "emptyDir": {}}],
}
_GIVEN: Final[Shape] = [{"name": STRING, "value": ANY}]
_PIPELINE_TASKS: Final[Shape] = [
    {
        "name": STRING,
        "displayName": STRING,
        "taskRef": {"name": STRING, "kind": STRING},
        "taskSpec": _TASK,
        "runAfter": [STRING],
        "timeout": STRING,
        "retries": INTEGER,
        "onError": STRING,
        "params": _GIVEN,
        "workspaces": [{"name": STRING, "workspace": STRING}],
        "when": [{"input": STRING, "operator": STRING, "values": [STRING]}],
    }
]
_PIPELINE: Final[Shape] = {
    "description": STRING,
    "params": _PARAMS,
    "workspaces": [{"name": STRING, "description": STRING, "optional": BOOLEAN}],
    "tasks": _PIPELINE_TASKS,
    "finally": _PIPELINE_TASKS,
}
_POD: Final[Shape] = {
    "env": _ENV,
    "nodeSelector": _TEXTS,
    "securityContext": {"fsGroup": INTEGER},
    "tolerations": [{"key": STRING, "operator": STRING, "effect": STRING}],
}
_BOUND: Final[Shape] = [
    {
        "name": STRING,
        "emptyDir": {},
        "persistentVolumeClaim": {"claimName": STRING},
        "secret": {"secretName": STRING},
        "subPath": STRING,
        "volumeClaimTemplate": {"spec": {"accessModes": [STRING], "resources": _RESOURCES}},
    }
]
_PIPELINE_RUN: Final[Shape] = {
    "pipelineRef": {"name": STRING},
    "pipelineSpec": _PIPELINE,
    "params": _GIVEN,
    "timeouts": {"pipeline": STRING, "tasks": STRING, "finally": STRING},
    "taskRunTemplate": {"podTemplate": _POD, "serviceAccountName": STRING},
    "taskRunSpecs": [
        {
            "pipelineTaskName": STRING,
            "computeResources": _RESOURCES,
            "podTemplate": _POD,
            "serviceAccountName": STRING,
        }
    ],
    "workspaces": _BOUND,
}
_INTERCEPTORS: Final[Shape] = [{"ref": {"name": STRING}, "params": _GIVEN}]
_SPECS: Final[dict[tuple[str, str], Shape]] = {
    ("tekton.dev/v1", "Task"): _TASK,
    ("tekton.dev/v1", "Pipeline"): _PIPELINE,
    ("tekton.dev/v1", "PipelineRun"): _PIPELINE_RUN,
    ("tekton.dev/v1", "TaskRun"): {
        "taskRef": {"name": STRING},
        "params": _GIVEN,
        "podTemplate": _POD,
        "workspaces": _BOUND,
    },
    ("tekton.dev/v1beta1", "StepAction"): {
        "description": STRING,
        "params": _PARAMS,
        "results": _RESULTS,
        "image": STRING,
        "workingDir": STRING,
        "env": _ENV,
        "command": [STRING],
        "args": [STRING],
        "securityContext": _CONFINED,
    },
    ("triggers.tekton.dev/v1beta1", "EventListener"): {
        "serviceAccountName": STRING,
        "triggers": [
            {
                "name": STRING,
                "interceptors": _INTERCEPTORS,
                "bindings": [{"ref": STRING}],
                "template": {"ref": STRING},
            }
        ],
    },
    ("triggers.tekton.dev/v1beta1", "TriggerBinding"): {"params": _GIVEN},
    ("triggers.tekton.dev/v1beta1", "TriggerTemplate"): {
        "params": [{"name": STRING}],
        # RawExtension: each is checked as the object that it is.
        "resourcetemplates": [ANY],
    },
}
_METADATA: Final[Shape] = {
    "name": STRING,
    "generateName": STRING,
    "labels": _TEXTS,
    "annotations": _TEXTS,
}


def refused(manifest: Any) -> Iterator[str]:
    """What strict decoding refuses of one object."""
    if not isinstance(manifest, dict):
        yield "no object"
        return
    kind = (str(manifest.get("apiVersion")), str(manifest.get("kind")))
    if kind not in _SPECS:
        yield f"no kind {kind[1]} in {kind[0]}"
        return
    shape: Shape = {
        "apiVersion": STRING,
        "kind": STRING,
        "metadata": _METADATA,
        "spec": _SPECS[kind],
    }
    yield from _refused(manifest, shape, "")


def _refused(value: Any, shape: Shape, path: str) -> Iterator[str]:
    match shape:
        case dict():
            if not isinstance(value, dict):
                yield f"{path} must be an object"
                return
            for key, inner in value.items():
                if "*" not in shape and key not in shape:
                    yield f"unknown field {path}.{key}"
                else:
                    yield from _refused(inner, shape.get(key, shape.get("*", ANY)), f"{path}.{key}")
        case list():
            if not isinstance(value, list):
                yield f"{path} must be a list"
                return
            for index, item in enumerate(value):
                yield from _refused(item, shape[0], f"{path}[{index}]")
        case str():
            if not _is(value, shape):
                yield f"{path} must be {shape}, not {value!r}"


def _is(value: Any, kind: str) -> bool:
    number = isinstance(value, int) and not isinstance(value, bool)
    return {
        STRING: isinstance(value, str),
        BOOLEAN: isinstance(value, bool),
        INTEGER: number,
        QUANTITY: number or isinstance(value, str),
        ANY: value is not None,
    }[kind]
