"""The judge of a rollout: three answers, and never a promotion by silence."""

from typing import Any

import pytest
from pydantic import ValidationError

from mlgate.rollout.batch import Batch, Labelled, Tally
from mlgate.rollout.engine import Certainty, Engine
from mlgate.rollout.trigger import Trigger, conflict, slow_factors

ERRORS = Trigger(metric="errors", compared_to="stable", max_increase="200%", runbook="wiki/errors")
P99 = Trigger(metric="latency_ms.p99", compared_to="stable", max_increase="25%")
ACCURACY = Trigger(metric="accuracy", compared_to="stable", max_drop=0.02)


def engine(*triggers: Trigger, classes: tuple[str, ...] = ()) -> Engine:
    return Engine(triggers, Certainty(), classes)


Counts = tuple[int, dict[str, int]]


def batch(canary: Counts = (100, {}), stable: Counts = (900, {}), **more: Any) -> Batch:
    of_canary, of_stable = (Tally(units=n, events=e) for n, e in (canary, stable))
    return Batch(seconds=5, asked=0.1, canary=of_canary, stable=of_stable, **more)


def verdict(judge: Engine) -> str:
    (answer,) = judge.answers()
    return answer.verdict


def test_without_traffic_nothing_is_decided() -> None:
    judge = engine(ERRORS)
    for _ in range(1000):
        judge.observe(batch((0, {}), (0, {})))
    assert verdict(judge) == "inconclusive"


def test_traffic_without_a_single_error_proves_nothing_about_a_ratio() -> None:
    judge = engine(ERRORS)
    for _ in range(1000):
        judge.observe(batch())
    assert verdict(judge) == "inconclusive"


def test_a_burst_of_errors_rolls_back_and_names_the_runbook() -> None:
    judge = engine(ERRORS)
    judge.observe(batch((100, {"error": 20}), (900, {"error": 1})))
    (answer,) = judge.answers()
    assert answer.verdict == "rollback"
    assert "20 of 100 on the canary" in answer.message
    assert answer.runbook == "wiki/errors"


def test_equal_arms_pass() -> None:
    judge = engine(ERRORS)
    for _ in range(60):
        judge.observe(batch((100, {"error": 1}), (900, {"error": 9})))
    assert verdict(judge) == "pass"


def test_slow_answers_roll_back_and_equal_ones_pass() -> None:
    slow, same = engine(P99), engine(P99)
    for _ in range(200):
        slow.observe(batch((100, {"slow:p99:1": 4, "slow:p99:1.25": 3}), (900, {"slow:p99:1": 9})))
        same.observe(batch((100, {"slow:p99:1": 1}), (900, {"slow:p99:1": 9})))
    assert verdict(slow) == "rollback"
    assert verdict(same) == "pass"
    assert slow_factors((P99,)) == {"p99": (1.0, 1.25)}


def labels(wrong_canary: int, wrong_stable: int, n: int = 100) -> tuple[Labelled, ...]:
    canary = Tally(units=n, events={"wrong": wrong_canary})
    stable = Tally(units=9 * n, events={"wrong": wrong_stable})
    return (Labelled(share=0.1, canary=canary, stable=stable),)


def test_labels_decide_accuracy_and_their_absence_does_not() -> None:
    worse, same, silent = engine(ACCURACY), engine(ACCURACY), engine(ACCURACY)
    for _ in range(100):
        worse.observe(batch(labels=labels(20, 72)))
        same.observe(batch(labels=labels(8, 72)))
        silent.observe(batch())
    assert verdict(worse) == "rollback"
    assert verdict(same) == "pass"
    assert verdict(silent) == "inconclusive"


def test_a_label_is_judged_with_the_share_of_its_request() -> None:
    """Asked when the canary had 10 %, labelled when it has 50 %: equal arms stay equal."""
    judge = engine(ACCURACY)
    for _ in range(100):
        half: dict[str, Any] = {"canary": (500, {}), "stable": (500, {})}
        judge.observe(batch(**half, labels=labels(8, 72)))
    assert verdict(judge) == "pass"


