"""What only the whole spec can tell: references, circles, and metrics that nobody measures."""

import math
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final

from mlgate.errors import Position, Problem, SpecError
from mlgate.gate import Gate
from mlgate.quantity import Quantity
from mlgate.spec import spec as specs
from mlgate.spec.problems import in_order, near
from mlgate.spec.spec import Spec
from mlgate.stage import Input, Metric, Options, inputs_of
from mlgate.stages import STAGES


def load(
    file: Path,
    *,
    profile: str | None = None,
    params: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
) -> Spec:
    """The spec in `file`, wholly understood. Raises `SpecError` with every problem there is."""
    spec, problems = specs.read(file, profile=profile, params=params, env=env)
    if spec is not None:
        problems = (*problems, *_problems(spec))
    if problems:
        raise SpecError(in_order(problems, file.name))
    assert spec is not None
    return spec


def upstream(options: Options) -> tuple[str, ...]:
    """The stages that a stage comes after, in the order as written, each once."""
    read = [ref.from_.split(".")[0] for _, ref in inputs_of(options) if ref.from_ is not None]
    return tuple(dict.fromkeys([*read, *options.needs]))


def _problems(spec: Spec) -> Iterator[Problem]:
    written = specs.stage_names(spec)
    for name, options in spec.stages.items():
        yield from _references(spec, name, options, written)
        yield from _gates(spec, name, options)
        for path, message, hint in STAGES[options.uses].conflicts(options):
            at = spec.position("stages", name, *path)
            yield Problem("MG208", message, at, hint)
    yield from _circles(spec)


def _references(
    spec: Spec, name: str, options: Options, written: frozenset[str]
) -> Iterator[Problem]:
    for index, other in enumerate(options.needs):
        if other not in written:
            at = spec.position("stages", name, "needs", index)
            hint = near(other, written)
            yield Problem("MG201", f"there is no stage {other!r} to need", at, hint)
    for path, ref in inputs_of(options):
        if ref.from_ is None:
            continue
        at = spec.position("stages", name, *path, "from")
        other, output = ref.from_.split(".", 1)
        if other not in written:
            hint = near(other, written)
            yield Problem("MG201", f"there is no stage {other!r} to read from", at, hint)
        elif other in spec.stages:
            yield from _output(spec.stages[other], other, output, ref, at)


def _output(
    options: Options, other: str, output: str, ref: Input, at: Position
) -> Iterator[Problem]:
    made = STAGES[options.uses].outputs
    if output not in made:
        hint = f"it makes: {', '.join(made) or 'nothing'}"
        yield Problem("MG202", f"{other} does not make {output!r}", at, hint)
    elif ref.kind not in ("file", made[output]):
        message = f"{other}.{output} is a {made[output]}, and a {ref.kind} is wanted here"
        yield Problem("MG202", message, at)


def _circles(spec: Spec) -> Iterator[Problem]:
    edges = {
        name: tuple(other for other in upstream(options) if other in spec.stages)
        for name, options in spec.stages.items()
    }
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        circle = error.args[1]
        at = spec.key_position("stages", circle[0])
        yield Problem("MG203", f"stages wait for each other: {' → '.join(reversed(circle))}", at)


def _gates(spec: Spec, name: str, options: Options) -> Iterator[Problem]:
    if not options.gates:
        at = spec.key_position("stages", name)
        hint = "add gates: [{metric: …, max: …}]"
        yield Problem("MG207", f"{name} has no gates, so nothing would be checked", at, hint)
    metrics = STAGES[options.uses].metrics
    for index, gate in enumerate(options.gates):
        metric = _metric(gate.metric, metrics)
        path = ("stages", name, "gates", index)
        if metric is None:
            at = spec.position(*path, "metric")
            close = near(gate.metric, [m.name for m in metrics])
            hint = close or f"it measures: {', '.join(m.name for m in metrics)}"
            message = f"{options.uses} does not measure {gate.metric!r}"
            yield Problem("MG204", message, at, hint)
            continue
        yield from _selection(spec, path, gate, metric)
        yield from _units(spec, path, gate, metric)
        yield from _direction(spec, path, gate, metric)


def _metric(name: str, metrics: tuple[Metric, ...]) -> Metric | None:
    for metric in metrics:
        if metric.name == name:
            return metric
        if metric.name.endswith(".*") and name.startswith(metric.name[:-1]):
            return metric
    return None


