"""The spec, resolved: what runs, in what order, under which content key.

A key is made of everything that evidence depends on, and is known before anything starts: the
stage's options, the digests of its inputs (or the keys of the stages that make them), the
versions of the tools, and the hardware where the stage measures time.
"""

import functools
import hashlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Final

from mlgate import __version__
from mlgate.errors import StageError, UsageError, about
from mlgate.evidence import Evidence, canonical, digest_of
from mlgate.machine import hardware
from mlgate.run.report import StageTerms, Terms, spec_facts
from mlgate.sources import without_secrets
from mlgate.spec.lint import upstream
from mlgate.spec.problems import near
from mlgate.spec.spec import Spec
from mlgate.stage import Input, Located, Options, Stage, inputs_of
from mlgate.stages import STAGES

_ROOM: Final = re.compile(r"^\s*(?:from|import) mlgate\.(\w+)", re.MULTILINE)


@dataclass(frozen=True)
class Node:
    """One stage in the plan. `after` are the stages that must pass before it starts.

    `line` is where the spec names it, `gate_lines` where its gates stand.
    """

    id: str
    options: Options
    after: tuple[str, ...]
    confidences: tuple[float, ...]
    line: int
    gate_lines: tuple[int, ...]

    @property
    def stage(self) -> Stage[Any]:
        return STAGES[self.options.uses]

    @property
    def terms(self) -> StageTerms:
        """By what it is judged."""
        return StageTerms(self.options.uses, self.line, self.options.gates, self.gate_lines)

    def is_of(self, evidence: Evidence, inputs: Mapping[str, str]) -> bool:
        """Whether evidence is about this stage and these digests, by port: no key says so alone."""
        return evidence.uses == self.options.uses and evidence.inputs == inputs

    def may_be_of(self, evidence: Evidence, key: "Key") -> bool:
        """The same, as far as it can be told before other stages ran."""
        ports = self.inputs()
        outside = {
            port: key.located[source].digest
            for port, source in ports.items()
            if source.from_ is None
        }
        seen = evidence.inputs
        return (
            evidence.uses == self.options.uses
            and set(seen) == set(ports)
            and all(seen[port] == digest for port, digest in outside.items())
        )

    def inputs(self) -> dict[str, Input]:
        """What it reads, by port: the option's path, e.g. `evaluation.dataset`."""
        ports = {}
        for path, source in inputs_of(self.options):
            parts = [str(p) for i, p in enumerate(path) if i == 0 or p != path[i - 1]]
            ports[".".join(parts)] = source
        return ports


@dataclass(frozen=True)
class Plan:
    """Nodes in an order in which each comes after those it waits for."""

    spec: Spec
    nodes: tuple[Node, ...]

    def node(self, stage: str) -> Node:
        return next(node for node in self.nodes if node.id == stage)


@dataclass(frozen=True)
class Key:
    """A node's content key, and what it is made of.

    `digest` is None where evidence cannot be kept; `reason` says why. `broken` is why an input
    cannot be read, if so: then the stage cannot start.
    """

    digest: str | None
    parts: dict[str, Any] = field(default_factory=dict)
    located: Mapping[Input, Located] = field(default_factory=dict)
    reason: str | None = None
    broken: StageError | None = None


def resolve(spec: Spec, *, only: Iterable[str] = (), include_deploys: bool = False) -> Plan:
    """The plan of a spec that `lint` found in order.

    `only` keeps those stages and what they wait for. Stages that a check leaves out (they move
    traffic) are planned when named, or with `include_deploys`. Raises `UsageError` for an unknown
    name.
    """
    names = tuple(only)
    for name in names:
        if name not in spec.stages:
            raise UsageError(
                f"there is no stage {name!r}",
                hint=near(name, spec.stages) or f"stages: {', '.join(spec.stages)}",
            )
    checked = [n for n, o in spec.stages.items() if include_deploys or not STAGES[o.uses].deploys]
    wanted = set(names or checked)
    # Tuples, not sets: the order must not depend on the hash seed.
    edges = {name: upstream(options) for name, options in spec.stages.items()}
    order = tuple(TopologicalSorter(edges).static_order())
    for name in reversed(order):
        if name in wanted:
            wanted.update(edges[name])
    return Plan(spec, tuple(_node(spec, name, edges[name]) for name in order if name in wanted))


def terms_of(plan: Plan, found: Iterable[str], *, day: str | None = None) -> Terms:
    """By what the stages of a plan are judged, where those in `found` are what a run came to.

    `day` is the one on which waivers have to hold (UTC, 2026-12-31).
    """
    there = set(found)
    terms = Terms(
        name=plan.spec.name,
        spec_digest=plan.spec.digest,
        profile=plan.spec.profile,
        confidence=plan.spec.confidence,
        stages={node.id: node.terms for node in plan.nodes},
        left_out=tuple(node.id for node in resolve(plan.spec).nodes if node.id not in there),
        changed=plan.spec.changed,
    )
    if not plan.spec.policies.rules:
        return terms
    whole = {node.id: node.terms for node in resolve(plan.spec, include_deploys=True).nodes}
    facts = spec_facts(terms, whole)
    asked = plan.spec.policies.model_copy(update={"day": day, "spec": facts})
    return replace(terms, policies=asked)


