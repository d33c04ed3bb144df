"""A plan as a Tekton pipeline: a task per stage, and one that holds the verdict.

No task has a script, and parameters reach it as environment variables only, so no value can be
taken for a command. Results are digests; the documents travel in the workspace.
"""

import json
from typing import Final, Literal

from pydantic import Field

from mlgate.ci.jobs import CiJob, Given, Source, header, jobs, name_of, variables
from mlgate.ci.tasks import plan_task, stage_task, verdict_task
from mlgate.ci.yaml_text import Value, dump
from mlgate.errors import Problem
from mlgate.run.plan import Plan
from mlgate.stages import STAGES

PIPELINE: Final = "tekton/mlgate-pipeline.yaml"
RUN: Final = "tekton/mlgate-run.yaml"
ON_PUSH: Final = ".tekton/mlgate-push.yaml"
ON_PULL_REQUEST: Final = ".tekton/mlgate-pull-request.yaml"
PLAN: Final = "mlgate-plan"
VERDICT: Final = "mlgate-verdict"
# The files that say which spec they were made from.
FROM_SPEC: Final = (PIPELINE, RUN, ON_PUSH, ON_PULL_REQUEST)
CHECKOUT: Final = "mlgate-checkout"
# A list of stages is a result, and all results of a task share 4,096 bytes: long ones are cut into
# parts, each with a task of its own.
_STAGES_BYTES: Final = 1500
# What the pipeline's last task may take, whatever the others took.
_VERDICT_SECONDS: Final = 15 * 60
_LABEL: Final = r"^[A-Za-z0-9][A-Za-z0-9._/-]*$"


class Settings(Given):
    """How the pipeline is made; remembered in the file itself.

    `api` is the cluster's `enable-api-fields`: with `stable`, nothing of beta is used.
    """

    image: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]*@sha256:[0-9a-f]{64}$",
        description="REGISTRY/IMAGE@sha256:DIGEST, with all 64 hex digits of the digest and not a"
        " tag alone",
    )
    api: Literal["stable", "beta"] = "beta"
    gpu_resource: str = Field(
        "nvidia.com/gpu", pattern=_LABEL, description="a resource's name, as nvidia.com/gpu"
    )
    gpu_node: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._/-]+=[A-Za-z0-9._-]+$",
        description="a node's label, KEY=VALUE",
    )
    secret_name: str = Field(
        "mlgate",
        pattern=r"^[a-z0-9][a-z0-9.-]*$",
        description="a secret's name of small letters, digits, dots and dashes",
    )
    storage: str = Field(
        "10Gi", pattern=r"^[0-9]+(Ki|Mi|Gi|Ti)$", description="a size as 10Gi: Ki, Mi, Gi or Ti"
    )


def problems(plan: Plan, source: Source, settings: Settings) -> tuple[Problem, ...]:
    """What keeps this plan from being a pipeline."""
    texts = {"the path of the spec": source.spec, "the profile": settings.profile or ""}
    return tuple(
        Problem(
            "MG305",
            f"{what} holds {mark!r}, which Tekton would replace",
            plan.spec.key_position("name"),
            "rename it",
        )
        for what, text in texts.items()
        for mark in ("$(", "{{", "$$")
        if mark in text
    )


def compile_plan(plan: Plan, source: Source, settings: Settings) -> dict[str, str]:
    """The files of a pipeline: path from the repository's root → text. Pure."""
    found = jobs(plan)
    kinds = sorted({(job.node.options.uses, _own_gpu(job, settings)) for job in found}, key=str)
    tasks = [plan_task(), verdict_task()]
    for uses, gpu in kinds:
        # A failed task keeps others from starting. Without beta nothing can be said against that,
        # so none fails but those that move traffic: the verdict does.
        fails = settings.api == "beta" or STAGES[uses].deploys
        tasks.append(stage_task(STAGES[uses], gpu_resource=gpu, fails=fails))
    name = name_of(f"mlgate-{plan.spec.name}")[:50].rstrip("-")
    top = header("tekton", source, settings)
    env = _environment(plan, settings)
    files = {
        PIPELINE: top + dump(_pipeline(name, found, source, settings)),
        RUN: top + dump(_run(name, found, settings, env)),
    }
    named = {str(_name(task)): f"tekton/tasks/{_name(task)}.yaml" for task in tasks}
    for task in tasks:
        files[named[_name(task)]] = "# Made by `mlgate compile tekton`.\n" + dump(task)
    for path, event in ((ON_PUSH, "push"), (ON_PULL_REQUEST, "pull_request")):
        files[path] = top + dump(_on_event(name, event, found, settings, env, list(named.values())))
    return files


def _own_gpu(job: CiJob, settings: Settings) -> str | None:
    """The GPU as the step's own resource: without beta, a run cannot give a task one."""
    return settings.gpu_resource if job.gpu and settings.api == "stable" else None