def test_labels_for_one_arm_alone_never_pass() -> None:
    judge = engine(ACCURACY)
    only_canary = Labelled(share=0.1, canary=Tally(units=100), stable=Tally())
    for _ in range(100):
        judge.observe(batch(labels=(only_canary,)))
    (answer,) = judge.answers()
    assert answer.verdict == "inconclusive"
    assert "labels reach the arms in other shares" in answer.message


def test_too_few_labels_never_pass() -> None:
    judge = engine(ACCURACY.model_copy(update={"min_coverage": 0.5}))
    for _ in range(200):
        judge.observe(batch(labels=labels(1, 9, n=10)))
    (answer,) = judge.answers()
    assert answer.verdict == "inconclusive"
    assert "labels cover 10.0%" in answer.message


def test_a_class_that_grows_or_shrinks_rolls_back() -> None:
    share = Trigger(
        metric="predicted.share", compared_to="stable", max_increase=0.03, max_drop=0.03
    )
    judge = engine(share, classes=("cat", "dog"))
    for _ in range(100):
        canary = (100, {"class:cat": 30, "class:dog": 70})
        judge.observe(batch(canary, (900, {"class:cat": 450, "class:dog": 450})))
    assert verdict(judge) == "rollback"
    same = engine(share, classes=("cat", "dog"))
    for _ in range(400):
        canary = (100, {"class:cat": 50, "class:dog": 50})
        same.observe(batch(canary, (900, {"class:cat": 450, "class:dog": 450})))
    assert verdict(same) == "pass"


def test_a_guard_is_absolute_and_unmeasured_is_not_passed() -> None:
    budget = engine(Trigger(metric="errors.count", max=5))
    assert verdict(budget) == "inconclusive"
    budget.observe(batch((100, {"error": 5})))
    assert verdict(budget) == "pass"
    budget.observe(batch((100, {"error": 1})))
    assert verdict(budget) == "rollback"
    gpu = engine(Trigger.model_validate({"metric": "gpu.saturation", "max": "95%", "for": "10s"}))
    gpu.observe(batch(gauges={"gpu.saturation": 0.99}))
    assert verdict(gpu) == "inconclusive"
    gpu.observe(batch(gauges={"gpu.saturation": 0.99}))
    assert verdict(gpu) == "rollback"


def test_one_error_among_few_requests_burns_no_budget() -> None:
    burn = engine(Trigger(metric="errors.burn_rate", max=14.4, slo=0.999))
    burn.observe(batch((10, {"error": 1})))
    assert verdict(burn) == "inconclusive"
    burn.observe(batch((990, {"error": 20})))
    assert verdict(burn) == "rollback"


def test_a_router_that_delivers_another_share_is_found() -> None:
    judge = engine(ERRORS)
    for _ in range(100):
        judge.observe(
            batch(
                (282, {}),
                (718, {}),
            )
        )
    assert judge.missplit


@pytest.mark.parametrize(
    ("written", "field"),
    [
        ({"metric": "errors", "max": 0.01}, "metric"),
        ({"metric": "errors", "compared_to": "stable", "max_increase": 0}, "metric"),
        ({"metric": "accuracy", "compared_to": "stable", "max_drop": "2%"}, "max_drop"),
        ({"metric": "latency_ms.p99", "compared_to": "stable", "max_increase": 3}, "max_increase"),
        ({"metric": "latency_ms.p42", "compared_to": "stable", "max_increase": "3%"}, "metric"),
        (
            {
                "metric": "errors",
                "compared_to": "stable",
                "max_increase": "10%",
                "rollback_over": "20%",
            },
            "rollback_over",
        ),
        ({"metric": "outcome", "compared_to": "stable", "max_drop": 0.1}, "where"),
        ({"metric": "errors.burn_rate", "max": 14}, "slo"),
    ],
)
def test_a_trigger_that_could_never_speak_is_refused(
    written: dict[str, object], field: str
) -> None:
    found = conflict(Trigger.model_validate(written))
    assert found is not None
    assert found[0] == field


def test_a_trigger_without_a_limit_is_no_trigger() -> None:
    with pytest.raises(ValidationError):
        Trigger(metric="errors", compared_to="stable")