def _node(spec: Spec, name: str, after: tuple[str, ...]) -> Node:
    options = spec.stages[name]
    levels = {gate.confidence or spec.confidence for gate in options.gates} | {spec.confidence}
    lines = tuple(
        spec.position("stages", name, "gates", index).line for index in range(len(options.gates))
    )
    line = spec.key_position("stages", name).line
    return Node(name, options, after, tuple(sorted(levels)), line, lines)


def keys(plan: Plan, locate: Callable[[Input], Located]) -> dict[str, Key]:
    """Every node's key. `locate` finds a source and its digest, or raises `StageError`."""
    found: dict[str, Key] = {}
    for node in plan.nodes:
        found[node.id] = _key(node, found, locate, plan.spec.confidence)
    return found


def _key(
    node: Node,
    upstream: Mapping[str, Key],
    locate: Callable[[Input], Located],
    confidence: float,
) -> Key:
    located: dict[Input, Located] = {}
    inputs: dict[str, str] = {}
    reason = node.stage.uncacheable(node.options)
    for port, source in node.inputs().items():
        if source.from_ is not None:
            maker, output = source.from_.split(".", 1)
            if upstream[maker].digest is None:
                reason = reason or f"it reads {source.from_}, which is made anew each time"
            inputs[port] = f"{upstream[maker].digest}#{output}"
            continue
        try:
            with about(*_option(port)):
                located[source] = locate(source)
        except StageError as error:
            return Key(None, located=located, broken=error, reason=error.message)
        digest = located[source].digest
        if digest is None:
            reason = reason or f"the content of {port} is not known before it is read"
        inputs[port] = str(digest)
    parts: dict[str, Any] = {
        "options": _settings(node),
        "confidences": list(node.confidences),
        "inputs": inputs,
        "tools": versions(node.stage.packages),
        "implementation": implementation(node.stage.measure.__module__),
    }
    if node.stage.hardware:
        parts["hardware"] = hardware()
    if node.stage.adaptive:  # it judges its gates itself, to know when to stop
        parts["confidence"] = confidence
    digest = None if reason else digest_of(canonical({"uses": node.stage.uses, **parts}))
    return Key(digest, parts, located, reason)


def _option(port: str) -> tuple[str | int, ...]:
    return tuple(int(part) if part.isdigit() else part for part in port.split("."))


def _settings(node: Node) -> dict[str, Any]:
    options = node.options.model_dump(mode="json", by_alias=True, exclude_none=True)
    dropped = {"needs", "timeout", "retries"} | (set() if node.stage.adaptive else {"gates"})
    return {name: value for name, value in options.items() if name not in dropped}


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Installed versions of distributions; those not installed are left out."""
    found = {"mlgate": __version__}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def implementation(module: str) -> str:
    """Digest of a stage's source and of every room that it is built on.

    A mended stage measures again, whatever its version says, and so does one whose reader of rows
    or whose intervals were mended.
    """
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        return module
    sources = sorted(Path(found.origin).parent.rglob("*.py"))
    if module.startswith("mlgate."):
        sources = covered_sources(sources)
    hashed = hashlib.sha256()
    for path in sources:
        hashed.update(path.read_bytes())
    return f"sha256:{hashed.hexdigest()}"


def covered_sources(sources: list[Path]) -> list[Path]:
    """`sources` and those of all rooms (`mlgate.data`, `mlgate.gate`, …) that they import."""
    house = Path(__file__).parent.parent
    rooms: set[str] = set()
    waiting = list(sources)
    while waiting:
        for name in _ROOM.findall(waiting.pop().read_text(encoding="utf-8")):
            if name in rooms or name == "stages":
                continue
            rooms.add(name)
            room = house / name
            own = sorted(room.rglob("*.py")) if room.is_dir() else [room.with_suffix(".py")]
            sources += own
            waiting += own
    return sorted(set(sources))


def why_missed(parts: dict[str, Any], last: dict[str, Any] | None) -> str:
    """Why a key is new: the parts that changed since the stage last finished here."""
    if last is None:
        return "not measured here before"
    changes = list(_changes("", last, parts))
    if not changes:
        return "its evidence is no longer in the store"
    more = f" (and {len(changes) - 3} more)" if len(changes) > 3 else ""
    return "; ".join(changes[:3]) + more


def _changes(name: str, old: Any, new: Any) -> Iterable[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _changes(f"{name}.{key}" if name else key, old.get(key), new.get(key))
    elif old != new:
        if name == "implementation":
            yield "the stage's own code changed"
        elif name.startswith("inputs."):
            yield f"{name.removeprefix('inputs.')} changed"
        else:
            yield f"{name}: {_short(old)} → {_short(new)}"


def _short(value: Any) -> str:
    text = "unset" if value is None else str(value)
    text = without_secrets(text) if "://" in text else text
    return text if len(text) <= 40 else text[:37] + "…"
