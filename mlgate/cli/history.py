"""`mlgate history`: a metric over the stored runs."""

import json
from pathlib import Path
from typing import Any

import click

from mlgate.check import judge, stored_runs
from mlgate.cli.failure import errors_as_json
from mlgate.cli.options import root_of
from mlgate.errors import MlgateError, UsageError, harmless
from mlgate.report import Ran
from mlgate.store import FOLDER


@click.command()
@click.argument("metric")
@click.option("--spec", type=click.Path(path_type=Path), help="The spec whose runs they are.")
@click.option("--where", multiple=True, metavar="LABEL=VALUE", help="Select by label.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
def command(metric: str, spec: Path | None, where: tuple[str, ...], form: str) -> None:
    """Show a metric over the stored runs.

    Oldest first; runs that cannot be read are left out.
    """
    with errors_as_json(form == "json"):
        rows = _history(metric, root_of(spec) / FOLDER, where)
    if form == "json":
        click.echo(
            json.dumps({"schema": "mlgate/history/v1", "metric": metric, "rows": rows}, indent=2)
        )
        return
    for row in rows:
        labels = harmless(",".join(f"{k}={v}" for k, v in sorted(row["labels"].items())))
        value = "–" if row["value"] is None else f"{row['value']:,.6g}"
        interval = ""
        if row["low"] is not None or row["high"] is not None:
            low = "−∞" if row["low"] is None else f"{row['low']:.4g}"
            high = "∞" if row["high"] is None else f"{row['high']:.4g}"
            interval = f"  [{low}, {high}]"
        click.echo(f"{row['run']}  {row['stage']}  {labels:<24}  {value}{interval}")


def _history(metric: str, root: Path, where: tuple[str, ...]) -> list[dict[str, Any]]:
    wanted = {}
    for pair in where:
        label, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--where {pair}: write --where LABEL=VALUE")
        wanted[label] = value
    rows: list[dict[str, Any]] = []
    for run in stored_runs(root):
        try:
            report = judge(root, run).report
        except MlgateError:  # a run that was stopped has no record to show
            continue
        rows += [{"run": run, **row} for row in _rows(report.results, metric, wanted)]
    if not rows:
        raise UsageError(
            f"no stored run measured {metric}", hint="mlgate report --format json lists metrics"
        )
    return rows


def _rows(results: Any, metric: str, wanted: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "stage": stage,
            "labels": m.labels,
            "value": m.value,
            "low": m.bounds[0].low if m.bounds else None,
            "high": m.bounds[0].high if m.bounds else None,
        }
        for stage, result in results.items()
        if isinstance(result, Ran)
        for m in result.evidence.measurements
        if m.name == metric and all(m.labels.get(k) == v for k, v in wanted.items())
    ]
