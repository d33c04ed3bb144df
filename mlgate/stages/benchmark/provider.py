"""Where a model runs: ONNX Runtime's execution providers, their options, and the proof.

That ONNX Runtime was built with a provider, lists it, or was given it proves nothing.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final, Protocol

import onnxruntime

from mlgate.errors import StageError
from mlgate.evidence import digest_of
from mlgate.sources import files
from mlgate.stages.benchmark.spec import SessionSettings

PROVIDERS: Final = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
LIBRARIES: Final = {
    "cuda": "pip install 'mlgate[gpu]' (ONNX Runtime for CUDA 13 with cuDNN 9 and cuBLAS)",
    "tensorrt": "pip install 'mlgate[gpu]' and TensorRT 10: pip install 'tensorrt-cu13<11'",
}


@dataclass(frozen=True)
class Runtime:
    """Where and how a model runs; part of what a measurement means.

    `engines` is the folder in which TensorRT keeps the engines that it builds.
    """

    provider: str = "cpu"
    options: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1
    max_fallback_nodes: int = 0
    cuda_graph: bool = False
    engines: Path | None = None
    session: SessionSettings = field(default_factory=SessionSettings)

    @property
    def name(self) -> str:
        return PROVIDERS[self.provider]

    @property
    def device(self) -> str:
        return "cpu" if self.provider == "cpu" else "cuda"

    @property
    def device_id(self) -> int:
        return int(self.options.get("device_id", "0"))


class Subgraph(Protocol):
    """Nodes that one provider runs, as ONNX Runtime reports them."""

    @property
    def ep_name(self) -> str: ...

    def get_nodes(self) -> Sequence[object]: ...


class Placed(Protocol):
    """What `check_placement` asks of a session."""

    def get_providers(self) -> Sequence[str]: ...

    def get_provider_graph_assignment_info(self) -> Sequence[Subgraph]: ...


def require_provider(runtime: Runtime, available: Sequence[str] | None = None) -> None:
    """Raise `StageError` when the installed ONNX Runtime was built without the provider.

    That it was built with it proves nothing: see `check_placement`.
    """
    have = onnxruntime.get_available_providers() if available is None else available
    if runtime.name not in have:
        raise StageError(
            f"the installed onnxruntime has no {runtime.name}",
            hint=LIBRARIES.get(runtime.provider, "pip install 'mlgate[cpu]'"),
        )


def providers_of(runtime: Runtime, model: Path) -> list[str | tuple[str, dict[str, str]]]:
    """ONNX Runtime's `providers` argument; the CPU is in it only where nodes may run there."""
    options = dict(runtime.options) | _engine_options(runtime, model)
    if runtime.provider == "cpu":
        return [(runtime.name, options)] if options else [runtime.name]
    if runtime.cuda_graph:
        options |= (
            {"enable_cuda_graph": "1"}
            if runtime.provider == "cuda"
            else {"trt_cuda_graph_enable": "1"}
        )
    wanted: list[str | tuple[str, dict[str, str]]] = [(runtime.name, options)]
    if runtime.provider == "tensorrt":
        wanted.append("CUDAExecutionProvider")
    # Naming the CPU beside disable_cpu_ep_fallback is refused by ONNX Runtime.
    return wanted if runtime.max_fallback_nodes == 0 else [*wanted, "CPUExecutionProvider"]


def _engine_options(runtime: Runtime, model: Path) -> dict[str, str]:
    """TensorRT's caches: each session of an epoch would build the engine again without them.

    ONNX Runtime knows an engine by the names in the graph and not by its weights, so each model
    has a folder of its own, also below one that the options name. Kernels are chosen by timing
    them: one table of times for all models, or the luck of the draw is part of a comparison.
    """
    if runtime.provider != "tensorrt":
        return {}
    kept = runtime.options.get("trt_engine_cache_path")
    if kept is not None:
        return {"trt_engine_cache_path": str(_folder(Path(kept), _content(model)))}
    if runtime.engines is None or runtime.options.get("trt_engine_cache_enable") == "0":
        return {}
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(_folder(runtime.engines, str(model).encode())),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(runtime.engines),
    }


def _folder(parent: Path, key: bytes) -> Path:
    own = parent / digest_of(key).removeprefix("sha256:")[:16]
    try:
        own.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StageError(
            f"the engine cache {parent} cannot be written: {error.strerror}",
            hint="set trt_engine_cache_path to a folder that this user may write",
        ) from None
    return own


@lru_cache
def _content(model: Path) -> bytes:
    """What tells a model from another: the digests of its file and of those of its weights."""
    found = hashlib.sha256()
    for path in files(str(model)):
        with path.open("rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    return found.digest()


def check_placement(session: Placed, runtime: Runtime) -> dict[str, int]:
    """Nodes per provider; raises `StageError` unless the model runs where it must.

    Steps 2 and 3 of the protocol, to be asked before and after measuring: the first provider is
    the one asked for, and no more than `max_fallback_nodes` nodes are on others.
    """
    providers = list(session.get_providers())
    if not providers or providers[0] != runtime.name:
        raise StageError(
            f"the session runs on {providers[0] if providers else 'nothing'}, not {runtime.name}",
            hint=LIBRARIES.get(runtime.provider),
        )
    nodes: dict[str, int] = {}
    for subgraph in session.get_provider_graph_assignment_info():
        nodes[subgraph.ep_name] = nodes.get(subgraph.ep_name, 0) + len(subgraph.get_nodes())
    if runtime.provider == "cpu":
        return nodes
    elsewhere = {name: count for name, count in nodes.items() if name != runtime.name and count}
    if sum(elsewhere.values()) > runtime.max_fallback_nodes:
        where = ", ".join(f"{count} nodes run on {name}" for name, count in elsewhere.items())
        raise StageError(
            f"{where}, and not on {runtime.name}: {runtime.max_fallback_nodes} may",
            hint="change those operators, or raise max_fallback_nodes and accept the copies",
        )
    if not nodes.get(runtime.name):
        raise StageError(
            f"no node is known to run on {runtime.name}",
            hint="this onnxruntime does not report placement: install 1.31 or newer",
        )
    return nodes
