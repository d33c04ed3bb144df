"""What every CI system is told of a plan: its jobs, under names that each of them takes."""

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import Field

from mlgate import document
from mlgate.errors import Problem
from mlgate.evidence import Frozen
from mlgate.quantity import seconds
from mlgate.run.plan import Node, Plan
from mlgate.stage import EnvironmentName, Grants

# Names of the jobs that mlgate adds, and what artifacts and tasks begin with.
RESERVED: Final = "mlgate"
# GitHub runs at most so many jobs of one matrix; no larger number is promised anywhere.
GITHUB_JOBS: Final = 256
# GitHub stops a job on its own runners after so long.
HOSTED_MINUTES: Final = 360
_RUNNERS: Final = re.compile(
    r"^(CI|HOME|PATH|PWD|SHELL|TMPDIR|USER|LANG|(GITHUB|RUNNER|ACTIONS|INPUT|GITLAB|CI|TEKTON|MLGATE"
    r"|LD|PYTHON)(_.*)?)$"
)
# A Kubernetes name, and so a task's, is at most so long.
NAME_LENGTH: Final = 63


@dataclass(frozen=True)
class Source:
    """Where a compiled file comes from: the spec's path from the repository's root, and its digest.

    The digest is of the spec as written, without profile, parameters or environment.
    """

    spec: str
    digest: str


class Given(Frozen):
    """What a compiled file remembers of how it was made, whatever the target.

    A field with a pattern says in its description, in words, what is wanted.
    """

    profile: str | None = None
    params: dict[str, str] = {}
    branch: str = Field(
        "main",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$",
        description="a branch's name of letters, digits, dots, dashes and slashes",
    )

    def params_json(self) -> str:
        """The parameters as JSON in which no CI system finds an expression of its own."""
        text = json.dumps(dict(sorted(self.params.items())), separators=(",", ":"))
        inner = text[1:-1].replace("$", "\\u0024").replace("{", "\\u007b")
        return f"{{{inner}}}"


G = TypeVar("G", bound=Given)


