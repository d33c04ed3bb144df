"""Phases of a query, and the host's clock against the device's: stand-ins for CUDA, real sessions."""

import ctypes
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlgate.errors import StageError
from mlgate.stages.benchmark import device, nvml
from mlgate.stages.benchmark import session as s
from mlgate.stages.benchmark.campaign import Campaign
from mlgate.stages.benchmark.cold_start import ColdStart, engine_build
from mlgate.stages.benchmark.findings import derive
from mlgate.stages.benchmark.provider import Runtime
from mlgate.stages.benchmark.recording import Recording, decode
from mlgate.stages.benchmark.run import _gpu_facts
from mlgate.stages.benchmark.target import target_of
from tests.stages.benchmark.onnx_models import write_chain
from tests.stages.benchmark.test_measurements import facts, named
from tests.stages.benchmark.test_nvml import IDLE
from tests.stages.benchmark.test_run import QUICK, Bench


class Stopwatch:
    """Events of a device whose queries go on for `more` seconds after they return."""

    stream = 1

    def __init__(self, more: float = 0.0) -> None:
        self.more, self.begun = more, 0.0

    def start(self) -> None:
        self.begun = time.perf_counter()

    def stop(self) -> float:
        if self.more:  # even sleep(0) gives the processor away
            time.sleep(self.more)
        return 1e3 * (time.perf_counter() - self.begun)


def spin() -> None:
    until = time.perf_counter() + 0.001
    while time.perf_counter() < until:
        pass


def test_clocks_that_agree_are_close_to_one() -> None:
    assert device.compared(spin, Stopwatch(), queries=30) == pytest.approx(1, abs=0.05)


def test_a_query_that_returns_before_it_is_done_is_an_error() -> None:
    with pytest.raises(StageError, match="by the host's clock and") as caught:
        device.compared(spin, Stopwatch(0.0005), queries=10)
    assert "disable_synchronize_execution_providers" in (caught.value.hint or "")


def test_phases_add_up_and_are_read_back_from_the_file(tmp_path: Path) -> None:
    """On the CPU, where a copy is a copy too."""
    model, runtime = write_chain(tmp_path / "m.onnx", layers=8, width=256), Runtime()
    feed = {"x": np.ones((1, 256), dtype=np.float32)}
    expected = s.expect(s.open_session(model, runtime), [feed])
    times = device.phase_times(model, runtime, feed, expected, queries=50)
    assert set(times) == {"copy_in", "compute", "copy_out"}
    assert all(len(phase) == 50 and (phase > 0).all() for phase in times.values())
    assert np.median(times["compute"]) > np.median(times["copy_in"])
    gpu: dict[str, Any] = {"memory": 1, "mig": False, "utilisation": None, "energy": []}
    recorded = Recording(facts(gpu=gpu), {f"gpu.{name}": one for name, one in times.items()})
    rows = derive(decode(recorded.encode()), (0.95,)).measurements
    whole = named(rows, "gpu.phase_ms", {"phase": "end_to_end"})
    compute = named(rows, "gpu.phase_ms", {"phase": "compute"})
    assert whole.value > compute.value > 0
    assert whole.n == 50
    assert whole.bounds[0].low <= whole.value <= whole.bounds[0].high


class FakeCuda:
    """The CUDA runtime's calls, on a device that needs 2.5 ms; `broken` names one that fails."""

    def __init__(self, broken: str = "") -> None:
        self.broken, self.made, self.called = broken, 0, list[str]()

    def calls(self) -> dict[str, Callable[..., int]]:
        return {name: self._call(name) for name in device._CALLS}

    def _call(self, name: str) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            self.called.append(name)
            if name == self.broken:
                return 700
            if name in ("cudaStreamCreateWithFlags", "cudaEventCreate"):
                self.made += 1
                arguments[0]._obj.value = self.made
            if name == "cudaEventElapsedTime":
                assert isinstance(arguments[0]._obj, ctypes.c_float)
                assert (arguments[1].value, arguments[2].value) == (2, 3)
                arguments[0]._obj.value = 2.5
            return 0

        return call


