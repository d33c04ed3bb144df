"""The composite GitHub actions of mlgate, one folder each under actions/.

They install mlgate out of the very commit that the caller pinned and call it. Inputs reach it as
environment variables only: no expression stands in a script.
"""

from collections.abc import Mapping
from typing import Any, Final

from mlgate.stage import Stage
from mlgate.targets.pins import pinned
from mlgate.targets.yaml_text import Value, dump

FOLDER: Final = "actions"
_HOME: Final = "${{ runner.temp }}/mlgate"
_CACHE_KEY: Final = "mlgate-v1-${{ runner.os }}-${{ runner.arch }}-"

# name → (description, default; None where it must be given)
Inputs = Mapping[str, tuple[str, str | None]]

_INSTALL: Final[Inputs] = {
    "python-version": ("Python that mlgate runs on", "3.12"),
    "extra": ("What stages run on: cpu, or gpu for CUDA", "cpu"),
}
_SPEC: Final[Inputs] = {
    "spec": ("Path of the spec in the repository", "mlgate.yaml"),
    "profile": ("Profile of the spec to apply", ""),
}
_JOB: Final[Inputs] = {
    **_SPEC,
    "params": ("Parameters of the spec, as a JSON object of strings", "{}"),
    "compiled": ("Digest of the spec that the workflow was compiled from", ""),
}
_RUN: Final[Inputs] = {
    **_JOB,
    "stage": ("Stage of the spec to run", None),
    "artifact": ("Name of the artifact that takes the result", None),
    "upstream": ("Pattern of the artifacts with the results that the stage builds on", ""),
    **_INSTALL,
}
_OUTCOME: Final = "pass, warn, inconclusive, error or fail"
_DIGEST: Final = "sha256 of the canonical verdict"


def setup() -> dict[str, Value]:
    """Installs mlgate; every other action begins with it."""
    script = """\
venv="$RUNNER_TEMP/mlgate/venv-$MLGATE_EXTRA"
if [ ! -x "$venv/bin/mlgate" ]; then
  locked="$GITHUB_ACTION_PATH/../lib/requirements-$MLGATE_EXTRA.txt"
  uv venv --quiet --clear --python "$MLGATE_PYTHON" "$venv"
  uv pip install --quiet --python "$venv" --require-hashes --requirements "$locked"
  uv pip install --quiet --python "$venv" --no-deps --no-build-isolation \\
    "$GITHUB_ACTION_PATH/../.."
fi
echo "mlgate=$venv/bin/mlgate" >> "$GITHUB_OUTPUT"
"""
    steps: list[Value] = [
        {
            "name": "Set up uv",
            "uses": pinned("astral-sh/setup-uv"),
            "with": {"ignore-empty-workdir": True},
        },
        {
            "name": "Install mlgate",
            "id": "install",
            "shell": "bash",
            "env": {
                "MLGATE_EXTRA": "${{ inputs.extra }}",
                "MLGATE_PYTHON": "${{ inputs.python-version }}",
                "UV_NO_PROGRESS": "1",
            },
            "run": script,
        },
    ]
    outputs = {"mlgate": ("Path of the mlgate command", "install")}
    about = "Install mlgate out of this action's own repository, at this very commit"
    return _action("mlgate setup", about, _INSTALL, outputs, steps)


def check() -> dict[str, Value]:
    """Every stage in one job."""
    script = """\
"$MLGATE" check --format github ${MLGATE_PROFILE:+"--profile=$MLGATE_PROFILE"} -- "$MLGATE_SPEC"
"""
    steps: list[Value] = [
        _setup(),
        _call("check", "Check", script, ["spec", "profile"]),
        _keep_report("check"),
    ]
    about = "Run every gate of an mlgate spec and say whether the model may ship"
    return _action("mlgate check", about, {**_SPEC, **_INSTALL}, _outputs("check"), steps)


