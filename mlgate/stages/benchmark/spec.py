"""Options of the benchmark stage: which model, which load, on what, for how long."""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from mlgate.evidence import Frozen
from mlgate.quantity import seconds
from mlgate.stage import (
    Columns,
    Dataset,
    Duration,
    ModelInput,
    Npz,
    Options,
    Synthetic,
)

# What is measured in the comparison alone: without a baseline there is none of it.
COMPARISON_METRICS: Final = ("latency_ms.p99_unpreempted", "preempted")
InputSource = Columns | Npz | Synthetic
ScenarioId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]*$")]


class Slo(Frozen):
    """The promise to callers: this share of requests is answered within this time."""

    latency: Duration = Field(description="Longest response time that keeps the promise.")
    percentile: float = Field(0.99, gt=0, lt=1, description="Share of requests it holds for.")


class Single(Frozen):
    """One query after another (closed loop), as MLPerf SingleStream."""

    kind: Literal["single"]
    id: ScenarioId = "single"
    duration: Duration = Field("3s", description="Time of the first look; extended if needed.")
    batch: int = Field(1, ge=1, description="Rows in one query.")


class Server(Frozen):
    """Queries arrive by themselves (open loop, Poisson), as MLPerf Server."""

    kind: Literal["server"]
    id: ScenarioId = "server"
    duration: Duration = Field("3s", description="Time of the first look; extended if needed.")
    qps: float | None = Field(None, gt=0, description="Arrivals per second; default: a share.")
    share: float = Field(
        0.6, gt=0, le=2, description="Arrivals as a share of the knee, or of the closed-loop rate."
    )
    workers: int | None = Field(
        None, ge=1, le=64, description="Queries served at once; default: as in the ramp, else 1."
    )
    seed: int = Field(42, ge=0, description="Seed of the arrivals (LoadGen's schedule).")


class Burst(Frozen):
    """Open loop whose rate jumps between calm and busy (Markov-modulated Poisson)."""

    kind: Literal["burst"]
    id: ScenarioId = "burst"
    duration: Duration = Field("5s", description="Time of the first look; extended if needed.")
    qps: float | None = Field(None, gt=0, description="Mean arrivals per second.")
    share: float = Field(0.4, gt=0, le=2, description="Mean arrivals as a share of the knee.")
    peak: float = Field(5.0, ge=1, description="Busy rate as a multiple of the calm one.")
    duty: float = Field(0.1, gt=0, lt=1, description="Share of the time that is busy.")
    period: Duration = Field("2s", description="Mean length of one calm and one busy time.")
    workers: int | None = Field(
        None, ge=1, le=64, description="Queries served at once; default: as in the ramp, else 1."
    )
    seed: int = Field(42, ge=0, description="Seed of the arrivals.")


class ShapeShare(Frozen):
    """Sizes of the model's symbolic dimensions, and how often they come."""

    dims: dict[str, int] = Field(min_length=1, description="Size of each symbolic dimension.")
    share: float = Field(gt=0, description="Relative frequency.")


class LongTail(Frozen):
    """Closed loop over a mix of input shapes: most small, some large."""

    kind: Literal["long_tail"]
    id: ScenarioId = "long_tail"
    duration: Duration = Field("3s", description="Time of the first look; extended if needed.")
    shapes: tuple[ShapeShare, ...] = Field(min_length=2, description="The shapes that come.")
    seed: int = Field(42, ge=0, description="Seed of the mix.")


class Batch(Frozen):
    """Offline throughput: a sweep over batch sizes."""

    kind: Literal["batch"]
    id: ScenarioId = "batch"
    duration: Duration = Field("1s", description="Time for each size.")
    sizes: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (1, 8, 32), min_length=1, description="Rows in one query."
    )


class ColdStart(Frozen):
    """Fresh processes: interpreter, import, load, first and steady answers."""

    kind: Literal["cold_start"]
    id: ScenarioId = "cold_start"
    spawns: int = Field(5, ge=1, le=100, description="Processes started, one after another.")


class Ramp(Frozen):
    """Open loop with a rising rate until the promise breaks: the capacity."""

    kind: Literal["ramp"]
    id: ScenarioId = "ramp"
    factor: float = Field(1.25, gt=1, le=4, description="Each step's rate over the one before.")
    step: Duration = Field("250ms", description="Time at each rate.")
    rounds: int = Field(3, ge=2, le=20, description="Sweeps; the interval is over them.")
    workers: int = Field(1, ge=1, le=64, description="Queries served at once.")
    overload: bool = Field(True, description="Replay twice the load through the limit found.")
    seed: int = Field(42, ge=0, description="Seed of the arrivals.")


Scenario = Annotated[
    Single | Server | Burst | LongTail | Batch | ColdStart | Ramp, Field(discriminator="kind")
]


def default_scenarios() -> tuple[Scenario, ...]:
    """What is measured unless the spec says otherwise."""
    return (
        Single(kind="single"),
        Ramp(kind="ramp"),
        Server(kind="server"),
        ColdStart(kind="cold_start"),
    )


