"""A profile: what drift needs to know of a dataset, without any of its rows.

Counts per bin and column, at most ~5 KB of JSON for each. Profiles that were binned alike merge by
addition, so the parts of a dataset can be profiled apart.
"""

import json
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, ValidationError, model_validator

from mlgate import document
from mlgate.errors import MlgateError, StageError
from mlgate.evidence import Digest, Frozen

SCHEMA: Final = "mlgate/profile/v1"
_HINT: Final = "profile the reference dataset again, or name the dataset itself as reference"

UNLISTED: Final = 0.9
"""Share of values outside the most frequent ones from which a column is no category."""

Count = Annotated[int, Field(ge=0)]


class Ordered(Frozen):
    """A column of numbers, dates or times.

    A value v is in bin i when edges[i−1] < v ≤ edges[i]; the first and the last bin are open. Dates
    count as days, timestamps, times and durations as microseconds, since 1970 where that applies.
    `low` and `high` are the extremes of the finite values.
    """

    kind: Literal["numeric", "temporal"]
    name: str
    type: str
    nulls: Count
    nans: Count = 0
    """How many of the nulls were stored as NaN."""
    low: float | None = None
    high: float | None = None
    edges: tuple[float, ...]
    counts: tuple[Count, ...]

    @property
    def count(self) -> int:
        """Values that are there, as opposed to nulls."""
        return sum(self.counts)

    @model_validator(mode="after")
    def _binned(self) -> Self:
        if len(self.counts) != len(self.edges) + 1:
            raise ValueError(f"{self.name}: {len(self.edges)} edges make one bin more, "
                             f"not {len(self.counts)}")  # fmt: skip
        if any(a >= b for a, b in pairwise(self.edges)):
            raise ValueError(f"{self.name}: the edges do not rise")
        return self


class Categorical(Frozen):
    """A column of names: its most frequent values, most frequent first where they were chosen."""

    kind: Literal["categorical"] = "categorical"
    name: str
    type: str
    nulls: Count
    top: tuple[tuple[str, Count], ...]
    other: Count
    """Values that `top` does not list."""

    @property
    def count(self) -> int:
        return sum(n for _, n in self.top) + self.other

    @model_validator(mode="after")
    def _once(self) -> Self:
        if len({value for value, _ in self.top}) != len(self.top):
            raise ValueError(f"{self.name}: a value is listed twice")
        return self


class Withheld(Frozen):
    """A column of personal data: only how many values there are."""

    kind: Literal["withheld"] = "withheld"
    name: str
    type: str
    nulls: Count
    count: Count


class Skipped(Frozen):
    """A column without a profile, and why."""

    name: str
    type: str
    reason: str
    nulls: Count | None = None
    """None in profiles that were made before nulls were counted in every column."""


Column = Annotated[Ordered | Categorical | Withheld, Field(discriminator="kind")]


class Units(Frozen):
    """How many distinct values the column has whose rows belong together."""

    column: str
    count: Count


class Profile(Frozen):
    """The distributions of a dataset's columns."""

    schema_id: Literal["mlgate/profile/v1"] = Field(default=SCHEMA, alias="schema")
    dataset: Digest | None = None
    engine: str
    rows: Count
    units: Units | None = None
    columns: tuple[Column, ...]
    skipped: tuple[Skipped, ...] = ()

    def column(self, name: str) -> Ordered | Categorical | Withheld | None:
        return next((c for c in self.columns if c.name == name), None)

    def skip(self, name: str) -> Skipped | None:
        return next((one for one in self.skipped if one.name == name), None)

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        names = [c.name for c in self.columns] + [s.name for s in self.skipped]
        if len(set(names)) != len(names):
            raise ValueError("a column is listed twice")
        for column in self.columns:
            if column.count + column.nulls != self.rows:
                raise ValueError(f"{column.name}: its counts do not add up to {self.rows} rows")
        return self


def load(path: Path) -> Profile:
    """A profile that was written with `Profile.canonical`.

    Raises `StageError` for a file that is missing, corrupt, something else, or of another version.
    """
    name = str(path)
    try:
        text = document.read(path, name)
    except MlgateError as error:
        raise StageError(error.message, hint=error.hint or _HINT) from None
    return parse(text, name)


def parse(text: str, name: str) -> Profile:
    """The profile in `text`; `name` stands for it in errors."""
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        where = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise StageError(f"{name}{where}: not a profile: it is not JSON", hint=_HINT) from None
    found = value.get("schema") if isinstance(value, dict) else None
    if found != SCHEMA:
        other = isinstance(found, str) and found.startswith("mlgate/profile/")
        what = f"a profile of another version ({found})" if other else "not a profile"
        raise StageError(f"{name} is {what}; {SCHEMA} is read", hint=_HINT)
    try:
        return Profile.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        raise StageError(
            f"{name} is damaged: {where + ': ' if where else ''}{what}", hint=_HINT
        ) from None


def merge(parts: Sequence[Profile]) -> Profile:
    """The profile of all parts together. Raises `StageError` when they were not binned alike.

    Units cannot be added: parts that count them are refused.
    """
    first, *others = parts
    if any(part.units is not None for part in parts):
        raise StageError(
            "profiles that count units cannot be merged: a unit may be in several of them",
            hint="profile the whole dataset at once, or leave drift.unit out",
        )
    for part in others:
        if [_frame(c) for c in part.columns] != [_frame(c) for c in first.columns]:
            raise StageError(
                "the profiles were not binned alike, so they cannot be merged",
                hint="profile every part with the bins of the first",
            )
    columns = tuple(_sum([part.columns[i] for part in parts]) for i in range(len(first.columns)))
    return Profile(
        engine=first.engine,
        rows=sum(part.rows for part in parts),
        columns=columns,
        skipped=first.skipped,
    )


def _frame(column: Ordered | Categorical | Withheld) -> tuple[object, ...]:
    match column:
        case Ordered():
            return column.name, column.type, column.edges
        case Categorical():
            return column.name, column.type, tuple(value for value, _ in column.top)
        case Withheld():
            return column.name, column.type


def _sum(same: Sequence[Ordered | Categorical | Withheld]) -> Ordered | Categorical | Withheld:
    first = same[0]
    nulls = sum(c.nulls for c in same)
    match first:
        case Ordered():
            ordered = [c for c in same if isinstance(c, Ordered)]
            counts = tuple(map(sum, zip(*(c.counts for c in ordered), strict=True)))
            return first.model_copy(update={
                "nulls": nulls, "nans": sum(c.nans for c in ordered),
                "low": min((c.low for c in ordered if c.low is not None), default=None),
                "high": max((c.high for c in ordered if c.high is not None), default=None),
                "counts": counts,
            })  # fmt: skip
        case Categorical():
            named = [c for c in same if isinstance(c, Categorical)]
            top = tuple(
                (value, sum(c.top[i][1] for c in named)) for i, (value, _) in enumerate(first.top)
            )
            other = sum(c.other for c in named)
            return first.model_copy(update={"nulls": nulls, "top": top, "other": other})
        case Withheld():
            count = sum(c.count for c in same)
            return first.model_copy(update={"nulls": nulls, "count": count})


def single_values(column: Ordered) -> Iterator[bool]:
    """For each bin, whether it can hold one value only, so that nothing is lost inside it."""
    whole = "int" in column.type or column.type.startswith("date")
    yield False
    for a, b in pairwise(column.edges):
        yield b <= math.nextafter(a, math.inf) or (whole and b - a <= 1)
    if column.edges:
        yield False