def _name(manifest: dict[str, Value]) -> str:
    metadata = manifest["metadata"]
    assert isinstance(metadata, dict)
    return str(metadata["name"])


def _pipeline(
    name: str, found: tuple[CiJob, ...], source: Source, settings: Settings
) -> dict[str, Value]:
    checked = [job for job in found if not job.deploys]
    common = _common(source, settings)
    tasks: list[Value] = [_checkout()]
    planned: dict[str, str] = {}
    for number, part in enumerate(_parts(found)):
        name_of_plan = f"{PLAN}-{number + 1}" if number else PLAN
        planned |= dict.fromkeys(part, name_of_plan)
        # What a task does not declare, it may not be given.
        given = {key: value for key, value in common.items() if key != "event"}
        given["stages"] = json.dumps(part, separators=(",", ":"))
        task = _task(name_of_plan, PLAN, given, timeout=15 * 60)
        tasks.append({**task, "runAfter": [CHECKOUT]})
    for job in found:
        after = list(job.after)
        if job.deploys:  # nothing moves before everything else has passed
            after = sorted({*after, *(other.name for other in checked)})
        given = {**common, "stage": job.stage}
        suffix = "-gpu" if _own_gpu(job, settings) else ""
        ref = f"mlgate-{job.node.options.uses}{suffix}"
        made = _task(job.name, ref, given, timeout=job.seconds + 600)
        if settings.api == "beta" and not job.deploys:
            # The others go on, as they do in a check; the verdict is what fails.
            made["onError"] = "continue"
        tasks.append({**made, **_order(after, job, planned[job.stage])})
    verdict = _task(VERDICT, VERDICT, common, timeout=_VERDICT_SECONDS)
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "Pipeline",
        "metadata": {"name": name, "annotations": {"mlgate.dev/spec": source.digest}},
        "spec": {
            "description": "The stages of an mlgate spec, and the verdict on them.",
            "params": [
                {
                    "name": "event",
                    "type": "string",
                    "default": "push",
                    "description": "push runs everything, pull_request what needs no rights",
                },
                {
                    "name": "image",
                    "type": "string",
                    "default": settings.image,
                    "description": "mlgate's container image, by digest",
                },
                {
                    "name": "repository",
                    "type": "string",
                    "default": "",
                    "description": "URL to check out; empty: the workspace holds it already",
                },
                {
                    "name": "revision",
                    "type": "string",
                    "default": "",
                    "description": "Commit to check out",
                },
            ],
            "workspaces": [
                {"name": "source", "description": "The checked-out repository"},
                {"name": "cache", "optional": True, "description": "Results of earlier runs"},
                {"name": "git", "optional": True, "description": "Credentials for git"},
            ],
            "tasks": tasks,
            "finally": [verdict],
        },
    }


def _checkout() -> Value:
    """The catalog's own task. It is left out where the workspace holds the repository already."""
    return {
        "name": CHECKOUT,
        "taskRef": {"name": "git-clone", "kind": "Task"},
        "when": [{"input": "$(params.repository)", "operator": "notin", "values": [""]}],
        "params": [
            {"name": "url", "value": "$(params.repository)"},
            {"name": "revision", "value": "$(params.revision)"},
        ],
        "workspaces": [
            {"name": "output", "workspace": "source"},
            {"name": "basic-auth", "workspace": "git"},
        ],
    }


def _common(source: Source, settings: Settings) -> dict[str, str]:
    given = {
        "image": "$(params.image)",
        "event": "$(params.event)",
        "run-id": "$(context.pipelineRun.uid)",
        "spec": source.spec,
        "compiled": source.digest,
    }
    if settings.profile is not None:
        given["profile"] = settings.profile
    if settings.params:
        given["params"] = settings.params_json()
    return given


def _task(name: str, ref: str, params: dict[str, str], *, timeout: float) -> dict[str, Value]:
    return {
        "name": name,
        "taskRef": {"name": ref, "kind": "Task"},
        "timeout": f"{round(timeout)}s",
        "params": [{"name": key, "value": value} for key, value in params.items()],
        "workspaces": [
            {"name": "source", "workspace": "source"},
            {"name": "cache", "workspace": "cache"},
        ],
    }


def _parts(found: tuple[CiJob, ...]) -> list[list[str]]:
    """The stages in order, cut where their names would be too long for one result."""
    parts: list[list[str]] = []
    used = _STAGES_BYTES
    for job in found:
        size = len(job.stage) + 3
        if used + size > _STAGES_BYTES:
            parts.append([])
            used = 0
        parts[-1].append(job.stage)
        used += size
    return parts


def _order(after: list[str], job: CiJob, plan: str) -> dict[str, Value]:
    """When a stage's task runs: after its plan and what it waits for, unless it is known already."""
    stages = f"$(tasks.{plan}.results.stages[*])"
    when: list[Value] = [{"input": job.stage, "operator": "in", "values": [stages]}]
    if job.privileged:
        when.append({"input": "$(params.event)", "operator": "in", "values": ["push"]})
    return {"displayName": job.stage, "runAfter": [plan, *after], "when": when}


