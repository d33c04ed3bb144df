"""A plan as a GitHub Actions workflow: a job per stage, and one that holds the verdict.

The workflow holds no logic. A first job drops the stages whose evidence is known already; the
verdict job runs always, because GitHub counts a skipped required job as a success, and fails
unless the results of all stages arrived and hold.
"""

import re
from typing import Annotated, Final

from pydantic import Field

from mlgate.ci.jobs import (
    CiJob,
    Given,
    Source,
    gpu_without_runner,
    header,
    jobs,
    name_of,
    slug,
    too_long,
    too_many,
    variables,
)
from mlgate.ci.needs import RESULT, RESULTS
from mlgate.ci.pins import pinned
from mlgate.ci.servers import ENTERPRISE, GITHUB
from mlgate.ci.yaml_text import Remarked, Value, dump
from mlgate.errors import Problem
from mlgate.run.plan import Plan

PLAN: Final = "mlgate-plan"
VERDICT: Final = "mlgate-verdict"
WORKFLOW: Final = ".github/workflows/mlgate.yml"
ACTIONLINT: Final = ".github/actionlint.yaml"
_LABEL: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
_LABEL_WORDS: Final = "label of letters, digits, dots, dashes and underscores"
_HOSTED: Final = re.compile(r"^(ubuntu|windows|macos)-[a-z0-9.-]+$")
_PUSH: Final = "github.event_name == 'push'"


class Settings(Given):
    """How the workflow is made; remembered in the file itself.

    `actions` is where mlgate's actions are: OWNER/REPOSITORY@COMMIT, or `$` for this very
    repository. `version` is what a reader calls that commit. `ghes`: for GitHub Enterprise Server.
    `lfs`: the checkout fetches what Git LFS holds. `prepare` is an action of the repository's own
    that runs before a stage's data is read (dvc pull, a login). `requirements` is a file with hashes
    of what stages need beside mlgate's extras. `retention` is for how many days artifacts are kept.
    """

    actions: str = Field(
        pattern=r"^(\$|[A-Za-z0-9._-]+/[A-Za-z0-9._-]+@[0-9a-f]{40})$",
        description="OWNER/REPOSITORY@COMMIT, with all 40 hex digits of the commit and not a branch"
        " or tag; or $, this very repository",
    )
    version: str | None = Field(
        None, pattern=r"^[A-Za-z0-9._-]+$", description="a tag as v1.0.0, without spaces"
    )
    runner: tuple[Annotated[str, Field(pattern=_LABEL)], ...] = Field(
        ("ubuntu-24.04",),
        description=f"labels with commas between, as self-hosted,linux; each a {_LABEL_WORDS}",
    )
    gpu_runner: tuple[Annotated[str, Field(pattern=_LABEL)], ...] = Field(
        (),
        description=f"labels with commas between, as self-hosted,linux,gpu; each a {_LABEL_WORDS}",
    )
    comment: bool = False
    sarif: bool = False
    ghes: bool = False
    lfs: bool = False
    schedule: str | None = Field(
        None,
        pattern=r"^[0-9*/,-]+( [0-9A-Za-z*/,-]+){4}$",
        description="five fields of cron, in UTC, as '17 4 * * *'",
    )
    dispatch: bool = False
    prepare: str | None = Field(
        None,
        pattern=r"^\.(/\.?[A-Za-z0-9_-][A-Za-z0-9._-]*)+$",
        description="an action of this repository that begins with ./",
    )
    requirements: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._/-]*\.txt$",
        description="a file of the repository that ends in .txt",
    )
    retention: int | None = Field(None, ge=1, le=90, description="days from 1 to 90")


def problems(plan: Plan, settings: Settings) -> tuple[Problem, ...]:
    """What keeps this plan from being a workflow."""
    missing = () if settings.gpu_runner else gpu_without_runner(plan, _GPU_HINT)
    hosted = all(_HOSTED.match(label) for label in settings.runner)
    return (*too_many(plan), *missing, *(too_long(plan) if hosted else ()))


def workflow(source: Source) -> str:
    """The path of the workflow of a spec."""
    name = slug(source)
    return WORKFLOW if not name else f".github/workflows/mlgate-{name}.yml"


_GPU_HINT: Final = "say which: mlgate compile github --gpu-runner self-hosted,linux,x64,gpu"


