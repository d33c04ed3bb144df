"""`mlgate lint`: every problem in a spec."""

from pathlib import Path

import click

from mlgate.cli.failure import errors_as_json
from mlgate.cli.options import read_spec, spec_options
from mlgate.errors import SpecError
from mlgate.plan import resolve
from mlgate.targets import problems


@click.command()
@spec_options
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
def command(spec: Path | None, profile: str | None, settings: tuple[str, ...], form: str) -> None:
    """Find every problem in a spec, without running anything.

    Each problem is file:line:column with a code that `mlgate explain` knows. Exit code 2 when
    there is one.
    """
    with errors_as_json(form == "json"):
        loaded = read_spec(spec, profile, settings)
        if found := problems(resolve(loaded, everything=True)):
            raise SpecError(found)
    if form == "json":
        click.echo('{"schema": "mlgate/problems/v1", "problems": []}')
        return
    gates = sum(len(options.gates) for options in loaded.stages.values())
    click.echo(f"{loaded.name}: {len(loaded.stages)} stages, {gates} gates, no problems")
