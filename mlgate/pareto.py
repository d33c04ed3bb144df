"""The models of a run side by side: how good, fast and cheap each is, and which none other beats.

Stages know a model by its digest. So what `quantize` knows of its quality and `benchmark` of its
latency and cost come together in one row, without either stage knowing of the other.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mlgate.figure import Figure, Series


@dataclass(frozen=True)
class Column:
    """A figure by which models are compared; `more` when a larger one is the better one.

    A reader is shown it over `per`, in `unit`. A `noisy` one is compared to two significant
    digits, or chance would put every model on the front. `role`: the plot is of quality, or else of
    cost, against latency.
    """

    name: str
    title: str
    unit: str = ""
    more: bool = False
    per: float = 1.0
    noisy: bool = False
    role: Literal["quality", "cost", "latency"] | None = None

    def held(self, x: float) -> float:
        """`x` as it is compared: less is better."""
        seen = float(f"{x:.2g}") if self.noisy else x
        return -seen if self.more else seen


@dataclass(frozen=True)
class ModelSummary:
    """What one stage knows of one model, by the names of its stage's columns.

    `where` says on what it ran; values without it hold wherever the model runs. One that is not
    `approved` was refused by the stage that made it.
    """

    model: str
    name: str
    values: Mapping[str, float]
    where: str | None = None
    approved: bool = True


@dataclass(frozen=True)
class Row:
    """One model on one kind of device, with all that is known of it. `names` are as stages say.

    `best`: it is approved, and no other such row beats it.
    """

    model: str
    names: tuple[str, ...]
    where: str | None
    values: Mapping[str, float]
    best: bool = True
    approved: bool = True


def side_by_side(summaries: Iterable[ModelSummary], columns: Sequence[Column]) -> tuple[Row, ...]:
    """One row for each model and where it ran, in the order in which they came."""
    known: dict[tuple[str, str | None], tuple[list[str], dict[str, float]]] = {}
    refused = set[str]()
    for one in summaries:
        if not one.approved:
            refused.add(one.model)
        names, values = known.setdefault((one.model, one.where), ([], {}))
        names.append(one.name)
        for column, figure in one.values.items():
            values.setdefault(column, figure)  # a model that is its own baseline is the candidate
    ran = {model for model, where in known if where is not None}
    rows = []
    for (model, where), (names, values) in known.items():
        if where is None and model in ran:
            continue
        also, everywhere = known.get((model, None), ([], {})) if where is not None else ([], {})
        named = (*also, *names)
        rows.append(Row(model, named, where, everywhere | values, approved=model not in refused))
    return tuple(
        replace(row, best=row.approved and not _beaten(row, rows, columns)) for row in rows
    )


def _beaten(row: Row, rows: Iterable[Row], columns: Sequence[Column]) -> bool:
    """By one that may be chosen instead: a model that was refused is nobody's better."""
    return any(_beats(other, row, columns) for other in rows if other is not row and other.approved)


def _beats(a: Row, b: Row, columns: Sequence[Column]) -> bool:
    """Nowhere worse and somewhere better, in all that is known of `b`.

    What is not known of `a` may be worse: a row about which less is known beats nothing.
    """
    shared = [column for column in columns if column.name in b.values]
    if not shared or any(column.name not in a.values for column in shared):
        return False
    ours = [column.held(a.values[column.name]) for column in shared]
    theirs = [column.held(b.values[column.name]) for column in shared]
    return all(x <= y for x, y in zip(ours, theirs, strict=True)) and ours != theirs


def known_columns(rows: Iterable[Row], columns: Iterable[Column]) -> tuple[Column, ...]:
    """The columns in which something is known, each name once."""
    known = {name for row in rows for name in row.values}
    named = {column.name: column for column in columns if column.name in known}
    return tuple(named.values())


def figure_of(rows: Iterable[Row], columns: Sequence[Column]) -> Figure | None:
    """Quality, or else cost, against latency; None for fewer than two rows that have both."""
    latency = next((column for column in columns if column.role == "latency"), None)
    if latency is None:
        return None
    listed = [row for row in rows if latency.name in row.values]
    choices = [column for role in ("quality", "cost") for column in columns if column.role == role]
    against = next((c for c in choices if sum(c.name in row.values for row in listed) > 1), None)
    if against is None:
        return None
    shown = [row for row in listed if against.name in row.values]
    series = []
    for name, mine in (
        ("on the Pareto front", [row for row in shown if row.best]),
        ("beaten by another", [row for row in shown if row.approved and not row.best]),
        ("not approved", [row for row in shown if not row.approved]),
    ):
        if mine:
            series.append(
                Series(
                    name=name,
                    x=tuple(row.values[latency.name] for row in mine),
                    y=tuple(row.values[against.name] for row in mine),
                    labels=tuple(row.names[-1] for row in mine),
                )
            )
    unit = f" ({against.unit})" if against.unit else ""
    return Figure(
        title=f"{against.title[0].upper()}{against.title[1:]} against latency",
        kind="scatter",
        x=f"{latency.title} ({latency.unit})",
        y=f"{against.title}{unit}",
        series=tuple(series),
        x_scale="log",
        caption="A model is beaten when another is nowhere worse, in any column below, and "
        "somewhere better, to two digits of what is noisy. The gates look at intervals.",
    )