def compile_plan(plan: Plan, source: Source, settings: Settings) -> dict[str, str]:
    """The files of a workflow: path from the repository's root → text. Pure."""
    found = jobs(plan)
    checked = [job for job in found if not job.deploys]
    body: dict[str, Value] = {
        "name": _name("mlgate", source),
        "on": _events(settings),
        "permissions": {},
        "concurrency": {
            "group": _GROUP,
            "cancel-in-progress": "${{ github.event_name == 'pull_request' }}",
        },
        **_environment(plan),
        "jobs": {
            PLAN: _plan_job(found, source, settings),
            **{job.name: _stage_job(job, source, settings) for job in checked},
            VERDICT: _verdict_job(checked, source, settings),
            **{job.name: _stage_job(job, source, settings) for job in found if job.deploys},
        },
    }
    # GitHub reads YAML 1.2, where `on` is a word like any other; quotes would only surprise.
    text = dump(body).replace('\n"on":\n', "\non:\n")
    text = re.sub(
        r"^(  (?:pull_request|merge_group|workflow_dispatch):) null$",
        r"\1",
        text,
        flags=re.MULTILINE,
    )
    files = {workflow(source): header("github", source, settings) + text}
    own = [label for label in settings.gpu_runner if label not in _KNOWN_LABELS]
    own += [
        label
        for label in settings.runner
        if label not in _KNOWN_LABELS and not _HOSTED.match(label)
    ]
    if own:
        labels: dict[str, Value] = {"self-hosted-runner": {"labels": sorted(set(own))}}
        files[ACTIONLINT] = "# Made by `mlgate compile github`.\n" + dump(labels)
    return files


_KNOWN_LABELS: Final = frozenset(
    {"self-hosted", "linux", "windows", "macos", "x64", "arm", "arm64"}
)


# A pull request's next push ends the run of the one before. On a branch each commit gets its verdict:
# GitHub keeps one waiting run per group, and drops those between.
_GROUP: Final = (
    "${{ github.workflow }}-"
    "${{ github.event.pull_request.number || (github.event_name == 'push' && github.sha) || github.ref }}"
)


def _events(settings: Settings) -> Value:
    """What starts the workflow. In a merge queue a required check that never starts stalls it."""
    events: dict[str, Value] = {
        "pull_request": None,
        "merge_group": None,
        "push": {"branches": [settings.branch]},
    }
    if settings.schedule is not None:
        events["schedule"] = [{"cron": settings.schedule}]
    if settings.dispatch:
        events["workflow_dispatch"] = None
    return events


def _name(text: str, source: Source) -> str:
    name = slug(source)
    return f"{text} {name}" if name else text


def _runner(settings: Settings) -> Value:
    return settings.runner[0] if len(settings.runner) == 1 else list(settings.runner)


def _environment(plan: Plan) -> dict[str, Value]:
    """What the spec reads of the environment: the repository's variables of those names."""
    found: dict[str, Value] = {name: f"${{{{ vars.{name} }}}}" for name in variables(plan)}
    return {"env": found} if found else {}


def _uses(action: str, settings: Settings) -> Value:
    folder = (ENTERPRISE if settings.ghes else GITHUB).folder
    if settings.actions == "$":
        here = "." if settings.ghes else "$"  # the checkout; or the repository, at this commit
        return f"{here}/actions/{folder}{action}"
    repository, _, commit = settings.actions.partition("@")
    reference = f"{repository}/actions/{folder}{action}@{commit}"
    return Remarked(reference, settings.version) if settings.version else reference


def _job(
    title: str, runner: Value, minutes: int, permissions: dict[str, Value], **rest: Value
) -> dict[str, Value]:
    return {
        "name": title,
        **{key.rstrip("_"): value for key, value in rest.items() if value},
        "runs-on": runner,
        "timeout-minutes": minutes,
        "permissions": {"contents": Remarked("read", "check the repository out"), **permissions},
    }


def _checkout(settings: Settings) -> Value:
    given: dict[str, Value] = {"persist-credentials": False}
    if settings.lfs:
        given["lfs"] = True
    return {"name": "Check out", "uses": pinned("actions/checkout"), "with": given}


def _before(settings: Settings) -> list[Value]:
    """What comes before data is read: the checkout, and what the repository itself asks for."""
    steps = [_checkout(settings)]
    if settings.prepare is not None:
        steps.append({"name": "Prepare", "uses": settings.prepare})
    return steps


def _install(extras: tuple[str, ...], settings: Settings) -> dict[str, Value]:
    """What an action of ours is told to install."""
    given: dict[str, Value] = {"extra": ",".join(extras)}
    if settings.requirements is not None:
        given["requirements"] = settings.requirements
    return given


def _given(source: Source, settings: Settings, **rest: Value) -> dict[str, Value]:
    """What every action of ours is given."""
    given: dict[str, Value] = {"spec": _text(source.spec), "compiled": source.digest}
    if settings.profile is not None:
        given["profile"] = _text(settings.profile)
    if settings.params:
        given["params"] = settings.params_json()
    return {**given, **rest}


def _text(value: str) -> str:
    """Text in which GitHub finds no expression."""
    return value.replace("${{", "${{ '${{' }}")


