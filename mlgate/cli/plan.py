"""`mlgate plan`: what would run."""

from datetime import UTC, datetime
from pathlib import Path

import click

from mlgate.check import prepare
from mlgate.cli.failure import errors_as_json
from mlgate.cli.options import read_spec, spec_options
from mlgate.cli.terminal import echo
from mlgate.documents import PlanDocument, PlanRow
from mlgate.files import FOLDER
from mlgate.run.plan import Key, Node, why_missed
from mlgate.run.store import Store


@click.command()
@spec_options
@click.option("--only", multiple=True, metavar="STAGE", help="Plan this stage and what it needs.")
@click.option("--format", "form", type=click.Choice(["text", "json", "mermaid"]), default="text")
def command(
    spec: Path | None,
    profile: str | None,
    settings: tuple[str, ...],
    only: tuple[str, ...],
    form: str,
) -> None:
    """Show what would run, in what order, and what is cached.

    A stage that is not cached says which input changed since it last finished.
    """
    with errors_as_json(form == "json"):
        loaded = read_spec(spec, profile, settings)
        plan, keys = prepare(loaded, only=only, now=datetime.now(UTC))
    store = Store(loaded.folder / FOLDER)
    rows = [_row(node, keys[node.id], store) for node in plan.nodes]
    if form == "json":
        click.echo(PlanDocument(name=loaded.name, stages=tuple(rows)).printed(), nl=False)
    elif form == "mermaid":
        click.echo("flowchart LR")
        for node in plan.nodes:
            click.echo(f'  {_safe(node.id)}["{node.id}<br>{node.options.uses}"]')
            for other in node.after:
                click.echo(f"  {_safe(other)} --> {_safe(node.id)}")
    else:
        width = max(len(row.id) for row in rows)
        for row in rows:
            after = f", after {', '.join(row.after)}" if row.after else ""
            state = "cached" if row.cached else f"would run: {row.why}"
            echo(f"{row.id:<{width}}  {row.uses}{after}")
            echo(f"{'':<{width}}    {state}")


def _safe(name: str) -> str:
    """A Mermaid node id; some words, such as `end`, mean something to Mermaid."""
    return "s_" + name.replace("-", "_")


def _row(node: Node, key: Key, store: Store) -> PlanRow:
    known = store.recall(key.digest) if key.digest is not None else None
    cached = known is not None and node.may_be_of(known[1], key)
    why = None
    if key.broken is not None:
        why = key.broken.message
    elif not cached:
        why = key.reason or why_missed(key.parts, store.last_parts(node.id))
    return PlanRow(
        id=node.id,
        uses=node.options.uses,
        after=node.after,
        gates=len(node.options.gates),
        key=key.digest,
        cached=cached,
        why=why,
    )
