"""Results of other tools, in the form in which they write them; each repeat is of its unit."""

import json
from pathlib import Path
from typing import Any

import pytest

from mlgate.errors import StageError
from tests.stages.evaluate.projects import evaluate, row


def measured(folder: Path, name: str, content: Any, **settings: Any) -> Any:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return evaluate({"results": {"file": str(path), **settings}}, folder / "work")


def refused(folder: Path, name: str, content: Any, **settings: Any) -> StageError:
    with pytest.raises(StageError) as caught:
        measured(folder, name, content, **settings)
    return caught.value


def promptfoo(*outcomes: tuple[str, bool | None], version: int = 3) -> dict[str, Any]:
    """A file as `promptfoo eval -o results.json` of 0.120 writes it, without what is not read."""
    rows = []
    for place, (question, success) in enumerate(outcomes):
        entry: dict[str, Any] = {
            "promptId": "e6f5bb",
            "promptIdx": 0,
            "provider": {"id": "echo", "label": ""},
            "testIdx": place,
            "vars": {"question": question},
            "score": float(bool(success)),
            "success": bool(success),
            "namedScores": {"arithmetic": float(bool(success))} if "two" in question else {},
            "failureReason": 0 if success else 1,
            "gradingResult": {"pass": bool(success)},
        }
        if success is None:
            entry |= {"failureReason": 2, "error": "429 Too Many Requests", "gradingResult": None}
        rows.append(entry)
    return {"evalId": "eval-1", "results": {"version": version, "results": rows}}


def test_p11_repeats_of_a_prompt_are_one_unit(tmp_path: Path) -> None:
    outcomes = [(f"q{place}", place % 4 != 0) for place in range(40)]
    once = measured(tmp_path, "a.json", promptfoo(*outcomes))
    thrice = measured(tmp_path, "b.json", promptfoo(*outcomes * 3))
    assert row(thrice, "items").value == 120
    assert row(thrice, "items.units").value == row(once, "items.units").value == 40
    a, b = row(once, "pass_rate"), row(thrice, "pass_rate")
    assert a.value == b.value == 0.75
    assert b.bounds[0].low == pytest.approx(a.bounds[0].low)


def test_p11_an_item_without_an_outcome_counts_both_ways(tmp_path: Path) -> None:
    found = measured(
        tmp_path, "a.json", promptfoo(*[(f"q{place}", True) for place in range(9)], ("q9", None))
    )
    rate = row(found, "pass_rate")
    assert (rate.value, rate.bounds[0].high) == (1, 1)
    assert rate.bounds[0].low < 0.65
    assert rate.because == ("1 of 10 items have no outcome: counted both ways",)
    assert row(found, "items.missing").value == 1


def test_p11_not_one_outcome_is_an_error(tmp_path: Path) -> None:
    error = refused(tmp_path, "a.json", promptfoo(("q", None), ("r", None)))
    assert error.message == "not one of 2 items has an outcome: 429 Too Many Requests"


def test_a_score_is_of_the_items_that_have_it(tmp_path: Path) -> None:
    found = measured(tmp_path, "a.json", promptfoo(("two and two", True), ("France", False)))
    assert row(found, "score.arithmetic").value == 1
    assert row(found, "score.arithmetic").n == 1


def test_a_later_format_is_not_guessed_at(tmp_path: Path) -> None:
    error = refused(tmp_path, "a.json", promptfoo(("q", True), version=9))
    assert error.message == "this is promptfoo in version 9 of its format, and 3 or 4 is known"


def inspect(status: str = "success", **sample: Any) -> dict[str, Any]:
    """A log as `inspect eval --log-format json` writes it, without what is not read."""
    samples = [
        {
            "id": unit,
            "epoch": epoch,
            "scores": {"match": {"value": "C" if unit % 2 else "I"}},
            **sample,
        }
        for epoch in (1, 2, 3)
        for unit in range(40)
    ]
    return {"version": 2, "status": status, "eval": {"task": "capitals"}, "samples": samples}


def test_inspect_marks_are_scores_and_epochs_are_repeats(tmp_path: Path) -> None:
    found = measured(tmp_path, "log.json", inspect())
    score = row(found, "score.match")
    assert (score.value, score.n) == (0.5, 40)


