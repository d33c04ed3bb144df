"""`mlgate history`: a metric over the stored runs, its trend, and the gate on the trend."""

import csv
import io
import re
from pathlib import Path
from typing import Final

import click

from mlgate import trend
from mlgate.cli.check import paint
from mlgate.cli.failure import errors_as_json
from mlgate.cli.options import file_of, root_of, say_which
from mlgate.documents import HistoryDocument, PointRow, TrendRow
from mlgate.errors import MlgateError, UsageError, printable
from mlgate.files import FOLDER
from mlgate.gate import GateResult, worst
from mlgate.history import History, Line, Point, gates_of, read, title, trend_of
from mlgate.quantity import Quantity, seconds
from mlgate.render.text import MARKS
from mlgate.stages import references

_BARS: Final = "▁▂▃▄▅▆▇█"
_WIDEST: Final = 60
_MOST_LINES: Final = 12  # what a terminal shows of runs before it is a list of columns
_COLUMNS: Final = (
    "run", "at", "stage", "labels", "value", "low", "high", "reason", "left_out"
)  # fmt: skip


@click.command()
@click.argument("metric")
@click.option("--spec", type=click.Path(path_type=Path), help="The spec whose runs they are.")
@click.option("--where", multiple=True, metavar="LABEL=VALUE", help="Select by label.")
@click.option(
    "--compared-to",
    "to",
    type=click.Choice(references()),
    help="Show the ratio to this reference, measured in the same run, instead of the value.",
)
@click.option("--window", metavar="TIME", help="Only runs within this time of the last, e.g. 28d.")
@click.option(
    "--max-growth",
    metavar="PERCENT/week",
    help="A gate: fail when the metric surely grows faster, e.g. 10%/week.",
)
@click.option("--format", "form", type=click.Choice(["text", "json", "csv"]), default="text")
@click.pass_context
def command(
    ctx: click.Context,
    metric: str,
    spec: Path | None,
    where: tuple[str, ...],
    to: str | None,
    window: str | None,
    max_growth: str | None,
    form: str,
) -> None:
    """Show a metric over the stored runs.

    Those of one spec: of mlgate.yaml, or of --spec. Oldest first, with the growth a week
    (Theil-Sen, with one-sided bounds). With --max-growth the exit code is a gate's: 0 when all of
    the interval is within the limit, 1 when all of it is beyond, 4 when it straddles or the history
    is short, 3 when the last run did not measure it.
    """
    with errors_as_json(form == "json"):
        limit = None if max_growth is None else _limit(max_growth)
        found = read(
            root_of(spec) / FOLDER,
            metric,
            file=file_of(spec),
            where=_labels(where),
            to=to,
            within_s=None if window is None else _time(window),
        )
        if not found.points:
            raise _nothing(found, gated=limit is not None)
    gates = [] if limit is None else gates_of(found, limit)
    if form == "json":
        click.echo(_document(found, gates).printed(), nl=False)
    elif form == "csv":
        click.echo(_table(found), nl=False)
    else:
        _show(found)
        say_which(printable(str(root_of(spec) / found.file)))
    if found.others:
        runs = "1 run" if found.others == 1 else f"{found.others} runs"
        said = f"left out: {runs} of other specs than {printable(found.file)} (--spec selects one)"
        click.echo(said, err=True)
    for gate in gates if form != "json" else ():
        mark = paint(f"{MARKS[gate.rank]} {gate.outcome}", gate.rank)
        click.echo(f"{mark}  {printable(gate.message)}", err=form == "csv")
    if gates:
        ctx.exit(worst(gate.rank for gate in gates).exit_code)


def _limit(text: str) -> float:
    """`10%/week` or `10%` as a share a week."""
    number = re.sub(r"\s*/\s*week$", "", text.strip())
    try:
        return Quantity.parse(number).within("1")
    except ValueError:
        raise UsageError(f"--max-growth {text}: write --max-growth 10%/week") from None


def _time(text: str) -> float:
    try:
        return seconds(text)
    except ValueError as error:
        raise UsageError(f"--window {error}") from None


def _labels(where: tuple[str, ...]) -> dict[str, str]:
    wanted = {}
    for pair in where:
        label, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--where {pair}: write --where LABEL=VALUE")
        wanted[label] = value
    return wanted


