"""The whole stage: what it approves, what it refuses and why, and that it does so twice alike."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from mlgate.errors import StageError
from mlgate.evidence import Evidence
from mlgate.gate import judge_all
from mlgate.stages.quantize import STAGE
from mlgate.statistics.paired import Pairs
from tests.stages.quantize.jobs import job_of, quantize
from tests.stages.quantize.models import balanced, convolutional, save, write_rows

ROOT = Path(__file__).parents[3]
Options = dict[str, Any]


def value(evidence: Evidence, name: str, **labels: str) -> float | None:
    (found,) = (m for m in evidence.measurements if m.name == name and m.labels == labels)
    return found.value


def told(evidence: Evidence, name: str) -> Any:
    return evidence.details[name]


def test_a_good_model_is_approved_in_one_trial_and_one_pass(
    options: Options, tmp_path: Path
) -> None:
    evidence = quantize(options, tmp_path)
    artifact = evidence.outputs["model"]
    data = (tmp_path / artifact.name).read_bytes()
    assert artifact.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert artifact.media_type == "application/onnx"
    assert onnx.load_from_string(data).graph.node
    assert value(evidence, "calibration_passes") == 1
    assert value(evidence, "trials") == 1
    assert value(evidence, "size_bytes") == len(data)
    assert evidence.details["approved"] is True
    assert set(evidence.inputs) == {"model", "calibration.dataset", "evaluation.dataset"}


def test_every_declared_row_is_declared(options: Options, tmp_path: Path) -> None:
    names = {metric.name for metric in STAGE.metrics}
    evidence = quantize({**options, "top_k": [2], "latency": True}, tmp_path)
    rows = [m.name for m in evidence.measurements] + [c.name for c in evidence.comparisons]
    assert all(n in names or f"{n.split('.')[0]}.*" in names for n in rows)
    for metric in ("accuracy", "recall", "precision", "fpr", "agreement", "speedup"):
        assert any(m.name == metric for m in evidence.measurements), metric


def test_what_the_report_will_say_is_what_the_stage_decided(
    options: Options, tmp_path: Path
) -> None:
    job = job_of(options, tmp_path)
    evidence = STAGE.measure(job)
    results = judge_all(job.options.gates, evidence, confidence=0.95)
    assert all(result.outcome == "pass" for result in results)


def test_confirming_stops_at_the_look_that_decides_and_reports_its_interval(
    options: Options, tmp_path: Path
) -> None:
    evidence = quantize(options, tmp_path)
    looks = told(evidence, "looks")
    shares = {look["rows"]: look["share"] for look in looks["at"]}
    (accuracy,) = (c for c in evidence.comparisons if c.name == "accuracy")
    assert accuracy.n == looks["ended"] < told(evidence, "splits")["confirm"]["samples"]
    (bounds,) = accuracy.difference
    paired = told(evidence, "paired")
    pairs = Pairs(paired["lost"], paired["won"], paired["samples"])
    _, low, high = pairs.interval(
        1 - 0.05 * shares[accuracy.n] * told(evidence, "confirmed")[0]["share"]
    )
    assert bounds.confidence == 0.95
    assert (bounds.low, bounds.high) == pytest.approx((low, high))


def test_agreement_is_proved_without_labels(options: Options, tmp_path: Path) -> None:
    changed = {
        **options,
        "evaluation": options["evaluation"]["dataset"],
        "gates": [{"metric": "agreement", "min": 0.95}],
    }
    evidence = quantize(changed, tmp_path)
    assert set(evidence.outputs) == {"model"}
    assert not any(m.name == "accuracy" for m in evidence.measurements)


def test_candidates_are_told_with_what_they_lost(options: Options, tmp_path: Path) -> None:
    (candidate,) = told(quantize(options, tmp_path), "candidates")
    assert candidate["lost"] >= 0
    assert candidate["won"] >= 0
    assert 0 < candidate["error"] < 0.01
    assert candidate["samples"] == 128


@pytest.mark.parametrize("undecided", ["extend", "fail"])
def test_what_stays_undecided_is_looked_at_whole(
    options: Options, project: Path, tmp_path: Path, undecided: str
) -> None:
    with np.load(project / "evaluation.npz") as data:
        wrong = np.arange(len(data["y"])) % 5 == 0
        np.savez(tmp_path / "e.npz", x=data["x"], y=np.where(wrong, data["y"] ^ 1, data["y"]))
    gate = {"metric": "accuracy", "min": 0.8, "on_inconclusive": undecided}
    evaluation = {"dataset": str(tmp_path / "e.npz"), "label": "y"}
    evidence = quantize({**options, "evaluation": evaluation, "gates": [gate]}, tmp_path / "w")
    looks = told(evidence, "looks")
    assert len(looks["at"]) > 1
    assert looks["ended"] == told(evidence, "splits")["confirm"]["samples"]


@pytest.mark.parametrize(
    ("gate", "outcome"),
    [
        ({"metric": "accuracy", "compared_to": "source", "max_drop": 0.0001}, "inconclusive"),
        ({"metric": "size_ratio", "max": 0.01}, "fail"),
        ({"metric": "recall", "where": {"class": "nobody"}, "min": 0.5}, "error"),
        ({"metric": "cosine", "min": 0.5}, "error"),
    ],
)
def test_what_is_not_proved_is_never_the_output_model(
    options: Options, tmp_path: Path, gate: Options, outcome: str
) -> None:
    evidence = quantize({**options, "gates": [*options["gates"], gate]}, tmp_path)
    assert set(evidence.outputs) == {"best_effort"}
    assert evidence.details["approved"] is False
    assert str(evidence.details["refused"]).startswith(outcome)


def test_without_a_gate_nothing_is_approved(options: Options, tmp_path: Path) -> None:
    assert set(quantize({**options, "gates": []}, tmp_path).outputs) == {"best_effort"}


def test_a_warning_gate_does_not_refuse(options: Options, tmp_path: Path) -> None:
    gate = {"metric": "size_ratio", "max": 0.01, "severity": "warn"}
    evidence = quantize({**options, "gates": [*options["gates"], gate]}, tmp_path)
    assert set(evidence.outputs) == {"model"}


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_bytes_do_not_depend_on_threads_or_the_run(
    options: Options, tmp_path: Path, threads: int
) -> None:
    first = quantize(options, tmp_path / "a")
    second = quantize(options, tmp_path / "b", threads=threads)
    assert first.canonical() == second.canonical()


def test_latency_is_measured_only_when_asked_for(options: Options, tmp_path: Path) -> None:
    quiet = quantize(options, tmp_path / "a")
    assert not any(m.name.startswith("latency") for m in quiet.measurements)
    gate = {"metric": "latency_ms.p50", "compared_to": "source", "max_increase": "50%"}
    digits = str(ROOT / "templates" / "digits" / "models" / "digits.onnx")
    slow = digits_options([gate], model=digits, schemes=["int8-dynamic"])
    evidence = quantize(slow, tmp_path / "b")
    assert set(evidence.outputs) == {"best_effort"}
    assert [c["ended"] for c in told(evidence, "candidates")] == ["too slow"]
    assert value(evidence, "trials") == 0  # dropped before any accuracy was measured


def digits_options(gates: list[Options], **changes: object) -> Options:
    data = ROOT / "templates" / "digits" / "data"
    return {
        "model": str(ROOT / "tests" / "models" / "hostile_digits.onnx"),
        "calibration": str(data / "train.parquet"),
        "evaluation": {
            "dataset": str(data / "holdout.parquet"),
            "label": "digit",
            "inputs": {"image": {"columns": "pixel_*"}},
        },
        "gates": gates,
        **changes,
    }


DROP = {"metric": "accuracy", "compared_to": "source", "max_drop": 0.01}


def test_a_hostile_model_passes_by_equalization(tmp_path: Path) -> None:
    gates = [DROP, {"metric": "size_ratio", "max": 0.45}]
    evidence = quantize(digits_options(gates), tmp_path)
    assert set(evidence.outputs) == {"model"}
    assert evidence.details["winner"] == "int8-qdq minmax"


def test_a_hostile_model_passes_by_mixed_precision_alone(tmp_path: Path) -> None:
    gates = [DROP, {"metric": "size_ratio", "max": 0.45}]
    options = digits_options(gates, prepare=["preprocess"], schemes=["int8-qdq", "int8-qdq-mixed"])
    evidence = quantize(options, tmp_path)
    assert set(evidence.outputs) == {"model"}
    assert str(evidence.details["winner"]).startswith("int8-qdq-mixed")
    assert evidence.details["sensitivity"]
    # What errs as much as plain int8 here waits until the others have been tried.
    assert value(evidence, "trials") == 1


def test_a_mix_has_the_same_bytes_on_any_number_of_threads(tmp_path: Path) -> None:
    options = digits_options([DROP], prepare=["preprocess"], schemes=["int8-qdq-mixed"])
    one, four = (quantize(options, tmp_path / str(n), threads=n) for n in (1, 4))
    assert one.outputs["model"].digest == four.outputs["model"].digest
    assert one.canonical() == four.canonical()


def test_with_both_forbidden_the_best_effort_says_why(tmp_path: Path) -> None:
    options = digits_options([DROP], prepare=["preprocess"], schemes=["int8-qdq"])
    evidence = quantize(options, tmp_path)
    assert set(evidence.outputs) == {"best_effort"}
    assert "fail: accuracy" in str(evidence.details["refused"])
    # Other ranges err as much, and are not tried.
    assert value(evidence, "trials") == 1
    assert "not tried" in told(evidence, "not_built")["int8-qdq mse"]
    # Early stopping: no candidate had to be seen whole to be turned down.
    assert all(c["samples"] < 60 for c in told(evidence, "candidates"))


def test_one_file_for_every_role_is_split(options: Options, project: Path, tmp_path: Path) -> None:
    one = str(project / "evaluation.npz")
    evidence = quantize(
        {
            **options,
            "calibration": {"dataset": one, "samples": 64},
            "evaluation": {"dataset": one, "label": "y"},
        },
        tmp_path,
    )
    sizes = [part["samples"] for part in told(evidence, "splits").values()]
    assert sum(sizes) == 800
    assert sizes[0] == 64


def test_overlapping_files_are_refused_or_cleaned(
    options: Options, project: Path, tmp_path: Path
) -> None:
    with np.load(project / "evaluation.npz") as evaluation:
        np.savez(tmp_path / "c.npz", x=evaluation["x"][:50], y=evaluation["y"][:50])
    with np.load(project / "calibration.npz") as more:
        x, y = more["x"], more["y"]
    with np.load(tmp_path / "c.npz") as some:
        x, y = np.concatenate([x, some["x"]]), np.concatenate([y, some["y"]])
    np.savez(tmp_path / "c.npz", x=x, y=y)
    changed = {**options, "calibration": {"dataset": str(tmp_path / "c.npz"), "samples": 500}}
    with pytest.raises(StageError, match=r"calibration rows are also (search|confirm) rows"):
        quantize(changed, tmp_path / "a")
    evidence = quantize({**changed, "duplicates": "drop"}, tmp_path / "b")
    assert told(evidence, "rules")["duplicates"] == "50 calibration rows dropped"


def test_a_search_set_of_its_own_leaves_all_rows_to_confirm(
    options: Options, project: Path, tmp_path: Path
) -> None:
    with np.load(project / "calibration.npz") as data:
        np.savez(tmp_path / "s.npz", x=data["x"][:60], y=data["y"][:60])
        np.savez(tmp_path / "c.npz", x=data["x"][60:], y=data["y"][60:])
    evidence = quantize(
        {
            **options,
            "calibration": str(tmp_path / "c.npz"),
            "search": str(tmp_path / "s.npz"),
            "evaluation": {**options["evaluation"], "confirm": 1},
        },
        tmp_path / "w",
    )
    parts = told(evidence, "splits")
    assert [parts[name]["samples"] for name in ("search", "confirm")] == [60, 800]


def test_a_fixed_batch_is_padded(tmp_path: Path) -> None:
    model = balanced(convolutional(), (1, 6, 6))
    write_rows(tmp_path / "c.npz", model, 50, seed=1)
    write_rows(tmp_path / "e.npz", model, 301, seed=2)
    for value_info in (model.graph.input[0], model.graph.output[0]):
        value_info.type.tensor_type.shape.dim[0].dim_value = 8
    save(tmp_path / "m.onnx", model)
    evidence = quantize(
        {
            "model": str(tmp_path / "m.onnx"),
            "calibration": str(tmp_path / "c.npz"),
            "evaluation": {"dataset": str(tmp_path / "e.npz"), "label": "y"},
            "gates": [{"metric": "agreement", "min": 0.9}],
        },
        tmp_path / "w",
    )
    assert evidence.details["batch_size"] == 8
    assert set(evidence.outputs) == {"model"}


def test_external_data_is_read_and_counted(options: Options, project: Path, tmp_path: Path) -> None:
    model = onnx.load(str(project / "model.onnx"))
    onnx.save(
        model,
        str(tmp_path / "big.onnx"),
        save_as_external_data=True,
        location="big.data",
        size_threshold=0,
    )
    changed = {**options, "model": str(tmp_path / "big.onnx")}
    ratio = value(quantize(changed, tmp_path / "a"), "size_ratio")
    assert ratio is not None
    assert ratio < 2
    (tmp_path / "big.data").unlink()
    with pytest.raises(StageError, match="big") as caught:
        quantize(changed, tmp_path / "b")
    assert "external data" in str(caught.value.hint)


def test_slices_are_gated_too(options: Options, project: Path, tmp_path: Path) -> None:
    with np.load(project / "evaluation.npz") as data:
        site = np.where(np.arange(len(data["y"])) % 2, "north", "south")
        np.savez(tmp_path / "e.npz", x=data["x"], y=data["y"], site=site)
    evaluation = {"dataset": str(tmp_path / "e.npz"), "label": "y", "slices": ["site"]}
    evidence = quantize({**options, "evaluation": evaluation}, tmp_path / "w")
    assert value(evidence, "accuracy", slice="site=north") is not None
    assert value(evidence, "agreement", slice="site=south") is not None


def test_a_time_limit_stops_the_search(options: Options, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"limits\.seconds"):
        quantize({**options, "limits": {"seconds": "1ms"}}, tmp_path)


def test_absent_classes_are_not_measured(options: Options, project: Path, tmp_path: Path) -> None:
    with np.load(project / "evaluation.npz") as data:
        keep = data["y"] != 2
        np.savez(tmp_path / "e.npz", x=data["x"][keep], y=data["y"][keep])
    evaluation = {"dataset": str(tmp_path / "e.npz"), "label": "y"}
    gate = {"metric": "recall", "where": {"class": "2"}, "min": 0.1}
    evidence = quantize({**options, "evaluation": evaluation, "gates": [gate]}, tmp_path / "w")
    assert value(evidence, "recall", **{"class": "2"}) is None
    assert "no sample" in str(evidence.details["refused"])
