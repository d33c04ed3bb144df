"""`mlgate report`: a stored run in another format."""

from pathlib import Path

import click

from mlgate.cli.failure import errors_as_json
from mlgate.cli.options import file_of, root_of, say_which, seen_from_here
from mlgate.files import FOLDER, write_atomic
from mlgate.render import FORMATS, render
from mlgate.run.record import judge_stored


@click.command()
@click.argument("run", required=False)
@click.option("--spec", type=click.Path(path_type=Path), help="The spec whose run it is.")
@click.option("--format", "form", type=click.Choice(sorted(FORMATS)), default="text")
@click.option("--out", type=click.Path(path_type=Path), help="Write to this file instead.")
def command(run: str | None, spec: Path | None, form: str, out: Path | None) -> None:
    """Render a stored run again, in another format.

    RUN is the name of a folder in .mlgate/runs; without it, the last run. The exit code is 0
    whatever the verdict was: this shows, `mlgate judge` judges.
    """
    with errors_as_json(form == "json" and out is None):
        checked = judge_stored(root_of(spec) / FOLDER, run, file=file_of(spec))
        file = seen_from_here(checked.file, spec)
        text = render(form, checked.report, file=file, about=checked.about)
    if form == "text" or out is not None:
        say_which(file)
    if out is None:
        click.echo(text, nl=False)
    else:
        write_atomic(out, text.encode())