def _plan_job(found: tuple[CiJob, ...], source: Source, settings: Settings) -> Value:
    job = _job(_name("mlgate plan", source), _runner(settings), _OWN_MINUTES, {})
    job["outputs"] = {
        "stages": "${{ steps.plan.outputs.stages }}",
        RESULTS: f"${{{{ steps.plan.outputs.{RESULTS} }}}}",
    }
    # It reads what the stages read, and its keys name the versions of what they install.
    extras = {extra for job in found for extra in job.extras} - {"gpu"}
    installed = ("cpu", *sorted(extras - {"cpu"}))
    job["steps"] = [
        *_before(settings),
        {
            "name": "Skip cached stages",
            "id": "plan",
            "uses": _uses("plan", settings),
            "with": _given(source, settings, **_install(installed, settings), **_kept(settings)),
        },
    ]
    return job


def _kept(settings: Settings) -> dict[str, Value]:
    return {} if settings.retention is None else {"retention-days": settings.retention}


def _stage_job(job: CiJob, source: Source, settings: Settings) -> Value:
    grants = job.grants
    permissions: dict[str, Value] = {}
    if grants.identity:
        permissions["id-token"] = Remarked("write", "an identity of its own")
    if grants.packages:
        why = "pull images" if grants.packages == "read" else "push to the registry"
        permissions["packages"] = Remarked(grants.packages, why)
    if grants.attestations:
        permissions["attestations"] = Remarked("write", "store attestations")
    runner: Value = list(settings.gpu_runner) if job.gpu else _runner(settings)
    needs = [VERDICT] if job.deploys else [PLAN]
    made = _job(
        job.stage,
        runner,
        job.minutes,
        permissions,
        needs=[*needs, *job.after],
        if_=_condition(job),
        environment=grants.environment and _text(grants.environment),
        env={name: f"${{{{ secrets.{name} }}}}" for name in job.secrets},
    )
    upstream = ",".join(["cached", *(f"stage-{other}" for other in job.after)])
    if job.deploys:  # it asks for all results before it begins
        upstream = "cached,stage-*"
    pattern = f"mlgate-{{{upstream}}}" if job.after or job.deploys else ""
    made["outputs"] = {RESULT: f"${{{{ steps.run.outputs.{RESULT} }}}}"}
    made["steps"] = [
        *_before(settings),
        {
            "name": "Run the stage",
            "id": "run",
            "uses": _uses("run", settings),
            "with": _given(
                source,
                settings,
                stage=job.stage,
                artifact=f"mlgate-stage-{job.name}",
                **({"upstream": pattern, "needs": _ALL_NEEDS} if pattern else {}),
                **_install(job.extras, settings),
                **_kept(settings),
            ),
        },
    ]
    return made


_ALL_NEEDS: Final = "${{ toJSON(needs) }}"
# The plan and the verdict fetch and hash whatever the stages made.
_OWN_MINUTES: Final = 60


def _condition(job: CiJob) -> str:
    """When a job starts. Skipped jobs above it were cached: the one that failed is not skipped."""
    if job.deploys:
        return f"${{{{ {_PUSH} && needs.{VERDICT}.result == 'success' && !cancelled() }}}}"
    terms = ["!cancelled()", "!failure()"]
    if job.privileged:
        terms.append(_PUSH)
    terms.append(f"contains(fromJSON(needs.{PLAN}.outputs.stages || '[]'), '{job.stage}')")
    return f"${{{{ {' && '.join(terms)} }}}}"


def _verdict_job(checked: list[CiJob], source: Source, settings: Settings) -> Value:
    permissions: dict[str, Value] = {}
    if settings.sarif:
        permissions["security-events"] = Remarked("write", "show findings as code scanning alerts")
        permissions["actions"] = Remarked("read", "which that asks for in private repositories")
    if settings.comment:
        permissions["pull-requests"] = Remarked("write", "keep one comment up to date")
    job = _job(
        _name("mlgate verdict", source),
        _runner(settings),
        _OWN_MINUTES,
        permissions,
        needs=[PLAN, *(job.name for job in checked)],
        if_="${{ always() }}",
    )
    rest: dict[str, Value] = {
        "event": "${{ github.event_name }}",
        "needs": _ALL_NEEDS,
        "extra": "light",  # it judges, and runs no stage
        **_kept(settings),
    }
    if settings.comment:
        rest["comment"] = name_of(source.spec)
    job["outputs"] = {RESULTS: f"${{{{ steps.report.outputs.{RESULTS} }}}}"}
    steps: list[Value] = [
        _checkout(settings),
        {
            "name": "Join the results",
            "id": "report",
            "uses": _uses("report", settings),
            "with": _given(source, settings, **rest),
        },
    ]
    if settings.sarif:
        written = "steps.report.outputs.sarif-path != ''"
        own = "github.event.pull_request.head.repo.full_name == github.repository"
        steps.append(
            {
                "name": "Upload SARIF",
                "if": f"${{{{ {written} && !cancelled() && ({_PUSH} || {own}) }}}}",
                "continue-on-error": True,  # alerts are for people; the verdict is the check
                "uses": pinned("github/codeql-action/upload-sarif"),
                "with": {
                    "sarif_file": "${{ steps.report.outputs.sarif-path }}",
                    "category": _name("mlgate", source).replace(" ", "-"),
                },
            }
        )
    job["steps"] = steps
    return job
