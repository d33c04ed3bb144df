"""Answers in a file: joined by key, judged against labels and a baseline, refused where they do not fit."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn import metrics as sklearn_metrics

from mlgate.errors import StageError
from mlgate.gate import Gate, judge
from tests.stages.evaluate.projects import Churn, change, evaluate, row


@pytest.fixture
def churn(tmp_path: Path) -> Churn:
    return Churn(tmp_path)


def refused(churn: Churn, options: dict[str, Any]) -> StageError:
    with pytest.raises(StageError) as caught:
        evaluate(options, churn.folder / "work")
    return caught.value


def test_f14_every_metric_is_scikit_learns_whatever_the_order_of_the_file(churn: Churn) -> None:
    found = evaluate(
        churn.options(predictions=churn.predictions("new.csv", churn.good)), churn.folder / "w"
    )
    said, truth, shares = churn.good >= 0.5, churn.left, churn.good
    sk = sklearn_metrics
    expected = {
        "accuracy": sk.accuracy_score(truth, said),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, said),
        "f1_macro": sk.f1_score(truth, said, average="macro"),
        "log_loss": sk.log_loss(truth, shares),
        "brier": sk.brier_score_loss(truth, shares),
    }
    for name, value in expected.items():
        assert row(found, name).value == pytest.approx(float(value), rel=1e-9), name
    of_class = {
        "f1": sk.f1_score(truth, said),
        "recall": sk.recall_score(truth, said),
        "precision": sk.precision_score(truth, said),
        "auroc": sk.roc_auc_score(truth, shares),
        "pr_auc": sk.average_precision_score(truth, shares),
    }
    for name, value in of_class.items():
        found_row = row(found, name, class_="yes")
        assert found_row.value == pytest.approx(float(value), rel=1e-9), name
        assert found_row.bounds[0].low < found_row.value < found_row.bounds[0].high
    assert row(found, "abstain_rate").value == 0


def test_f12_a_candidate_against_the_model_in_production(churn: Churn) -> None:
    options = churn.options(
        predictions=churn.predictions("new.csv", churn.good),
        baseline={"predictions": churn.predictions("old.csv", churn.weak)},
    )
    found = evaluate(options, churn.folder / "w")
    gate = Gate(metric="accuracy", compared_to="baseline", max_drop=0.01)
    assert judge(gate, found, confidence=0.95).outcome == "pass"
    assert change(found, "auroc", class_="yes").difference[0].low > 0
    worse, better = (row(found, "flipped", direction=way) for way in ("worse", "better"))
    assert worse.value is not None
    assert better.value is not None
    assert better.value - worse.value == pytest.approx(
        600 * (row(found, "accuracy").value - change(found, "accuracy").reference)
    )


def test_flipped_items_are_named_by_key_and_their_values_only_when_asked(churn: Churn) -> None:
    options = churn.options(
        predictions=churn.predictions("new.csv", churn.weak),
        baseline={"predictions": churn.predictions("old.csv", churn.good)},
    )
    hidden: Any = evaluate(options, churn.folder / "a").details["flipped"]
    shown: Any = evaluate({**options, "show_values": True}, churn.folder / "b").details["flipped"]
    assert hidden["worse"][0].keys() == {"key"}
    item = shown["worse"][0]
    place = list(churn.keys.astype(str)).index(item["key"])
    assert item["label"] == item["baseline"] == churn.label[place] != item["answer"]


def test_slices_worst_slice_and_parity(churn: Churn) -> None:
    bad = np.where((churn.site == "b") & (churn.rng.random(600) < 0.4), 1 - churn.good, churn.good)
    options = churn.options(
        predictions=churn.predictions("new.csv", bad),
        baseline={"predictions": churn.predictions("old.csv", churn.good)},
    )
    options["evaluation"]["slices"] = ["site"]
    found = evaluate(options, churn.folder / "w")
    worst = row(found, "worst_slice", metric="accuracy", column="site")
    assert worst.because[0].startswith("site=b drops by")
    assert worst.value is not None
    assert worst.bounds[0].low > 0.1
    fine = change(found, "accuracy", slice="site=a")
    assert fine.value == fine.reference
    parity = row(found, "parity", metric="accuracy", column="site")
    assert parity.value is not None
    assert 0 < parity.bounds[0].low < parity.value < parity.bounds[0].high


def test_q2_rows_of_one_group_count_as_one(churn: Churn) -> None:
    once = evaluate(
        churn.options(predictions=churn.predictions("new.csv", churn.good)), churn.folder / "a"
    )
    table = pa.concat_tables([churn.table] * 5)
    keys = [f"{key}-{copy}" for copy in range(5) for key in churn.keys]
    table = table.append_column("row", pa.array(keys))
    pq.write_table(table, churn.folder / "five.parquet")
    shares = np.tile(churn.good, 5)
    answers = pa.table({"row": keys, "said": np.where(shares >= 0.5, "yes", "no"), "p": shares})
    pq.write_table(answers, churn.folder / "answers.parquet")
    options = {
        "predictions": {"file": str(churn.folder / "answers.parquet"), "answer": "said"},
        "evaluation": {
            "dataset": str(churn.folder / "five.parquet"),
            "label": "churn",
            "key": "row",
            "group": "id",
        },
    }
    five = evaluate(options, churn.folder / "b")
    for name in ("accuracy", "f1_macro", "balanced_accuracy"):
        a, b = row(once, name), row(five, name)
        assert (b.value, b.n) == (a.value, 600)
        assert b.bounds[0].low == pytest.approx(a.bounds[0].low, abs=1e-9)


def test_costs_of_errors(churn: Churn) -> None:
    options = churn.options(
        predictions=churn.predictions("new.csv", churn.good),
        costs={"yes": {"no": 10.0}, "no": {"yes": 1.0}},
    )
    found = row(evaluate(options, churn.folder / "w"), "cost")
    said = churn.good >= 0.5
    expected = 10 * (churn.left & ~said).mean() + (~churn.left & said).mean()
    assert found.value == pytest.approx(expected)
    wrong = {**options, "costs": {"maybe": {"no": 1.0}}}
    assert "costs name the class 'maybe'" in refused(churn, wrong).message


def test_no_answer_is_counted_when_the_spec_says_so(churn: Churn) -> None:
    way = churn.predictions("new.csv", churn.good)
    some = pa.table({"id": churn.keys[:500], "said": churn.label[:500]})
    pq.write_table(some, churn.folder / "some.parquet")
    way = {"file": str(churn.folder / "some.parquet"), "answer": "said"}
    error = refused(churn, churn.options(predictions=way))
    assert error.message == (
        "the predictions have no answer for 100 of 600 rows, the first is '1500'"
    )
    assert error.hint == "missing: abstain counts them as no answer"
    found = evaluate(churn.options(predictions=way, missing="abstain"), churn.folder / "w")
    assert row(found, "abstain_rate").value == pytest.approx(100 / 600)
    assert row(found, "accuracy").value == pytest.approx(500 / 600)


@pytest.mark.parametrize(
    ("change_", "message"),
    [
        ({"id": [1, 2]}, "keys that no evaluation row has"),
        ({"id": [1000, 1000]}, "have the key '1000' 2 times"),
        ({"said": ["yes", "perhaps"]}, "the answer 'perhaps' is no known class"),
        ({"said": [None, "no"]}, None),
    ],
)
def test_answers_that_do_not_fit_are_named(
    churn: Churn, change_: dict[str, Any], message: str | None
) -> None:
    content: dict[str, list[Any]] = {"id": churn.keys.tolist(), "said": churn.label.tolist()}
    for name, first in change_.items():
        content[name][:2] = first
    pq.write_table(pa.table(content), churn.folder / "p.parquet")
    way = {"file": str(churn.folder / "p.parquet"), "answer": "said"}
    options = churn.options(predictions=way, classes=["no", "yes"])
    if message is not None:
        assert message in refused(churn, options).message
    else:
        found = evaluate(options, churn.folder / "w")
        assert row(found, "abstain_rate").value == pytest.approx(1 / 600)


def test_scores_that_are_no_numbers_and_columns_that_are_not_there(churn: Churn) -> None:
    way = churn.predictions("new.csv", churn.good)
    assert (
        "scores are numbers"
        in refused(
            churn, churn.options(predictions={**way, "scores": {"no": "said", "yes": "p_yes"}})
        ).message
    )
    error = refused(churn, churn.options(predictions={**way, "answer": "say"}))
    assert error.message == "there is no column 'say'"
    assert error.hint == "columns: id, said, p_no, p_yes"


def test_f3_a_baseline_upside_down_is_an_error_and_not_a_pass(churn: Churn) -> None:
    options = churn.options(
        predictions=churn.predictions("new.csv", 1 - churn.good),
        baseline={"predictions": churn.predictions("old.csv", 1 - churn.good)},
    )
    error = refused(churn, options)
    assert error.message.startswith("the baseline is right in")
    assert error.hint is not None
    assert "['yes', 'no']" in error.hint


def test_a_ranking_by_query(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    queries = np.repeat(np.arange(40), 8)
    relevance = rng.integers(0, 3, 320)
    shown = pa.table({"q": queries, "relevance": relevance})
    pq.write_table(shown, tmp_path / "rows.parquet")
    scores = pa.table({"score": relevance + rng.normal(size=320)})
    pq.write_table(scores, tmp_path / "scores.parquet")
    options = {
        "task": "ranking",
        "top_k": [5],
        "predictions": {"file": str(tmp_path / "scores.parquet"), "scores": "score"},
        "evaluation": {
            "dataset": str(tmp_path / "rows.parquet"),
            "label": "relevance",
            "query": "q",
        },
    }
    found = evaluate(options, tmp_path / "w")
    true, said = relevance.reshape(40, 8), scores["score"].to_numpy().reshape(40, 8)
    expected = sklearn_metrics.ndcg_score(true, said, k=5)
    measured = row(found, "ndcg", k="5")
    assert measured.value == pytest.approx(float(expected), rel=1e-9)
    assert measured.n == 40


def test_numbers_against_scikit_learn(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=200)
    pq.write_table(pa.table({"y": truth}), tmp_path / "rows.parquet")
    said = truth + rng.normal(size=200) * 0.1
    pq.write_table(pa.table({"said": said}), tmp_path / "said.parquet")
    options = {
        "task": "regression",
        "predictions": {"file": str(tmp_path / "said.parquet"), "answer": "said"},
        "evaluation": {"dataset": str(tmp_path / "rows.parquet"), "label": "y"},
    }
    found = evaluate(options, tmp_path / "w")
    assert row(found, "mae").value == pytest.approx(float(np.abs(said - truth).mean()))
    assert row(found, "r2").value == pytest.approx(sklearn_metrics.r2_score(truth, said))
