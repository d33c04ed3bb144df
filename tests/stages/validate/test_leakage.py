from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import mutual_info_score, roc_auc_score

from mlgate.errors import StageError
from mlgate.stages.validate.drift import profiling
from mlgate.stages.validate.leakage import Leakage, leakage
from mlgate.statistics.distances import Statistic
from tests.stages.validate.tables import Tables

ROWS = 8000


def measured(
    tmp_path: Path,
    data: pa.Table,
    label: str = "label",
    *,
    ignore: Sequence[str] = (),
    pii: Sequence[str] = (),
) -> Leakage:
    with Tables(tmp_path) as tables:
        table = tables.of(data)
        profile = profiling.build(table, pii=pii)
        return leakage(table, profile, label, ignore=ignore)


def methods(found: Leakage) -> dict[str, str | None]:
    return {leak.column: leak.method for leak in found.columns}


def scores(found: Leakage) -> dict[str, Statistic]:
    return {leak.column: leak.score for leak in found.columns if leak.score is not None}


def test_two_classes(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    label = rng.integers(0, 2, ROWS)
    weak = rng.normal(size=ROWS) + 0.9 * label
    falling = -weak
    unrelated = rng.normal(size=ROWS)
    outside = np.where(label == 1, rng.choice([-3.0, 3.0], ROWS), 0) + rng.normal(size=ROWS) * 0.1
    missing = np.where((label == 1) & (rng.random(ROWS) < 0.99), np.nan, unrelated)
    data = pa.table(
        {
            "label": label, "weak": weak, "falling": falling, "unrelated": unrelated,
            "outside": outside, "missing": missing, "copy": label * 1.5 + 2,
            "word": np.where(label == 1, "yes", "no"), "flag": label == 0,
        }
    )  # fmt: skip
    found = measured(tmp_path, data)
    leaks = scores(found)
    assert (found.classes, found.n) == (2, ROWS)
    assert list(leaks) == data.column_names[1:]
    exact = abs(2 * roc_auc_score(label, weak) - 1)
    for name in ("weak", "falling"):
        assert methods(found)[name] == "auc"
        assert leaks[name].value == pytest.approx(exact, abs=0.002)
        at = leaks[name].at(0.95)
        assert at.low < exact < at.high < at.low + 0.06
    assert leaks["unrelated"].at(0.99).low == 0
    assert leaks["unrelated"].value < 0.05
    assert leaks["outside"].value > 0.9  # AUC alone sees nothing here
    assert methods(found)["outside"] == "mutual information"
    assert leaks["missing"].value > 0.9  # what is missing tells the label
    for name in ("copy", "word", "flag"):
        assert leaks[name].value == pytest.approx(1, abs=1e-3)


def test_several_classes(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    label = rng.integers(0, 5, ROWS)
    part = label % 2
    words = rng.choice(["a", "b", "c"], ROWS)
    data = pa.table(
        {"label": [f"class {k}" for k in label], "part": part, "word": words, "code": label * 7}
    )
    found = measured(tmp_path, data)
    leaks = scores(found)
    entropy = mutual_info_score(label, label)
    assert leaks["part"].value == pytest.approx(mutual_info_score(label, part) / entropy, abs=0.002)
    assert leaks["word"].value < 0.002
    assert leaks["code"].value == pytest.approx(1, abs=0.002)
    assert set(methods(found).values()) == {"mutual information"}


def test_chance_is_corrected(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    rows = 400
    data = pa.table({"label": rng.integers(0, 5, rows), "noise": rng.normal(size=rows)})
    assert scores(measured(tmp_path, data))["noise"].value < 0.05  # uncorrected: 0.2


def test_a_label_that_is_a_number(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    label = rng.normal(size=ROWS)
    data = pa.table({"label": label, "copy": 2 * label + 1, "noise": rng.normal(size=ROWS)})
    found = measured(tmp_path, data)
    assert found.classes == 10
    assert scores(found)["copy"].value > 0.9
    assert scores(found)["noise"].value < 0.02


def test_what_is_no_feature(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    data = pa.table(
        {
            "label": rng.integers(0, 2, 2000),
            "id": [f"user {i}" for i in range(2000)],
            "mail": ["a@example.com"] * 2000,
            "skip": rng.normal(size=2000),
            "nested": [[1]] * 2000,
        }
    )
    found = measured(tmp_path, data, ignore=["skip"], pii=["mail"])
    (leak,) = found.columns
    assert (leak.column, leak.score) == ("id", None)
    assert "identifiers" in str(leak.reason)
    assert dict(found.left_out) == {
        "mail": "personal data",
        "skip": "ignored",
        "nested": "columns of type list have no profile",
    }


def test_rows_without_label_do_not_count(tmp_path: Path) -> None:
    data = pa.table({"label": [0, 1, None, 0, 1] * 100, "x": [0, 1, 7, 0, 1] * 100})
    found = measured(tmp_path, data)
    assert (found.classes, found.n) == (2, 400)
    assert scores(found)["x"].value == 1


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ([1] * 10, "has one value"),
        (pa.array([None] * 10, pa.int64()), "has no value"),
        ([[1]] * 10, "is of type list"),
    ],
)
def test_labels_that_nothing_can_tell(tmp_path: Path, label: object, message: str) -> None:
    with pytest.raises(StageError, match=message):
        measured(tmp_path, pa.table({"label": label, "x": range(10)}))


def test_a_label_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StageError) as caught:
        measured(tmp_path, pa.table({"label": [0, 1], "x": [1, 2]}), label="labl")
    assert caught.value.hint == "did you mean 'label'?"
