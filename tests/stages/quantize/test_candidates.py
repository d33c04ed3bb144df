"""Every scheme builds, is smaller, answers alike, and has the same bytes twice."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from mlgate.errors import StageError
from mlgate.stages.quantize import graph
from mlgate.stages.quantize.calibrate import calibrate
from mlgate.stages.quantize.candidates import (
    Candidate,
    CandidateBuilder,
    candidates,
    default_schemes,
)
from mlgate.stages.quantize.prepare import prepare
from mlgate.stages.quantize.provenance import finished, origin
from mlgate.stages.quantize.sensitivity import relative_error
from mlgate.stages.quantize.spec import Scheme
from tests.stages.quantize.models import convolutional, inputs, run, transformer_block

SCHEMES: tuple[Scheme, ...] = (
    "int8-qdq",
    "int8-qdq-per-tensor",
    "int8-dynamic",
    "int8-weight-dq",
    "a16w8",
    "fp16",
)


def builder_of(
    model: onnx.ModelProto, shape: tuple[int, ...], workdir: Path, **options: object
) -> CandidateBuilder:
    x = inputs(64, shape, seed=1)
    prepared = prepare(model, ("preprocess", "equalize"), {"x": x}, workdir)
    seen = calibrate(prepared.model, [{"x": x}])
    settings = {"excluded": (), "provider": "cpu", "correct": True, **options}
    return CandidateBuilder(model=prepared.model, calibration=seen, workdir=workdir, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_each_scheme_answers_like_its_source(scheme: Scheme, tmp_path: Path) -> None:
    source = convolutional(filters=32)
    builder = builder_of(source, (1, 6, 6), tmp_path)
    x = inputs(64, (1, 6, 6), seed=2)
    for candidate in candidates((scheme,), builder.model):
        built = builder.build(candidate)
        if candidate.method != "entropy":  # 64 samples leave gaps, and it cuts at them
            assert relative_error(run(source, x), run(built, x)) < 0.01, candidate.name
        assert built.ByteSize() < 0.6 * source.ByteSize()
        onnx.checker.check_model(built)
        again = builder.build(candidate)
        data = [finished(m, candidate, builder, origin("a", "b", 32, {})) for m in (built, again)]
        assert data[0] == data[1]
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("scheme", "error"), [("int8-weight-nbits", 0.01), ("int4-weight-nbits", 0.05)]
)
def test_weight_only_schemes_fit_matrix_products(
    scheme: Scheme, error: float, tmp_path: Path
) -> None:
    pytest.importorskip("onnx_ir")
    source = transformer_block()
    builder = builder_of(source, (4, 16), tmp_path)
    x = inputs(64, (4, 16), seed=2)
    built = builder.build(Candidate(scheme))
    assert "MatMulNBits" in {node.op_type for node in built.graph.node}
    assert relative_error(run(source, x), run(built, x)) < error


def test_a_signed_provider_gets_symmetric_int8(tmp_path: Path) -> None:
    builder = builder_of(convolutional(), (1, 6, 6), tmp_path, provider="tensorrt")
    built = builder.build(Candidate("int8-qdq", "minmax"))
    look_up = graph.Graph(built)
    points = [
        look_up.array(node.input[2])
        for node in built.graph.node
        if node.op_type == "QuantizeLinear"
    ]
    assert points
    assert all(point.dtype == np.int8 and not point.any() for point in points)


def test_kept_and_excluded_nodes_stay_in_float(tmp_path: Path) -> None:
    builder = builder_of(convolutional(), (1, 6, 6), tmp_path, excluded=("first",))
    built = builder.build(
        Candidate("int8-qdq", "minmax", float_nodes=("head",), float_weighted=("head",))
    )
    look_up = graph.Graph(built)
    weights = {
        node.name: node.input[1] for node in built.graph.node if node.op_type in graph.WEIGHTED
    }
    assert {name for name, weight in weights.items() if weight in look_up.weights} == {
        "first",
        "head",
    }


def test_the_provenance_is_in_the_model_and_the_old_metadata_stays(tmp_path: Path) -> None:
    source = convolutional()
    source.metadata_props.append(onnx.StringStringEntryProto(key="author", value="me"))
    builder = builder_of(source, (1, 6, 6), tmp_path)
    candidate = Candidate("int8-qdq", "mse")
    data = finished(
        builder.build(candidate),
        candidate,
        builder,
        origin("sha256:1", "sha256:2", 32, {"provider": "cpu"}),
    )
    properties = {p.key: p.value for p in onnx.load_from_string(data).metadata_props}
    assert properties["author"] == "me"
    assert properties["mlgate.source"] == "sha256:1"
    assert properties["mlgate.ranges"].startswith("sha256:")
    assert list(properties) == sorted(properties)


def test_the_default_schemes_depends_on_the_operators() -> None:
    assert "int8-weight-nbits" not in default_schemes(convolutional())
    assert default_schemes(convolutional())[0] == "int8-qdq"


def test_groups_follow_what_is_fused() -> None:
    model = graph.named(convolutional())
    assert graph.groups(model, ("first", "second", "head")) == {
        "first": ("first", "first_relu"),
        "second": ("second", "second_relu", "pool", "flat"),
        "head": ("head",),
    }


def test_an_old_opset_is_lifted_and_steps_are_recorded(tmp_path: Path) -> None:
    source = convolutional(opset=11)
    x = {"x": inputs(8, (1, 6, 6), seed=0)}
    prepared = prepare(source, ("preprocess", "equalize"), x, tmp_path)
    assert graph.opset_of(prepared.model) >= 13
    assert prepared.steps["opset"] == "lifted from 11 to 17"
    assert prepared.steps["equalize"] == "2 pairs of layers"
    assert run(prepared.model, x["x"]) == pytest.approx(run(source, x["x"]), abs=1e-4)


def test_what_cannot_be_built_says_which_candidate(tmp_path: Path) -> None:
    builder = builder_of(convolutional(), (1, 6, 6), tmp_path)
    builder.calibration.activations.clear()
    with pytest.raises(StageError, match="int8-qdq minmax cannot be built"):
        builder.build(Candidate("int8-qdq", "minmax"))
