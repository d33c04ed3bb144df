"""The composite GitHub actions of mlgate, one folder each under actions/.

They install mlgate out of the very commit that the caller pinned and call it. Inputs reach it as
environment variables only: no expression stands in a script. Those under actions/ghes are for
GitHub Enterprise Server.
"""

from collections.abc import Mapping
from typing import Any, Final

from mlgate.ci.pins import pinned
from mlgate.ci.servers import ENTERPRISE, GITHUB, Server
from mlgate.ci.yaml_text import Value, dump
from mlgate.stage import Stage

FOLDER: Final = "actions"
_RETENTION: Final[dict[str, str]] = {"retention-days": "${{ inputs.retention-days }}"}
_HOME: Final = "${{ runner.temp }}/mlgate"
_CACHE_KEY: Final = "mlgate-v2-${{ github.workflow }}-${{ runner.os }}-${{ runner.arch }}-"

# name → (description, default; None where it must be given)
Inputs = Mapping[str, tuple[str, str | None]]

_INSTALL: Final[Inputs] = {
    "python-version": ("Python that mlgate runs on", "3.12"),
    "extra": ("Extras of mlgate to install, with commas between", "cpu,remote,weights"),
    "requirements": ("File of further requirements, each with its hash; empty: none", ""),
}
_SPEC: Final[Inputs] = {
    "spec": ("Path of the spec in the repository", "mlgate.yaml"),
    "profile": ("Profile of the spec to apply", ""),
}
_JOB: Final[Inputs] = {
    **_SPEC,
    "params": ("Parameters of the spec, as a JSON object of strings", "{}"),
    "compiled": ("Digest of the spec that the workflow was compiled from", ""),
    "retention-days": ("Days for which artifacts are kept; empty: the repository's own", ""),
}
_ASKED: Final = ["spec", "profile", "params", "compiled"]
_NEEDS: Final[Inputs] = {
    "needs": ("What GitHub says of the jobs before, as toJSON(needs) gives it; empty: nothing", ""),
}
_RUN: Final[Inputs] = {
    **_JOB,
    "stage": ("Stage of the spec to run", None),
    "artifact": ("Name of the artifact that takes the result", None),
    **_NEEDS,
    "upstream": ("Pattern of the artifacts with the results that the stage builds on", ""),
    **_INSTALL,
}
_OUTCOME: Final = "pass, warn, inconclusive, error or fail"
_RESULTS: Final = "Digests of results by stage, as a JSON object"
_DIGEST: Final = "sha256 of the canonical verdict"


def setup(server: Server) -> dict[str, Value]:
    """Installs mlgate; every other action begins with the same steps."""
    outputs = {"mlgate": ("Path of the mlgate command", "setup")}
    about = "Install mlgate out of this action's own repository, at this very commit"
    return _action("mlgate setup", about, _INSTALL, outputs, _setup(server))


def check(server: Server) -> dict[str, Value]:
    """Every stage in one job. Measured there: a cache in the checkout is whoever committed it's."""
    script = """\
"$MLGATE" check --format github --no-cache "--params=$MLGATE_PARAMS" \\
  ${MLGATE_PROFILE:+"--profile=$MLGATE_PROFILE"} -- "$MLGATE_SPEC"
"""
    steps: list[Value] = [
        *_setup(server),
        _call("check", "Check", script, ["spec", "profile", "params"]),
        _keep_report(server, "check"),
    ]
    about = "Run every gate of an mlgate spec and say whether the model may ship"
    inputs = {**_SPEC, "params": _JOB["params"], **_INSTALL}
    return _action("mlgate check", about, inputs, _outputs("check"), steps)


def plan(server: Server) -> dict[str, Value]:
    """What comes before the stages' jobs: which of them have to run."""
    steps: list[Value] = [
        *_setup(server),
        _restore(),
        _call(
            "plan",
            "Skip cached stages",
            '"$MLGATE" run --plan --github\n',
            _ASKED,
            MLGATE_CACHE=f"{_HOME}/cache",
            MLGATE_TO=f"{_HOME}/out",
        ),
        server.keep(
            "Hand on what is known",
            "mlgate-cached",
            f"{_HOME}/out",
            **{"if-no-files-found": "ignore", **_RETENTION},
        ),
    ]
    outputs = {
        "stages": ("Stages that have to run, as a JSON list", "plan"),
        "results": (_RESULTS, "plan"),
    }
    about = "Say which stages of an mlgate spec have to run, before their runners start"
    return _action("mlgate plan", about, {**_JOB, **_INSTALL}, outputs, steps)


