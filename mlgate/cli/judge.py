"""`mlgate judge`: the verdict again, from evidence alone."""

import sys
from pathlib import Path

import click

from mlgate.cli.check import paint
from mlgate.cli.failure import errors_as_json
from mlgate.cli.options import file_of, root_of, say_which, seen_from_here
from mlgate.files import FOLDER
from mlgate.render import FORMATS, render, text
from mlgate.run.record import compare_with_stored, judge_stored


@click.command()
@click.argument("run", required=False)
@click.option("--spec", type=click.Path(path_type=Path), help="The spec whose run it is.")
@click.option("--format", "form", type=click.Choice([*sorted(FORMATS), "verdict"]), default="text")
@click.pass_context
def command(ctx: click.Context, run: str | None, spec: Path | None, form: str) -> None:
    """Recompute a stored run's verdict from its evidence alone.

    RUN is the name of a folder in .mlgate/runs; without it, the last run. Nothing is measured.
    It is an error (exit 3) when the stored verdict.json is not what the evidence says.
    """
    with errors_as_json(form == "json"):
        checked = judge_stored(root_of(spec) / FOLDER, run, file=file_of(spec))
        compare_with_stored(checked)
    file = seen_from_here(checked.file, spec)
    if form == "verdict":
        sys.stdout.buffer.write(checked.report.verdict())
    elif form == "text":
        click.echo(text.render(checked.report, paint=paint, file=file), nl=False)
        say_which(file)
    else:
        click.echo(render(form, checked.report, file=file, about=checked.about), nl=False)
    ctx.exit(checked.report.exit_code)
