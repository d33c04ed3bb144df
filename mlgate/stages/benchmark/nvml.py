"""What the GPU itself says: memory, clocks, energy, and whether it really did our work.

NVML is asked before and after measuring and never while a query is timed: asking often makes the
latency spikes that one then measures.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Final, Protocol

from mlgate.errors import MissingPackage, StageError

ENERGY_WINDOW_S: Final = 5.0
_LIMITED: Final[Mapping[int, str]] = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}


@dataclass(frozen=True)
class GpuState:
    """A GPU at one moment. Bytes, MHz, degrees Celsius, millijoules since the driver loaded."""

    name: str
    driver: str
    memory_used: int
    processes: Mapping[int, int]
    sm_mhz: int
    memory_mhz: int
    temperature: int
    reasons: int
    energy_mj: int | None
    utilisation: float | None
    mig: bool


class Gpu(Protocol):
    """What can be asked of a GPU."""

    def state(self) -> GpuState: ...


def open_gpu(index: int = 0) -> Gpu:
    """The GPU with this number. Raises `StageError` when NVML or the GPU is not there."""
    try:
        # Lazy: only GPU runs need NVML.
        import pynvml  # noqa: PLC0415
    except ImportError:
        raise MissingPackage("nvidia-ml-py") from None
    try:
        pynvml.nvmlInit()
        return _Nvml(pynvml, pynvml.nvmlDeviceGetHandleByIndex(index))
    except pynvml.NVMLError as error:
        raise StageError(
            f"the NVIDIA driver cannot be asked what its GPU does: {error}",
            hint="a run whose device cannot be checked proves nothing: install the driver, "
            "and give the container the utility capability",
        ) from None


class _Nvml:
    def __init__(self, nvml: ModuleType, handle: object) -> None:
        self._nvml, self._handle = nvml, handle

    def state(self) -> GpuState:
        nvml, handle = self._nvml, self._handle
        processes = {
            int(process.pid): int(process.usedGpuMemory or 0)
            for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle)
        }
        mig = self._optional(lambda: nvml.nvmlDeviceGetMigMode(handle)[0])
        energy = self._optional(lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
        busy = self._optional(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        reasons = self._optional(lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(handle))
        return GpuState(
            name=str(nvml.nvmlDeviceGetName(handle)),
            driver=str(nvml.nvmlSystemGetDriverVersion()),
            memory_used=int(nvml.nvmlDeviceGetMemoryInfo(handle).used),
            processes=processes,
            sm_mhz=int(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
            memory_mhz=int(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM)),
            temperature=int(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
            reasons=reasons or 0,
            energy_mj=None if mig else energy,
            utilisation=None if mig or busy is None else busy / 100.0,
            mig=bool(mig),
        )

    def _optional(self, ask: Callable[[], int]) -> int | None:
        try:
            return int(ask())
        except self._nvml.NVMLError:
            return None  # this GPU, or MIG, does not tell


def check_device_work(
    before: GpuState, after: GpuState, model_bytes: int, pid: int | None = None
) -> int:
    """Bytes that this process took on the GPU; raises `StageError` when it did not work there.

    Steps 4 and 5 of the protocol: the GPU knows our process and grew by the model's size, and its
    energy counter moved. Other processes that compute there make timings meaningless too.
    """
    pid = os.getpid() if pid is None else pid
    if pid not in after.processes:
        raise StageError(
            f"the GPU knows no compute process {pid}: the model ran elsewhere",
            hint="in a container, share the PID namespace (--pid=host), or nothing can be proven",
        )
    strangers = sorted(set(after.processes) - {pid})
    if strangers:
        raise StageError(
            f"other processes compute on this GPU: {', '.join(map(str, strangers))}",
            hint="give the benchmark a GPU of its own",
        )
    grown = max(after.processes[pid], after.memory_used - before.memory_used)
    if grown < model_bytes:
        raise StageError(
            f"the GPU's memory grew by {grown:,} bytes, the model has {model_bytes:,}",
            hint="the weights are not on the GPU: the model ran elsewhere",
        )
    if (
        before.energy_mj is not None
        and after.energy_mj is not None
        and after.energy_mj <= before.energy_mj
    ):
        raise StageError(
            "the GPU's energy counter did not move: it did no work",
            hint="the model ran elsewhere, or the driver hangs",
        )
    return grown


def limits_of(state: GpuState) -> list[str]:
    """Why the clocks are below what they could be: each is a reason to distrust a timing."""
    return [text for bit, text in sorted(_LIMITED.items()) if state.reasons & bit]


@dataclass(frozen=True)
class Energy:
    """Joules above idle of one window, over so many answers."""

    joules: float
    answers: int
    seconds: float


def idle_watts(gpu: Gpu, seconds: float = ENERGY_WINDOW_S) -> float | None:
    """Power while nothing runs, over one window; None where the counter is not ours alone."""
    begun, first = time.perf_counter(), gpu.state().energy_mj
    time.sleep(seconds)
    last, span = gpu.state().energy_mj, time.perf_counter() - begun
    return None if first is None or last is None else (last - first) / 1e3 / span


def energy_of(
    gpu: Gpu, work: Callable[[float], int], idle: float, windows: int = 5
) -> Sequence[Energy]:
    """Energy of `windows` windows of at least 5 s; `work(seconds)` returns answers given.

    The counter steps every 10 to 100 ms, so a window holds 50 steps or more.
    """
    found = []
    for _ in range(windows):
        begun, first = time.perf_counter(), gpu.state().energy_mj
        answers = work(ENERGY_WINDOW_S)
        last, span = gpu.state().energy_mj, time.perf_counter() - begun
        if first is None or last is None:
            return ()
        found.append(Energy((last - first) / 1e3 - idle * span, answers, span))
    return found
