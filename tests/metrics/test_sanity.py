"""A reference that is upside down is an error with its cause, and a model tuned for rare classes is not."""

import numpy as np
import pytest

from mlgate.errors import StageError
from mlgate.metrics.sanity import refuse_misfit

RNG = np.random.default_rng(0)
TRUTH = RNG.choice(2, 2000, p=[0.71, 0.29])


def mostly(truth: np.ndarray, right: float, count: int = 2) -> np.ndarray:
    other = (truth + 1) % count
    return np.where(RNG.random(len(truth)) < right, truth, other)


def test_f3_classes_in_the_wrong_order_are_named() -> None:
    said = mostly(TRUTH, 0.235)
    with pytest.raises(StageError, match=r"right in 2\d\.\d% of 2,000 rows") as caught:
        refuse_misfit("source", TRUTH, said, ("yes", "no"))
    assert "always answering 'yes' is right in 7" in caught.value.message
    assert caught.value.hint is not None
    assert "['no', 'yes']" in caught.value.hint


def test_f4_three_classes_permuted_are_named() -> None:
    truth = RNG.integers(0, 3, 900)
    with pytest.raises(StageError) as caught:
        refuse_misfit("source", truth, (truth + 1) % 3, ("a", "b", "c"))
    assert caught.value.hint is not None
    assert "100.0%" in caught.value.hint


def test_f21_answers_that_no_label_has() -> None:
    with pytest.raises(StageError, match="answers 1, 2; the labels are 0, 1"):
        refuse_misfit("model", TRUTH, mostly(TRUTH, 0.8) + 1, ("0", "1", "2"))


def test_a_model_tuned_for_a_rare_class_is_not_refused() -> None:
    truth = RNG.choice(2, 5000, p=[0.99, 0.01])
    said = np.where(RNG.random(5000) < 0.95, truth, 1 - truth)
    assert (said == truth).mean() < (truth == 0).mean()
    refuse_misfit("model", truth, said, ("0", "1"))


def test_a_weak_model_on_few_rows_is_not_refused() -> None:
    truth = np.array([0, 1] * 8)
    refuse_misfit("model", truth, RNG.integers(0, 2, 16), ("0", "1"))
