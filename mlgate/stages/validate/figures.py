"""What a reader should see of validated data: drift by column, what leaks, how far from a limit."""

from mlgate.evidence import Evidence, Measurement
from mlgate.figure import Figure, Series

_SHOWN = 24


def figures(evidence: Evidence) -> tuple[Figure, ...]:
    plots = (
        _by_column(evidence, "drift.psi", "Drift by column", "population stability index"),
        _by_column(evidence, "leakage.score", "What one feature says of the label", "score"),
    )
    return tuple(plot for plot in plots if plot is not None)


def _by_column(evidence: Evidence, metric: str, title: str, y: str) -> Figure | None:
    rows = [m for m in evidence.measurements if m.name == metric and m.value is not None]
    if not rows:
        return None
    rows.sort(key=lambda m: (-(m.value or 0.0), -_end(m, "high"), m.labels.get("column", "")))
    shown = rows[:_SHOWN]
    hidden = len(rows) - len(shown)
    return Figure(
        title=title,
        kind="intervals",
        x="column",
        y=y,
        series=(
            Series(
                name=metric,
                x=tuple(float(index) for index in range(len(shown))),
                y=tuple(m.value or 0.0 for m in shown),
                low=tuple(_end(m, "low") for m in shown),
                high=tuple(_end(m, "high") for m in shown),
                labels=tuple(m.labels.get("column", "") for m in shown),
            ),
        ),
        caption=f"The {len(shown)} highest of {len(rows)} columns." if hidden else "",
    )


def _end(m: Measurement, side: str) -> float:
    end = getattr(m.bounds[0], side) if m.bounds else None
    return float(m.value or 0.0) if end is None else float(end)