def run(server: Server, stage: Stage[Any] | None = None) -> dict[str, Value]:
    """One stage, in a job of its own; with a kind of stage, its name is the default."""
    inputs = dict(_RUN)
    name, about = "mlgate run", "Run one stage of an mlgate spec and end as its gates say"
    if stage is not None:
        name, about = f"mlgate {stage.uses}", stage.summary
        inputs["stage"] = (_RUN["stage"][0], stage.uses)
        inputs["artifact"] = (_RUN["artifact"][0], f"mlgate-stage-{stage.uses}")
    steps: list[Value] = [
        *_setup(server),
        *server.fetch(
            "Fetch the results that the stage builds on",
            "${{ inputs.upstream }}",
            f"{_HOME}/in",
            if_="${{ inputs.upstream != '' }}",
        ),
        _call(
            "run",
            "Run the stage",
            '"$MLGATE" run --github\n',
            [*_ASKED, "needs", "stage"],
            MLGATE_FROM=f"{_HOME}/in",
            MLGATE_TO=f"{_HOME}/out",
        ),
        server.keep(
            "Hand the result on",
            "${{ inputs.artifact }}",
            f"{_HOME}/out",
            if_="${{ !cancelled() && steps.run.outputs.outcome != '' }}",
            **{"if-no-files-found": "error", **_RETENTION},
        ),
    ]
    outputs = {
        "outcome": (_OUTCOME, "run"),
        "verdict-digest": (_DIGEST, "run"),
        "result": ("Digest of the result that the stage left", "run"),
    }
    return _action(name, about, inputs, outputs, steps)


def report(server: Server) -> dict[str, Value]:
    """What comes after all jobs: the verdict."""
    inputs = {
        **_JOB,
        **_NEEDS,
        "event": ("What the workflow runs on", "push"),
        "comment": ("Key of the comment to keep on a pull request; empty: none", ""),
        **_INSTALL,
    }
    steps: list[Value] = [
        *_setup(server),
        _restore(),  # what this run does not measure anew is carried on
        *server.fetch("Fetch the results", "mlgate-{cached,stage-*}", f"{_HOME}/in"),
        _call(
            "report",
            "Join the results",
            '"$MLGATE" run --verdict --github\n',
            [*_ASKED, "needs", "event"],
            MLGATE_FROM=f"{_HOME}/in",
            MLGATE_CACHE=f"{_HOME}/cache",
        ),
        _keep_report(server, "report"),
        {
            "name": "Keep the results for later runs",
            "if": "${{ !cancelled() && steps.report.outputs.outcome != '' }}",
            "uses": pinned("actions/cache/save"),
            "with": {
                "path": f"{_HOME}/cache",
                "key": f"{_CACHE_KEY}${{{{ github.run_id }}}}-${{{{ github.run_attempt }}}}",
            },
        },
        _comment(server),
    ]
    about = "Join the results of all stages, and fail unless all arrived and hold"
    outputs = {**_outputs("report"), "results": (_RESULTS, "report")}
    return _action("mlgate report", about, inputs, outputs, steps)


def verify(server: Server) -> dict[str, Value]:
    """Whether files are those that a run approved: before a deployment, say."""
    other = {"run-id": ("Workflow run that approved them; empty: this one", "")}
    inputs: Inputs = {
        "artifacts": ("Files that have to be approved, one path per line", None),
        "spec": ("Path of the spec that the verdict has to be of; empty: any", "mlgate.yaml"),
        "profile": ("Profile of the spec that may have been applied", ""),
        "params": ("Parameters of the spec, as a JSON object of strings", "{}"),
        **(other if server.other_runs else {}),
        **_INSTALL,
    }
    record = f"{_HOME}/verify"
    own = "${{ inputs.run-id == '' }}" if server.other_runs else ""
    steps: list[Value] = [
        *_setup(server),
        *server.fetch("Fetch the record of this run", "mlgate-report", record, if_=own),
    ]
    if server.other_runs:
        steps += server.fetch(
            "Fetch the record of another run",
            "mlgate-report",
            record,
            if_="${{ inputs.run-id != '' }}",
            **{"run-id": "${{ inputs.run-id }}", "github-token": "${{ github.token }}"},
        )
    steps.append(
        _call(
            "verify",
            "Verify",
            '"$MLGATE" verify --format github --verdict "$MLGATE_RECORD/verdict.json"\n',
            ["artifacts", "spec", "profile", "params"],
            MLGATE_RECORD=record,
        )
    )
    outputs = {
        "verified": ("true, or false", "verify"),
        "verdict-digest": (_DIGEST, "verify"),
    }
    about = "Fail unless a run approved exactly these files, and its evidence still says so"
    return _action("mlgate verify", about, inputs, outputs, steps)


