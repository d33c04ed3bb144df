"""What is counted is rows: outputs with another first axis, states, scalars, maps and words."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from mlgate.errors import StageError
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

COSINE = {"metric": "cosine", "min": 0.9}
AGREEMENT = {"metric": "agreement", "min": 0.9}


def unlabelled(folder: Path, model: onnx.ModelProto, **options: Any) -> Any:
    data = {"x": rows(60, 1)}, {"x": rows(200, 2)}
    options = {"task": "embedding", "gates": [COSINE], "schemes": ["int8-weight-dq"], **options}
    return quantize(project(folder / "p", model, *data, **options), folder / "w")


@pytest.mark.parametrize(("first", "tokens"), [("1", 8), ("N", 8), ("5", 5)])
def test_q3_tokens_are_not_rows(tmp_path: Path, first: str, tokens: int) -> None:
    # Eight tokens of four words out of one row, or the mean row of a batch.
    rng = np.random.default_rng(5)
    mean = "" if first == "1" else "x1 = ReduceMean<axes = [0]>(x)"
    given = "x" if first == "1" else "x1"
    model = written(
        f"""g (float[{first},16] x) => (float[{tokens},4] y) {{
          {mean} a = MatMul({given}, A)  r = Relu(a)  t = Reshape(r, shape)  y = MatMul(t, W2)
        }}""",
        {
            "A": normal(rng, 16, tokens * 64, scale=1 / 4),
            "W2": normal(rng, 64, 4, scale=1 / 8),
            "shape": np.array([tokens, 64]),
        },
    )
    if tokens == 5:
        return  # as many tokens as rows, and no other axis: nothing can tell
    with pytest.raises(StageError, match=r"output y has 8 entries for a batch of [15]: its first"):
        unlabelled(tmp_path, model, task="text", gates=[AGREEMENT])


def test_q4_a_matrix_is_not_rows(tmp_path: Path) -> None:
    model = written(
        """g (float[1,16] x) => (float[4,4] y) {
          a = MatMul(x, W1)  c = Add(a, b1)  r = Relu(c)  o = MatMul(r, W2)
          p = Softmax<axis = -1>(o)  q = Squeeze(p, zero)  u = Unsqueeze(q, one)  y = Mul(u, p)
        }""",
        {**mlp_weights(), "zero": np.array([0]), "one": np.array([1])},
    )
    with pytest.raises(StageError, match="output y has 4 entries for a batch of 1"):
        unlabelled(tmp_path, model)


def time_first(steps: int, batch: str = "N") -> onnx.ModelProto:
    """[time, batch, 4], as LSTM layers give."""
    rng = np.random.default_rng(6)
    width = 16 // 4 if steps == 4 else 16
    return written(
        f"""g (float[{batch},16] x) => (float[{steps},{batch},4] y) {{
          x3 = Reshape(x, shape)  t = Transpose<perm = [1,0,2]>(x3)
          e = Expand(t, all)  a = MatMul(e, A)  r = Relu(a)  y = MatMul(r, B)
        }}""",
        {
            "A": normal(rng, width, 64),
            "B": normal(rng, 64, 4),
            "shape": np.array([-1, 16 // width, width]),
            "all": np.array([steps, 1, 1]),
        },
    )


@pytest.mark.parametrize(("steps", "batch"), [(4, "N"), (5, "N"), (5, "5")])
def test_q5_time_is_not_rows_even_where_there_are_as_many(
    tmp_path: Path, steps: int, batch: str
) -> None:
    with pytest.raises(StageError, match="its first axis is not the batch") as caught:
        unlabelled(tmp_path, time_first(steps, batch))
    assert "batch_axis: {y: 1}" in str(caught.value.hint)


def test_batch_axis_says_where_the_rows_are(tmp_path: Path) -> None:
    evidence = unlabelled(tmp_path, time_first(4), batch_axis={"y": 1})
    (cosine,) = (m for m in evidence.measurements if m.name == "cosine")
    assert "model" in evidence.outputs
    assert cosine.n == 150


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ({"z": 1}, "no input or output"),
        ({"y": 2}, "output y has 4 entries for a batch of 5: axis 2 is not the batch"),
        ({"y": 5}, "the axes 0 to 2"),
    ],
)
def test_a_wrong_batch_axis_is_named(tmp_path: Path, axes: dict[str, int], said: str) -> None:
    with pytest.raises(StageError, match=said):
        unlabelled(tmp_path, time_first(4), batch_axis=axes)


def stateful(symbol: str) -> onnx.ModelProto:
    rng = np.random.default_rng(17)
    return written(
        f"""g (float[batch,16] x, float[2,{symbol},8] state)
        => (float[batch,4] y, float[2,{symbol},8] next) {{
          h = Gather<axis = 0>(state, zero)  j = Concat<axis = 1>(x, h)  a = MatMul(j, W1)
          r = Relu(a)  y = MatMul(r, W2)  next = Identity(state)
        }}""",
        {"zero": np.array(0), "W1": normal(rng, 24, 64, scale=0.3), "W2": normal(rng, 64, 4)},
    )


@pytest.mark.parametrize(("symbol", "axes"), [("batch", {}), ("b", {"state": 1, "next": 1})])
@pytest.mark.parametrize("filled", ["columns", "zeros"])
def test_q23_a_state_has_its_batch_on_another_axis(
    tmp_path: Path, symbol: str, axes: dict[str, int], filled: str
) -> None:
    model = stateful(symbol)

    def data(count: int, seed: int) -> Arrays:
        x, state = rows(count, seed), np.zeros((count, 2, 8), np.float32)
        y = answers(model, {"x": x, "state": state.transpose(1, 0, 2).copy()})
        found = {"x": x, "label": y.argmax(1)}
        return found if filled == "zeros" else {**found, "state": state}

    options = project(tmp_path / "p", model, data(150, 1), data(300, 2), batch_axis=axes)
    if filled == "zeros":
        options["evaluation"]["inputs"] = {"state": {"synthetic": "zeros", "shape": [1, 2, 8]}}
    assert "model" in quantize(options, tmp_path / "w").outputs


def test_q23_a_state_of_another_shape_is_told_its_batch_axis(tmp_path: Path) -> None:
    model = stateful("batch")
    data = [{"x": rows(n, n), "state": np.zeros((n, 8), np.float32)} for n in (50, 60)]
    with pytest.raises(
        StageError, match=r"input state wants \[2, 8\] = 16 numbers a row"
    ) as caught:
        quantize(project(tmp_path / "p", model, *data), tmp_path / "w")
    assert "axis 1" in str(caught.value.hint)


@pytest.mark.parametrize("shape", ["", "[1]"])
def test_q24_a_scalar_is_fed_once(tmp_path: Path, shape: str) -> None:
    model = written(
        f"""g (float[N,16] x, int64{shape} rate) => (float[N,4] y) {{
          f = Cast<to = 1>(rate)  k = Div(f, full)  s = Mul(x, k)
          a = MatMul(s, W1)  c = Add(a, b1)  r = Relu(c)  y = MatMul(r, W2)
        }}""",
        {**mlp_weights(), "full": np.float32(16000)},
    )
    if not shape:
        scalar = helper.make_tensor_value_info("rate", onnx.TensorProto.INT64, [])
        model.graph.input[1].CopyFrom(scalar)

    def data(count: int, seed: int) -> Arrays:
        x = rows(count, seed)
        label = answers(mlp(), {"x": x}).argmax(1)
        return {"x": x, "rate": np.full(count, 16000), "label": label}

    options = project(tmp_path / "p", model, data(150, 1), data(300, 2))
    assert "model" in quantize(options, tmp_path / "w").outputs
    mixed = data(300, 2)
    mixed["rate"][:150] = 8000
    options = project(tmp_path / "p", model, data(150, 1), mixed)
    with pytest.raises(StageError, match="input rate is one value for a whole batch"):
        quantize(options, tmp_path / "w2")


def zipmapped(words: bool) -> onnx.ModelProto:
    """As skl2onnx writes a classifier by default: a label, and a list of maps."""
    model = mlp()
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 2))
    add = model.graph.node.append
    key, kind = (
        (onnx.TensorProto.STRING, "strings") if words else (onnx.TensorProto.INT64, "int64s")
    )
    classes = ["cat", "dog", "eel", "fox"] if words else [0, 1, 2, 3]
    add(helper.make_node("ArgMax", ["y"], ["best"], axis=1, keepdims=0))
    if words:
        table = helper.make_tensor("words", key, [4], [str(word).encode() for word in classes])
        model.graph.initializer.append(table)
        add(helper.make_node("Gather", ["words", "best"], ["output_label"]))
    else:
        add(helper.make_node("Identity", ["best"], ["output_label"]))
    add(helper.make_node("Softmax", ["y"], ["p"], axis=1))
    zipped = {f"classlabels_{kind}": classes}
    add(helper.make_node("ZipMap", ["p"], ["output_probability"], domain="ai.onnx.ml", **zipped))
    number = helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [])
    maps = helper.make_sequence_type_proto(helper.make_map_type_proto(key, number))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("output_label", key, ["N"]))
    model.graph.output.append(helper.make_value_info("output_probability", maps))
    return model


@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("output", [None, "output_probability"])
def test_q26_maps_are_scores_and_words_are_classes(
    tmp_path: Path, words: bool, output: str | None
) -> None:
    model = zipmapped(words)

    def data(count: int, seed: int) -> Arrays:
        x = rows(count, seed)
        return {
            "x": x,
            "label": answers(model, {"x": x}, "output_label").astype("U" if words else int),
        }

    options = project(
        tmp_path / "p", model, data(150, 1), data(300, 2), gates=[drop(0.05)], output=output
    )
    evidence = quantize(options, tmp_path / "w")
    assert "model" in evidence.outputs
    if words:
        assert {entry["class"] for entry in evidence.details["classes"]} == {  # type: ignore[index,call-overload,union-attr]
            "cat",
            "dog",
            "eel",
            "fox",
        }


def test_q16_a_label_of_words_is_no_number(tmp_path: Path) -> None:
    model = mlp()
    parts = [labelled(model, count, seed) for count, seed in ((50, 1), (60, 2))]
    words = [
        {**part, "label": np.array(["cat", "dog", "eel", "fox"])[part["label"]]} for part in parts
    ]
    gate = {"metric": "mae", "compared_to": "source", "max_increase": "5%"}
    options = project(tmp_path / "p", model, *words, task="regression", gates=[gate])
    with pytest.raises(StageError, match="label label is text, and regression compares numbers"):
        quantize(options, tmp_path / "w")


def test_q17_an_output_of_words_has_no_cosine(tmp_path: Path) -> None:
    model = zipmapped(words=True)
    model.graph.output[1].CopyFrom(
        helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 4])
    )
    with pytest.raises(
        StageError, match="output output_label is text: name the numbers, output: y"
    ):
        unlabelled(tmp_path, model)


def test_rows_that_depend_on_one_another_are_no_rows(tmp_path: Path) -> None:
    model = written(
        """g (float[N,16] x) => (float[N,4] y) {
          s = CumSum(x, axis)  a = MatMul(s, W1)  r = Relu(a)  y = MatMul(r, W2)
        }""",
        {**mlp_weights(), "axis": np.array(0)},
    )
    with pytest.raises(StageError, match="says of a row depends on the rows beside it"):
        unlabelled(tmp_path, model)


def test_a_batch_that_is_squeezed_away_is_named(tmp_path: Path) -> None:
    model = written(
        """g (float[N,16] x) => (float[M] y) { a = MatMul(x, W)  r = ReduceSum<keepdims = 0>(a) 
          u = Reshape(r, one)  y = Identity(u) }""",
        {"W": normal(np.random.default_rng(1), 16, 64), "one": np.array([1])},
    )
    with pytest.raises(StageError, match="output y has 1 entries for a batch of 5"):
        unlabelled(tmp_path, model)
