"""Whatever ONNX allows is taken: rewritten first, or left in float where int8 cannot be."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from mlgate.errors import StageError
from mlgate.evidence import Evidence
from mlgate.stages.quantize.graph import load
from mlgate.stages.quantize.normal import (
    flatten_biases,
    in_single_precision,
    normalised,
)
from tests.stages.quantize.cases import (
    Arrays,
    answers,
    drop,
    labelled,
    mlp,
    mlp_weights,
    normal,
    project,
    rows,
    written,
)
from tests.stages.quantize.jobs import quantize


def checked(
    folder: Path, model: onnx.ModelProto, *shape: int, width: int = 16, **options: Any
) -> Evidence:
    """The evidence of a project around `model`, with 150 rows to calibrate and 400 to evaluate."""
    parts = [
        labelled(model, count, seed, *(shape or (width,))) for count, seed in ((150, 1), (400, 2))
    ]
    return quantize(project(folder / "p", model, *parts, **options), folder / "w")


def approved(evidence: Evidence) -> bool:
    return "model" in evidence.outputs


def test_q6_a_gemm_bias_may_be_a_row(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    text = (
        "g (float[N,32] x) => (float[N,4] y) { a = Gemm(x, A, b)  r = Relu(a)  y = Gemm(r, B, c) }"
    )
    model = written(
        text,
        {
            "A": normal(rng, 32, 128, scale=0.3),
            "b": normal(rng, 1, 128, scale=0.3),
            "B": normal(rng, 128, 4, scale=0.3),
            "c": normal(rng, 1, 4),
        },
    )
    evidence = checked(tmp_path, model, width=32)
    assert approved(evidence)
    assert str(evidence.details["winner"]).startswith("int8-qdq")


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (4,), (1, 4), (5, 4), (5, 1)])
@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_every_bias_that_broadcasts_keeps_its_meaning(shape: tuple[int, ...], beta: float) -> None:
    rng = np.random.default_rng(1)
    text = f"g (float[5,16] x) => (float[5,4] y) {{ y = Gemm<beta = {beta}>(x, A, c) }}"
    model = written(text, {"A": normal(rng, 16, 4), "c": normal(rng, *shape)})
    x = rows(5, 1)
    before = answers(model, {"x": x})
    flatten_biases(model)
    onnx.checker.check_model(model)
    assert np.allclose(before, answers(model, {"x": x}), atol=1e-6)


def test_a_bias_that_is_computed_is_added_apart() -> None:
    text = "g (float[N,16] x) => (float[N,4] y) { s = ReduceSum(x)  y = Gemm(x, A, s) }"
    model = written(text, {"A": normal(np.random.default_rng(1), 16, 4)})
    x = rows(5, 1)
    before = answers(model, {"x": x})
    assert flatten_biases(model) == 1
    assert [node.op_type for node in model.graph.node] == ["ReduceSum", "Gemm", "Add"]
    assert np.allclose(before, answers(model, {"x": x}), atol=1e-5)


@pytest.mark.parametrize("prepare", [["preprocess", "equalize", "bias-correct"], []])
def test_q7_what_preparation_makes_is_taken(tmp_path: Path, prepare: list[str]) -> None:
    weights = mlp_weights()
    model = written(
        "g (float[N,16] x) => (float[N,4] y) "
        "{ a = MatMul(x, W1)  c = Add(a, b1)  r = Relu(c)  y = MatMul(r, W2) }",
        {**weights, "b1": weights["b1"][None]},
    )
    assert approved(checked(tmp_path, model, prepare=prepare))


def test_q8_an_empty_activation_stays_in_float(tmp_path: Path) -> None:
    model = written(
        """g (float[N,16] x) => (float[N,4] y) {
          n = Shape<start = 0, end = 1>(x)  size = Concat<axis = 0>(n, nothing)
          e = ConstantOfShape(size)  a = MatMul(x, W1)  c = Add(a, b1)  j = Concat<axis = 1>(e, c)
          r = Relu(j)  y = MatMul(r, W2)
        }""",
        {**mlp_weights(), "nothing": np.array([0])},
    )
    evidence = checked(tmp_path, model)
    assert approved(evidence)
    assert "always empty" in str(evidence.details["left_in_float"])


def test_q9_a_candidate_that_kills_onnxruntime_is_one_entry(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    model = written(
        """g (float[N,4,4] x) => (float[N,4] y) {
          t = Transpose<perm = [1,0,2]>(x)  a = MatMul(t, A)  r = Relu(a)
          m = ReduceMean<axes = [0], keepdims = 0>(r)  y = MatMul(m, B)
        }""",
        {"A": normal(rng, 4, 64), "B": normal(rng, 64, 4)},
    )
    evidence = checked(
        tmp_path, model, 4, 4, gates=[drop(0.05)], schemes=["fp16", "int8-weight-dq"]
    )
    assert approved(evidence)
    failed = str(evidence.details.get("not_built", ""))
    # Fixed one day, fp16 is larger than int8 and comes first in `schemes` all the same.
    assert "SIGSEGV when it loads fp16" in failed or evidence.details["winner"] == "fp16"


def as_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same with every initializer as a Constant node."""
    made = [helper.make_node("Constant", [], [t.name], value=t) for t in model.graph.initializer]
    rest = [onnx.NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend([*made, *rest])
    return model


@pytest.mark.parametrize("passthrough", [False, True])
def test_q10_weights_in_constant_nodes_are_weights(tmp_path: Path, passthrough: bool) -> None:
    evidence = checked(tmp_path, as_constants(mlp()), passthrough=passthrough)
    assert approved(evidence)
    assert "passed_through" not in evidence.details
    assert str(evidence.details["winner"]).startswith("int8")


def branched(weights: str) -> onnx.ModelProto:
    """Two layers in each branch of an If; `weights`: inside the branches, or outside of them."""
    rng = np.random.default_rng(10)
    model = written(
        """g (float[N,16] x) => (float[N,4] y) {
          m = ReduceMean<keepdims = 0>(x)  yes = Less(m, limit)
          y = If (yes) <
            then_branch = one () => (float[N,4] o1) {
              a1 = MatMul(x, A1)  r1 = Relu(a1)  o1 = MatMul(r1, B1) },
            else_branch = two () => (float[N,4] o2) {
              a2 = MatMul(x, A2)  r2 = Relu(a2)  o2 = MatMul(r2, B2) }
          >
        }""",
        {"limit": np.float32(99)},
    )
    for number, branch in enumerate(model.graph.node[2].attribute, 1):
        owner = branch.g if weights == "inside" else model.graph
        for letter, shape in (("A", (16, 128)), ("B", (128, 4))):
            value = normal(rng, *shape, scale=0.3)
            owner.initializer.append(numpy_helper.from_array(value, f"{letter}{number}"))
    return model


@pytest.mark.parametrize("weights", ["inside", "outside"])
def test_q11_layers_in_branches_are_stored_in_int8(tmp_path: Path, weights: str) -> None:
    evidence = checked(tmp_path, branched(weights))
    assert approved(evidence)
    (size,) = (m.value for m in evidence.measurements if m.name == "size_ratio")
    assert size is not None
    assert size < 0.5


def test_q11_int8_activations_say_that_they_do_not_reach_branches(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="layers are in branches") as caught:
        checked(tmp_path, branched("inside"), schemes=["int8-qdq"])
    assert "fp16" in str(caught.value.hint)
    # The same of five kinds of ranges is said once.
    assert str(caught.value.message).count("branches") == 1


def test_q12_functions_are_taken_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(12)
    model = written(
        "g (float[N,16] x) => (float[N,4] y) { r = pkg.Block(x, A, b)  y = pkg.Head(r, C) }",
        {
            "A": normal(rng, 16, 96, scale=0.3),
            "b": normal(rng, 96, scale=0.1),
            "C": normal(rng, 96, 4, scale=0.3),
        },
        domain="pkg",
    )
    block = [
        helper.make_node("MatMul", ["v", "w"], ["t"]),
        helper.make_node("Add", ["t", "d"], ["u"]),
        helper.make_node("Relu", ["u"], ["o"]),
    ]
    head = [helper.make_node("MatMul", ["v", "w"], ["o"])]
    opset = [helper.make_opsetid("", 17)]
    model.functions.append(
        helper.make_function("pkg", "Block", ["v", "w", "d"], ["o"], block, opset)
    )
    model.functions.append(helper.make_function("pkg", "Head", ["v", "w"], ["o"], head, opset))
    assert approved(checked(tmp_path, model))


@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
@pytest.mark.parametrize("directions", [1, 2])
def test_q13_recurrent_weights_are_stored_in_int8(
    tmp_path: Path, kind: str, gates: int, directions: int
) -> None:
    rng = np.random.default_rng(13)
    way = "bidirectional" if directions == 2 else "forward"
    outputs = "all, last, cell" if kind == "LSTM" else "all, last"
    model = written(
        f"""g (float[N,4,4] x) => (float[N,4] y) {{
          t = Transpose<perm = [1,0,2]>(x)
          {outputs} = {kind}<hidden_size = 48, direction = "{way}">(t, W, R, B)
          f = Gather<axis = 0>(last, zero)  y = Slice(f, begin, four, one)
        }}""",
        {
            "W": normal(rng, directions, gates * 48, 4, scale=0.5),
            "R": normal(rng, directions, gates * 48, 48, scale=0.2),
            "B": normal(rng, directions, 2 * gates * 48, scale=0.1),
            "zero": np.array(0),
            "begin": np.array([0]),
            "four": np.array([4]),
            "one": np.array([1]),
        },
    )
    evidence = checked(tmp_path, model, 4, 4)
    assert approved(evidence)
    assert evidence.details["winner"] == "int8-weight-dq"


@pytest.mark.parametrize("schemes", [[], ["fp16", "int8-weight-dq"]])
def test_q14_a_mask_of_infinity_stays_in_float(tmp_path: Path, schemes: list[str]) -> None:
    rng = np.random.default_rng(14)
    width, length = 32, 8
    model = written(
        f"""g (int64[N,{length}] ids) => (float[N,4] y) {{
          e = Gather(E, ids)  q = MatMul(e, Wq)  k = MatMul(e, Wk)  v = MatMul(e, Wv)
          kt = Transpose<perm = [0,2,1]>(k)  s = MatMul(q, kt)  masked = Add(s, mask)
          p = Softmax<axis = -1>(masked)  o = MatMul(p, v)  z = Add(o, e)
          f = MatMul(z, Wf)  r = Relu(f)  m = ReduceMean<axes = [1], keepdims = 0>(r)
          y = MatMul(m, Wo)
        }}""",
        {
            "E": normal(rng, 100, width),
            "Wq": normal(rng, width, width, scale=0.2),
            "Wk": normal(rng, width, width, scale=0.2),
            "Wv": normal(rng, width, width, scale=0.3),
            "Wf": normal(rng, width, 64, scale=0.3),
            "Wo": normal(rng, 64, 4),
            "mask": np.triu(np.full((length, length), -np.inf, np.float32), 1),
        },
    )

    def data(count: int, seed: int) -> Arrays:
        ids = np.random.default_rng(seed).integers(0, 100, (count, length))
        return {"ids": ids, "label": answers(model, {"ids": ids}).argmax(1)}

    options = project(tmp_path / "p", model, data(150, 1), data(400, 2), schemes=schemes)
    evidence = quantize(options, tmp_path / "w")
    assert approved(evidence)


def test_outputs_that_are_not_finite_refuse_the_model(tmp_path: Path) -> None:
    model = written(
        "g (float[N,16] x) => (float[N,4] y) { a = MatMul(x, W)  y = Log(a) }",
        {"W": normal(np.random.default_rng(0), 16, 4)},
    )
    with pytest.raises(StageError, match="output y is NaN or infinite on"):
        checked(tmp_path, model)


def test_q22_one_reason_is_said_once(tmp_path: Path) -> None:
    rng = np.random.default_rng(16)
    weights = {
        "W1": normal(rng, 16, 8, scale=0.3),
        "b1": normal(rng, 8, scale=0.1),
        "W2": normal(rng, 8, 4, scale=0.3),
    }
    model = written(
        "g (float[N,16] x) => (float[N,4] y) "
        "{ a = MatMul(x, W1)  c = Add(a, b1)  r = Relu(c)  y = MatMul(r, W2) }",
        weights,
    )
    with pytest.raises(
        StageError, match=r"^no candidate is smaller than the source \(\d+ tried\)$"
    ):
        checked(tmp_path, model)


@pytest.mark.parametrize("ordered", [True, False])
def test_q25_a_float16_source_is_named_in_any_order(tmp_path: Path, ordered: bool) -> None:
    model = written(
        """g (float[N,16] x) => (float[N,4] y) {
          half = Cast<to = 10>(x)  a = MatMul(half, W1)  c = Add(a, b1)  r = Relu(c)
          z = MatMul(r, W2)  y = Cast<to = 1>(z)
        }""",
        {name: value.astype(np.float16) for name, value in mlp_weights().items()},
    )
    parts = [labelled(model, 50, 1), labelled(model, 60, 2)]
    if not ordered:
        nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
        del model.graph.node[:]
        model.graph.node.extend([*nodes[1:], nodes[0]])
    with pytest.raises(StageError, match="quantized already: its weights are float16"):
        quantize(project(tmp_path / "p", model, *parts), tmp_path / "w")


def test_double_weights_are_computed_in_float(tmp_path: Path) -> None:
    weights = {name: value.astype(np.float64) for name, value in mlp_weights().items()}
    model = written(
        "g (double[N,16] x) => (double[N,4] y) "
        "{ a = MatMul(x, W1)  c = Add(a, b1)  r = Relu(c)  y = MatMul(r, W2) }",
        weights,
    )
    single = in_single_precision(model)
    x = rows(20, 3).astype(np.float64)
    assert answers(single, {"x": x}).dtype == np.float64
    assert np.allclose(answers(model, {"x": x}), answers(single, {"x": x}), atol=1e-5)
    parts = []
    for count, seed in ((150, 1), (400, 2)):
        x = rows(count, seed).astype(np.float64)
        parts.append({"x": x, "label": answers(model, {"x": x}).argmax(1)})
    evidence = quantize(project(tmp_path / "p", model, *parts), tmp_path / "w")
    assert approved(evidence)
    assert str(evidence.details["winner"]).startswith("int8-qdq")


def test_weights_as_inputs_are_fixed() -> None:
    model = mlp()
    for tensor in model.graph.initializer:
        value = helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        model.graph.input.append(value)
    model.ir_version = 3
    plain, _ = normalised(model)
    assert [value.name for value in plain.graph.input] == ["x"]
    x = rows(5, 1)
    assert np.array_equal(answers(model, {"x": x}), answers(plain, {"x": x}))


def test_nodes_out_of_order_are_sorted_in_branches_too(tmp_path: Path) -> None:
    model = branched("inside")
    branch = model.graph.node[2].attribute[0].g
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in branch.node]
    del branch.node[:]
    branch.node.extend(reversed(nodes))
    onnx.save(model, str(tmp_path / "m.onnx"))
    onnx.checker.check_model(load(tmp_path / "m.onnx"))
