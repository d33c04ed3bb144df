"""The laws of judging: each is a property, held against generated gates and evidence."""

import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from mlgate.evidence import Bounds, Comparison, Evidence, Measurement, measured, unmeasured
from mlgate.gate import Gate, Outcome, judge, judge_all, worst
from mlgate.quantity import Quantity

numbers = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 6))


@st.composite
def intervals(draw: st.DrawFn) -> Measurement:
    low, value, high = sorted(draw(st.lists(numbers, min_size=3, max_size=3)))
    return measured("m", value, bounds=[(0.95, low, high)], n=draw(st.integers(1, 10_000)))


@st.composite
def gates(draw: st.DrawFn) -> Gate:
    kind = draw(st.sampled_from(["min", "max", "both"]))
    low, high = sorted([draw(numbers), draw(numbers)])
    limits: dict[str, Any] = {
        "min": {"min": low},
        "max": {"max": high},
        "both": {"min": low, "max": high},
    }[kind]
    return Gate(
        metric="m",
        severity=draw(st.sampled_from(["fail", "warn"])),
        on_inconclusive=draw(st.sampled_from(["extend", "fail", "warn"])),
        **limits,
    )


def evidence(*rows: Measurement | Comparison) -> Evidence:
    return Evidence(
        uses="test",
        inputs={},
        measurements=tuple(r for r in rows if isinstance(r, Measurement)),
        comparisons=tuple(r for r in rows if isinstance(r, Comparison)),
    )


def outcome(gate: Gate, *rows: Measurement | Comparison) -> str:
    return judge(gate, evidence(*rows), confidence=0.95).outcome


@given(intervals(), numbers, numbers)
def test_a_tighter_limit_never_turns_fail_into_pass(row: Measurement, a: float, b: float) -> None:
    loose, tight = max(a, b), min(a, b)
    ranks = [Outcome[outcome(Gate(metric="m", max=x), row).upper()] for x in (loose, tight)]
    assert ranks[0] <= ranks[1]
    ranks = [Outcome[outcome(Gate(metric="m", min=x), row).upper()] for x in (tight, loose)]
    assert ranks[0] <= ranks[1]


@given(intervals(), numbers, st.floats(0, 100))
def test_a_wider_interval_never_decides_what_a_narrower_one_did_not(
    row: Measurement, limit: float, more: float
) -> None:
    gate = Gate(metric="m", max=limit)
    bounds = row.bounds[0]
    assert bounds.low is not None
    assert bounds.high is not None
    wide = measured("m", row.value or 0.0, bounds=[(0.95, bounds.low - more, bounds.high + more)])
    narrow, wider = outcome(gate, row), outcome(gate, wide)
    assert wider in (narrow, "inconclusive")


@given(gates(), st.sampled_from([math.nan, math.inf, -math.inf]))
def test_what_is_not_finite_is_an_error(gate: Gate, value: float) -> None:
    assert outcome(gate, measured("m", value)) == "error"


@given(gates())
def test_what_is_missing_is_an_error(gate: Gate) -> None:
    assert outcome(gate) == "error"
    assert outcome(gate, measured("other", 1.0)) == "error"
    assert outcome(gate, unmeasured("m", "the GPU was not there")) == "error"
    assert outcome(gate, measured("m", 0.0, n=0)) == "error"


@given(gates(), intervals())
def test_a_confidence_that_was_not_measured_is_an_error(gate: Gate, row: Measurement) -> None:
    other = gate.model_copy(update={"confidence": 0.5})
    assert outcome(other, row) == "error"


@given(gates(), intervals(), intervals())
def test_every_match_must_hold_and_the_worst_is_reported(
    gate: Gate, a: Measurement, b: Measurement
) -> None:
    ranks = [Outcome[outcome(gate, row).upper()] for row in (a, b)]
    both = Outcome[outcome(gate, a, b).upper()]
    assert both == max(ranks)
    assert outcome(gate, a, b) == outcome(gate, b, a)


@given(st.lists(gates(), min_size=1, max_size=5), intervals(), st.randoms())
def test_the_order_of_gates_does_not_matter(
    some: list[Gate], row: Measurement, random: Any
) -> None:
    shuffled = list(some)
    random.shuffle(shuffled)
    judged = judge_all(some, evidence(row), confidence=0.95)
    again = judge_all(shuffled, evidence(row), confidence=0.95)
    assert worst(g.rank for g in judged) == worst(g.rank for g in again)
    assert sorted(g.model_dump_json() for g in judged) == sorted(g.model_dump_json() for g in again)


@given(intervals(), numbers)
def test_warn_never_blocks_and_never_hides_an_error(row: Measurement, limit: float) -> None:
    gate = Gate(metric="m", max=limit, severity="warn")
    assert outcome(gate, row) in ("pass", "warn")
    assert outcome(gate) == "error"


@given(intervals(), numbers)
def test_a_pass_means_that_the_whole_interval_clears_the_limit(
    row: Measurement, limit: float
) -> None:
    high, low = row.bounds[0].high, row.bounds[0].low
    assert high is not None
    assert low is not None
    expected = "pass" if high <= limit else "fail" if low > limit else "inconclusive"
    assert outcome(Gate(metric="m", max=limit), row) == expected


def test_nothing_checked_is_never_a_pass() -> None:
    assert worst([]) is Outcome.ERROR


def test_the_scale_and_its_exit_codes() -> None:
    assert sorted(Outcome) == [
        Outcome.PASS,
        Outcome.WARN,
        Outcome.INCONCLUSIVE,
        Outcome.ERROR,
        Outcome.FAIL,
    ]
    assert [o.exit_code for o in sorted(Outcome)] == [0, 0, 4, 3, 1]


