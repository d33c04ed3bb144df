"""Equalization and bias correction: the same function, evener channels, no mean shift."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from mlgate.stages.quantize.bias import correct_biases, rounding_error
from mlgate.stages.quantize.calibrate import Activation
from mlgate.stages.quantize.equalize import equalize
from mlgate.stages.quantize.graph import Graph
from tests.stages.quantize.models import convolutional, inputs, model_of, run, transformer_block


def channel_spread(model: onnx.ModelProto) -> float:
    weight = np.abs(Graph(model).array("w1"))
    ranges = weight.reshape(len(weight), -1).max(axis=1)
    return float(ranges.max() / ranges.min())


@pytest.mark.parametrize("seed", range(5))
def test_convolutions_keep_their_function_and_get_even(seed: int) -> None:
    model = convolutional(seed=seed, spread=2.0)
    even, pairs = equalize(model)
    assert pairs == 2  # the two convolutions, and the second with the head
    x = inputs(16, (1, 6, 6), seed=1)
    assert run(even, x) == pytest.approx(run(model, x), rel=1e-4, abs=1e-4)
    assert channel_spread(even) < channel_spread(model) / 3


def test_normalization_keeps_its_function_and_loses_its_outliers() -> None:
    model = transformer_block(outliers=50.0)
    even, pairs = equalize(model)
    assert pairs == 1
    x = inputs(16, (4, 16), seed=1)
    assert run(even, x) == pytest.approx(run(model, x), rel=1e-4, abs=1e-4)
    gamma = np.abs(Graph(even).array("gamma"))
    assert gamma.max() / gamma.min() < 15


def depthwise(middle: str = "Relu", shared: bool = False) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    scale = np.exp(rng.normal(0, 1.5, 6)).astype(np.float32)
    weights = {
        "a": rng.normal(size=(6, 1, 3, 3)).astype(np.float32) * scale[:, None, None, None],
        "b": rng.normal(size=(6, 1, 3, 3)).astype(np.float32),
    }
    second = "a" if shared else "b"
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["1"], name="1", group=6, pads=[1] * 4),
        helper.make_node(middle, ["1"], ["2"], name="2"),
        helper.make_node("Conv", ["2", second], ["scores"], name="3", group=6, pads=[1] * 4),
    ]
    return model_of(nodes, weights, ["N", 6, 4, 4], output_shape=["N", 6, 4, 4])


def test_depthwise_pairs_are_equalized() -> None:
    model = depthwise()
    even, pairs = equalize(model)
    x = inputs(4, (6, 4, 4), seed=0)
    assert pairs == 1
    assert run(even, x) == pytest.approx(run(model, x), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("model", [depthwise("Sigmoid"), depthwise(shared=True)])
def test_what_is_not_homogeneous_or_shared_is_left_alone(model: onnx.ModelProto) -> None:
    even, pairs = equalize(model)
    assert pairs == 0
    assert even.SerializeToString() == model.SerializeToString()


def test_a_tensor_that_is_an_output_is_left_alone() -> None:
    model = convolutional(spread=1.0)
    model.graph.output.append(onnx.ValueInfoProto(name="r1"))
    assert equalize(model)[1] == 1


def test_bias_correction_removes_the_mean_shift_of_rounding() -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(3, 8)).astype(np.float32)
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["scores"], name="head", transB=1)]
    model = model_of(nodes, {"w": weight, "b": np.zeros(3, np.float32)}, ["N", 8], 3)
    x = rng.random((500, 8), dtype=np.float32) + 2
    seen = Activation()
    seen.add(x, -1)
    corrected, count = correct_biases(model, {"x": seen})
    assert count == 1
    rounded = onnx.ModelProto()
    rounded.CopyFrom(corrected)
    rounded.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(
            (weight + rounding_error(weight.astype(float), axis=0)).astype(np.float32), "w"
        )
    )
    shift = (run(rounded, x) - run(model, x)).mean(axis=0)
    assert np.abs(shift).max() < 1e-5
    assert correct_biases(model, {"x": seen}, kept={"head"})[1] == 0
