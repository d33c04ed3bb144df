"""`mlgate check`: the main job."""

from datetime import UTC, datetime
from pathlib import Path

import click

from mlgate.check import check
from mlgate.cli.failure import errors_as_commands, errors_as_json
from mlgate.cli.options import given_params, read_spec, spec_options
from mlgate.cli.outputs import no_commands, to_github
from mlgate.cli.progress import watch
from mlgate.cli.terminal import remark
from mlgate.gate import Outcome
from mlgate.render import FORMATS, render, text
from mlgate.spec.spec import locate

COLOURS = {
    Outcome.PASS: "green",
    Outcome.WARN: "yellow",
    Outcome.INCONCLUSIVE: "magenta",
    Outcome.ERROR: "red",
    Outcome.FAIL: "red",
}


def paint(words: str, outcome: Outcome) -> str:
    """Words in their outcome's colour; click takes it out where there is no terminal."""
    return click.style(words, fg=COLOURS[outcome], bold=True)


@click.command()
@spec_options
@click.option("--only", multiple=True, metavar="STAGE", help="Run this stage and what it needs.")
@click.option("--params", help="Parameters of the spec, as JSON: what --set says one by one.")
@click.option("--no-cache", is_flag=True, help="Measure everything again.")
@click.option(
    "--format",
    "form",
    type=click.Choice(sorted(FORMATS)),
    default="text",
    help="What to print on standard output.",
)
@click.pass_context
def command(
    ctx: click.Context,
    spec: Path | None,
    profile: str | None,
    settings: tuple[str, ...],
    only: tuple[str, ...],
    params: str | None,
    no_cache: bool,
    form: str,
) -> None:
    """Run every gate and say whether the model may ship.

    SPEC is a file, or a folder that holds mlgate.yaml; without it, the current folder. Evidence is
    kept in .mlgate beside the spec, and what is unchanged is not measured again.
    """
    with errors_as_json(form == "json"), errors_as_commands(form == "github"):
        loaded = read_spec(spec, profile, (*given_params(params), *settings))
        with no_commands(form == "github"), watch() as on_event:
            checked = check(
                loaded,
                only=only,
                use_cache=not no_cache,
                now=lambda: datetime.now(UTC),
                on_event=on_event,
            )
    report = checked.report
    file = str(locate(spec))
    if form == "github":
        to_github(report, file=file, folder=checked.folder)
    elif form == "text":
        click.echo(text.render(report, paint=paint, file=file), nl=False)
        remark(f"report: {checked.folder / 'report.html'}")
    else:
        click.echo(render(form, report, file=file, about=checked.about), nl=False)
    ctx.exit(report.exit_code)