def _environment(plan: Plan, settings: Settings) -> list[Value]:
    """What the spec reads of the environment: out of a ConfigMap of the Secret's name."""
    return [
        {
            "name": name,
            "valueFrom": {"configMapKeyRef": {"name": settings.secret_name, "key": name}},
        }
        for name in variables(plan)
    ]


def _run(
    name: str, found: tuple[CiJob, ...], settings: Settings, env: list[Value]
) -> dict[str, Value]:
    """A run by hand: `kubectl create -f`. The volume must hold the repository."""
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"generateName": f"{name}-"},
        "spec": _run_spec(name, found, settings, env, "push"),
    }


def _run_spec(
    name: str, found: tuple[CiJob, ...], settings: Settings, env: list[Value], event: str
) -> dict[str, Value]:
    whole = round(sum(job.seconds + 600 for job in found)) + 3600
    spec: dict[str, Value] = {
        "pipelineRef": {"name": name},
        "params": [{"name": "event", "value": event}],
        # However long the stages take, there is time for the verdict.
        "timeouts": {
            "pipeline": f"{whole}s",
            "tasks": f"{whole - _VERDICT_SECONDS}s",
            "finally": f"{_VERDICT_SECONDS}s",
        },
        "taskRunTemplate": {"podTemplate": _pod(env)},
        "workspaces": [
            {
                "name": "source",
                "volumeClaimTemplate": {
                    "spec": {
                        "accessModes": ["ReadWriteOnce"],
                        "resources": {"requests": {"storage": settings.storage}},
                    }
                },
            }
        ],
    }
    specs = [row for job in found if (row := _task_run(job, settings, env))]
    if specs:
        spec["taskRunSpecs"] = specs
    return spec


def _pod(env: list[Value]) -> dict[str, Value]:
    pod: dict[str, Value] = {"securityContext": {"fsGroup": 65532}}
    return {**pod, "env": env} if env else pod


def _task_run(job: CiJob, settings: Settings, env: list[Value]) -> dict[str, Value] | None:
    """What one stage's pod has more than others: secrets, a GPU, an account."""
    pod: dict[str, Value] = {}
    row: dict[str, Value] = {"pipelineTaskName": job.name}
    if job.secrets:
        held: list[Value] = [
            {
                "name": name,
                "valueFrom": {"secretKeyRef": {"name": settings.secret_name, "key": name}},
            }
            for name in job.secrets
        ]
        pod["env"] = [*env, *held]
    if job.gpu:
        if settings.api == "beta":
            row["computeResources"] = {"limits": {settings.gpu_resource: "1"}}
        pod["tolerations"] = [
            {"key": settings.gpu_resource, "operator": "Exists", "effect": "NoSchedule"}
        ]
        if settings.gpu_node is not None:
            key, _, value = settings.gpu_node.partition("=")
            pod["nodeSelector"] = {key: value}
    if job.grants.identity or job.grants.environment:
        row["serviceAccountName"] = f"mlgate-{name_of(job.grants.environment or 'identity')}"
    if pod:
        # A pod template of one task replaces that of the run.
        row["podTemplate"] = {**_pod(env), **pod}
    return row if len(row) > 1 else None


def _on_event(
    name: str,
    event: str,
    found: tuple[CiJob, ...],
    settings: Settings,
    env: list[Value],
    tasks: list[str],
) -> dict[str, Value]:
    """A run that Pipelines-as-Code starts: it also checks the repository out."""
    spec = _run_spec(name, found, settings, env, event)
    params, workspaces = spec["params"], spec["workspaces"]
    assert isinstance(params, list)
    assert isinstance(workspaces, list)
    params += [
        {"name": "repository", "value": "{{ repo_url }}"},
        {"name": "revision", "value": "{{ revision }}"},
    ]
    workspaces += [{"name": "git", "secret": {"secretName": "{{ git_auth_secret }}"}}]
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {
            "name": f"{name}-{event.replace('_', '-')}",
            "annotations": {
                "pipelinesascode.tekton.dev/on-event": f"[{event}]",
                "pipelinesascode.tekton.dev/on-target-branch": f"[{settings.branch}]",
                "pipelinesascode.tekton.dev/pipeline": PIPELINE,
                "pipelinesascode.tekton.dev/task": f"[{', '.join(['git-clone', *tasks])}]",
                # What a push has begun to move is not stopped halfway by the next one.
                "pipelinesascode.tekton.dev/cancel-in-progress": (
                    "true" if event == "pull_request" else "false"
                ),
                "pipelinesascode.tekton.dev/max-keep-runs": "5",
            },
        },
        "spec": spec,
    }
