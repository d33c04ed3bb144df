"""Rows of each task, slices, cascades and figures, on arrays made by hand."""

from typing import Any

import numpy as np
import pytest

from mlgate.errors import StageError
from mlgate.evidence import Comparison, Evidence, Measurement
from mlgate.metrics.scoring import Scoring, Seen
from mlgate.metrics.tasks import score
from mlgate.stages.quantize.cascade import operate
from mlgate.stages.quantize.figures import figures
from mlgate.stages.quantize.spec import Cascade

RNG = np.random.default_rng(0)


def scoring(task: Any = "classification", **changes: Any) -> Scoring:
    settings: dict[str, Any] = {"confidences": (0.95,), "wanted": frozenset(), **changes}
    return Scoring(task=task, output="o", **settings)


def seen(before: Any, after: Any, labels: Any, **slices: Any) -> Seen:
    marks = {name: np.array(values) for name, values in slices.items()}
    return Seen({"o": np.asarray(before)}, {"o": np.asarray(after)}, np.asarray(labels), marks)


def rows(found: Any, kind: type[Any], name: str) -> list[Any]:
    return [row for row in found if type(row) is kind and row.name == name]


def one_hot(answers: Any, classes: int = 3) -> np.ndarray:
    rows: np.ndarray = np.eye(classes, dtype=np.float32)[np.asarray(answers)]
    return rows


def test_classification_by_hand() -> None:
    truth = [0, 0, 1, 1, 2, 2]
    found = score(
        scoring(), seen(one_hot(truth), one_hot([0, 1, 1, 1, 2, 0]), truth, site=list("aabbcc"))
    )
    (accuracy,) = (m for m in rows(found, Measurement, "accuracy") if not m.labels)
    assert accuracy.value == pytest.approx(4 / 6)
    recall = {m.labels["class"]: m.value for m in rows(found, Measurement, "recall")}
    assert recall == {"0": 0.5, "1": 1, "2": 0.5}
    fpr = {m.labels["class"]: m.value for m in rows(found, Measurement, "fpr")}
    assert fpr == {"0": 0.25, "1": 0.25, "2": 0}
    change = {c.labels.get("slice"): c for c in rows(found, Comparison, "accuracy")}
    assert change["site=a"].value == 0.5
    assert change["site=b"].difference[0].low < 0 < change["site=b"].difference[0].high


def test_nan_scores_are_wrong_answers_not_class_zero() -> None:
    truth = [0] * 50 + [1] * 50
    after = one_hot(truth, 2)
    after[:] = np.nan
    found = score(scoring(), seen(one_hot(truth, 2), after, truth))
    (accuracy,) = rows(found, Measurement, "accuracy")
    (agreement,) = rows(found, Measurement, "agreement")
    assert accuracy.value == agreement.value == 0


def test_text_labels_need_names() -> None:
    data = seen(one_hot([0, 1, 2]), one_hot([0, 1, 2]), np.array(["a", "b", "c"]))
    with pytest.raises(StageError, match="not a known class"):
        score(scoring(), data)
    found = score(scoring(classes=("a", "b", "c")), data)
    assert rows(found, Measurement, "accuracy")[0].value == 1
    with pytest.raises(StageError, match="classes lists 2"):
        score(scoring(classes=("a", "b")), seen(one_hot([0]), one_hot([0]), [0]))


def test_costly_metrics_are_measured_when_gated() -> None:
    truth = RNG.integers(0, 3, 120)
    before = one_hot(truth) + RNG.normal(0, 0.2, (120, 3))
    data = seen(before, before + RNG.normal(0, 0.01, (120, 3)), truth)
    wanted = frozenset({"auroc", "calibration_error", "precision", "accuracy.top2"})
    found = score(scoring(wanted=wanted, top_k=(2,)), data)
    for name in wanted:
        assert rows(found, Comparison, name), name
    assert not rows(score(scoring(), data), Measurement, "auroc")


