"""Figures as SVG: well-formed whatever the numbers, nothing in them that runs or is fetched."""

import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgate.figure import Figure, Series
from mlgate.render.svg import draw

numbers = st.floats(-1e12, 1e12, allow_nan=False) | st.sampled_from([0.0, 1e-300, 5.0])
words = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn"]), max_size=30)


@st.composite
def figures(draw_: st.DrawFn) -> Figure:
    kind: Any = draw_(st.sampled_from(["line", "step", "bars", "scatter", "intervals"]))
    scale: Any = draw_(st.sampled_from(["linear", "log"]))
    named = draw_(st.booleans())
    series = []
    for _ in range(draw_(st.integers(0, 3))):
        n = draw_(st.integers(0, 5))
        values = st.lists(numbers, min_size=n, max_size=n)
        y = tuple(draw_(values))
        series.append(
            Series(
                name=draw_(words),
                x=tuple(float(i) for i in range(n)) if named else tuple(draw_(values)),
                y=y,
                labels=tuple(draw_(words) for _ in range(n)) if named else (),
            )
        )
    return Figure(
        title=draw_(words),
        caption=draw_(words),
        kind=kind,
        x=draw_(words),
        y=draw_(words),
        series=tuple(series),
        y_scale=scale,
        limits=tuple(draw_(st.lists(numbers, max_size=2))),
    )


@given(figures())
def test_every_figure_is_well_formed_and_finite(figure: Figure) -> None:
    svg = draw(figure)
    root = ET.fromstring(svg)
    assert root.tag.endswith("svg")
    for element in root.iter():
        for name, value in element.attrib.items():
            if name in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height", "d"):
                assert not re.search(r"nan|inf", value, re.IGNORECASE), (name, value)


def test_hostile_names_are_text() -> None:
    evil = "</svg><script>alert(1)</script>\"'&"
    series = (Series(name=evil, x=(0.0, 1.0), y=(1.0, 2.0), labels=(evil, evil)),) * 2
    svg = draw(Figure(title=evil, caption=evil, kind="bars", x=evil, y=evil, series=series))
    assert "<script" not in svg
    tags = {element.tag.split("}")[-1] for element in ET.fromstring(svg).iter()}
    assert tags <= {"svg", "g", "line", "text", "rect", "path", "circle", "title", "tspan"}


@pytest.mark.parametrize("kind", ["line", "step", "bars", "scatter", "intervals"])
def test_the_same_figure_is_the_same_bytes(kind: Any) -> None:
    series = (Series(name="s", x=(0.0, 1.0), y=(0.5, 2.0)),)
    figure = Figure(title="t", caption="c", kind=kind, x="x", y="y", series=series, limits=(1.0,))
    assert draw(figure) == draw(figure)
    assert 'class="limit"' in draw(figure)


def test_a_legend_is_above_the_plot_and_takes_the_rows_that_it_needs() -> None:
    def height(names: list[str]) -> tuple[float, list[float], float]:
        series = tuple(Series(name=name, x=(0.0, 1.0), y=(0.0, 1.0)) for name in names)
        svg = draw(Figure(title="t", kind="line", x="x", y="y", series=series))
        tall = float(re.findall(r'viewBox="0 0 \S+ (\S+)"', svg)[0])
        boxes = [
            float(y) for y in re.findall(r'<rect class="s\d" x="\S+" y="(\S+)" width="10"', svg)
        ]
        top = min(float(y) for y in re.findall(r'class="grid".*?y1="(\S+)"', svg))
        return tall, boxes, top

    alone = height(["one"])
    assert alone[1] == []
    two, many = height(["one", "two"]), height([f"series number {i}" for i in range(8)])
    assert two[0] == alone[0] + 16
    assert max(two[1]) + 10 < two[2]
    assert len(set(many[1])) == 2
    assert max(many[1]) + 10 < many[2]


@pytest.mark.parametrize(
    ("ys", "least"), [((0.9, 1.1), 3), ((0.07, 2.0), 4), ((1e-4, 1.0), 5), ((5.0, 5.0), 1)]
)
def test_a_logarithmic_axis_has_ticks_whatever_its_span(
    ys: tuple[float, float], least: int
) -> None:
    series = (Series(name="s", x=(0.0, 1.0), y=ys),)
    svg = draw(Figure(title="t", kind="line", x="x", y="y", series=series, y_scale="log"))
    assert svg.count('class="grid"') >= least
