"""One run of the stage: everything that it has measured so far, and the recording of it."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from mlgate.stage import Job
from mlgate.stages.benchmark.cold_start import ColdStarts
from mlgate.stages.benchmark.compare import series_of
from mlgate.stages.benchmark.recording import Integers, Recording
from mlgate.stages.benchmark.scenarios import Comparing, Load, Ramping
from mlgate.stages.benchmark.spec import Benchmark
from mlgate.stages.benchmark.target import Target


@dataclass
class Campaign:
    """Everything measured so far."""

    job: Job[Benchmark]
    target: Target
    baseline: Path | None
    anchor: Path | None
    deadline: float
    seed: int
    loads: list[Load] = field(default_factory=list)
    ramping: Ramping | None = None
    comparisons: list[Comparing] = field(default_factory=list)
    anchoring: Comparing | None = None
    cold: ColdStarts = field(default_factory=lambda: ColdStarts([], None, None))
    phases: dict[str, Integers] = field(default_factory=dict)
    gpu: dict[str, JsonValue] | None = None
    failed: dict[str, JsonValue] | None = None

    def out_of_time(self) -> bool:
        return time.monotonic() > self.deadline

    def effort(self) -> tuple[int, ...]:
        """How much was measured: it grows when a look adds something."""
        return (
            *(len(comparing.epochs) for comparing in self.comparisons),
            self.ramping.rounds if self.ramping else 0,
            *(len(load.latency) for load in self.loads),
        )

    def empty(self) -> bool:
        """Whether nothing was measured yet."""
        rates = self.ramping.steps if self.ramping else ()
        series = self.recording().series.values()
        return not (rates or self.cold.starts or any(len(one) for one in series))

    def recording(self) -> Recording:
        """All that the measurements are computed from."""
        options = self.job.options
        facts: dict[str, JsonValue] = {
            "loads": [load.row() for load in self.loads],
            "cold_starts": [dict(start.row()) for start in self.cold.starts],
            "terms": {
                "price": options.price_usd_per_hour,
                "utilisation": options.utilisation,
                "usd_per_kwh": options.usd_per_kwh,
            },
        }
        series = {}
        for load in self.loads:
            series[f"{load.key}.latency"] = load.latency
            series[f"{load.key}.completed"] = load.completed
            series[f"{load.key}.sessions"] = np.asarray(load.sessions, dtype=np.int64)
        if self.ramping is not None:
            facts["ramp"] = self.ramping.row()
        if self.gpu is not None:
            facts["gpu"] = self.gpu
            series |= {f"gpu.{phase}": times for phase, times in self.phases.items()}
        if self.cold.engine_build is not None:
            facts["engine_build"] = self.cold.engine_build
        facts["comparisons"] = [comparing.row() for comparing in self.comparisons]
        for comparing in self.comparisons:
            series |= _compared_series(f"{comparing.id}.compared", comparing)
        if self.anchoring is not None:
            facts["anchor"] = self.anchoring.row()
            series |= _compared_series(f"{self.anchoring.id}.anchored", self.anchoring)
        if self.failed is not None:
            facts["failed"] = self.failed
        return Recording(facts, series)


def _compared_series(name: str, comparing: Comparing) -> dict[str, Integers]:
    series = series_of(name, comparing.epochs)
    if comparing.cut is not None:
        series |= series_of(f"{name}.cut", [comparing.cut])
    return series