def test_regression_and_its_bounds() -> None:
    truth = RNG.normal(size=200)
    before = truth + RNG.normal(0, 0.1, 200)
    after = truth + RNG.normal(0, 0.5, 200)
    found = score(scoring("regression"), seen(before[:, None], after[:, None], truth))
    for name, sign in (("mae", 1), ("rmse", 1), ("r2", -1)):
        (change,) = rows(found, Comparison, name)
        assert sign * change.difference[0].low > 0 or sign * change.difference[0].high < 0
        assert sign * (change.value - change.reference) > 0
    with pytest.raises(StageError, match="numbers a row"):
        score(scoring("regression"), seen(before[:, None], after[:, None], np.zeros((200, 2))))


def test_a_nan_regression_is_not_measured() -> None:
    truth = RNG.normal(size=50)
    data = seen(truth[:, None], np.full((50, 1), np.nan), truth)
    assert rows(score(scoring("regression"), data), Measurement, "mae")[0].value is None


def test_embeddings_need_no_labels() -> None:
    before = RNG.normal(size=(100, 8))
    same = Seen({"o": before}, {"o": before * 2}, None, {})
    found = score(scoring("embedding", top_k=(5,)), same)
    assert rows(found, Measurement, "cosine")[0].value == pytest.approx(1)
    assert rows(found, Measurement, "recall_at_k")[0].value == 1


def test_text_by_tokens() -> None:
    tokens = RNG.integers(0, 5, (40, 3))
    before = np.eye(5)[tokens] * 4
    after = before.copy()
    after[:10, 0] = 0
    found = score(scoring("text"), seen(before, after, tokens))
    assert rows(found, Measurement, "exact_match")[0].value <= 1
    (perplexity,) = rows(found, Comparison, "perplexity")
    assert perplexity.value > perplexity.reference > 1


def test_detection_reads_boxes() -> None:
    labels = np.tile(np.array([[[0, 0, 10, 10, 0]]], float), (40, 1, 1))
    before = np.tile(np.array([[[0, 0, 10, 10, 0.9, 0]]], float), (40, 1, 1))
    after = before.copy()
    after[:10, 0, 0] = 9
    found = score(scoring("detection"), seen(before, after, labels))
    (change,) = rows(found, Comparison, "map")
    assert change.reference == 1
    assert change.value < 0.8
    with pytest.raises(StageError, match="detection reads"):
        score(scoring("detection"), seen(before[0], after[0], labels))


def cascade_sides(count: int, wrong_when_unsure: bool) -> Seen:
    truth = np.arange(count) % 2
    unsure = np.arange(count) % 10 == 0
    after = one_hot(truth, 2) * 6
    flipped = one_hot(1 - truth, 2)
    after[unsure] = flipped[unsure] * (0.2 if wrong_when_unsure else 6)
    return seen(one_hot(truth, 2) * 6, after, truth)


def test_a_cascade_sends_on_what_the_small_model_is_unsure_of() -> None:
    point = operate(Cascade(), scoring(), cascade_sides(200, True), cascade_sides(600, True), 0.95)
    assert point.data is not None
    share, accuracy = (
        rows(point.rows, Measurement, name)[0] for name in ("cascade.share", "cascade.accuracy")
    )
    assert share.value == pytest.approx(0.1)
    assert accuracy.value == 1


def test_a_cascade_that_is_not_proved_hands_nothing_on() -> None:
    point = operate(
        Cascade(), scoring(), cascade_sides(200, False), cascade_sides(600, False), 0.95
    )
    assert point.data is None


def test_figures_of_nothing_are_none() -> None:
    assert figures(Evidence(uses="quantize", inputs={})) == ()


@pytest.mark.parametrize(
    ("before", "top_k", "said"),
    [
        (np.zeros((40, 3, 4, 4)), (), "one score per class"),
        (np.zeros((40, 1)), (5,), "needs more than 5 scores"),
        (np.zeros(40, np.int64), (2,), "needs more than 2 scores"),
    ],
)
def test_outputs_that_are_no_class_scores(
    before: np.ndarray, top_k: tuple[int, ...], said: str
) -> None:
    with pytest.raises(StageError, match=said):
        score(scoring(top_k=top_k), seen(before, before, np.arange(40) % 2))