def _selection(
    spec: Spec, path: tuple[str | int, ...], gate: Gate, metric: Metric
) -> Iterator[Problem]:
    for label in gate.where:
        if label not in metric.labels and "*" not in metric.labels:
            at = spec.key_position(*path, "where", label)
            hint = near(label, metric.labels)
            hint = hint or f"labels: {', '.join(metric.labels) or 'none'}"
            yield Problem("MG205", f"{metric.name} has no label {label!r}", at, hint)
    if gate.compared_to is not None and gate.compared_to not in metric.compared_to:
        at = spec.position(*path, "compared_to")
        can = ", ".join(metric.compared_to)
        hint = f"it can be compared to: {can}" if can else "state min, max or equals instead"
        message = f"{metric.name} is not compared to a {gate.compared_to}"
        yield Problem("MG206", message, at, hint)


def _units(
    spec: Spec, path: tuple[str | int, ...], gate: Gate, metric: Metric
) -> Iterator[Problem]:
    for key in ("min", "max", "equals", "max_drop", "max_increase"):
        limit = getattr(gate, key)
        if limit is None:
            continue
        quantity = Quantity.parse(limit)
        at = spec.position(*path, key)
        if key.startswith("max_") and quantity.unit == "%":
            if key == "max_drop" and quantity.number >= 100:
                message = f"nothing falls by more than all of it: {key}: {quantity} can never fail"
                yield Problem("MG211", message, at)
            continue
        try:
            value = quantity.within(metric.unit)
        except ValueError as error:
            yield Problem("MG210", f"{metric.name}: {error}", at)
            continue
        if metric.maximum is not None and (never := _never(key, value, metric.maximum)):
            # A number that was meant as a percentage, unless it is one already.
            meant = quantity.unit is None and 1 <= value <= 100
            hint = f"did you mean {quantity.number:g}%?" if meant else None
            message = (
                f"{metric.name} is {metric.maximum:g} at most: with {key}: {quantity} it {never}"
            )
            yield Problem("MG211", message, at, hint)


def _direction(
    spec: Spec, path: tuple[str | int, ...], gate: Gate, metric: Metric
) -> Iterator[Problem]:
    """A comparison that only an improvement can fail."""
    good, bad = {
        "lower": ("max_drop", "max_increase"),
        "higher": ("max_increase", "max_drop"),
        None: (None, None),
    }[metric.better]
    if good and bad and getattr(gate, good) is not None and getattr(gate, bad) is None:
        way = "rises" if metric.better == "lower" else "falls"
        message = f"{metric.name} is worse when it {way}, and {good} never stops that"
        yield Problem("MG212", message, spec.key_position(*path, good), hint=f"did you mean {bad}?")


def _never(key: str, value: float, most: float) -> str | None:
    """What a limit beyond the largest possible value comes to; None when it decides something."""
    if key in ("min", "equals"):
        return "can never pass" if value > most else None
    return "can never fail" if value >= most else None


# Who allows a fall or a rise by so much, in percent, allows a worse model.
_LARGE_CHANGE: Final = {"max_drop": 50.0, "max_increase": 500.0}
_LARGE_RATIO: Final = 10.0
_NEVER_NEGATIVE: Final = frozenset({"count", "B", "ms", "qps"})


def warnings(spec: Spec) -> Iterator[Problem]:
    """Gates that hardly any model can miss: each is legal, and protects nothing."""
    for name, options in spec.stages.items():
        for index, gate in enumerate(options.gates):
            metric = _metric(gate.metric, STAGES[options.uses].metrics)
            if metric is None:
                continue
            for key, why in _idle(gate, metric):
                at = spec.position("stages", name, "gates", index, key)
                message = f"{gate.metric}: {key}: {getattr(gate, key)} decides nothing: {why}"
                yield Problem("", message, at, "state a limit that a bad model misses")


def _idle(gate: Gate, metric: Metric) -> Iterator[tuple[str, str]]:
    """Limits that nothing misses, and why."""
    for key, most in _LARGE_CHANGE.items():
        limit = getattr(gate, key)
        if limit is None:
            continue
        quantity = Quantity.parse(limit)
        if quantity.unit == "%" and quantity.number >= most:
            change = "fall" if key == "max_drop" else "rise"
            yield key, f"a {change} by as much passes"
        half = math.inf if metric.maximum is None else metric.maximum / 2
        if quantity.unit != "%" and key == "max_drop" and quantity.within(metric.unit) >= half:
            yield key, "half of all that there is may be lost"
    lowest = math.inf if gate.min is None else Quantity.parse(gate.min).within(metric.unit)
    if metric.unit in _NEVER_NEGATIVE and lowest <= 0:
        yield "min", "it is never below 0"
    highest = 0.0 if gate.max is None else Quantity.parse(gate.max).within(metric.unit)
    if metric.name.endswith("ratio") and highest >= _LARGE_RATIO:
        yield "max", "it is a ratio, and never that large"
