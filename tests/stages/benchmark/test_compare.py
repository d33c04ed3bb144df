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

    made = []
    for i in range(6):
        order = compare.opening_order(7, i)
        made.append(compare.run_epoch(open_arm, 0.05, order, random.Random(i)))
    assert len(opened) == 18
    found = compare.median_ratio(made, (0.95,), 1)
    assert found.value == pytest.approx(1.1, abs=0.04)
    assert compare.sentinel_of(made).agrees
    pairs = len(made[0].wall["baseline"])
    assert len(made[0].wall["candidate"]) == pairs >= 5
    assert 5 <= len(made[0].wall["sentinel"]) < pairs


def test_an_epoch_has_some_pairs_even_when_its_time_is_short() -> None:
    quick = Prepared(None, lambda b, o: None, ("binding",))
    made = compare.run_epoch(lambda _: quick, 0.0, compare.ARMS, random.Random(0))
    assert len(made.wall["baseline"]) == 5


@pytest.mark.parametrize("seed", range(20))
def test_b4_an_opening_order_and_its_reverse_follow_one_another(seed: int) -> None:
    orders = [compare.opening_order(seed, epoch) for epoch in range(8)]
    for order, reverse in zip(orders[::2], orders[1::2], strict=True):
        assert sorted(order) == sorted(compare.ARMS)
        assert reverse == order[::-1]


def test_b4_orders_differ_from_run_to_run() -> None:
    drawn = {compare.opening_order(seed, 0) for seed in range(40)}
    assert len(drawn) == 6


def placed(rng: np.random.Generator, seed: int, ratio: float, worth: float) -> list[Epoch]:
    """Epochs in which what is opened later is slower by `worth` for each place."""
    made = []
    for number, epoch in enumerate(epochs_of(rng, ratio, preempted=0)):
        place = {arm: i for i, arm in enumerate(compare.opening_order(seed, number))}
        wall = {
            arm: (times * (1 + worth * place[arm])).astype(np.int64)
            for arm, times in epoch.wall.items()
        }
        made.append(Epoch(wall, wall))
    return made


@pytest.mark.parametrize("seed", range(12))
def test_b4_the_order_of_opening_is_worth_nothing(seed: int) -> None:
    """3 % a place: eight epochs decide 1 % all the same, without an offset."""
    rng = np.random.default_rng(seed)
    found = compare.median_ratio(placed(rng, seed, 1.0, 0.03), (0.95,), 1)
    assert found.value == pytest.approx(1.0, abs=0.006)
    _, low, high = found.bounds[0]
    assert low is not None
    assert high is not None
    assert high - low < 0.03  # by unbalanced epochs: 0.08


def test_b4_a_sentinel_that_agrees_with_everything_is_not_clear() -> None:
    rng = np.random.default_rng(3)
    assert compare.sentinel_of(epochs_of(rng)).clear
    noisy = []
    for epoch in epochs_of(rng, epochs=8):
        wall = dict(epoch.wall)
        wall["sentinel"] = (wall["sentinel"] * np.exp(rng.normal(0, 0.05))).astype(np.int64)
        noisy.append(Epoch(wall, epoch.cpu))
    found = compare.sentinel_of(noisy)
    assert not (found.agrees and found.clear)


def test_b5_where_many_are_interrupted_the_own_time_is_compared() -> None:
    """Every second query waits up to 8 ms for 0.12 ms of work: wall times lean towards 1."""
    rng = np.random.default_rng(5)
    made = epochs_of(rng, 1.10, preempted=0.7)
    assert compare.clock_of(made, own_time_known=True) == "cpu"
    assert compare.clock_of(made, own_time_known=False) == "wall"
    assert compare.clock_of(epochs_of(rng, preempted=0.01), own_time_known=True) == "wall"
    own = compare.median_ratio(made, (0.95,), 1, "cpu")
    _, low, high = own.bounds[0]
    assert low is not None
    assert high is not None
    assert low < 1.10 < high
    assert high - low < 0.03


def test_a_slowdown_is_found_and_none_is_not() -> None:
    rng = np.random.default_rng(11)
    slow = compare.median_ratio(epochs_of(rng, 1.05), (0.99,), 1)
    same = compare.median_ratio(epochs_of(rng), (0.99,), 1)
    assert (slow.bounds[0][1] or 0) > 1.02
    assert (same.bounds[0][2] or 9) < 1.02


def test_the_tail_is_found_where_preemption_is_left_out() -> None:
    rng = np.random.default_rng(12)
    made = epochs_of(rng, tail=0.02, pairs=400, epochs=16)
    raw = compare.tail_of(made, 0.99, (0.99,), 1, filtered=False)
    own = compare.tail_of(made, 0.99, (0.99,), 1, filtered=True)
    assert raw is not None
    assert own is not None
    assert (raw.ratio.bounds[0][1] or 0) < 1.05  # the neighbours' noise hides it
    assert (own.ratio.bounds[0][1] or 0) > 1.5
    assert compare.preempted_share(made) == pytest.approx(0.05, abs=0.01)


def test_too_few_queries_have_no_tail() -> None:
    made = epochs_of(np.random.default_rng(0), epochs=6, pairs=70)
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
