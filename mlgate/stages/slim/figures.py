"""What the report shows of a slimmed image."""

from typing import Any, cast

from mlgate.evidence import Evidence
from mlgate.figure import Advice, Figure, Series
from mlgate.stages.slim.findings import advice_of


def figures(evidence: Evidence) -> tuple[Figure, ...]:
    """Sizes of the levels that were tried, and what kinds of files the source holds."""
    details = cast(dict[str, Any], evidence.details)
    kinds = {name: size for name, size in details.get("kinds", {}).items() if size}
    found = []
    if kinds:
        found.append(_bars("What the source image holds", "kind of file", kinds))
    source = details.get("source", {}).get("bytes")
    levels = {row["level"]: row["bytes"] for row in details.get("levels", ())}
    if levels and source:
        found.append(_bars("Size by level", "level", {"source": source, **levels}))
    return tuple(found)


def advice(evidence: Evidence) -> tuple[Advice, ...]:
    """Changes to the Dockerfile."""
    return advice_of(cast(dict[str, Any], evidence.details))


def _bars(title: str, x: str, values: dict[str, float]) -> Figure:
    names = tuple(values)
    series = Series(
        name="MB",
        x=tuple(float(index) for index in range(len(names))),
        y=tuple(values[name] / 1e6 for name in names),
        labels=names,
    )
    return Figure(title=title, kind="bars", x=x, y="MB", series=(series,))