@pytest.mark.parametrize(
    ("limit", "unit", "expected"),
    [
        (0.2, "1", 0.2),
        ("5%", "1", 0.05),
        ("20ms", "ms", 20),
        ("0.02s", "ms", 20),
        ("20ms", "s", 0.02),
        ("400MB", "B", 4e8),
        ("1KiB", "B", 1024),
        ("1d", "s", 86400),
        ("0.6 USD", "USD", 0.6),
    ],
)
def test_units(limit: float | str, unit: str, expected: float) -> None:
    assert Quantity.parse(limit).within(unit) == expected


@pytest.mark.parametrize("limit", ["20 parsecs", "", "ms", "1e999ms", "five", "1;2", "nan%"])
def test_a_limit_that_is_no_quantity_is_refused(limit: str) -> None:
    with pytest.raises(ValidationError):
        Gate(metric="m", max=limit)


def test_a_unit_of_another_dimension_is_an_error() -> None:
    assert outcome(Gate(metric="m", max="5ms"), measured("m", 1.0, unit="B")) == "error"


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"max_drop": 0.1},
        {"compared_to": "source"},
        {"compared_to": "source", "max": 1},
        {"min": 2, "max": 1},
        {"min": 20, "max": "1%"},
        {"equals": 1, "max": 2},
        {"compared_to": "source", "max_drop": -0.1},
        {"max": math.inf},
        {"max": 1, "confidence": 1.0},
        {"max": 1, "severity": "info"},
    ],
)
def test_a_gate_states_one_condition(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Gate(metric="m", **wrong)


def accuracy(
    value: float, reference: float, low: float | None = None, high: float | None = None
) -> Comparison:
    bounds = () if low is None else (Bounds(confidence=0.95, low=low, high=high),)
    ratio = tuple(
        Bounds(confidence=0.95, low=(b.low or 0) + 1, high=(b.high or 0) + 1) for b in bounds
    )
    return Comparison(
        name="accuracy",
        to="source",
        value=value,
        reference=reference,
        difference=bounds,
        ratio=ratio,
        n=500,
    )


@pytest.mark.parametrize(
    ("limit", "row", "expected"),
    [
        ({"max_drop": 0.01}, accuracy(0.96, 0.97), "pass"),  # exactly on the limit, exact numbers
        ({"max_drop": 0.01}, accuracy(0.95, 0.97), "fail"),
        ({"max_drop": 0.01}, accuracy(0.97, 0.97, -0.004, 0.004), "pass"),
        ({"max_drop": 0.01}, accuracy(0.96, 0.97, -0.02, 0.001), "inconclusive"),
        ({"max_drop": 0.01}, accuracy(0.90, 0.97, -0.09, -0.05), "fail"),
        ({"max_increase": "5%"}, accuracy(1.0, 1.0, -0.01, 0.01), "pass"),
        ({"max_increase": "5%"}, accuracy(1.2, 1.0, 0.1, 0.3), "fail"),
        ({"max_drop": "5%"}, accuracy(1.2, 1.0, 0.1, 0.3), "pass"),
        ({"max_drop": "5%"}, accuracy(0.0, 0.0), "error"),
        ({"max_drop": "5%"}, accuracy(1.0, -1.0), "error"),
    ],
)
def test_comparisons(limit: dict[str, Any], row: Comparison, expected: str) -> None:
    assert outcome(Gate(metric="accuracy", compared_to="source", **limit), row) == expected


def test_a_comparison_with_something_else_is_an_error() -> None:
    gate = Gate(metric="accuracy", compared_to="baseline", max_drop=0.1)
    assert outcome(gate, accuracy(0.9, 0.9)) == "error"


def test_a_message_says_both_numbers_and_why() -> None:
    row = measured("m", 3, unit="count", because=["column a: row 7", "column b: row 9"])
    result = judge(Gate(metric="m", max=0), evidence(row), confidence=0.95)
    assert result.message == "m 3 > 0: column a: row 7; column b: row 9"
    assert (result.observed, result.limit) == (3, "≤ 0")


def test_an_inconclusive_result_says_how_many_samples_would_decide() -> None:
    row = measured("m", 0.10, bounds=[(0.95, 0.05, 0.15)], n=100)
    result = judge(Gate(metric="m", max=0.11), evidence(row), confidence=0.95)
    assert result.outcome == "inconclusive"
    assert "about 2,500 samples would decide, 100 were there" in result.message


@given(st.lists(st.tuples(st.text(max_size=3), numbers), min_size=1, max_size=6))
def test_selection_by_label(rows: list[tuple[str, float]]) -> None:
    wanted = rows[0][0]
    assume(all(label for label, _ in rows))
    measurements = [measured("m", value, labels={"class": label}) for label, value in rows]
    highest = max(value for label, value in rows if label == wanted)
    gate = Gate(metric="m", where={"class": wanted}, max=highest)
    assert outcome(gate, *measurements) == "pass"
    assert outcome(gate.model_copy(update={"where": {"slice": "x"}}), *measurements) == "error"


def test_an_open_end_is_shown_on_its_own_side() -> None:
    row = measured("m", 5.0, bounds=[(0.95, None, None)], n=3)
    evidence = Evidence(uses="t", inputs={}, measurements=(row,))
    assert "5 [−∞, ∞] may or" in judge(Gate(metric="m", max=9), evidence, confidence=0.95).message