def catalog(stages: Mapping[str, Stage[Any]]) -> dict[str, str]:
    """Every action.yml of mlgate's own repository: path → text. Pure."""
    first = "# Made by mlgate/ci/actions.py: change that.\n"
    made: dict[str, dict[str, Value]] = {}
    for server in (GITHUB, ENTERPRISE):
        for action in (setup, check, plan, run, report, verify):
            made[f"{server.folder}{action.__name__}"] = action(server)
    for uses, stage in stages.items():
        made[uses] = run(GITHUB, stage)
    return {f"{FOLDER}/{name}/action.yml": first + dump(action) for name, action in made.items()}


def _action(
    name: str,
    about: str,
    inputs: Inputs,
    outputs: Mapping[str, tuple[str, str]],
    steps: list[Value],
) -> dict[str, Value]:
    declared: dict[str, Value] = {}
    for key, (text, default) in inputs.items():
        row: dict[str, Value] = {"description": text, "required": default is None}
        declared[key] = row if default is None else {**row, "default": default}
    return {
        "name": name,
        "description": about,
        "author": "mlgate",
        "branding": {"icon": "shield", "color": "blue"},
        "inputs": declared,
        "outputs": {
            key: {"description": text, "value": f"${{{{ steps.{step}.outputs.{key} }}}}"}
            for key, (text, step) in outputs.items()
        },
        "runs": {"using": "composite", "steps": steps},
    }


def _outputs(step: str) -> dict[str, tuple[str, str]]:
    return {
        "outcome": (_OUTCOME, step),
        "verdict-digest": (_DIGEST, step),
        "report-path": ("Path of the report, as HTML", step),
        "report-folder": ("Folder of the run's record", step),
        "sarif-path": ("Path of the report, as SARIF", step),
    }


def _setup(server: Server) -> list[Value]:
    """Within the action, not by calling `setup`: older runners cannot call a neighbour."""
    return [
        {
            "name": "Set up uv",
            "uses": pinned("astral-sh/setup-uv"),
            "with": {"ignore-empty-workdir": True},
        },
        {
            "name": "Install mlgate",
            "id": "setup",
            "shell": "bash",
            "env": {
                "MLGATE_EXTRA": "${{ inputs.extra }}",
                "MLGATE_REQUIREMENTS": "${{ inputs.requirements }}",
                "MLGATE_PYTHON": "${{ inputs.python-version }}",
                "UV_NO_PROGRESS": "1",
            },
            "run": f'bash "$GITHUB_ACTION_PATH/{server.lib}/install.sh"\n',
        },
    ]


def _call(step: str, name: str, script: str, inputs: list[str], **env: str) -> Value:
    given = {f"MLGATE_{key.upper()}": f"${{{{ inputs.{key} }}}}" for key in inputs}
    return {
        "name": name,
        "id": step,
        "shell": "bash",
        "env": {
            "MLGATE": "${{ steps.setup.outputs.mlgate }}",
            "MLGATE_RUN_ID": "${{ github.run_id }}",
            **given,
            **env,
        },
        "run": script,
    }


def _restore() -> Value:
    return {
        "name": "Restore the results of earlier runs",
        "uses": pinned("actions/cache/restore"),
        "with": {
            "path": f"{_HOME}/cache",
            "key": f"{_CACHE_KEY}${{{{ github.run_id }}}}",
            "restore-keys": _CACHE_KEY,
        },
    }


def _keep_report(server: Server, step: str) -> Value:
    whole: dict[str, Value] = {"include-hidden-files": True, "if-no-files-found": "error"}
    return server.keep(
        "Keep the report",
        "mlgate-report",
        f"${{{{ steps.{step}.outputs.report-folder }}}}",
        if_=f"${{{{ !cancelled() && steps.{step}.outputs.report-folder != '' }}}}",
        **whole,
        **(_RETENTION if step != "check" else {}),
    )


def _comment(server: Server) -> Value:
    """Also where there is no report: a comment of an earlier push must not stand as this one's."""
    script = (
        f'python3 -I "$GITHUB_ACTION_PATH/{server.lib}/comment.py"'
        ' "${MLGATE_REPORT:+$MLGATE_REPORT/report.md}"\n'
    )
    return {
        "name": "Comment on the pull request",
        "if": (
            "${{ !cancelled() && inputs.comment != '' "
            "&& github.event.pull_request.head.repo.full_name == github.repository }}"
        ),
        "shell": "bash",
        "env": {
            "MLGATE_REPORT": "${{ steps.report.outputs.report-folder }}",
            "MLGATE_COMMENT": "${{ inputs.comment }}",
            "MLGATE_PULL_REQUEST": "${{ github.event.pull_request.number }}",
            "MLGATE_COMMIT": "${{ github.event.pull_request.head.sha }}",
            "MLGATE_RUN": (
                "${{ github.server_url }}/${{ github.repository }}/actions/runs/${{ github.run_id }}"
            ),
            "GH_TOKEN": "${{ github.token }}",
        },
        "run": script,
    }
