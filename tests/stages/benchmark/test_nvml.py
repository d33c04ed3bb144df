"""Proof that a GPU did the work: each way in which it did not is an error."""

from dataclasses import replace
from pathlib import Path

import pytest

from mlgate.errors import MlgateError, StageError
from mlgate.stages.benchmark import nvml

IDLE = nvml.GpuState(
    name="GPU",
    driver="580",
    memory_used=1_000_000,
    processes={},
    sm_mhz=1000,
    memory_mhz=1000,
    temperature=40,
    reasons=0,
    energy_mj=5_000,
    utilisation=0.0,
    mig=False,
)
BUSY = replace(IDLE, memory_used=900_000_000, processes={7: 800_000_000}, energy_mj=90_000)


class Meter:
    """A GPU whose counter rises by what work was done, and one joule of idling per question."""

    def __init__(self, energy: int | None) -> None:
        self.energy = energy

    def state(self) -> nvml.GpuState:
        if self.energy is not None:
            self.energy += 1_000
        return replace(IDLE, energy_mj=self.energy)


def test_work_on_the_gpu_is_proven() -> None:
    assert nvml.check_device_work(IDLE, BUSY, 500_000_000, pid=7) == 899_000_000


@pytest.mark.parametrize(
    ("after", "says"),
    [
        (replace(BUSY, processes={8: 800_000_000}), "knows no compute process 7"),
        (replace(BUSY, processes={}), "knows no compute process 7"),
        (replace(BUSY, processes={7: 800_000_000, 8: 5}), "other processes compute"),
        (replace(BUSY, memory_used=IDLE.memory_used, processes={7: 0}), "memory grew by 0"),
        (replace(BUSY, energy_mj=IDLE.energy_mj), "energy counter did not move"),
    ],
)
def test_a_gpu_that_did_not_work_is_an_error(after: nvml.GpuState, says: str) -> None:
    with pytest.raises(StageError, match=says) as caught:
        nvml.check_device_work(IDLE, after, 500_000_000, pid=7)
    assert caught.value.hint


def test_a_machine_without_nvml_is_an_error() -> None:
    """Holds on machines without a GPU: either the library or the driver is missing."""
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has a GPU")
    with pytest.raises(MlgateError) as caught:
        nvml.open_gpu().state()
    assert caught.value.hint


def test_throttling_is_named() -> None:
    assert nvml.limits_of(replace(IDLE, reasons=0x24)) == ["power cap", "thermal slowdown"]
    assert nvml.limits_of(IDLE) == []


def test_energy_is_above_idle_and_needs_a_counter() -> None:
    meter = Meter(0)

    def work(seconds: float) -> int:
        assert meter.energy is not None
        meter.energy += 50_000
        return 10

    found = nvml.energy_of(meter, work, idle=0.0, windows=2)
    assert [round(one.joules) for one in found] == [51, 51]
    assert [one.answers for one in found] == [10, 10]
    assert nvml.energy_of(Meter(None), lambda _: 1, idle=0.0) == ()
