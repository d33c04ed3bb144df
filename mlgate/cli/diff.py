"""`mlgate diff`: two runs side by side."""

import json
from pathlib import Path
from typing import Any

import click

from mlgate.check import judge
from mlgate.cli.failure import errors_as_json
from mlgate.cli.options import root_of
from mlgate.errors import harmless
from mlgate.report import Ran, Report
from mlgate.store import FOLDER


@click.command()
@click.argument("a")
@click.argument("b", required=False)
@click.option("--spec", type=click.Path(path_type=Path), help="The spec whose runs they are.")
@click.option("--all", "everything", is_flag=True, help="Show what is equal too.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
def command(a: str, b: str | None, spec: Path | None, everything: bool, form: str) -> None:
    """Put two runs side by side.

    A and B are names of folders in .mlgate/runs; without B, the last run. Shows the measurements
    that differ, each with its interval.
    """
    root = root_of(spec) / FOLDER
    with errors_as_json(form == "json"):
        before, after = judge(root, a).report, judge(root, b).report
    rows = [row for row in _rows(before, after) if everything or row["before"] != row["after"]]
    if form == "json":
        document = {
            "schema": "mlgate/diff/v1",
            "before": str(before.outcome),
            "after": str(after.outcome),
            "measurements": rows,
        }
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    click.echo(f"{before.outcome} → {after.outcome}")
    if not rows:
        click.echo("no measurement differs")
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        click.echo(
            f"{harmless(row['name']):<{width}}  {_number(row['before'])} → {_number(row['after'])}"
        )


def _rows(before: Report, after: Report) -> list[dict[str, Any]]:
    left, right = _values(before), _values(after)
    return [
        {"name": name, "before": left.get(name), "after": right.get(name)}
        for name in sorted({*left, *right})
    ]


def _values(report: Report) -> dict[str, float | None]:
    found = {}
    for stage, result in report.results.items():
        if isinstance(result, Ran):
            for m in result.evidence.measurements:
                labels = ",".join(f"{k}={v}" for k, v in sorted(m.labels.items()))
                found[f"{stage}: {m.name}" + (f"{{{labels}}}" if labels else "")] = m.value
    return found


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.6g}"
