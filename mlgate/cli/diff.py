"""`mlgate diff`: two runs side by side."""

from pathlib import Path

import click

from mlgate.cli.failure import errors_as_json
from mlgate.cli.options import file_of, root_of, say_which, seen_from_here
from mlgate.documents import DiffDocument, GateChange, MeasurementChange, Side
from mlgate.errors import printable
from mlgate.files import FOLDER
from mlgate.gate import Word
from mlgate.run.record import judge_stored
from mlgate.run.report import Ran, Report


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
        left, right = judge_stored(root, a), judge_stored(root, b, file=file_of(spec))
    before, after = left.report, right.report
    rows = [row for row in _rows(before, after) if everything or row.before != row.after]
    gates = [row for row in _gates(before, after) if everything or row.before != row.after]
    if form == "json":
        document = DiffDocument(
            before=before.outcome.word,
            after=after.outcome.word,
            gates=tuple(gates),
            measurements=tuple(rows),
        )
        click.echo(document.printed(), nl=False)
        return
    if left.file == right.file:
        say_which(seen_from_here(right.file, spec))
    else:
        files = (seen_from_here(run.file, spec) for run in (left, right))
        click.echo(f"different specs: {' → '.join(files)}", err=True)
    click.echo(f"{before.outcome} → {after.outcome}")
    for gate in gates:
        click.echo(f"{printable(gate.name)}: {gate.before or '–'} → {gate.after or '–'}")
    if not rows:
        click.echo("no measurement differs")
    width = max((len(row.name) for row in rows), default=0)
    for row in rows:
        click.echo(f"{printable(row.name):<{width}}  {_number(row.before)} → {_number(row.after)}")


def _rows(before: Report, after: Report) -> list[MeasurementChange]:
    left, right = _values(before), _values(after)
    return [
        MeasurementChange(name=name, before=left.get(name), after=right.get(name))
        for name in sorted({*left, *right})
    ]


def _gates(before: Report, after: Report) -> list[GateChange]:
    left, right = _outcomes(before), _outcomes(after)
    return [
        GateChange(name=name, before=left.get(name), after=right.get(name))
        for name in dict.fromkeys([*left, *right])
    ]


def _outcomes(report: Report) -> dict[str, Word]:
    found: dict[str, Word] = {}
    for stage, result in report.results.items():
        if isinstance(result, Ran):
            for gate in result.gates:
                labels = ",".join(f"{k}={v}" for k, v in sorted(gate.where.items()))
                name = f"{stage}: {gate.metric}" + (f"{{{labels}}}" if labels else "")
                found[f"{name} {gate.limit}"] = gate.outcome
    return found


def _values(report: Report) -> dict[str, Side]:
    found: dict[str, Side] = {}
    for stage, result in report.results.items():
        if isinstance(result, Ran):
            for m in result.evidence.measurements:
                labels = ",".join(f"{k}={v}" for k, v in sorted(m.labels.items()))
                found[f"{stage}: {m.name}" + (f"{{{labels}}}" if labels else "")] = Side(
                    value=m.value,
                    low=m.bounds[0].low if m.bounds else None,
                    high=m.bounds[0].high if m.bounds else None,
                )
    return found


def _number(row: Side | None) -> str:
    if row is None or row.value is None:
        return "–"
    if row.low is None and row.high is None:
        return f"{row.value:,.6g}"
    low, high = ("∞" if end is None else f"{end:.4g}" for end in (row.low, row.high))
    return f"{row.value:,.6g} [{low}, {high}]"
