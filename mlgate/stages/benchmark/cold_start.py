"""Cold starts: from starting a process to its first answer, and how warm a pool must be."""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from mlgate.errors import StageError
from mlgate.stages.benchmark import cold_start_child
from mlgate.stages.benchmark.provider import Runtime, providers_of
from mlgate.stages.benchmark.session import Array, Feed, settings_of
from mlgate.stages.benchmark.spec import Batch, LongTail, Scenario, Single
from mlgate.stages.benchmark.spec import ColdStart as ColdStartSpec
from mlgate.stages.benchmark.target import Target

PHASES: Final = ("spawn", "import", "load", "first", "total", "steady")


@dataclass(frozen=True)
class ColdStart:
    """Nanoseconds of each phase of one fresh process, and its peak resident memory in bytes.

    `total` runs from starting the process to its first answer, reading its input left out;
    `steady` is the median of later answers.
    """

    spawn: int
    import_: int
    load: int
    first: int
    total: int
    steady: int
    peak_rss: int

    def row(self) -> dict[str, int]:
        """As JSON."""
        return dict(asdict(self))


def write_feed(feed: Mapping[str, Array], order: list[str], path: Path) -> None:
    """Keep one query where child processes find it."""
    np.savez(path, **{f"input{i}": feed[name] for i, name in enumerate(order)})  # type: ignore[arg-type]


def start_cold(model: Path, runtime: Runtime, feeds: Sequence[Path], seconds: float) -> ColdStart:
    """Start one process and time it; raises `StageError` when it fails or takes too long.

    The first of `feeds` is timed; the others are answered for their memory.
    """
    attributes, entries = settings_of(runtime)
    providers = [list(p) if isinstance(p, tuple) else [p, {}] for p in providers_of(runtime, model)]
    asked = {
        "model": str(model),
        "settings": attributes,
        "entries": entries,
        "providers": providers,
        "cpu_nodes": runtime.provider == "cpu" or runtime.max_fallback_nodes > 0,
        "feed": str(feeds[0]),
        "more_feeds": [str(feed) for feed in feeds[1:]],
    }
    command = [sys.executable, "-I", str(Path(cold_start_child.__file__)), json.dumps(asked)]
    # Only what finding libraries needs: secrets of this process are none of the child's business.
    keep = ("PATH", "LD_LIBRARY_PATH", "CUDA_PATH", "CUDA_VISIBLE_DEVICES", "HOME", "SYSTEMROOT")
    environment = {name: os.environ[name] for name in keep if name in os.environ}
    begun = time.perf_counter_ns()
    try:
        child = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        raise StageError(
            f"a cold start takes longer than {seconds:.0f} s", hint="raise time_limit"
        ) from None
    if child.returncode != 0:
        last = (child.stderr.strip().splitlines() or ["no message"])[-1][:200]
        raise StageError(f"a fresh process could not serve the model: {last}")
    answer = json.loads(child.stdout.strip().splitlines()[-1])
    if answer["providers"][:1] != [runtime.name]:
        raise StageError(f"a fresh process ran on {answer['providers']}, not {runtime.name}")
    stamps = answer["stamps"]
    return ColdStart(
        spawn=stamps["up"] - begun,
        import_=stamps["imported"] - stamps["up"],
        load=stamps["loaded"] - stamps["imported"],
        first=stamps["first"] - stamps["fed"],
        total=stamps["first"] - stamps["fed"] + stamps["loaded"] - begun,
        steady=stamps["steady"],
        peak_rss=stamps["peak_rss"],
    )


def engine_build(
    start: Callable[[Runtime], ColdStart], runtime: Runtime, folder: Path
) -> int | None:
    """Nanoseconds that TensorRT takes to build its engine: a start without caches less one with.

    `folder` is empty. None where there is no engine, or where the options name a cache that may
    hold one.
    """
    if runtime.provider != "tensorrt" or any("cache" in name for name in runtime.options):
        return None
    unbuilt = replace(runtime, engines=folder)
    without, with_ = start(unbuilt), start(unbuilt)
    return max(0, without.load + without.first - with_.load - with_.first)


@dataclass(frozen=True)
class ColdStarts:
    """Fresh processes of the model; what building TensorRT's engine took (ns), where there is one;
    and the peak memory of one fresh process of the baseline (bytes)."""

    starts: list[ColdStart]
    engine_build: int | None
    baseline_rss: int | None


def cold_starts(
    target: Target,
    baseline: Path | None,
    scenarios: Sequence[Scenario],
    folder: Path,
    deadline: float,
) -> ColdStarts:
    """Fresh processes, one after another; one at least, more while there is time.

    Each answers a query of every size and shape that the scenarios serve.
    """
    spawns = next(s.spawns for s in scenarios if isinstance(s, ColdStartSpec))

    def start(runtime: Runtime, model: Path = target.path) -> ColdStart:
        # An engine takes minutes to build, whatever the time limit says.
        longest = 120.0 if runtime.provider != "tensorrt" else 1800.0
        return start_cold(model, runtime, paths, longest)

    paths = []
    for number, feed in enumerate(_served(target, scenarios)):
        paths.append(folder / f"cold_start_feed{number}.npz")
        write_feed(feed, [port.name for port in target.ports], paths[-1])
    starts = []
    try:
        for _ in range(spawns):
            starts.append(start(target.runtime))
            if time.monotonic() > deadline:
                break
        built = engine_build(start, target.runtime, folder / "unbuilt")
        other = None
        if baseline is not None and time.monotonic() < deadline:
            other = start(target.runtime, baseline).peak_rss or None
        return ColdStarts(starts, built, other)
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


def _served(target: Target, scenarios: Sequence[Scenario]) -> list[Feed]:
    """One query of every batch size and shape that is served: the plain one first."""
    batches = set()
    feeds = [target.feeds()[0]]
    for scenario in scenarios:
        if isinstance(scenario, Single):
            batches.add(scenario.batch)
        elif isinstance(scenario, Batch):
            batches.update(scenario.sizes)
        elif isinstance(scenario, LongTail):
            for shape in scenario.shapes:
                feeds.append(target.feeds(1, shape.dims)[0])
    feeds += [target.feeds(batch)[0] for batch in sorted(batches - {1})]
    return feeds


def warm_pool(qps: float, growth: float, knee: float, cold_start_s: float) -> int:
    """Instances to keep running, so that rising traffic never waits for a cold start.

    `qps` is today's traffic, `growth` how fast it can rise (per second per second), `knee` what
    one instance takes: enough for the traffic there will be when a start ends.
    """
    if knee <= 0:
        raise ValueError("an instance that takes no traffic makes no pool")
    return max(1, math.ceil((qps + growth * cold_start_s) / knee))
