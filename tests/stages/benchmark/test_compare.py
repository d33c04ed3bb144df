"""The comparison on fake models with planted slowdowns, and its statistics by simulation."""

import random
import time

import numpy as np
import pytest

from mlgate.stages.benchmark import compare
from mlgate.stages.benchmark.compare import Arm, Epoch
from mlgate.stages.benchmark.session import Prepared


def epochs_of(
    rng: np.random.Generator,
    ratio: float = 1.0,
    *,
    epochs: int = 8,
    pairs: int = 200,
    tail: float = 0.0,
    preempted: float = 0.05,
    sentinel: float = 1.0,
) -> list[Epoch]:
    """Epochs of a 120 µs model: drifting speed, per-session offsets, preemption, planted effects.

    `tail` is the share of the candidate's queries that take three times as long.
    """
    made = []
    for _ in range(epochs):
        drift = np.exp(rng.normal(0, 0.12))
        wall: dict[Arm, np.ndarray] = {}
        cpu: dict[Arm, np.ndarray] = {}
        factors: dict[Arm, float] = {"baseline": 1.0, "candidate": ratio, "sentinel": sentinel}
        for arm, factor in factors.items():
            n = pairs if arm != "sentinel" else -(-pairs // 4)
            own = (
                120_000 * drift * factor * np.exp(rng.normal(0, 0.003)) * rng.gamma(400, 1 / 400, n)
            )
            if arm == "candidate" and tail:
                own = np.where(rng.random(n) < tail, 3 * own, own)
            waited = np.where(rng.random(n) < preempted, rng.uniform(1e6, 8e6, n), 0)
            cpu[arm] = own.astype(np.int64)
            wall[arm] = (own + waited).astype(np.int64)
        made.append(Epoch(wall, cpu))
    return made


def test_real_clocks_find_a_planted_slowdown() -> None:
    """Spinning models of 0.2 ms, the candidate 10 % slower; a few hundred pairs."""
    opened: list[Arm] = []

    def open_arm(arm: Arm) -> Prepared:
        opened.append(arm)
        spin = 220_000 if arm == "candidate" else 200_000

        def run(binding: object, options: object) -> None:
            until = time.perf_counter_ns() + spin
            while time.perf_counter_ns() < until:
                pass

        return Prepared(None, run, ("binding",))

    made = [compare.run_epoch(open_arm, 0.05, random.Random(i)) for i in range(4)]
    assert len(opened) == 12
    assert sorted(opened[:3]) == ["baseline", "candidate", "sentinel"]
    found = compare.median_ratio(made, (0.95,), 1)
    assert found.value == pytest.approx(1.1, abs=0.04)
    assert compare.sentinel_of(made).agrees
    pairs = len(made[0].wall["baseline"])
    assert len(made[0].wall["candidate"]) == pairs >= 5
    assert 5 <= len(made[0].wall["sentinel"]) < pairs


def test_an_epoch_has_some_pairs_even_when_its_time_is_short() -> None:
    quick = Prepared(None, lambda b, o: None, ("binding",))
    made = compare.run_epoch(lambda _: quick, 0.0, random.Random(0))
    assert len(made.wall["baseline"]) == 5


def test_a_slowdown_is_found_and_none_is_not() -> None:
    rng = np.random.default_rng(11)
    slow = compare.median_ratio(epochs_of(rng, 1.05), (0.99,), 1)
    same = compare.median_ratio(epochs_of(rng), (0.99,), 1)
    assert (slow.bounds[0][1] or 0) > 1.02
    assert (same.bounds[0][2] or 9) < 1.02


def test_the_tail_is_found_where_preemption_is_left_out() -> None:
    rng = np.random.default_rng(12)
    made = epochs_of(rng, tail=0.02, pairs=400)
    raw = compare.tail_of(made, 0.99, (0.99,), 1, filtered=False)
    own = compare.tail_of(made, 0.99, (0.99,), 1, filtered=True)
    assert raw is not None
    assert own is not None
    assert (raw.ratio.bounds[0][1] or 0) < 1.05  # the neighbours' noise hides it
    assert (own.ratio.bounds[0][1] or 0) > 1.5
    assert compare.preempted_share(made) == pytest.approx(0.05, abs=0.01)


def test_too_few_queries_have_no_tail() -> None:
    made = epochs_of(np.random.default_rng(0), epochs=4, pairs=100)
    assert compare.tail_of(made, 0.99, (0.95,), 1, filtered=False) is None
    assert compare.tail_of(made, 0.9, (0.95,), 1, filtered=False) is not None


def test_a_baseline_that_disagrees_with_itself_is_noticed() -> None:
    rng = np.random.default_rng(13)
    assert compare.sentinel_of(epochs_of(rng)).agrees
    assert not compare.sentinel_of(epochs_of(rng, sentinel=1.06)).agrees


def test_epochs_survive_a_recording() -> None:
    made = epochs_of(np.random.default_rng(1), epochs=3, pairs=7)
    back = compare.epochs_from("x", compare.series_of("x", made))
    for one, other in zip(made, back, strict=True):
        for arm in compare.ARMS:
            assert one.wall[arm].tolist() == other.wall[arm].tolist()
            assert one.cpu[arm].tolist() == other.cpu[arm].tolist()
