"""Everything that can be wrong with what a user gives: one clear error each, never a pass."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mlgate.errors import StageError
from tests.stages.quantize.jobs import quantize
from tests.stages.quantize.models import convolutional, model_of, save

Options = dict[str, Any]


def refused(options: Options, workdir: Path, **changes: object) -> StageError:
    with pytest.raises(StageError) as caught:
        quantize({**options, **changes}, workdir)
    return caught.value


def trees(path: Path) -> Path:
    """One stump as a tree ensemble: x[0] ≤ ½ → class 0, else class 1."""
    node = helper.make_node(
        "TreeEnsembleClassifier",
        ["x"],
        ["label", "scores"],
        domain="ai.onnx.ml",
        nodes_treeids=[0, 0, 0],
        nodes_nodeids=[0, 1, 2],
        nodes_featureids=[0, 0, 0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_values=[0.5, 0.0, 0.0],
        nodes_truenodeids=[1, 0, 0],
        nodes_falsenodeids=[2, 0, 0],
        class_treeids=[0, 0, 0],
        class_nodeids=[1, 2, 2],
        class_ids=[0, 1, 2],
        class_weights=[1.0, 1.0, 0.5],
        classlabels_int64s=[0, 1, 2],
    )
    graph = helper.make_graph(
        [node],
        "trees",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 3]),
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 8
    return save(path, model)


def test_a_tree_ensemble_has_nothing_to_quantize(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((400, 2), dtype=np.float32)
    y = (x[:, 0] > 0.5).astype(np.int64)
    np.savez(tmp_path / "c.npz", x=x[:50], y=y[:50])
    np.savez(tmp_path / "e.npz", x=x[50:], y=y[50:])
    options = {
        "model": str(trees(tmp_path / "trees.onnx")),
        "calibration": str(tmp_path / "c.npz"),
        "evaluation": {"dataset": str(tmp_path / "e.npz"), "label": "y"},
        "output": "scores",
        "gates": [{"metric": "accuracy", "min": 0.9}],
    }
    error = refused(options, tmp_path / "a")
    assert "nothing to quantize" in error.message
    assert "passthrough" in str(error.hint)
    evidence = quantize({**options, "passthrough": True}, tmp_path / "b")
    assert evidence.outputs["model"].name == "trees.onnx"
    assert evidence.details["passed_through"] is True


def test_a_quantized_model_is_not_quantized_again(options: Options, tmp_path: Path) -> None:
    evidence = quantize(options, tmp_path / "a")
    again = str(tmp_path / "a" / evidence.outputs["model"].name)
    assert "quantized already" in refused(options, tmp_path / "b", model=again).message


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.95])
def test_corrupt_models(options: Options, project: Path, tmp_path: Path, keep: float) -> None:
    data = (project / "model.onnx").read_bytes()
    (tmp_path / "m.onnx").write_bytes(data[: int(keep * len(data) if keep < 1 else keep)])
    error = refused(options, tmp_path / "w", model=str(tmp_path / "m.onnx"))
    assert "m.onnx is not a" in error.message
    assert "Traceback" not in error.message


def test_an_unknown_operator(options: Options, tmp_path: Path) -> None:
    nodes = [helper.make_node("Frobnicate", ["x"], ["scores"], domain="my.own")]
    model = model_of(nodes, {}, ["N", 1, 6, 6], 4)
    model.opset_import.append(helper.make_opsetid("my.own", 1))
    error = refused(options, tmp_path / "w", model=str(save(tmp_path / "m.onnx", model)))
    assert "Frobnicate" in error.message
    assert "operator" in str(error.hint)


def test_unknown_node_names(options: Options, tmp_path: Path) -> None:
    error = refused(options, tmp_path, exclude=["secnd"])
    assert "which is not there" in error.message
    assert "'second'" in str(error.hint)


def test_an_unknown_output(options: Options, tmp_path: Path) -> None:
    assert "did you mean 'scores'" in str(refused(options, tmp_path, output="score").hint)


def changed_rows(project: Path, path: Path, **arrays: Any) -> str:
    with np.load(project / "evaluation.npz") as data:
        np.savez(path, **{**data, **arrays})
    return str(path)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.full(800, 7), "labels go from"),
        (np.arange(800) % 4 - 1, "labels go from -1"),
        (np.array(["cat", "dog"] * 400), "'cat' is not a known class"),
        (np.full(800, np.nan), "without a number"),
        (np.zeros((800, 2), int), "one value a row"),
        (np.zeros(800), None),
    ],
)
def test_labels_of_another_kind(
    options: Options, project: Path, tmp_path: Path, labels: Any, said: str | None
) -> None:
    where = changed_rows(project, tmp_path / "e.npz", y=labels)
    evaluation = {"dataset": where, "label": "y"}
    if said is None:  # whole numbers as floats are labels
        quantize({**options, "evaluation": evaluation}, tmp_path / "w")
    else:
        error = refused(options, tmp_path / "w", evaluation=evaluation)
        assert said in error.message
        assert "no candidate" not in error.message  # the data's fault, and said once
        assert error.option[0] == "evaluation"


def test_missing_label_column(options: Options, project: Path, tmp_path: Path) -> None:
    evaluation = {"dataset": str(project / "evaluation.npz"), "label": "z"}
    assert "no column 'z'" in refused(options, tmp_path, evaluation=evaluation).message


def test_a_constant_source_model(options: Options, tmp_path: Path) -> None:
    model = convolutional()
    for tensor in model.graph.initializer:
        if tensor.name == "b3":
            bias = np.array([99, 0, 0, 0], np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(bias, "b3"))
    error = refused(options, tmp_path / "w", model=str(save(tmp_path / "m.onnx", model)))
    assert "answers class 0 for all" in error.message


def test_rows_of_another_shape_or_name(options: Options, tmp_path: Path) -> None:
    np.savez(tmp_path / "c.npz", x=np.zeros((9, 1, 5, 5), np.float32))
    error = refused(options, tmp_path / "a", calibration=str(tmp_path / "c.npz"))
    assert "wants [1, 6, 6]" in error.message
    np.savez(tmp_path / "d.npz", image=np.zeros((9, 1, 6, 6), np.float32))
    error = refused(options, tmp_path / "b", calibration=str(tmp_path / "d.npz"))
    assert "no column named as the model's input 'x'" in error.message
    assert "inputs: {x:" in str(error.hint)


def test_too_few_rows_to_search_on(options: Options, project: Path, tmp_path: Path) -> None:
    with np.load(project / "evaluation.npz") as data:
        np.savez(tmp_path / "e.npz", x=data["x"][:20], y=data["y"][:20])
    evaluation = {"dataset": str(tmp_path / "e.npz"), "label": "y"}
    assert "too few to search" in refused(options, tmp_path / "w", evaluation=evaluation).message


def custom(folder: Path, body: str) -> Options:
    (folder / "metric.py").write_text(
        f"import numpy as np\n\ndef metric(outputs, labels):\n    {body}\n"
    )
    return {"mine": {"python": str(folder / "metric.py")}}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise KeyError('scores')", "raised KeyError at"),
        ("return float('nan')", "returned NaN"),
        ("return 'high'", "returned no numbers"),
        ("return [1, 2]", "returned 2 numbers for"),
        ("return (", "raised SyntaxError"),
    ],
)
def test_custom_metrics_that_fail(options: Options, tmp_path: Path, body: str, said: str) -> None:
    metrics = custom(tmp_path, body)
    gates = [{"metric": "custom.mine", "min": 0.1}]
    error = refused(options, tmp_path / "w", metrics=metrics, gates=gates)
    assert said in error.message


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["/nonexistent/program"], "No such file"),
        (["false"], "exited 1"),
        (["echo", "much"], "printed no number"),
    ],
)
def test_commands_that_fail(
    options: Options, tmp_path: Path, command: list[str], said: str
) -> None:
    gates = [{"metric": "custom.mine", "min": 0.1}]
    metrics = {"mine": {"command": command}}
    assert said in refused(options, tmp_path / "w", metrics=metrics, gates=gates).message


def test_custom_metrics_that_work(options: Options, tmp_path: Path) -> None:
    metrics = custom(tmp_path, "return outputs['scores'].argmax(axis=1) == labels")
    (tmp_path / "whole.py").write_text(
        "def f(outputs, labels):\n    return outputs['scores'].std()\n"
    )
    metrics["whole"] = {"python": str(tmp_path / "whole.py"), "function": "f"}
    gates = [
        {"metric": "custom.mine", "compared_to": "source", "max_drop": 0.05},
        {"metric": "custom.whole", "compared_to": "source", "max_drop": "20%"},
    ]
    evidence = quantize({**options, "metrics": metrics, "gates": gates}, tmp_path / "w")
    assert set(evidence.outputs) == {"model"}
