"""Seven ways in which a GPU benchmark silently runs elsewhere, and what the stage says to each.

Library faults are real where onnxruntime-gpu is installed without CUDA (with the CPU package the
provider is not there at all); the others are played by stand-ins with ONNX Runtime's and NVML's
interface.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnxruntime

from mlgate.errors import MlgateError
from mlgate.stages.benchmark import nvml
from mlgate.stages.benchmark import session as sessions
from mlgate.stages.benchmark.provider import Runtime, check_placement, require_provider
from mlgate.stages.benchmark.session import ORT_ERRORS
from tests.stages.benchmark.onnx_models import write_chain

CUDA = Runtime(provider="cuda")
IDLE = nvml.GpuState("GPU", "580", 10**6, {}, 1000, 1000, 40, 0, 5_000, 0.0, False)


@dataclass(frozen=True)
class Part:
    ep_name: str
    count: int

    def get_nodes(self) -> Sequence[object]:
        return [None] * self.count


@dataclass(frozen=True)
class Placed:
    first: str
    parts: tuple[Part, ...]

    def get_providers(self) -> Sequence[str]:
        return (self.first, "CPUExecutionProvider")

    def get_provider_graph_assignment_info(self) -> Sequence[Part]:
        return self.parts


def fails(binding: object, options: object) -> object:
    raise ORT_ERRORS[1]("CUDA failure 700: an illegal memory access was encountered")


def partly() -> object:
    parts = (Part("CUDAExecutionProvider", 90), Part("CPUExecutionProvider", 3))
    return check_placement(Placed("CUDAExecutionProvider", parts), CUDA)


def faults(model: Path) -> list[tuple[str, Callable[[], object]]]:
    busy = replace(IDLE, processes={8: 10**9}, memory_used=10**9, energy_mj=9_000)
    return [
        ("CUDA libraries missing", lambda: sessions.open_session(model, CUDA)),
        (
            "TensorRT missing",
            lambda: sessions.open_session(
                model, Runtime(provider="tensorrt", max_fallback_nodes=99)
            ),
        ),
        (
            "provider not in this onnxruntime",
            lambda: require_provider(CUDA, ["ROCMExecutionProvider"]),
        ),
        ("some nodes on the CPU", partly),
        ("failure in the middle of a run", lambda: sessions.attempt(fails, None)),
        ("no NVML", nvml.open_gpu),
        ("the GPU's process is not ours", lambda: nvml.check_device_work(IDLE, busy, 10**6, 7)),
    ]


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(f"onnxruntime {onnxruntime.__version__}: {onnxruntime.get_available_providers()}")
    found = 0
    with tempfile.TemporaryDirectory() as folder:
        cases = faults(write_chain(Path(folder) / "m.onnx"))
        for name, play in cases:
            try:
                play()
            except MlgateError as error:
                found += error.exit_code == 3 and error.hint is not None
                print(f"  {name}: exit {error.exit_code}: {error.message[:110]}")
                print(f"      hint: {error.hint}")
            else:
                print(f"  {name}: SILENT")
    print(f"{found} of {len(cases)} end with exit 3 and a hint")


if __name__ == "__main__":
    main()
