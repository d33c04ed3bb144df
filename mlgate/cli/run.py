"""`mlgate run`: what a CI job calls: one stage, or what comes before and after all of them."""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import click

from mlgate.ci import expected
from mlgate.ci.exchange import JobResults, drop_cached, join, refuse_stale, run_stage
from mlgate.ci.needs import RESULT, Needs, handed_on
from mlgate.cli.failure import errors_as_commands
from mlgate.cli.options import given_params, read_spec
from mlgate.cli.outputs import no_commands, set_outputs, to_github, to_tekton, write_results
from mlgate.cli.progress import watch
from mlgate.errors import MlgateError, UsageError
from mlgate.files import FOLDER
from mlgate.gate import Outcome
from mlgate.policy.rules import Policies
from mlgate.render import text
from mlgate.run.plan import resolve, terms_of
from mlgate.run.report import Report, judge
from mlgate.spec.problems import near
from mlgate.spec.spec import Spec, locate

_FOLDER = click.Path(path_type=Path, file_okay=False)


@dataclass(frozen=True)
class _Ci:
    """Whom the answer is for, and how the spec is called there."""

    file: str
    github: bool
    tekton: Path | None

    def tell(self, report: Report, folder: Path | None) -> None:
        if self.github:
            to_github(report, file=self.file, folder=folder)
        elif self.tekton is not None:
            to_tekton(report, file=self.file, folder=self.tekton)
        else:
            click.echo(text.render(report, file=self.file), nl=False)


@click.command()
@click.argument("stage", required=False, envvar="MLGATE_STAGE")
@click.option("--spec", type=click.Path(path_type=Path), envvar="MLGATE_SPEC", help="The spec.")
@click.option("--plan", "mode", flag_value="plan", help="Say which stages have to run.")
@click.option("--verdict", "mode", flag_value="verdict", help="Join the results of all stages.")
@click.option("--exit", "mode", flag_value="exit", help="End as --tekton says that the stage did.")
@click.option("--from", "source", type=_FOLDER, envvar="MLGATE_FROM", help="Results to read.")
@click.option("--to", "target", type=_FOLDER, envvar="MLGATE_TO", help="Where to leave results.")
@click.option("--cache", type=_FOLDER, envvar="MLGATE_CACHE", help="Results of earlier runs.")
@click.option("--compiled", envvar="MLGATE_COMPILED", help="Digest of the spec compiled from.")
@click.option("--run-id", envvar="MLGATE_RUN_ID", help="The CI system's name of this run.")
@click.option("--needs", envvar="MLGATE_NEEDS", help="What GitHub says of the jobs before: JSON.")
@click.option("--event", envvar="MLGATE_EVENT", help="What CI runs on: push, pull_request.")
@click.option("--profile", envvar="MLGATE_PROFILE", help="Apply a profile of the spec.")
@click.option("--params", envvar="MLGATE_PARAMS", help="Parameters of the spec, as JSON.")
@click.option("--stages", envvar="MLGATE_STAGES", help="What --plan is about, as a JSON list.")
@click.option("--github", is_flag=True, help="Speak to GitHub Actions.")
@click.option("--tekton", type=click.Path(path_type=Path), help="Where Tekton wants results.")
@click.pass_context
def command(
    ctx: click.Context,
    stage: str | None,
    spec: Path | None,
    mode: str | None,
    source: Path | None,
    target: Path | None,
    cache: Path | None,
    compiled: str | None,
    run_id: str | None,
    needs: str | None,
    event: str | None,
    profile: str | None,
    params: str | None,
    stages: str | None,
    github: bool,
    tekton: Path | None,
) -> None:
    """Run one stage, as a CI job does: results come from and go to a folder.

    Without STAGE, --plan says which stages have to run, and --verdict joins all results. Refuses
    (exit code 2) when the CI file was compiled from another spec.
    """
    if tekton is not None and tekton.name == "outcome":  # a step knows its results by file
        tekton = tekton.parent
    if mode == "exit":
        ctx.exit(_left_behind(tekton))
    file = locate(spec)
    with errors_as_commands(github):
        loaded = read_spec(spec, profile, given_params(params))
        refuse_stale(file, loaded, compiled)
    folder = loaded.folder / FOLDER / "ci"
    told = Needs.read(needs) if needs else None
    incoming = JobResults(source or folder, loaded, run_id, told)
    outgoing = JobResults(target or folder, loaded, run_id)
    ci = _Ci(str(file), github, tekton)
    earlier = None if cache is None else JobResults(cache, loaded)
    if mode == "plan":
        _plan(loaded, _about(stages, loaded), earlier, outgoing, ci)
    elif mode == "verdict":
        wanted = expected(resolve(loaded, include_deploys=True), event)
        if not wanted:
            raise UsageError(f"on {event}, no stage runs: nothing would be checked")
        checked = join(loaded, wanted, results=incoming, cache=earlier, now=datetime.now(UTC))
        ci.tell(checked.report, checked.folder)
        if github:
            set_outputs(handed_on(incoming.digests(wanted)))
        ctx.exit(checked.report.exit_code)
    else:
        ctx.exit(_stage(loaded, stage, incoming, outgoing, ci))


def _stage(
    spec: Spec, stage: str | None, incoming: JobResults, outgoing: JobResults, ci: _Ci
) -> int:
    if stage is None:
        raise UsageError("which stage?", hint=f"mlgate run STAGE: {', '.join(spec.stages)}")
    if stage not in spec.stages:
        hint = near(stage, spec.stages) or f"stages: {', '.join(spec.stages)}"
        raise UsageError(f"there is no stage {stage!r}", hint=hint)
    with no_commands(ci.github), watch() as on_event:
        result = run_stage(
            spec,
            stage,
            upstream=incoming,
            own=outgoing,
            now=lambda: datetime.now(UTC),
            on_event=on_event,
        )
    # Policies are about the whole: the job that joins all results asks them.
    terms = replace(terms_of(resolve(spec, only=[stage]), [stage]), policies=Policies())
    report = judge(terms, {stage: result})
    ci.tell(report, None)
    if ci.github:
        set_outputs({RESULT: outgoing.digest(stage) or ""})
    return report.exit_code


def _about(stages: str | None, spec: Spec) -> tuple[str, ...]:
    """`--stages`; all there are when none are named."""
    try:
        named = json.loads(stages or "[]")
    except ValueError:
        named = None
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise UsageError("--stages is no JSON list of names")
    unknown = [name for name in named if name not in spec.stages]
    if unknown:
        raise UsageError(f"there is no stage {unknown[0]!r}", hint=near(unknown[0], spec.stages))
    return tuple(named or spec.stages)


def _plan(
    spec: Spec, about: tuple[str, ...], cache: JobResults | None, outgoing: JobResults, ci: _Ci
) -> None:
    stages = drop_cached(spec, about, cache=cache, own=outgoing, now=datetime.now(UTC))
    written = json.dumps(stages, separators=(",", ":"))
    if ci.github:
        known = outgoing.digests(set(about) - set(stages))
        set_outputs({"stages": written, **handed_on(known)})
    if ci.tekton is not None:
        write_results(ci.tekton, {"stages": written})
    click.echo(written)


def _left_behind(tekton: Path | None) -> int:
    """The exit code of the outcome that the step before left in its result."""
    try:
        outcome = (tekton or Path()).joinpath("outcome").read_text(encoding="utf-8")
        return Outcome[outcome.upper()].exit_code
    except (OSError, KeyError, ValueError):
        raise MlgateError("the stage left no outcome", hint="see the step before") from None
