"""`mlgate schema`: JSON Schemas."""

import json

import click

from mlgate import schema


@click.command()
@click.argument("what", type=click.Choice(["spec", "report"]), default="spec")
def command(what: str) -> None:
    """Print the JSON Schema of mlgate.yaml or of the report.

    Editors check and complete mlgate.yaml with it: mlgate schema > .mlgate/mlgate.schema.json
    """
    document = schema.spec() if what == "spec" else schema.report()
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))