def test_cuda_events_time_what_lies_between_them_on_their_stream() -> None:
    fake = FakeCuda()
    events = device.CudaEvents(fake.calls())
    assert events.stream == 1
    events.start()
    assert events.stop() == 2.5
    assert fake.called[3:] == [
        "cudaEventRecord", "cudaEventRecord", "cudaEventSynchronize", "cudaEventElapsedTime"
    ]  # fmt: skip


@pytest.mark.parametrize("broken", ["cudaEventCreate", "cudaEventSynchronize"])
def test_a_cuda_error_is_an_error(broken: str) -> None:
    with pytest.raises(StageError, match=f"{broken} failed with CUDA error 700"):
        device.CudaEvents(FakeCuda(broken).calls()).stop()


def test_without_a_loaded_cuda_runtime_there_are_no_events(tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    maps.write_text("7f00 r-xp 0 0 0 /usr/lib/libc.so.6\n")
    assert device.open_events(maps) is None
    maps.write_text("7f00 r-xp 0 0 0 /nowhere/libcudart.so.13\n")
    assert device.open_events(maps) is None
    assert device.open_events(tmp_path / "none") is None


def test_an_engines_build_is_a_start_without_caches_less_one_with(tmp_path: Path) -> None:
    def start(runtime: Runtime) -> ColdStart:
        assert runtime.engines is not None
        built = runtime.engines.exists()
        runtime.engines.mkdir(exist_ok=True)
        return ColdStart(1, 1, 30 if built else 9_000, 5 if built else 100, 1, 1, 1)

    tensorrt = Runtime(provider="tensorrt", engines=tmp_path / "warm")
    assert engine_build(start, tensorrt, tmp_path / "unbuilt") == 9_065
    assert engine_build(start, Runtime(provider="cuda"), tmp_path / "x") is None
    own = Runtime("tensorrt", {"trt_engine_cache_path": "/mine"})
    assert engine_build(start, own, tmp_path / "y") is None
    (row,) = [
        m
        for m in derive(
            Recording(
                facts(cold_starts=[ColdStart(*[10**6] * 7).row()], engine_build=9 * 10**9), {}
            ),
            (0.95,),
        ).measurements
        if m.labels.get("phase") == "engine_build"
    ]
    assert (row.value, row.n, row.bounds[0].high) == (9000.0, 1, None)


class Busy:
    """A GPU on which this process computes: every question finds it further on."""

    def __init__(self) -> None:
        self.asked = 0

    def state(self) -> nvml.GpuState:
        self.asked += 1
        mine = {os.getpid(): 10**9} if self.asked > 1 else {}
        return replace(IDLE, processes=mine, energy_mj=1000 * self.asked, utilisation=0.5)


def test_what_a_gpu_did_is_recorded_and_read_back(tmp_path: Path) -> None:
    """The GPU is a stand-in that takes the CPU's work for its own."""
    model = write_chain(tmp_path / "m.onnx")
    job = Bench(tmp_path).job(model=str(model), **QUICK)
    target = target_of(job, Runtime())
    campaign = Campaign(job, target, None, None, time.monotonic() + 60, 0)
    gpu = Busy()
    campaign.gpu = _gpu_facts(campaign, gpu, gpu.state())
    assert campaign.gpu["clock_ratio"] is None  # there is no CUDA runtime here
    rows = derive(decode(campaign.recording().encode()), (0.95,)).measurements
    assert named(rows, "gpu.memory_bytes").value == 10**9
    assert named(rows, "gpu.utilization").value == 0.5
    assert {m.labels["phase"] for m in rows if m.name == "gpu.phase_ms"} == {
        "copy_in", "compute", "copy_out", "end_to_end"
    }  # fmt: skip
    assert "half a minute" in named(rows, "energy_j_per_inference").reason
