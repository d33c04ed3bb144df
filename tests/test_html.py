"""The HTML report stands alone, is well-formed, and runs nothing that came from data."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from mlgate.evidence import Evidence, measured, unmeasured
from mlgate.gate import Gate, Outcome, judge_all
from mlgate.render import html
from mlgate.run.report import Errored, Ran, Report, Result, Skipped
from tests.projects import reported

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&\x1b[2J"
VOID = {"meta", "br", "hr", "img", "link", "input", "source", "wbr", "col"}


class Balance(HTMLParser):
    """Fails on a tag that is not closed, and remembers all tags and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


def ran(*rows: Any, gates: tuple[Gate, ...] = ()) -> Ran:
    evidence = Evidence(uses="validate", inputs={}, measurements=rows)
    results = judge_all(gates, evidence, confidence=0.95)
    return Ran(evidence, "sha256:" + "0" * 64, results, tuple(range(1, len(gates) + 1)), False)


def report(word: str = "fine") -> Report:
    row = measured(
        "drift.psi", 0.1, labels={"column": word}, bounds=[(0.95, None, 0.2)], n=5, because=[word]
    )
    results: dict[str, Result] = {
        "good": ran(row, gates=(Gate(metric="drift.psi", max=1),)),
        "bad": ran(row, unmeasured("rows", word), gates=(Gate(metric="drift.psi", max=0.01),
                                                        Gate(metric="rows", min=1))),
        "broke": Errored(word, word),
        "missed": Skipped(f"{word} did not pass", Outcome.FAIL),
    }  # fmt: skip
    return reported(results, name=word, profile=word)


@pytest.mark.parametrize("word", ["fine", EVIL, " ", "é ∞ 漢字", "a" * 5000])
def test_it_is_well_formed_and_runs_nothing(word: str) -> None:
    page = html.render(report(word))
    parser = Balance()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    assert not parser.tags & {"script", "iframe", "object", "embed", "form", "img", "base"}
    assert not [name for name, _ in parser.attributes if name.startswith("on")]


def test_it_fetches_nothing() -> None:
    page = html.render(report())
    parser = Balance()
    parser.feed(page)
    for name, value in parser.attributes:
        if name in ("src", "href", "xlink:href", "action", "data"):
            assert (value or "").startswith("#"), (name, value)
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org)", page)


def test_it_says_what_there_is_to_say_and_is_the_same_twice() -> None:
    page = html.render(report())
    for word in ("drift.psi", "good", "bad", "broke", "missed", "not run", "−∞", "sha256:"):
        assert word in page
    assert page == html.render(report())


def test_its_foot_says_what_it_is_given_as_text() -> None:
    page = html.render(report(), about=("run 7", EVIL))
    assert "run 7 · &lt;script&gt;" in page.split("<footer>")[1]
