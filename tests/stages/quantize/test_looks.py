"""Early looks: the schedule spends a gate's error once, and no more models slip through by it."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgate.data.rows import open_rows
from mlgate.data.session import Port, Session
from mlgate.gate import Gate
from mlgate.stage import Dataset
from mlgate.stages.quantize.blocks import Blocks
from mlgate.stages.quantize.looks import Look, confirm_looks, may_promise, search_looks
from mlgate.stages.quantize.samples import Samples, read_samples
from mlgate.statistics.paired import Pairs
from tests.stages.quantize.models import convolutional, save

POINT = Gate(metric="accuracy", compared_to="source", max_drop=0.01)


def samples(count: int, *, labels: Any = None, **slices: Any) -> Samples:
    """Rows with nothing but hashes, labels and slices."""
    hashes = np.array([f"{i:032x}" for i in range(count)], dtype="S32")
    return Samples(None, (), np.arange(count), hashes, labels, slices)  # type: ignore[arg-type]


@given(
    count=st.integers(1, 200_000),
    drop=st.floats(0.001, 0.5),
    confidence=st.floats(0.5, 0.999),
)
@settings(max_examples=200, deadline=None)
def test_looks_grow_to_all_rows_and_spend_the_error_once(
    count: int, drop: float, confidence: float
) -> None:
    gate = POINT.model_copy(update={"max_drop": drop})
    looks = confirm_looks((gate,), confidence, samples(count))
    rows = [look.rows for look in looks]
    assert rows == sorted(set(rows))
    assert rows[-1] == count
    assert sum(look.share for look in looks) == pytest.approx(1)
    assert all(look.share > 0 for look in looks)
    assert all(b <= 2 * a + 1 for a, b in pairwise(rows))


def test_the_first_look_is_where_the_gate_can_just_be_proved() -> None:
    first, *_ = confirm_looks((POINT,), 0.95, samples(5000))
    level = 1 - 0.05 * first.share
    assert Pairs(0, 0, first.rows).interval(level)[1] >= -0.01
    assert Pairs(0, 0, first.rows - 1).interval(level)[1] < -0.01


@pytest.mark.parametrize(
    "gate",
    [
        Gate(metric="auroc", min=0.9),  # a bootstrap
        Gate(metric="recall_at_k", min=0.9),  # its value depends on the number of rows
        Gate(metric="accuracy", compared_to="source", max_drop=0),
        Gate(metric="accuracy", equals=1),
        Gate(metric="custom.cost", max=0.3),
    ],
    ids=lambda gate: gate.metric,
)
def test_what_cannot_be_looked_at_early_is_looked_at_once(gate: Gate) -> None:
    rows = samples(5000)
    assert confirm_looks((POINT, gate), 0.95, rows) == (Look(5000),)
    if gate.metric != "accuracy":
        assert search_looks((gate,), rows) == (Look(5000),)


def test_few_rows_are_looked_at_once() -> None:
    assert confirm_looks((POINT,), 0.95, samples(600)) == (Look(600),)
    assert confirm_looks((Gate(metric="size_ratio", max=0.5),), 0.95, samples(5000)) == (
        Look(5000),
    )


def test_classes_and_slices_need_rows_of_their_own() -> None:
    labels = np.repeat(np.arange(10), 1000)
    gate = Gate(metric="recall", compared_to="source", max_drop=0.05)
    tenth = confirm_looks((gate,), 0.95, samples(10_000, labels=labels))
    assert tenth[0].rows == 900  # 90 of each: 0.95^90 < 0.05 / 5
    sliced = samples(10_000, site=np.repeat(["a", "b"], [9000, 1000]))
    assert confirm_looks((POINT,), 0.95, sliced)[0].rows == pytest.approx(4590, rel=0.01)


def test_a_doubtful_candidate_needs_all_rows_for_a_promise() -> None:
    last = Look(1200)
    assert not may_promise(Look(32), last, doubtful=False)
    assert may_promise(Look(128), last, doubtful=False)
    assert not may_promise(Look(600), last, doubtful=True)
    assert may_promise(last, last, doubtful=True)


def accepted(looks: tuple[Look, ...], shares: list[float], runs: int) -> tuple[float, float]:
    """(how often the point gate is passed, mean rows) with `shares` of lost, won and equal rows."""
    rng = np.random.default_rng(0)
    counts = np.zeros((runs, 3), int)
    passed, open_ = np.zeros(runs, bool), np.ones(runs, bool)
    rows = np.full(runs, looks[-1].rows)
    before = 0
    for look in looks:
        counts += rng.multinomial(look.rows - before, shares, size=runs)
        before = look.rows
        for run in np.flatnonzero(open_):
            pairs = Pairs(float(counts[run, 0]), float(counts[run, 1]), float(look.rows))
            _, low, high = pairs.interval(1 - 0.05 * look.share)
            passed[run] = low >= -0.01
            if low >= -0.01 or high < -0.01:
                open_[run], rows[run] = False, look.rows
    return float(passed.mean()), float(rows.mean())


@pytest.mark.parametrize("won", [0.0, 0.002, 0.02])
@pytest.mark.parametrize("count", [1200, 4000])
def test_a_model_at_the_limit_is_accepted_no_more_often_for_early_looks(
    count: int, won: float
) -> None:
    looks = confirm_looks((POINT,), 0.95, samples(count))
    assert len(looks) > 2
    share, _ = accepted(looks, [0.01 + won, won, 0.99 - 2 * won], 3000)
    assert share <= 0.05 + 3 * (0.05 * 0.95 / 3000) ** 0.5


def test_a_good_model_is_seldom_lost_by_early_looks_and_needs_fewer_rows() -> None:
    looks = confirm_looks((POINT,), 0.95, samples(1200))
    early, rows = accepted(looks, [0.001, 0.001, 0.998], 2000)
    once, _ = accepted((Look(1200),), [0.001, 0.001, 0.998], 2000)
    assert early >= once - 0.02
    assert rows < 800
    harder, _ = accepted(looks, [0.005, 0.005, 0.99], 2000)
    once, _ = accepted((Look(1200),), [0.005, 0.005, 0.99], 2000)
    assert harder >= once - 0.08


def test_blocks_are_met_once_by_the_source_and_hold_their_own_labels(tmp_path: Path) -> None:
    model = save(tmp_path / "m.onnx", convolutional())
    x = np.random.default_rng(0).random((100, 1, 6, 6), dtype=np.float32)
    np.savez(tmp_path / "r.npz", x=x, y=np.arange(100), z=np.arange(100))
    dataset = Dataset.model_validate({"dataset": str(tmp_path / "r.npz"), "label": "y"})
    rows = open_rows(str(tmp_path / "r.npz"), None)
    port = Port("x", "float32", (None, 1, 6, 6))
    read = read_samples(rows, dataset, [port], {}, role="search", slices=("z",))
    session, asked = Session(model), []

    def answer(one: Session, part: Samples) -> dict[str, np.ndarray]:
        asked.append((one is session, len(part)))
        return next(one.stream(part.batches(len(part))))

    blocks = Blocks(read, (Look(10), Look(40), Look(100)), 0, session, answer, "scores")
    seen = [(look.rows, found) for look, found in blocks.compared(session)]
    assert [count for count, _ in seen] == [10, 40, 100]
    whole = seen[-1][1]
    assert whole.labels is not None
    assert sorted(whole.labels.tolist()) == list(range(100))
    assert [str(label) for label in whole.labels] == whole.slices["z"].tolist()
    # The rows of a label are that label's rows, whatever the order.
    expected = next(session.stream(iter([{"x": x[whole.labels]}])))["scores"]
    np.testing.assert_allclose(whole.reference["scores"], expected, atol=1e-6)
    np.testing.assert_array_equal(seen[0][1].reference["scores"], whole.reference["scores"][:10])
    assert whole.labels[:10].tolist() != list(range(10))  # not the first rows of the file
    list(blocks.compared(Session(model)))
    assert asked.count((False, 60)) == 1  # the source did not answer again
