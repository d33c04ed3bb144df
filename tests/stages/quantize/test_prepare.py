"""Every step before quantization is proved on real inputs, or dropped."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper

from mlgate.stages.quantize.prepare import _if_equal, prepare
from tests.stages.quantize.models import convolutional, inputs, model_of, run

X = {"x": inputs(16, (1, 6, 6), seed=0)}


def test_steps_say_what_they_did(tmp_path: Path) -> None:
    source = convolutional(spread=1.0)
    prepared = prepare(source, ("preprocess", "equalize"), X, tmp_path)
    assert "dropped" not in "".join(prepared.steps.values())
    assert run(prepared.model, X["x"]) == pytest.approx(run(source, X["x"]), rel=1e-4, abs=1e-4)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("factor", "kept"), [(1.0, True), (1.0001, True), (1.01, False)])
def test_a_step_that_changes_the_outputs_is_dropped(factor: float, kept: bool) -> None:
    before, after = convolutional(), convolutional()
    for tensor in after.graph.initializer:
        if tensor.name == "w3":
            values = numpy_helper.to_array(tensor) * np.float32(factor)
            tensor.CopyFrom(numpy_helper.from_array(values, "w3"))
    reference = {"scores": run(before, X["x"])}
    chosen, said = _if_equal(before, after, "a step", X, reference, {})
    assert (chosen is after) == kept
    assert said.startswith("a step" if kept else "dropped: it changes the outputs by 0.01")


def test_batch_normalization_is_folded(tmp_path: Path) -> None:
    ones = np.ones(4, np.float32)
    weights = {
        "w": np.ones((4, 1, 3, 3), np.float32),
        "s": 2 * ones,
        "b": ones,
        "m": ones,
        "v": ones,
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("BatchNormalization", ["c", "s", "b", "m", "v"], ["scores"], name="norm"),
    ]
    source = model_of(nodes, weights, ["N", 1, 6, 6], output_shape=["N", 4, 4, 4])
    prepared = prepare(source, ("preprocess",), X, tmp_path)
    assert [node.op_type for node in prepared.model.graph.node] == ["Conv"]


def test_nothing_is_done_that_was_not_asked_for(tmp_path: Path) -> None:
    source = convolutional(spread=2.0)
    prepared = prepare(source, (), X, tmp_path)
    assert prepared.steps == {}
    assert prepared.model.graph.initializer[0] == source.graph.initializer[0]
