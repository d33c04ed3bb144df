"""A figure as SVG: small, sharp, without scripts, legible in light and dark."""

import html
import math
from collections.abc import Callable, Iterator

from mlgate.errors import printable
from mlgate.figure import Figure, Series

_WIDTH, _HEIGHT = 720, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 14, 52
_LEGEND = 16
_NAMED_POINTS = 16
_LONGEST = 22  # letters of a name that are shown

Scale = Callable[[float], float]


def escape(text: str) -> str:
    """Text for XML; names out of data turn nothing around."""
    return html.escape(printable(text))


def draw(figure: Figure) -> str:
    """The plot. Points that are not finite are left out, and the caption says how many."""
    named = figure.kind in ("bars", "intervals") and any(s.labels for s in figure.series)
    bottom = _slanted(figure) if named else _BOTTOM
    top = _TOP + _LEGEND * len(_legend_rows(figure))
    height = _HEIGHT + (bottom - _BOTTOM) + (top - _TOP)
    xs = [x for s in figure.series for x in s.x]
    ys = [y for s in figure.series for y in (*s.y, *s.low, *s.high)] + list(figure.limits)
    if figure.kind == "bars":  # a bar's length is what is compared
        ys = [*ys, 0.0]
    margin = 0.5 if named else 0.0
    x = _scale(xs, figure.x_scale, _LEFT, _WIDTH - _RIGHT, pad=margin)
    y = _scale(ys, figure.y_scale, height - bottom, top)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(figure.title)}">',
        *_y_axis(figure, ys, y, (top + height - bottom) / 2),
        *(_names(figure, x, height - bottom) if named else _x_axis(figure, xs, x, height - bottom)),
    ]
    for index, series in enumerate(figure.series):
        parts += _marks(figure, series, index, x, y, y(0.0) if 0.0 in ys else height - bottom)
    for limit in figure.limits:
        at = _n(y(limit))
        parts.append(
            f'<line class="limit" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at}" y2="{at}"/>'
        )
        parts.append(
            f'<text class="limit" x="{_WIDTH - _RIGHT}" y="{_n(y(limit) - 4)}" text-anchor="end">{limit:.4g}</text>'
        )
    parts += _legend(figure)
    parts.append("</svg>")
    return "".join(parts)


def _slanted(figure: Figure) -> int:
    """Room for slanted names below a categorical axis."""
    longest = max(len(name) for s in figure.series for name in s.labels)
    return 24 + round(4.6 * min(longest, _LONGEST))


def _scale(values: list[float], kind: str, start: float, end: float, pad: float = 0.0) -> Scale:
    finite = [v for v in values if math.isfinite(v) and (kind == "linear" or v > 0)] or [1.0, 10.0]
    bend: Scale = math.log10 if kind == "log" else float
    low, high = bend(min(finite)) - pad, bend(max(finite)) + pad
    if high == low:
        low, high = low - 0.5, high + 0.5
    span = high - low
    if not pad:
        high += 0.04 * span
        if kind == "log" or min(finite) != 0:
            low -= 0.04 * span

    def place(value: float) -> float:
        if kind == "log":
            value = max(value, min(finite))
        return start + (bend(value) - low) / (high - low) * (end - start)

    return place


def _ticks(values: list[float], kind: str) -> list[float]:
    finite = [v for v in values if math.isfinite(v) and (kind == "linear" or v > 0)]
    if not finite:
        return []
    low, high = min(finite), max(finite)
    if kind == "log":
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        powers = [10.0**p for p in range(first, last + 1)]
        steps = [m * p for p in powers for m in ((1, 2, 5) if high < 200 * low else (1,))]
        shown = [t for t in steps if low * 0.999 <= t <= high * 1.04]
        if len(shown) > 1 or high == low:
            return shown or [low]
    if high == low:
        return [low]
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough)
    start = math.ceil(low / step - 1e-9)
    return [i * step for i in range(start, int(high / step + 1e-9) + 1)]


def _y_axis(figure: Figure, ys: list[float], y: Scale, middle: float) -> Iterator[str]:
    for tick in _ticks(ys, figure.y_scale):
        at = _n(y(tick))
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at}" y2="{at}"/>'
        yield f'<text x="{_LEFT - 6}" y="{_n(y(tick) + 4)}" text-anchor="end">{_label(tick)}</text>'
    yield (
        f'<text class="axis" transform="translate(14 {_n(middle)}) rotate(-90)" '
        f'text-anchor="middle">{escape(figure.y)}</text>'
    )


