"""Every metric is scikit-learn's, and its influences are what the value does when a row is weighed."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from mlgate.metrics import linear
from mlgate.statistics.linear import Linear, Spread, mean


class Table:
    """A random table of labels, probabilities and numbers; some with ties."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.n, self.count = int(rng.integers(4, 200)), int(rng.integers(2, 6))
        self.truth = rng.integers(0, self.count, self.n)
        shares = rng.dirichlet(np.ones(self.count), self.n)
        if seed % 3 == 0:
            shares = np.round(shares, 1) + 0.01
        self.shares = shares / shares.sum(axis=1, keepdims=True)
        self.answers = self.shares.argmax(axis=1)
        self.numbers, self.errors = rng.normal(size=(2, self.n))
        self.relevance = rng.integers(0, 4, self.n).astype(float)
        self.scores = np.round(rng.normal(size=self.n), 1)


def test_every_metric_is_scikit_learns_on_500_tables() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(500):
            expect_as_in_scikit_learn(Table(seed))


def expect_as_in_scikit_learn(table: Table) -> None:
    truth, said, shares = table.truth, table.answers, table.shares
    sk = sklearn_metrics
    found = {
        "f1_macro": (
            linear.f1_macro(truth, said),
            sk.f1_score(truth, said, average="macro", zero_division=0),
        ),
        "balanced": (
            linear.balanced_accuracy(truth, said),
            sk.recall_score(truth, said, labels=np.unique(truth), average="macro"),
        ),
        "share": (linear.share(truth == said), sk.accuracy_score(truth, said)),
        "mae": (
            linear.mae(table.errors),
            sk.mean_absolute_error(table.numbers, table.numbers + table.errors),
        ),
        "rmse": (
            linear.rmse(table.errors),
            sk.root_mean_squared_error(table.numbers, table.numbers + table.errors),
        ),
        "r2": (
            linear.r2(table.errors[:, None], table.numbers[:, None]),
            sk.r2_score(table.numbers, table.numbers + table.errors),
        ),
    }
    kinds = np.arange(table.count)
    if len(np.unique(truth)) == table.count:
        own = shares if table.count > 2 else shares[:, 1]
        found["log_loss"] = linear.log_loss(shares, truth), sk.log_loss(truth, shares)
        found["brier"] = linear.brier(shares, truth), sk.brier_score_loss(truth, own)
    for kind in kinds:
        is_class, of_class = truth == kind, said == kind
        if is_class.any() and not is_class.all():
            column = shares[:, kind]
            area = sk.roc_auc_score(is_class, column)
            found[f"auroc {kind}"] = linear.auroc(is_class, column), area
            area = sk.average_precision_score(is_class, column)
            found[f"pr_auc {kind}"] = linear.average_precision(is_class, column), area
        if is_class.any() and of_class.any():
            for name in ("precision", "recall", "f1"):
                ours = getattr(linear, name)(is_class, of_class)
                theirs = getattr(sk, f"{name}_score")(is_class, of_class, zero_division=0)
                found[f"{name} {kind}"] = ours, theirs
    for name, (ours, theirs) in found.items():
        assert ours.value == pytest.approx(float(theirs), rel=1e-12, abs=1e-12), name
    if table.relevance.any():
        expected = sk.ndcg_score(table.relevance[None], table.scores[None], k=10)
        ours = linear.ndcg(table.relevance, table.scores, 10)
        assert ours == pytest.approx(float(expected), rel=1e-12, abs=1e-12)
    one = np.zeros(table.n)
    one[0] = 1
    expected = sk.label_ranking_average_precision_score(one[None], table.scores[None])
    assert linear.reciprocal_rank(one, table.scores) == pytest.approx(
        float(expected), rel=1e-12, abs=1e-12
    )


METRICS: dict[str, Callable[[Table], Linear]] = {
    "auroc": lambda t: linear.auroc(t.truth == 0, t.shares[:, 0]),
    "pr_auc": lambda t: linear.average_precision(t.truth == 0, t.shares[:, 0]),
    "f1": lambda t: linear.f1(t.truth == 0, t.answers == 0),
    "f1_macro": lambda t: linear.f1_macro(t.truth, t.answers),
    "balanced_accuracy": lambda t: linear.balanced_accuracy(t.truth, t.answers),
    "log_loss": lambda t: linear.log_loss(t.shares, t.truth),
    "brier": lambda t: linear.brier(t.shares, t.truth),
    "rmse": lambda t: linear.rmse(t.errors),
    "r2": lambda t: linear.r2(t.errors[:, None], t.numbers[:, None]),
}


