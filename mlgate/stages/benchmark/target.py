"""A model that is about to be measured: its file, its inputs, and queries bound to sessions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from mlgate.errors import StageError, about
from mlgate.evidence import digest_of
from mlgate.sources import files
from mlgate.stage import Job
from mlgate.stages.benchmark.inputs import (
    QUERIES,
    made_up,
    make_feeds,
    read_tables,
    sources_for,
)
from mlgate.stages.benchmark.provider import Runtime
from mlgate.stages.benchmark.session import (
    Array,
    Expected,
    Feed,
    Port,
    Prepared,
    expect,
    open_session,
    ports_of,
    prepare,
)
from mlgate.stages.benchmark.spec import Benchmark, InputSource, LongTail, ShapeShare
from mlgate.stages.benchmark.vocabulary import vocabulary


@dataclass
class Target:
    """A model file, how it runs, and where its queries come from.

    Feeds are made once for each batch size and shape and shared by every session.
    """

    path: Path
    runtime: Runtime
    ports: tuple[Port, ...]
    sources: Mapping[str, InputSource]
    tables: Mapping[str, Array]
    dims: Mapping[str, int]
    heights: Mapping[str, int] = field(default_factory=dict)
    _feeds: dict[tuple[object, ...], list[dict[str, Array]]] = field(default_factory=dict)
    _expected: dict[tuple[object, ...], Expected] = field(default_factory=dict)

    def feeds(self, batch: int = 1, dims: Mapping[str, int] | None = None) -> Sequence[Feed]:
        """Different queries of one shape."""
        sizes = {**self.dims, **(dims or {})}
        key = (batch, *sorted(sizes.items()))
        if key not in self._feeds:
            queries = QUERIES if batch == 1 and not dims else 4
            self._feeds[key] = make_feeds(
                self.ports, self.sources, self.tables, sizes, batch, queries, self.heights
            )
        return self._feeds[key]

    def prepare(self, batch: int = 1, path: Path | None = None) -> Prepared:
        """A fresh session of the model, or of the one at `path`, bound to the feeds."""
        path = path or self.path
        session = open_session(path, self.runtime)
        return prepare(session, self.feeds(batch), self.runtime, self.expect(path, batch))

    def prepare_mix(self, shapes: Sequence[ShapeShare]) -> list[Prepared]:
        """One session whose bindings are the feeds of each shape in turn."""
        session = open_session(self.path, self.runtime)
        return [
            prepare(session, self.feeds(1, dims), self.runtime, self.expect(self.path, 1, dims))
            for dims in (dict(shape.dims) for shape in shapes)
        ]

    def prepare_workers(self, workers: int) -> list[Prepared]:
        """One session that several threads use at once, each with bindings of its own."""
        session = open_session(self.path, self.runtime)
        expected = self.expect(self.path, 1)
        return [prepare(session, self.feeds(), self.runtime, expected) for _ in range(workers)]

    def expect(self, path: Path, batch: int, dims: Mapping[str, int] | None = None) -> Expected:
        """What the model at `path` answers; asked once, without a CUDA graph."""
        key = (path, batch, *sorted((dims or {}).items()))
        if key not in self._expected:
            session = open_session(path, replace(self.runtime, cuda_graph=False))
            try:
                self._expected[key] = expect(session, self.feeds(batch, dims))
            except StageError as error:
                said = f"{path.name}: {error.message}"
                raise StageError(said, hint=error.hint, option=error.option) from None
        return self._expected[key]

    def made_up(self) -> dict[str, str]:
        """How each input that nobody filled is made up."""
        unfilled = [port for port in self.ports if port.name not in self.sources]
        return {port.name: made_up(port, self.heights.get(port.name)) for port in unfilled}

    def model_bytes(self) -> int:
        """Size of the model, its weights included wherever they lie."""
        return sum(file.stat().st_size for file in files(str(self.path)))


def runtime_of(options: Benchmark, folder: Path) -> Runtime:
    """Where and how the options say that models run; `folder` is for what they build."""
    return Runtime(
        provider=options.provider,
        options={
            key: ("1" if value else "0") if isinstance(value, bool) else str(value)
            for key, value in options.provider_options.items()
        },
        threads=options.threads,
        session=options.session,
        max_fallback_nodes=options.max_fallback_nodes,
        cuda_graph=options.cuda_graph,
        engines=folder / "engines",
    )


def target_of(job: Job[Benchmark], runtime: Runtime) -> Target:
    """The candidate, with its session tried once. Raises `StageError` for what does not fit."""
    options = job.options
    with about("model"):
        path = local(job.inputs[options.model].location, "model")
        ports = ports_of(open_session(path, runtime))
    with about("dims"):
        _check_dims(ports, options)
    with about("dataset" if options.dataset is not None and not options.inputs else "inputs"):
        sources = sources_for(ports, options.inputs, options.dataset)
        tables = read_tables(ports, sources, options.dataset, job.inputs)
    return Target(path, runtime, ports, sources, tables, options.dims, vocabulary(path))


def reference_of(
    job: Job[Benchmark], target: Target, role: Literal["baseline", "anchor"]
) -> Path | None:
    """The file of the model to compare with, whose inputs must be the candidate's.

    None when the options name none. Raises `StageError` for one that answers other queries.
    """
    given = job.options.baseline if role == "baseline" else job.options.anchor
    if given is None:
        return None
    with about(role):
        return _comparable(local(job.inputs[given].location, role), target, role)


def _comparable(path: Path, target: Target, role: str) -> Path:
    theirs = {port.name: port for port in ports_of(open_session(path, target.runtime))}
    ours = {port.name: port for port in target.ports}
    if set(theirs) != set(ours):
        raise StageError(
            f"the {role} has inputs {', '.join(sorted(theirs))}, "
            f"the model {', '.join(sorted(ours))}",
            hint="compare models that answer the same queries",
        )
    for name, port in theirs.items():
        mine = ours[name]
        if port.dtype != mine.dtype or not _same_axes(port, mine):
            raise StageError(
                f"input {name} is {port.dtype} {_axes(port)} in the {role} and "
                f"{mine.dtype} {_axes(mine)} in the model",
                hint="compare models that answer the same queries",
            )
    return path


def _check_dims(ports: tuple[Port, ...], options: Benchmark) -> None:
    """A size of an axis that no input has is a typing error: it would change nothing."""
    known = {axis for port in ports for axis in port.shape if isinstance(axis, str)}
    given = [options.dims]
    for scenario in options.scenarios:
        if isinstance(scenario, LongTail):
            given += [shape.dims for shape in scenario.shapes]
    unknown = sorted({axis for dims in given for axis in dims} - known)
    if unknown:
        has = f"its dynamic axes are {', '.join(sorted(known))}" if known else "it has none"
        raise StageError(f"the model has no dynamic axis {unknown[0]}", hint=has)
    first = {port.shape[0] for port in ports if port.shape}
    for axis, size in options.dims.items():
        if axis in first and size > 1:
            # Rates and costs count a query as one row: they would be wrong by that factor.
            raise StageError(
                f"{axis} is the first axis, which is the batch, and a query has one row",
                hint=f"measure batches: scenarios: [{{kind: batch, sizes: [{size}]}}]",
            )


def _same_axes(one: Port, other: Port) -> bool:
    """Whether some shape fits both."""
    return len(one.shape) == len(other.shape) and all(
        a == b or not isinstance(a, int) or not isinstance(b, int)
        for a, b in zip(one.shape, other.shape, strict=True)
    )


def _axes(port: Port) -> str:
    return f"({', '.join('?' if axis is None else str(axis) for axis in port.shape)})"


def local(location: str, role: str) -> Path:
    """A path on this machine. Raises `StageError` for a URL or a file that is not there."""
    if "://" in location:
        raise StageError(f"the {role} is not a local file", hint="fetch it in a stage before")
    path = Path(location)
    if not path.is_file():
        raise StageError(f"there is no {role} at {path}", hint="check the path in mlgate.yaml")
    return path


def content_digest(path: Path) -> str:
    """Digest of a file's bytes."""
    return digest_of(path.read_bytes())