def _x_axis(figure: Figure, xs: list[float], x: Scale, base: float) -> Iterator[str]:
    yield f'<line class="base" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{_n(base)}" y2="{_n(base)}"/>'
    for tick in _ticks(xs, figure.x_scale):
        yield f'<text x="{_n(x(tick))}" y="{_n(base + 18)}" text-anchor="middle">{_label(tick)}</text>'
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    yield f'<text class="axis" x="{_n(middle)}" y="{_n(base + 40)}" text-anchor="middle">{escape(figure.x)}</text>'


def _names(figure: Figure, x: Scale, base: float) -> Iterator[str]:
    yield f'<line class="base" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{_n(base)}" y2="{_n(base)}"/>'
    series = max(figure.series, key=lambda s: len(s.labels))
    for at, name in zip(series.x, series.labels, strict=True):
        shown = name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
        yield (
            f'<text transform="translate({_n(x(at) + 3)} {_n(base + 14)}) rotate(-40)" '
            f'text-anchor="end">{escape(shown)}</text>'
        )


def _marks(
    figure: Figure, series: Series, index: int, x: Scale, y: Scale, base: float
) -> Iterator[str]:
    css = f"s{index % 6}"
    points = [(x(a), y(b)) for a, b in zip(series.x, series.y, strict=True)]
    match figure.kind:
        case "line" | "step":
            path = " ".join(
                f"{'M' if i == 0 else 'L'}{_n(a)} {_n(b)}"
                for i, (a, b) in enumerate(_stepped(points, figure.kind))
            )
            yield f'<path class="{css} line" d="{path}"/>'
            return
        case "bars":
            gap = (_WIDTH - _LEFT - _RIGHT) / max(1, len(points))
            width = min(48.0, gap * 0.7) / len(figure.series)
            shift = (index - (len(figure.series) - 1) / 2) * width
            for a, b in points:
                top, tall = min(b, base), abs(base - b)
                yield f'<rect class="{css}" x="{_n(a + shift - width / 2)}" y="{_n(top)}" width="{_n(width)}" height="{_n(tall)}"/>'
        case _:
            pass
    for low, high, (a, _) in zip(series.low, series.high, points, strict=False):
        yield f'<line class="{css} whisker" x1="{_n(a)}" x2="{_n(a)}" y1="{_n(y(low))}" y2="{_n(y(high))}"/>'
    if figure.kind != "bars":
        for i, (a, b) in enumerate(points):
            name = series.labels[i] if i < len(series.labels) else series.name
            title = f"<title>{escape(name)}: {series.x[i]:g}, {series.y[i]:.6g}</title>"
            yield f'<circle class="{css}" cx="{_n(a)}" cy="{_n(b)}" r="4">{title}</circle>'
            if figure.kind == "scatter" and series.labels and len(points) <= _NAMED_POINTS:
                end = "end" if a > _WIDTH * 0.7 else "start"
                shift = -8 if end == "end" else 8
                yield (
                    f'<text x="{_n(a + shift)}" y="{_n(b + 4)}" text-anchor="{end}">'
                    f"{escape(name)}</text>"
                )


def _stepped(points: list[tuple[float, float]], kind: str) -> list[tuple[float, float]]:
    if kind == "line":
        return points
    stepped: list[tuple[float, float]] = []
    for a, b in points:
        if stepped:
            stepped.append((a, stepped[-1][1]))
        stepped.append((a, b))
    return stepped


def _legend_rows(figure: Figure) -> list[list[tuple[int, int]]]:
    """Which series the legend names in each of its rows, and how far from the left."""
    if len(figure.series) < 2:
        return []
    rows: list[list[tuple[int, int]]] = [[]]
    at = _LEFT
    for index, series in enumerate(figure.series):
        wide = 30 + 7 * len(series.name)
        if rows[-1] and at + wide > _WIDTH:
            rows.append([])
            at = _LEFT
        rows[-1].append((index, at))
        at += wide
    return rows


def _legend(figure: Figure) -> Iterator[str]:
    for row, entries in enumerate(_legend_rows(figure)):
        top = 2 + _LEGEND * row
        for index, at in entries:
            yield f'<rect class="s{index % 6}" x="{at}" y="{top}" width="10" height="10"/>'
            name = escape(figure.series[index].name)
            yield f'<text x="{at + 15}" y="{top + 9}">{name}</text>'


def _n(x: float) -> str:
    return f"{x:.1f}".removesuffix(".0")


def _label(x: float) -> str:
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.3g}"
