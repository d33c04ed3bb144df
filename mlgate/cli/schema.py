"""`mlgate schema`: JSON Schemas."""

import json

import click

from mlgate import schema
from mlgate.documents import DOCUMENTS


@click.command(
    epilog="\b\n" + "\n".join(f"{name:<14}{model.what}" for name, model in DOCUMENTS.items())
)
@click.argument("what", type=click.Choice(["spec", *DOCUMENTS]), default="spec", metavar="[NAME]")
def command(what: str) -> None:
    """Print the JSON Schema of mlgate.yaml, or of a document that mlgate writes.

    Editors check and complete mlgate.yaml with it: mlgate schema > .mlgate/mlgate.schema.json
    NAME is `spec`, which is the default, or one of these:
    """
    document = schema.spec() if what == "spec" else schema.document(what)
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))