def plan() -> dict[str, Value]:
    """What comes before the stages' jobs: which of them have to run."""
    steps: list[Value] = [
        _setup(),
        {
            "name": "Restore the results of earlier runs",
            "uses": pinned("actions/cache/restore"),
            "with": {
                "path": f"{_HOME}/kept",
                "key": f"{_CACHE_KEY}${{{{ github.run_id }}}}",
                "restore-keys": _CACHE_KEY,
            },
        },
        _call(
            "plan",
            "Drop what is known",
            '"$MLGATE" run --plan --github\n',
            list(_JOB),
            MLGATE_KEPT=f"{_HOME}/kept",
            MLGATE_TO=f"{_HOME}/out",
        ),
        {
            "name": "Hand on what is known",
            "uses": pinned("actions/upload-artifact"),
            "with": {
                "name": "mlgate-cached",
                "path": f"{_HOME}/out",
                "if-no-files-found": "ignore",
                "overwrite": True,
            },
        },
    ]
    outputs = {"stages": ("Stages that have to run, as a JSON list", "plan")}
    about = "Say which stages of an mlgate spec have to run, before their runners start"
    return _action("mlgate plan", about, {**_JOB, **_INSTALL}, outputs, steps)


def run() -> dict[str, Value]:
    """One stage, in a job of its own."""
    steps: list[Value] = [
        _setup(),
        {
            "name": "Fetch the results that the stage builds on",
            "if": "${{ inputs.upstream != '' }}",
            "uses": pinned("actions/download-artifact"),
            "with": {
                "pattern": "${{ inputs.upstream }}",
                "path": f"{_HOME}/in",
                "merge-multiple": True,
            },
        },
        _call(
            "run",
            "Run the stage",
            '"$MLGATE" run --github\n',
            [*_JOB, "stage"],
            MLGATE_FROM=f"{_HOME}/in",
            MLGATE_TO=f"{_HOME}/out",
        ),
        {
            "name": "Hand the result on",
            "if": "${{ !cancelled() && steps.run.outputs.outcome != '' }}",
            "uses": pinned("actions/upload-artifact"),
            "with": {
                "name": "${{ inputs.artifact }}",
                "path": f"{_HOME}/out",
                "if-no-files-found": "error",
                "overwrite": True,
            },
        },
    ]
    outputs = {"outcome": (_OUTCOME, "run"), "verdict-digest": (_DIGEST, "run")}
    about = "Run one stage of an mlgate spec and end as its gates say"
    return _action("mlgate run", about, _RUN, outputs, steps)


def report() -> dict[str, Value]:
    """What comes after all jobs: the verdict."""
    inputs = {
        **_JOB,
        "event": ("What the workflow runs on", "push"),
        "comment": ("Key of the comment to keep on a pull request; empty: none", ""),
        **_INSTALL,
    }
    comment = """\
"${MLGATE%/*}/python" -I "$GITHUB_ACTION_PATH/../lib/comment.py" "$MLGATE_REPORT/report.md"
"""
    steps: list[Value] = [
        _setup(),
        {
            "name": "Fetch the results",
            "uses": pinned("actions/download-artifact"),
            "with": {
                "pattern": "mlgate-{cached,stage-*}",
                "path": f"{_HOME}/in",
                "merge-multiple": True,
            },
        },
        _call(
            "report",
            "Join the results",
            '"$MLGATE" run --verdict --github\n',
            [*_JOB, "event"],
            MLGATE_FROM=f"{_HOME}/in",
            MLGATE_KEPT=f"{_HOME}/kept",
        ),
        _keep_report("report"),
        {
            "name": "Keep the results for later runs",
            "if": "${{ !cancelled() && steps.report.outputs.outcome != '' }}",
            "uses": pinned("actions/cache/save"),
            "with": {
                "path": f"{_HOME}/kept",
                "key": f"{_CACHE_KEY}${{{{ github.run_id }}}}-${{{{ github.run_attempt }}}}",
            },
        },
        {
            "name": "Comment on the pull request",
            "if": (
                "${{ !cancelled() && inputs.comment != '' "
                "&& steps.report.outputs.report-folder != '' "
                "&& github.event.pull_request.head.repo.full_name == github.repository }}"
            ),
            "shell": "bash",
            "env": {
                "MLGATE": "${{ steps.setup.outputs.mlgate }}",
                "MLGATE_REPORT": "${{ steps.report.outputs.report-folder }}",
                "MLGATE_COMMENT": "${{ inputs.comment }}",
                "MLGATE_PULL_REQUEST": "${{ github.event.pull_request.number }}",
                "GH_TOKEN": "${{ github.token }}",
            },
            "run": comment,
        },
    ]
    about = "Join the results of all stages, and fail unless all arrived and hold"
    return _action("mlgate report", about, inputs, _outputs("report"), steps)