def _nothing(found: History, *, gated: bool) -> MlgateError:
    versus = f" against {found.to}" if found.to else ""
    of = f" of {found.file}" if found.others else ""
    message = f"no stored run{of} measured {found.metric}{versus}"
    if found.unreadable:
        hint = f"{len(found.unreadable)} stored runs cannot be read: {found.unreadable[-1]}, say"
    elif found.others:
        hint = f"{found.others} of other specs were left out: --spec FILE selects one"
    elif found.to == "anchor":
        hint = "add anchor: to the benchmark, a model that stays as it is"
    else:
        hint = "mlgate report --format json lists metrics"
    # A gate without a measurement is an error of the run, as everywhere; else it is a typing error.
    return MlgateError(message, hint=hint) if gated else UsageError(message, hint=hint)


def _show(found: History) -> None:
    lines = found.lines()
    if len(lines) > _MOST_LINES:
        for line in lines:
            click.echo(_summary(found, line))
        click.echo(f"{len(lines)} label sets, a line each: --where LABEL=VALUE shows their runs")
    else:
        _show_runs(found, lines)
    if found.unreadable:
        click.echo(f"\nnot readable: {', '.join(found.unreadable)}", err=True)


def _summary(found: History, line: Line) -> str:
    """All of a line's runs in one: its last value, and its trend."""
    last = line.points[-1]
    counted = line.counted()
    trended = f"  {_bars(counted)}  {_words(found, line)}" if len(counted) > 1 else ""
    gone = "" if line.latest else f"  (not in the last run, but in {last.run})"
    return f"{printable(title(found, line))}  {_value(last)}{gone}{trended}"


def _value(point: Point) -> str:
    value = "–" if point.value is None else f"{point.value:,.6g}"
    if point.low is None and point.high is None:
        return value
    low = "−∞" if point.low is None else f"{point.low:.4g}"
    high = "∞" if point.high is None else f"{point.high:.4g}"
    return f"{value}  [{low}, {high}]"


def _show_runs(found: History, lines: list[Line]) -> None:
    for point in found.rows():
        labels = printable(_text(point))
        note = f"  ({point.left_out})" if point.left_out and point.value is not None else ""
        click.echo(f"{point.run}  {point.stage}  {labels:<24}  {_value(point)}{note}")
    for line in lines:
        counted = line.counted()
        if len(counted) > 1:
            called = printable(title(found, line))
            click.echo(f"\n{_bars(counted)}  {called} {_words(found, line)}")


def _words(found: History, line: Line) -> str:
    try:
        return trend.words(trend_of(line, found.confidence))
    except ValueError as error:
        return f"has no growth: {error}"


def _bars(points: list[Point]) -> str:
    """The last values as bars between the least and the largest of them."""
    values = [point.value or 0.0 for point in points[-_WIDEST:]]
    low, span = min(values), max(values) - min(values)
    return "".join(_BARS[round((v - low) / span * 7) if span else 3] for v in values)


def _text(point: Point) -> str:
    return ",".join(f"{k}={v}" for k, v in sorted(point.labels.items()))


def _row(point: Point) -> PointRow:
    return PointRow(
        run=point.run,
        at=point.at.isoformat(),
        stage=point.stage,
        labels=point.labels,
        value=point.value,
        low=point.low,
        high=point.high,
        reason=point.reason,
        left_out=point.left_out,
        cached=point.cached,
    )


def _document(found: History, gates: list[GateResult]) -> HistoryDocument:
    judged = {"outcome": worst(gate.rank for gate in gates).word} if gates else {}
    return HistoryDocument.model_validate(
        {
            "file": found.file,
            "runs_of_other_specs": found.others,
            "metric": found.metric,
            "compared_to": found.to,
            "confidence": found.confidence,
            "rows": tuple(_row(point) for point in found.rows()),
            "trends": tuple(_trend(found, line) for line in found.lines()),
            "gates": tuple(gates),
            "unreadable": found.unreadable,
            **judged,
        }
    )


def _trend(found: History, line: Line) -> TrendRow:
    try:
        growth = trend_of(line, found.confidence)
    except ValueError as error:
        return TrendRow(stage=line.stage, labels=line.labels, reason=f"no growth: {error}")
    return TrendRow(
        stage=line.stage,
        labels=line.labels,
        growth_per_week=growth.growth,
        low=growth.low,
        high=growth.high,
        runs=growth.n,
        days=growth.days,
    )


def _table(found: History) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for point in found.rows():
        row = {**_row(point).model_dump(), "labels": _text(point)}
        writer.writerow(["" if row[name] is None else row[name] for name in _COLUMNS])
    return text.getvalue()