def repeated(table: Table, times: np.ndarray) -> Table:
    other = Table.__new__(Table)
    for name in ("truth", "shares", "answers", "errors", "numbers"):
        setattr(other, name, np.repeat(getattr(table, name), times, axis=0))
    return other


@pytest.mark.parametrize("name", METRICS)
def test_an_influence_is_the_slope_of_the_value_when_a_row_is_weighed(name: str) -> None:
    table = Table(7)
    found = METRICS[name](table)
    assert abs(found.influence.sum()) < 1e-9
    for row in range(0, table.n, max(1, table.n // 5)):
        times = np.full(table.n, 1000)
        times[row] += 10
        moved = METRICS[name](repeated(table, times)).value - found.value
        assert moved / (10 / 1000) == pytest.approx(found.influence[row], rel=0.03, abs=3e-5)


@pytest.mark.parametrize("name", METRICS)
def test_repeating_every_row_changes_nothing_when_repeats_are_one_unit(name: str) -> None:
    table = Table(7)
    once = Spread.of(METRICS[name](table))
    units = np.repeat(np.arange(table.n), 5)
    many = Spread.of(METRICS[name](repeated(table, np.full(table.n, 5))), units)
    assert many.units == pytest.approx(once.units)
    assert many.variance == pytest.approx(once.variance)


def test_nan_scores_are_no_area() -> None:
    positive, scores = np.array([True, False]), np.array([np.nan, 1.0])
    assert np.isnan(linear.auroc(positive, scores).value)
    assert np.isnan(linear.average_precision(positive, scores).value)


def test_calibration_error_of_a_certain_liar_is_one() -> None:
    sure = np.ones(10)
    assert linear.calibration_error(sure, np.zeros(10, bool)).value == 1
    assert linear.calibration_error(sure, np.ones(10, bool)).value == 0


def test_r2_of_the_mean_is_zero_and_of_a_constant_truth_nan() -> None:
    truth = np.array([[1.0], [2.0], [3.0]])
    assert linear.r2(2.0 - truth, truth).value == 0
    assert np.isnan(linear.r2(np.zeros((3, 1)), np.ones((3, 1))).value)


@given(st.integers(0, 400), st.integers(0, 400), st.sampled_from([0.8, 0.95, 0.999]))
@settings(max_examples=100, deadline=None)
def test_of_zeros_and_ones_the_bound_is_clopper_pearsons(a: int, b: int, level: float) -> None:
    from mlgate.statistics.binomial import clopper_pearson

    part, n = min(a, b), max(a, b) + 1
    ones = np.arange(n) < part
    found = Spread.of(mean(ones.astype(float))).within(0, 1, level)
    assert found == pytest.approx(clopper_pearson(part, n, level), abs=1e-9)


@given(
    st.lists(st.floats(-3, 3).map(lambda x: round(x, 6)), min_size=1, max_size=60),
    st.sampled_from([0.8, 0.95]),
)
@settings(max_examples=200, deadline=None)
def test_no_interval_has_width_zero(values: list[float], level: float) -> None:
    found = mean(np.array(values))
    spread = Spread.of(found)
    for _, low, high in (spread.within(-4, 4, level), spread.around(found.reach, level)):
        assert low < found.value < high


def test_a_difference_and_a_quotient_of_the_same_rows() -> None:
    rng = np.random.default_rng(0)
    before, after = rng.random(500) + 1, rng.random(500) + 1
    difference = mean(after).minus(mean(before))
    assert Spread.of(difference).variance == pytest.approx((after - before).var())
    quotient = mean(after).over(mean(before))
    assert quotient.value == pytest.approx(after.mean() / before.mean())
    spread = (after - quotient.value * before) / before.mean()
    assert Spread.of(quotient).variance == pytest.approx((spread**2).mean())