def test_f1_scores_are_read_beside_the_label_that_comes_first() -> None:
    truth = np.arange(300) % 3
    shares = one_hot(truth) * 0.8 + 0.1
    outputs = {"label": truth.astype(np.int64), "probabilities": shares}
    found = score(
        Scoring("classification", "label", (0.95,), frozenset({"auroc"})),
        Seen(None, outputs, truth, {}),
    )
    assert [m.value for m in rows(found, Measurement, "auroc")] == [1.0, 1.0, 1.0]


def test_f2_a_label_alone_is_no_score_and_the_reason_says_what_to_do() -> None:
    truth = np.arange(300) % 3
    found = score(
        Scoring("classification", "label", (0.95,), frozenset({"auroc"})),
        Seen(None, {"label": truth}, truth, {}),
    )
    (row,) = rows(found, Measurement, "auroc")
    assert row.value is None
    assert "name the output that holds the scores" in row.reason


def right_each_time(outputs: Any, labels: Any) -> np.ndarray:
    right: np.ndarray = outputs["o"].argmax(axis=1) == labels
    return right.astype(float)


def test_q1_a_custom_metric_of_few_rows_has_no_interval_of_width_zero() -> None:
    truth = RNG.integers(0, 3, 45)
    found = score(
        scoring(custom=(("right", right_each_time),)), seen(one_hot(truth), one_hot(truth), truth)
    )
    (change,) = rows(found, Comparison, "custom.right")
    assert change.difference[0].low == pytest.approx(-(1 - 0.05 ** (1 / 45)))


@pytest.mark.parametrize("name", ["auroc", "pr_auc", "calibration_error", "log_loss", "f1"])
def test_q1_equal_answers_prove_nothing_about_rows_that_were_never_seen(name: str) -> None:
    truth = RNG.integers(0, 3, 60)
    scores = one_hot(truth) + RNG.normal(0, 0.4, (60, 3))
    found = score(scoring(wanted=frozenset({name})), seen(scores, scores, truth))
    for change in rows(found, Comparison, name):
        assert change.difference[0].low < -0.03
        assert change.difference[0].high > 0.03


def test_q2_a_repeated_row_counts_once() -> None:
    truth = RNG.integers(0, 3, 60)
    once = seen(one_hot(truth), one_hot(truth), truth)
    again = np.repeat(truth, 40)
    many = Seen(
        {"o": one_hot(again)}, {"o": one_hot(again)}, again, {}, np.repeat(np.arange(60), 40)
    )
    bounds = []
    for data in (once, many):
        found = score(scoring(), data)
        (change,) = rows(found, Comparison, "accuracy")
        assert change.n == 60
        bounds.append((change.difference[0].low, change.difference[0].high))
    assert bounds[0] == pytest.approx(bounds[1])


def test_a_ranking_is_of_queries() -> None:
    relevance = np.array([1, 0, 0, 0, 1, 0, 0, 0])
    scores = np.array([3.0, 2, 1, 0, 2, 3, 1, 0])
    found = score(
        Scoring("ranking", "o", (0.95,), frozenset()),
        Seen(None, {"o": scores}, relevance, {}, queries=np.repeat([0, 1], 4)),
    )
    (mrr,) = rows(found, Measurement, "mrr")
    (ndcg,) = rows(found, Measurement, "ndcg")
    assert (mrr.value, mrr.n) == (0.75, 2)
    assert ndcg.value == pytest.approx((1 + 1 / np.log2(3)) / 2)


def test_costs_weigh_errors_and_no_answer_is_the_dearest() -> None:
    costs = ((0.0, 1.0), (10.0, 0.0))
    found = score(
        Scoring("classification", "a", (0.95,), frozenset(), costs=costs),
        Seen(None, {"a": np.array([0, 1, 0, -1])}, np.array([0, 0, 1, 1]), {}),
    )
    (cost,) = rows(found, Measurement, "cost")
    assert cost.value == (0 + 1 + 10 + 10) / 4
