"""Sessions run where they were told to, or say why not: never silently on the CPU."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mlgate.errors import StageError
from mlgate.stages.benchmark import provider as p
from mlgate.stages.benchmark import session as s
from mlgate.stages.benchmark.spec import SessionSettings
from tests.stages.benchmark.onnx_models import write_chain

CPU = p.Runtime()
CUDA = p.Runtime(provider="cuda")
MODEL = Path("m.onnx")


@dataclass(frozen=True)
class FakeSubgraph:
    ep_name: str
    nodes: int

    def get_nodes(self) -> Sequence[object]:
        return [object()] * self.nodes


@dataclass(frozen=True)
class FakeSession:
    """A session placed as stated."""

    providers: tuple[str, ...]
    subgraphs: tuple[FakeSubgraph, ...]

    def get_providers(self) -> Sequence[str]:
        return self.providers

    def get_provider_graph_assignment_info(self) -> Sequence[FakeSubgraph]:
        return self.subgraphs


def test_a_cpu_session_reports_its_nodes(tmp_path: Path) -> None:
    session = s.open_session(write_chain(tmp_path / "m.onnx", layers=3), CPU)
    assert p.check_placement(session, CPU) == {"CPUExecutionProvider": 3}


def test_a_provider_that_is_not_built_in_names_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="has no TensorrtExecutionProvider") as caught:
        p.require_provider(p.Runtime(provider="tensorrt"), ["CPUExecutionProvider"])
    assert "tensorrt-cu13<11" in (caught.value.hint or "")
    with pytest.raises(StageError, match="has no CUDAExecutionProvider") as caught:
        p.require_provider(CUDA, ["CPUExecutionProvider"])
    assert "mlgate[gpu]" in (caught.value.hint or "")


def test_a_gpu_that_cannot_be_used_is_an_error_here(tmp_path: Path) -> None:
    """Without a GPU this must fail, whichever onnxruntime is installed."""
    for provider in ("cuda", "tensorrt"):
        with pytest.raises(StageError):
            s.open_session(write_chain(tmp_path / "m.onnx"), p.Runtime(provider=provider))


@pytest.mark.parametrize(
    ("providers", "nodes", "says"),
    [
        (("CPUExecutionProvider",), {"CPUExecutionProvider": 9}, "runs on CPUExecutionProvider"),
        ((), {}, "runs on nothing"),
        (
            ("CUDAExecutionProvider", "CPUExecutionProvider"),
            {"CUDAExecutionProvider": 7, "CPUExecutionProvider": 2},
            "2 nodes run on CPUExecutionProvider, and not on CUDAExecutionProvider: 0 may",
        ),
        (("CUDAExecutionProvider",), {}, "no node is known to run on CUDAExecutionProvider"),
    ],
)
def test_wrong_placement_is_an_error(
    providers: tuple[str, ...], nodes: dict[str, int], says: str
) -> None:
    placed = FakeSession(providers, tuple(FakeSubgraph(*item) for item in nodes.items()))
    with pytest.raises(StageError, match=says) as caught:
        p.check_placement(placed, CUDA)
    assert caught.value.hint


def test_b7_nodes_that_tensorrt_leaves_to_cuda_do_not_run_on_tensorrt() -> None:
    placed = FakeSession(
        ("TensorrtExecutionProvider", "CUDAExecutionProvider"),
        (FakeSubgraph("CUDAExecutionProvider", 100),),
    )
    with pytest.raises(StageError, match="100 nodes run on CUDAExecutionProvider"):
        p.check_placement(placed, p.Runtime(provider="tensorrt"))
    with pytest.raises(StageError, match="no node is known to run on TensorrtExecutionProvider"):
        p.check_placement(placed, p.Runtime(provider="tensorrt", max_fallback_nodes=100))


def random_shape(path: Path) -> Path:
    """A model whose answer has another shape each time: it counts random positives."""
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["r"]),
        helper.make_node("Greater", ["r", "x"], ["c"]),
        helper.make_node("NonZero", ["c"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4096])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [2, None])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path))
    return path


def test_b14_a_shape_that_changes_from_run_to_run_is_said(tmp_path: Path) -> None:
    session = s.open_session(random_shape(tmp_path / "m.onnx"), CPU)
    with pytest.raises(StageError, match="the shape of output y changes from run to run") as caught:
        s.expect(session, [{"x": np.zeros((1, 4096), dtype=np.float32)}])
    assert "cannot be bound" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "given",
    [
        {"optimization": "none"},
        {"arena": False, "memory_pattern": False},
        {"denormals_as_zero": True},
        {"spinning": False},
        {"inter_threads": 2},
    ],
)
def test_b15_settings_of_the_session_are_those_of_the_spec(
    tmp_path: Path, given: dict[str, Any]
) -> None:
    settings = SessionSettings(**given)
    runtime = p.Runtime(session=settings)
    attributes, entries = s.settings_of(runtime)
    assert (attributes, entries) != s.settings_of(p.Runtime())
    options = s.session_options(runtime)
    assert {name: int(getattr(options, name)) for name in attributes} == attributes
    for name, text in entries.items():
        assert options.get_session_config_entry(name) == text
    assert s.open_session(write_chain(tmp_path / "m.onnx"), runtime)


def test_allowed_cpu_nodes_are_allowed() -> None:
    placed = FakeSession(
        ("CUDAExecutionProvider",),
        (FakeSubgraph("CUDAExecutionProvider", 7), FakeSubgraph("CPUExecutionProvider", 2)),
    )
    runtime = p.Runtime(provider="cuda", max_fallback_nodes=2)
    assert p.check_placement(placed, runtime)["CPUExecutionProvider"] == 2


def test_the_cpu_is_offered_to_onnxruntime_only_where_nodes_may_run_there() -> None:
    assert p.providers_of(CUDA, MODEL) == [("CUDAExecutionProvider", {})]
    allowed = p.providers_of(
        p.Runtime(provider="cuda", max_fallback_nodes=1, cuda_graph=True), MODEL
    )
    assert allowed == [
        ("CUDAExecutionProvider", {"enable_cuda_graph": "1"}),
        "CPUExecutionProvider",
    ]
    assert "CPUExecutionProvider" not in p.providers_of(p.Runtime(provider="tensorrt"), MODEL)


def test_a_model_that_does_not_load_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(StageError, match=r"bad\.onnx cannot be loaded"):
        s.open_session(tmp_path / "bad.onnx", CPU)
    with pytest.raises(StageError, match="there is no model"):
        s.open_session(tmp_path / "none.onnx", CPU)


def test_missing_external_data_is_named(tmp_path: Path) -> None:
    path = write_chain(tmp_path / "m.onnx")
    onnx.save(
        onnx.load(path),
        str(path),
        save_as_external_data=True,
        location="m.onnx.data",
        size_threshold=0,
    )
    s.open_session(path, CPU)
    data = tmp_path / "m.onnx.data"
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(StageError, match="lacks its external data"):
        s.open_session(path, CPU)
    data.unlink()
    with pytest.raises(StageError, match="external data") as caught:
        s.open_session(path, CPU)
    assert "beside" in (caught.value.hint or "")


def test_bound_queries_answer_as_plain_ones_do(tmp_path: Path) -> None:
    session = s.open_session(write_chain(tmp_path / "m.onnx"), CPU)
    feeds = [{"x": np.full((1, 64), i, dtype=np.float32)} for i in range(3)]
    prepared = s.prepare(session, feeds, CPU, s.expect(session, feeds))
    assert len(prepared.bindings) == 3
    for binding in prepared.bindings:
        s.attempt(prepared.run, binding)


def test_an_answer_of_nan_is_an_error(tmp_path: Path) -> None:
    session = s.open_session(write_chain(tmp_path / "m.onnx", poison=True), CPU)
    with pytest.raises(StageError, match="is NaN"):
        s.expect(session, [{"x": np.ones((1, 64), dtype=np.float32)}])


def test_a_wrong_shape_is_an_error(tmp_path: Path) -> None:
    session = s.open_session(write_chain(tmp_path / "m.onnx"), CPU)
    with pytest.raises(StageError, match="refuses its input"):
        s.expect(session, [{"x": np.ones((1, 63), dtype=np.float32)}])


def test_a_failure_while_running_is_never_tried_again_on_the_cpu() -> None:
    calls = []

    def fails(binding: object, options: object) -> None:
        calls.append(binding)
        raise s.ORT_ERRORS[1]("CUDNN failure 4: CUDNN_STATUS_INTERNAL_ERROR")

    with pytest.raises(StageError, match="CUDNN failure") as caught:
        s.attempt(fails, "binding")
    assert calls == ["binding"]
    assert "nothing was retried" in (caught.value.hint or "")


def test_string_inputs_are_refused(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.STRING, [1])],
        [helper.make_tensor_value_info("y", TensorProto.STRING, [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(tmp_path / "s.onnx"))
    with pytest.raises(StageError, match="only tensors of numbers"):
        s.ports_of(s.open_session(tmp_path / "s.onnx", CPU))


def test_a_cuda_graph_must_answer_as_the_model_does() -> None:
    plain = (np.asarray([1.0, 2.0]), np.asarray([3]))
    s.same_answers((np.asarray([1.001, 2.0]), np.asarray([3])), plain)
    with pytest.raises(StageError, match="does not answer as the model"):
        s.same_answers((np.asarray([1.0, 0.0]), np.asarray([3])), plain)
    with pytest.raises(StageError, match="does not answer as the model"):
        s.same_answers((np.asarray([1.0, 2.0]), np.asarray([4])), plain)


def test_tensorrt_keeps_the_engines_of_each_model_apart_and_one_table_of_timings(
    tmp_path: Path,
) -> None:
    runtime = p.Runtime(
        provider="tensorrt", engines=tmp_path / "e", options={"trt_fp16_enable": "1"}
    )
    caches = []
    for model in (Path("a/m.onnx"), Path("b/m.onnx")):
        first = p.providers_of(runtime, model)[0]
        assert isinstance(first, tuple)
        name, options = first
        assert name == "TensorrtExecutionProvider"
        assert options["trt_fp16_enable"] == options["trt_engine_cache_enable"] == "1"
        assert options["trt_timing_cache_path"] == str(tmp_path / "e")
        assert Path(options["trt_engine_cache_path"]).is_dir()
        caches.append(options["trt_engine_cache_path"])
    assert len(set(caches)) == 2
    cuda = p.Runtime(provider="cuda", engines=tmp_path)
    assert p.providers_of(cuda, MODEL) == [("CUDAExecutionProvider", {})]


def test_engines_that_are_kept_are_known_by_the_models_content(tmp_path: Path) -> None:
    """ONNX Runtime would take the engine of another model of the same layers for its own."""
    models = [tmp_path / name for name in ("a.onnx", "b.onnx", "c.onnx")]
    for model, weights in zip(models, (b"1", b"2", b"1"), strict=True):
        model.write_bytes(b"graph")
        model.with_name(model.name + ".data").write_bytes(weights)
    mine = p.Runtime(
        "tensorrt", {"trt_engine_cache_path": str(tmp_path / "kept")}, engines=tmp_path
    )
    caches = []
    for model in models:
        first = p.providers_of(mine, model)[0]
        assert isinstance(first, tuple)
        assert set(first[1]) == {"trt_engine_cache_path"}
        caches.append(first[1]["trt_engine_cache_path"])
    assert caches[0] == caches[2] != caches[1]
    assert all(Path(cache).parent == tmp_path / "kept" for cache in caches)
    (tmp_path / "file").write_text("")
    full = p.Runtime("tensorrt", {"trt_engine_cache_path": str(tmp_path / "file")})
    with pytest.raises(StageError, match="cannot be written"):
        p.providers_of(full, models[0])