def verify() -> dict[str, Value]:
    """Whether files are those that a run approved: before a deployment, say."""
    inputs: Inputs = {
        "artifacts": ("Files that have to be approved, one path per line", None),
        "spec": ("Path of the spec that the verdict has to be of; empty: any", "mlgate.yaml"),
        "profile": ("Profile of the spec that may have been applied", ""),
        "params": ("Parameters of the spec, as a JSON object of strings", "{}"),
        "run-id": ("Workflow run that approved them; empty: this one", ""),
        **_INSTALL,
    }
    fetch: dict[str, Value] = {
        "pattern": "mlgate-report",
        "path": f"{_HOME}/verify",
        "merge-multiple": True,
    }
    steps: list[Value] = [
        _setup(),
        {
            "name": "Fetch the record of this run",
            "if": "${{ inputs.run-id == '' }}",
            "uses": pinned("actions/download-artifact"),
            "with": fetch,
        },
        {
            "name": "Fetch the record of another run",
            "if": "${{ inputs.run-id != '' }}",
            "uses": pinned("actions/download-artifact"),
            "with": {
                **fetch,
                "run-id": "${{ inputs.run-id }}",
                "github-token": "${{ github.token }}",
            },
        },
        _call(
            "verify",
            "Verify",
            '"$MLGATE" verify --format github --verdict "$MLGATE_RECORD/verdict.json"\n',
            ["artifacts", "spec", "profile", "params"],
            MLGATE_RECORD=f"{_HOME}/verify",
        ),
    ]
    outputs = {
        "verified": ("true, or false", "verify"),
        "verdict-digest": (_DIGEST, "verify"),
    }
    about = "Fail unless a run approved exactly these files, and its evidence still says so"
    return _action("mlgate verify", about, inputs, outputs, steps)


def alias(stage: Stage[Any]) -> dict[str, Value]:
    """The action for one kind of stage: `run`, with the stage's name as the default."""
    inputs = {
        **_RUN,
        "stage": (_RUN["stage"][0], stage.uses),
        "artifact": (_RUN["artifact"][0], f"mlgate-stage-{stage.uses}"),
    }
    steps: list[Value] = [
        {
            "name": "Run the stage",
            "id": "run",
            "uses": "$/actions/run",
            "with": {name: f"${{{{ inputs.{name} }}}}" for name in inputs},
        }
    ]
    outputs = {"outcome": (_OUTCOME, "run"), "verdict-digest": (_DIGEST, "run")}
    return _action(f"mlgate {stage.uses}", stage.summary, inputs, outputs, steps)


def catalog(stages: Mapping[str, Stage[Any]]) -> dict[str, str]:
    """Every action.yml of mlgate's own repository: path → text. Pure."""
    made = {"setup": setup(), "check": check(), "plan": plan(), "run": run(), "report": report()}
    made["verify"] = verify()
    made |= {uses: alias(stage) for uses, stage in stages.items()}
    first = "# Made by mlgate/targets/actions.py: change that.\n"
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


def _setup() -> Value:
    return {
        "name": "Set up mlgate",
        "id": "setup",
        "uses": "$/actions/setup",
        "with": {name: f"${{{{ inputs.{name} }}}}" for name in _INSTALL},
    }


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


def _keep_report(step: str) -> Value:
    return {
        "name": "Keep the report",
        "if": f"${{{{ !cancelled() && steps.{step}.outputs.report-folder != '' }}}}",
        "uses": pinned("actions/upload-artifact"),
        "with": {
            "name": "mlgate-report",
            "path": f"${{{{ steps.{step}.outputs.report-folder }}}}",
            "include-hidden-files": True,
            "if-no-files-found": "error",
            "overwrite": True,
        },
    }
