"""Metrics agree with scikit-learn, with hand-worked cases, and say NaN where there is no value."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from mlgate.metrics import values as metrics


def test_answers_of_every_shape_of_scores() -> None:
    assert metrics.answers(np.array([[0.1, 0.9], [0.5, 0.5]]), 0.5).tolist() == [1, 0]
    assert metrics.answers(np.array([[0.4], [0.5]]), 0.5).tolist() == [0, 1]
    assert metrics.answers(np.array([3, 1]), 0.5).tolist() == [3, 1]


def test_top_k_counts_ties_against_the_truth() -> None:
    scores = np.array([[3.0, 2.0, 1.0], [1.0, 1.0, 1.0]])
    assert metrics.in_top(scores, np.array([1, 0]), 2).tolist() == [True, False]


def test_probabilities_are_kept_or_softmaxed() -> None:
    given_ = np.array([[0.25, 0.75]])
    assert metrics.probabilities(given_).tolist() == given_.tolist()
    assert metrics.probabilities(np.array([[0.0, np.log(3)]])).ravel() == pytest.approx(
        [0.25, 0.75]
    )


def test_perplexity_of_a_uniform_model_is_the_vocabulary() -> None:
    losses, counts = metrics.token_losses(np.zeros((2, 3, 7)), np.array([[1, 2, -100], [0, 0, 0]]))
    assert counts.tolist() == [2, 3]
    assert metrics.perplexity(losses, counts) == pytest.approx(7)


def test_neighbours_by_cosine_leave_themselves_out() -> None:
    vectors = np.array([[1.0, 0], [2.0, 0.1], [0, 1.0], [0.1, 1.0]])
    assert metrics.neighbours(vectors, 1).ravel().tolist() == [1, 0, 3, 2]


def box(x: float, score: float, kind: int = 0) -> list[float]:
    return [x, 0, x + 10, 10, score, kind]


def precision_of(boxes: list[np.ndarray], truths: list[np.ndarray]) -> float:
    return metrics.mean_average_precision(metrics.matched(boxes, truths), np.arange(len(boxes)))


def test_average_precision_by_hand() -> None:
    truths = [np.array([[0, 0, 10, 10, 0], [20, 0, 30, 10, 0]], float)]
    found = [np.array([box(0, 0.9), box(50, 0.8), box(21, 0.7)])]
    # precision 1 up to recall ½, then 2/3 up to recall 1
    assert precision_of(found, truths) == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_two_boxes_on_one_object_are_one_hit() -> None:
    truths = [np.array([[0, 0, 10, 10, 0]], float)]
    found = [np.array([box(0, 0.9), box(1, 0.8)])]
    assert precision_of(found, truths) == 1
    worse = [np.array([box(40, 0.95), box(1, 0.8)])]
    assert precision_of(worse, truths) == 0.5


def test_average_precision_agrees_with_scikit_learn_when_all_objects_are_ranked() -> None:
    rng = np.random.default_rng(3)
    hit = rng.random(40) < 0.5
    scores = np.sort(rng.random(40))[::-1]
    truths = [np.array([[0, 0, 10, 10, 0]], float) if h else np.empty((0, 5)) for h in hit]
    found = [np.array([box(0, s)]) for s in scores]
    ours = precision_of(found, truths)
    # scikit-learn does not interpolate, so it is never above.
    assert ours >= average_precision_score(hit, scores) - 1e-12


def test_images_without_objects_have_no_average_precision() -> None:
    assert np.isnan(precision_of([np.empty((0, 6))], [np.empty((0, 5))]))