def test_an_inspect_run_that_failed_is_an_error(tmp_path: Path) -> None:
    failed = inspect("error", scores={}, error={"message": "no connection"})
    error = refused(tmp_path, "log.json", failed)
    assert error.message == "not one of 120 items has an outcome: no connection"
    empty = {**inspect("error"), "samples": [], "error": {"message": "no key"}}
    assert refused(tmp_path, "b.json", empty).message == "this Inspect run ended as error: no key"


def test_lm_eval_aggregates_have_the_error_that_the_tool_states(tmp_path: Path) -> None:
    document = {
        "results": {"arc": {"alias": "arc", "acc,none": 0.5, "acc_stderr,none": 0.02}},
        "n-shot": {"arc": 0},
        "n-samples": {"arc": {"original": 600, "effective": 600}},
    }
    found = row(measured(tmp_path, "r.json", document), "value.acc", task="arc", filter="none")
    assert found.n == 600
    assert found.bounds[0].low == pytest.approx(0.5 - 1.6449 * 0.02, abs=1e-5)


def test_lm_eval_samples_are_items(tmp_path: Path) -> None:
    lines = [
        json.dumps({"doc_id": n, "doc_hash": f"h{n}", "metrics": ["acc"], "acc": float(n % 2)})
        for n in range(50)
    ]
    found = measured(tmp_path, "samples.jsonl", "\n".join(lines) + "\n")
    assert row(found, "score.acc").value == 0.5


JUNIT = """<?xml version="1.0"?>
<testsuites><testsuite name="pytest">
<testcase classname="t" name="a"/>
<testcase classname="t" name="b"><failure message="assert 1 == 2">long</failure></testcase>
<testcase classname="t" name="c"><skipped message="no GPU"/></testcase>
<testcase classname="t" name="d"><error message="boom"/></testcase>
</testsuite></testsuites>"""


def test_junit_tests_are_items_and_a_skipped_one_counts_neither_way(tmp_path: Path) -> None:
    found = measured(tmp_path, "junit.xml", JUNIT)
    assert row(found, "pass_rate").value == pytest.approx(1 / 3)
    counts = {name: row(found, f"items.{name}").value for name in ("failed", "skipped", "missing")}
    assert counts == {"failed": 2, "skipped": 1, "missing": 0}
    assert found.details["failed"][0] == {"item": "t::b", "reason": "assert 1 == 2"}


BOMB = '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><testsuites>&c;</testsuites>'


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xml", BOMB, "declares entities"),
        ("a.xml", "<html><body/></html>", "this XML is a <html>"),
        ("a.xml", "<testsuites><testcase", "is not XML"),
        ("a.xml", "<testsuites>" + "<testsuite>" * 99, "deeper than 32 levels"),
        ("a.xml", "<testsuites/>", "there is not one result in it"),
        ("a.json", "{", "is not JSON"),
        ("a.json", "[" * 100_000, "nested too deep"),
        ("a.json", '{"accuracy": "high"}', 'accuracy is "high", and a metric is a number'),
        ("a.json", '{"accuracy": NaN}', "and a metric is a number"),
        ("a.json", "{}", "a plain metrics.json is"),
        ("a.jsonl", '{"x": 1}\n', "no file of samples that is known"),
    ],
)
def test_a_file_that_is_no_result_is_told(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    assert message in refused(tmp_path, name, content).message


def test_too_few_items_are_an_error_when_the_spec_says_how_many(tmp_path: Path) -> None:
    error = refused(tmp_path, "junit.xml", JUNIT, least_items=5)
    assert error.message == "4 items are fewer than 5"


def test_a_value_alone_says_that_it_has_no_interval(tmp_path: Path) -> None:
    found = measured(tmp_path, "metrics.json", {"samples_per_second": 1200})
    value = row(found, "value.samples_per_second")
    assert value.bounds == ()
    assert value.because == ("a value without an interval: judged as if it were exact",)
    stated = {"metrics": [{"name": "auc", "value": 0.9, "low": 0.88, "high": 0.91, "n": 500}]}
    bounds = row(measured(tmp_path, "m.json", stated), "value.auc").bounds
    assert (bounds[0].low, bounds[0].high) == (0.88, 0.91)