class SessionSettings(Frozen):
    """Settings of ONNX Runtime's session that change how fast it answers; they are in the key."""

    optimization: Literal["none", "basic", "extended", "all"] = Field(
        "all", description="Level of graph optimisation."
    )
    arena: bool = Field(True, description="Keep freed memory for later queries (CPU arena).")
    memory_pattern: bool = Field(True, description="Plan memory once for queries of one shape.")
    denormals_as_zero: bool = Field(False, description="Flush denormal numbers to zero.")
    spinning: bool = Field(True, description="Idle threads spin for work instead of sleeping.")
    inter_threads: int = Field(
        1, ge=1, le=1024, description="Threads that run independent nodes side by side."
    )


class Traffic(Frozen):
    """What the service must take, for the size of its warm pool."""

    qps: float = Field(gt=0, description="Requests per second at the peak.")
    growth: float = Field(0.0, ge=0, description="How fast it can rise, in requests per second².")


class Benchmark(Options):
    """Measure latency, throughput, capacity and cost, alone or against a baseline."""

    uses: Literal["benchmark"] = "benchmark"
    model: ModelInput = Field(description="The ONNX model to measure.")
    baseline: ModelInput | None = Field(
        None, description="A model measured again in the same run, query by query beside it."
    )
    anchor: ModelInput | None = Field(
        None, description="A frozen model measured beside it in every run, for mlgate history."
    )
    dataset: Dataset | None = Field(None, description="Rows that fill the model's inputs.")
    inputs: dict[str, InputSource] = Field(
        {}, description="How each input is filled; default: from dataset, else made-up numbers."
    )
    dims: dict[str, Annotated[int, Field(ge=1)]] = Field(
        {}, description="Sizes of symbolic dimensions; the first axis is the batch by default."
    )
    provider: Literal["cpu", "cuda", "tensorrt"] = Field(
        "cpu", description="Where the model must run. It never silently runs elsewhere."
    )
    provider_options: dict[str, str | int | float | bool] = Field(
        {}, description="Options of the execution provider, by ONNX Runtime's names."
    )
    max_fallback_nodes: int = Field(
        0, ge=0, description="Graph nodes that may run on another provider than the asked one."
    )
    cuda_graph: bool = Field(False, description="Replay a captured CUDA graph (fixed shapes).")
    threads: int = Field(1, ge=1, le=1024, description="Threads of one query on the CPU.")
    session: SessionSettings = Field(
        SessionSettings(), description="How ONNX Runtime's session is set up where this is served."
    )
    scenarios: tuple[Scenario, ...] = Field(
        default_factory=default_scenarios,
        min_length=1,
        description="Loads to measure under, in this order.",
    )
    epochs: int = Field(
        8,
        ge=6,
        le=256,
        multiple_of=2,
        description="Rounds of the comparison at the first look (even); up to 4 times as many.",
    )
    epoch: Duration = Field("350ms", description="Time of one round of the comparison.")
    time_limit: Duration = Field("60s", description="Measuring ends; what is open, stays open.")
    slo: Slo | None = Field(
        None, description="Promise that bounds the capacity; default: twice the unloaded median."
    )
    price_usd_per_hour: float | None = Field(
        None, gt=0, description="Price of the machine; without it there is no cost."
    )
    utilisation: float = Field(
        0.6, gt=0, le=1, description="Share of the capacity that is used on average."
    )
    usd_per_kwh: float = Field(0.0, ge=0, description="Price of energy, added where measured.")
    traffic: Traffic | None = Field(None, description="Expected traffic, for the warm pool.")

    @model_validator(mode="after")
    def _scenarios_differ(self) -> Self:
        ids = [scenario.id for scenario in self.scenarios]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"two scenarios have the id {twice[0]}: give one another id")
        for kind in ("ramp", "cold_start"):
            if sum(scenario.kind == kind for scenario in self.scenarios) > 1:
                raise ValueError(f"one {kind} scenario is enough")
        return self


def shortest(options: Benchmark) -> float:
    """Seconds that the first look of everything takes at least: what a time limit must allow."""
    total = 0.0
    for scenario in options.scenarios:
        if isinstance(scenario, Single | Server | Burst | LongTail):
            total += seconds(scenario.duration)
        elif isinstance(scenario, Batch):
            total += seconds(scenario.duration) * len(scenario.sizes)
        elif isinstance(scenario, Ramp):
            total += 4 * scenario.rounds * seconds(scenario.step)
    compared = len(compared_scenarios(options))
    rounds = min(1, compared) if options.anchor is not None else 0
    if options.baseline is not None:
        rounds += compared
    return total + rounds * options.epochs * seconds(options.epoch)


def compared_scenarios(options: Benchmark) -> tuple[str, ...]:
    """Ids of the single scenarios in which the models are compared: those that a gate asks for.

    The first one where no gate compares, for the report. Empty without a single scenario.
    """
    singles = [scenario.id for scenario in options.scenarios if isinstance(scenario, Single)]
    asked = set()
    for gate in options.gates:
        if gate.compared_to or gate.metric in COMPARISON_METRICS:
            named = gate.where.get("scenario")
            asked.update(singles if named is None else [str(named)])
    wanted = tuple(name for name in singles if name in asked)
    return wanted or tuple(singles[:1])