def header(target: str, source: Source, given: Given) -> str:
    """The first lines of a compiled file: what it was made from, and how."""
    kept = json.dumps(given.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
    return (
        f"# Made from {_printable(source.spec)} by `mlgate compile {target}`: change that,"
        " and compile again.\n"
        f"# mlgate-spec: {source.digest}\n"
        f"# mlgate-settings: {kept}\n"
    )


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


def other_spec(text: str, source: Source) -> str | None:
    """The spec that a compiled file was made from, where it is another one than `source`."""
    match = re.match(r"# Made from (.*) by `mlgate compile \w+`: ", text)
    return match[1] if match and match[1] != _printable(source.spec) else None


def is_ours(text: str) -> bool:
    """Whether a file was written by `mlgate compile`, or is not there: only those are replaced."""
    return not text or "`mlgate compile" in text.split("\n", 1)[0]


def remembered(model: type[G], text: str) -> G | None:
    """The settings in a compiled file's header; None where there are none."""
    match = re.search(r"^# mlgate-settings: (\{.*\})\r?$", text, re.MULTILINE)
    try:
        return model.model_validate_json(match[1]) if match else None
    except ValueError:
        return None


@dataclass(frozen=True)
class CiJob:
    """One stage as CI sees it. `name` is the stage's, fit for a job, a task and an artifact.

    `seconds` bounds the whole job, retries included. `secrets` are environment variables.
    `after` and `privileged`: see `jobs`. `extras` of mlgate are what its machine installs, `packages`
    what it needs beside them: both as the stage declares.
    """

    name: str
    node: Node
    after: tuple[str, ...]
    grants: Grants
    gpu: bool
    secrets: tuple[str, ...]
    seconds: float
    privileged: bool
    extras: tuple[str, ...] = ("cpu",)
    packages: tuple[str, ...] = ()

    @property
    def stage(self) -> str:
        return self.node.id

    @property
    def deploys(self) -> bool:
        return self.node.stage.deploys

    @property
    def minutes(self) -> int:
        """The job's time limit: the stage's, and some for setting up."""
        return math.ceil(self.seconds / 60) + 10


def name_of(text: str) -> str:
    """A name that is a DNS label (RFC 1123): lower case, digits and dashes, at most 63."""
    label = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    label = label if label[:1].isalpha() else f"x-{label}"
    return label[:NAME_LENGTH].rstrip("-")


def jobs(plan: Plan) -> tuple[CiJob, ...]:
    """The plan's stages as CI jobs, in the plan's order.

    A job is privileged when CI grants it more than reading, and when it comes after one that is:
    pull requests do not run those.
    """
    made: dict[str, CiJob] = {}
    for node in plan.nodes:
        grants = node.stage.ci(node.options)
        above = [made[other] for other in node.after if other in made]
        installs = node.stage.installs(node.options)
        gpu = node.stage.gpu(node.options)
        privileged = grants != Grants() or node.stage.deploys
        made[node.id] = CiJob(
            name=name_of(node.id),
            node=node,
            after=tuple(job.name for job in above),
            grants=grants,
            gpu=gpu,
            secrets=tuple(sorted(set(_secrets(node.options)))),
            seconds=seconds(node.options.timeout) * (1 + node.options.retries),
            privileged=privileged or any(job.privileged for job in above),
            extras=_extras(installs.extras, gpu=gpu),
            packages=installs.packages,
        )
    return tuple(made.values())


def _extras(declared: tuple[str, ...], *, gpu: bool) -> tuple[str, ...]:
    """What a job installs: what its stage declares, on one runtime, for the GPU or for the CPU."""
    runtime = "gpu" if gpu or "gpu" in declared else "cpu"
    return (runtime, *(extra for extra in sorted(set(declared)) if extra not in ("cpu", "gpu")))


def slug(source: Source) -> str:
    """What tells the files of one spec from those of others in the repository.

    Empty for mlgate.yaml in the root: most repositories have one spec.
    """
    path = re.sub(r"(^|/)mlgate\.ya?ml$", "", source.spec)
    return name_of(re.sub(r"\.ya?ml$", "", path)) if path else ""


def variables(plan: Plan) -> tuple[str, ...]:
    """The environment variables that the spec itself reads, in every job; never secrets."""
    written = document.plain(plan.spec.root)
    named = written.get("env") if isinstance(written, dict) else None
    return tuple(str(name) for name in named) if isinstance(named, list) else ()


def expected(plan: Plan, event: str | None) -> tuple[str, ...]:
    """The stages whose results a verdict needs: all that are checked, on an event that runs all.

    `event` is the CI system's: on anything but a push (or None: on one machine) privileged stages
    do not run.
    """
    everything = event in (None, "push")
    return tuple(
        job.stage for job in jobs(plan) if not job.deploys and (everything or not job.privileged)
    )


def problems(plan: Plan) -> tuple[Problem, ...]:
    """What would go wrong on every CI system."""
    return (*_same_names(plan), *_unprotected(plan), *_of_the_runner(plan))


def too_many(plan: Plan) -> tuple[Problem, ...]:
    """What GitHub has no room for."""
    if len(plan.nodes) <= GITHUB_JOBS:
        return ()
    at = plan.spec.key_position("stages", plan.nodes[GITHUB_JOBS].id)
    message = f"{len(plan.nodes)} stages, and a GitHub workflow has at most {GITHUB_JOBS} jobs"
    return (Problem("MG303", message, at, "split the spec, or compile for tekton"),)


def gpu_without_runner(plan: Plan, hint: str) -> tuple[Problem, ...]:
    """Stages that ask for a GPU, where the target does not know which runner has one."""
    return tuple(
        Problem(
            "MG302",
            f"{job.stage} needs a GPU, and no runner is known to have one",
            plan.spec.key_position("stages", job.stage),
            hint,
        )
        for job in jobs(plan)
        if job.gpu
    )


def _same_names(plan: Plan) -> Iterator[Problem]:
    named = defaultdict(list)
    for node in plan.nodes:
        named[name_of(node.id)].append(node.id)
    for name, stages in named.items():
        at = plan.spec.key_position("stages", stages[-1])
        if len(stages) > 1:
            both = " and ".join(repr(stage) for stage in stages)
            message = f"stages {both} are both called {name!r} in CI"
            yield Problem("MG301", message, at, "rename one: case, - and _ do not tell them apart")
        if name == RESERVED or name.startswith(f"{RESERVED}-"):
            yield Problem("MG301", f"{name!r} is a name of mlgate's own in CI", at, "rename it")


def _of_the_runner(plan: Plan) -> Iterator[Problem]:
    """Variables that the CI system, the shell or mlgate sets itself: a spec's would replace them."""
    for name in variables(plan):
        if _RUNNERS.match(name):
            message = f"{name} is a variable of the CI system's own"
            at = plan.spec.key_position("env")
            yield Problem("MG306", message, at, "read another name, and set that in CI")


def too_long(plan: Plan) -> tuple[Problem, ...]:
    """Stages that GitHub's own runners would stop before their time limit."""
    return tuple(
        Problem(
            "MG307",
            f"{job.stage} may take {job.minutes} minutes, and a job of GitHub's own runners ends at"
            f" {HOSTED_MINUTES}",
            plan.spec.key_position("stages", job.stage, "timeout"),
            "lower timeout or retries, or name runners of your own: --runner",
        )
        for job in jobs(plan)
        if job.minutes > HOSTED_MINUTES and not job.gpu
    )


def _unprotected(plan: Plan) -> Iterator[Problem]:
    for job in jobs(plan):
        if job.deploys and job.grants.environment is None:
            at = plan.spec.key_position("stages", job.stage)
            message = f"{job.stage} moves traffic outside of a protected environment"
            yield Problem("MG304", message, at, "add environment: production")


def _secrets(value: Any) -> Iterator[str]:
    """Every environment variable that an options value names as the holder of a secret."""
    if isinstance(value, EnvironmentName):
        yield value.env
    elif isinstance(value, Frozen):
        for name in type(value).model_fields:
            yield from _secrets(getattr(value, name))
    elif isinstance(value, tuple):
        for item in value:
            yield from _secrets(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _secrets(item)
