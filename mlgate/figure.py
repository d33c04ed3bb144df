"""Plots and advice as data: what a stage wants a reader to see. Renderers draw them."""

from typing import Literal

from mlgate.evidence import Frozen


class Series(Frozen):
    """One set of points. `low` and `high`, where given, are intervals as long as `y`.

    `labels`, where given, name the points; a categorical axis shows them in order.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()


class Figure(Frozen):
    """One plot. `limits` are lines across it that a gate drew, on the axis of `y`."""

    title: str
    kind: Literal["bars", "line", "step", "scatter", "intervals"]
    x: str
    y: str
    series: tuple[Series, ...]
    limits: tuple[float, ...] = ()
    x_scale: Literal["linear", "log"] = "linear"
    y_scale: Literal["linear", "log"] = "linear"
    caption: str = ""


class Advice(Frozen):
    """Advice that follows from what was measured; `code` is text to copy, as it is."""

    title: str
    text: str
    code: str = ""
