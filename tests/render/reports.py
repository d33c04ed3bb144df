"""Reports to render: one of each outcome, and any report at all, with hostile texts."""

from collections.abc import Mapping
from typing import Literal

from hypothesis import strategies as st

from mlgate.evidence import Evidence, digest_of, measured
from mlgate.gate import GateResult, Outcome
from mlgate.run.report import Errored, Ran, Report, Result, Skipped
from tests.projects import reported

Word = Literal["pass", "warn", "inconclusive", "error", "fail"]
WORDS: tuple[Word, ...] = ("pass", "warn", "inconclusive", "error", "fail")

HOSTILE = (
    '"; touch pwned; "',
    "$(touch pwned)",
    "`touch pwned`",
    "${{ github.token }}",
    "$(params.stage)",
    "a\nb",
    "a\r\n::error::spoofed",
    "%0A::set-output name=x::y",
    "]]>",
    "</testsuites>",
    "<script>alert(1)</script>",
    "<!-- -->",
    "| a | b |",
    "[x](javascript:alert(1))",
    "![x](https://example.com/x.png)",
    "@everyone",
    "#1 GH-1 https://example.com www.example.com",
    "\x00\x07\x1b[31m\x85\ufffe\uffff",
    "::add-mask::x",
    "file=x,line=1::y",
    "'\"\\",
    "é 漢 😀 \u202e",
    "\\|\\",
    "&lt;&amp;",
)


def gate(word: Word, message: str = "is as it is", metric: str = "drift.psi") -> GateResult:
    return GateResult(
        metric=metric,
        where={"column": "age"},
        observed=0.3,
        low=0.2,
        high=0.4,
        limit="≤ 0.2",
        outcome=word,
        message=message,
    )


def ran(*gates: GateResult, cached: bool = False) -> Ran:
    evidence = Evidence(uses="validate", inputs={}, measurements=(measured("drift.psi", 0.3),))
    lines = tuple(range(10, 10 + len(gates)))
    return Ran(evidence, digest_of(evidence.canonical()), gates, lines, cached)


def report(results: Mapping[str, Result], name: str = "digits") -> Report:
    return reported(
        results,
        name=name,
        lines={stage: 3 + 3 * row for row, stage in enumerate(results)},
    )


EVERYTHING = report(
    {
        "data": ran(*(gate(word, f"{word} it is") for word in WORDS)),
        "kept": ran(gate("pass"), cached=True),
        "broken": Errored("no memory", "give it more"),
        "later": Skipped("data did not pass", Outcome.FAIL),
    }
)

_texts = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=30))
_gates = st.builds(
    GateResult,
    metric=_texts.filter(bool),
    where=st.dictionaries(_texts, _texts, max_size=2),
    observed=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    limit=_texts,
    outcome=st.sampled_from(WORDS),
    message=_texts,
)
_results: st.SearchStrategy[Result] = st.one_of(
    st.lists(_gates, max_size=4).map(lambda gates: ran(*gates)),
    st.builds(Errored, _texts, st.none() | _texts),
    st.builds(Skipped, _texts, st.sampled_from(list(Outcome)[2:])),
)
reports = st.builds(
    report,
    st.dictionaries(st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,20}", fullmatch=True), _results),
    _texts.filter(bool),
)
