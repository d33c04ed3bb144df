"""Queries for a model: from rows of a dataset, from an .npz file, or made up with a seed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from mlgate.data.location import shown
from mlgate.errors import StageError
from mlgate.stage import Columns, Dataset, Input, Located, Npz, Synthetic
from mlgate.stages.benchmark.session import Array, Port
from mlgate.stages.benchmark.spec import InputSource

QUERIES: Final = 16
MOST: Final = 4096


def axes_of(port: Port, dims: Mapping[str, int], batch: int) -> tuple[int, ...]:
    """The shape of one query's input: symbolic axes from `dims`, the first one else the batch.

    Raises `StageError` for a symbolic axis without a size, or a batch that the model fixes.
    """
    axes = []
    for position, axis in enumerate(port.shape):
        if isinstance(axis, int) and axis > 0:
            if position == 0 and batch > 1 and axis != batch:
                raise StageError(
                    f"input {port.name} has a fixed first axis of {axis}: no batch of {batch}",
                    hint="export the model with a dynamic first axis, or measure batch 1",
                )
            axes.append(axis)
        elif isinstance(axis, str) and axis in dims and not (position == 0 and batch > 1):
            axes.append(dims[axis])
        elif position == 0:
            axes.append(batch)
        elif isinstance(axis, str):
            raise StageError(
                f"input {port.name} has a dynamic axis {axis} without a size",
                hint=f"add dims: {{{axis}: 128}}",
            )
        else:
            raise StageError(
                f"input {port.name} has a dynamic axis {position} without a name or a size",
                hint=f"add inputs: {{{port.name}: {{synthetic: normal, shape: […]}}}}",
            )
    return tuple(axes)


def make_feeds(
    ports: Sequence[Port],
    sources: Mapping[str, InputSource],
    tables: Mapping[str, Array],
    dims: Mapping[str, int],
    batch: int = 1,
    queries: int = QUERIES,
    heights: Mapping[str, int] | None = None,
) -> list[dict[str, Array]]:
    """`queries` different feeds for the model; `tables` holds all rows of each sourced input.

    `heights` are those of the tables in which whole-number inputs are looked up (`vocabulary`).

    Raises `StageError` for a source that names no input, or rows that do not fit one.
    """
    names = [port.name for port in ports]
    unknown = sorted(set(sources) - set(names))
    if unknown:
        raise StageError(
            f"the model has no input {unknown[0]}", hint=f"its inputs are {', '.join(names)}"
        )
    feeds: list[dict[str, Array]] = [{} for _ in range(queries)]
    for port in ports:
        source = sources.get(port.name)
        if source is None or isinstance(source, Synthetic):
            height = (heights or {}).get(port.name)
            made = _made_up(port, source, dims, batch, queries, height)
        else:
            made = _from_rows(port, tables[port.name], dims, batch, queries)
        for feed, array in zip(feeds, made, strict=True):
            feed[port.name] = array
    return feeds


def made_up(port: Port, height: int | None) -> str:
    """How an input that nobody filled is made up: normal, ones, `below N`, or zeros."""
    if port.dtype.kind == "f":
        return "normal"
    if height is not None:
        return f"below {height}"
    # A mask of ones covers nothing; of other whole numbers 0 is one that every model accepts.
    return "ones" if "mask" in port.name.lower() else "zeros"


def _made_up(
    port: Port,
    source: Synthetic | None,
    dims: Mapping[str, int],
    batch: int,
    queries: int,
    height: int | None,
) -> list[Array]:
    kind = port.dtype.kind
    how = source.synthetic if source else made_up(port, height)
    shape = axes_of(port, dims, batch) if source is None else source.shape
    if source is not None and batch > 1 and len(shape) and port.shape and shape[0] != batch:
        shape = (batch, *shape[1:])
    if how == "normal" and kind != "f":
        raise StageError(
            f"input {port.name} holds {port.dtype}, which normal numbers do not fill",
            hint="use synthetic: uniform or zeros",
        )
    rng = np.random.default_rng(source.seed if source else 0)
    made: list[Array] = []
    for _ in range(queries):
        if how == "normal":
            array: Array = rng.standard_normal(shape)
        elif how == "uniform":
            array = rng.random(shape) if kind == "f" else rng.integers(0, 2, shape)
        elif how.startswith("below"):
            array = rng.integers(0, height or 1, shape)
        elif how == "ones":
            array = np.ones(shape)
        else:
            array = np.zeros(shape)
        made.append(_fits(port, np.asarray(array, dtype=port.dtype, order="C")))
    return made


def _from_rows(
    port: Port, rows: Array, dims: Mapping[str, int], batch: int, queries: int
) -> list[Array]:
    if not rows.size:
        raise StageError(f"there are no rows for input {port.name}")
    if not port.shape:  # a number for the whole query, such as a sampling rate
        numbers = rows.reshape(-1)
        return [_fits(port, np.asarray(numbers[i % len(numbers)])) for i in range(queries)]
    if batch == 1 and port.shape and isinstance(port.shape[0], int) and port.shape[0] > 1:
        batch = port.shape[0]
    elif batch == 1 and port.shape and isinstance(port.shape[0], str):
        batch = dims.get(port.shape[0], 1)
    made = []
    for query in range(queries):
        index = np.arange(query * batch, (query + 1) * batch) % len(rows)
        made.append(_fits(port, np.asarray(rows[index], order="C")))
    return made


def _fits(port: Port, array: Array) -> Array:
    wanted = ", ".join(str(axis) for axis in port.shape)
    fits = array.ndim == len(port.shape) and all(
        not isinstance(axis, int) or axis <= 0 or axis == have
        for axis, have in zip(port.shape, array.shape, strict=True)
    )
    if not fits:
        raise StageError(
            f"input {port.name} wants shape ({wanted}), and is given {array.shape}",
            hint="set shape: in inputs:",
        )
    if array.dtype != port.dtype:
        raise StageError(
            f"input {port.name} wants {port.dtype}, and is given {array.dtype}",
            hint="store the array with the model's own dtype",
        )
    return array


def read_tables(
    ports: Sequence[Port],
    sources: Mapping[str, InputSource],
    dataset: Dataset | None,
    inputs: Mapping[Input, Located],
) -> dict[str, Array]:
    """The first `MOST` rows of every input that is filled from a file, in the model's dtype.

    Raises `StageError` for a file, array or column that is missing or does not fit.
    """
    tables: dict[str, Array] = {}
    filled: list[Port] = []
    for port in ports:
        source = sources.get(port.name)
        if isinstance(source, Npz):
            tables[port.name] = _npz(inputs[source.npz].location, source.array or port.name)
        elif isinstance(source, Columns):
            filled.append(port)
    if filled and dataset is None:
        raise StageError(
            f"input {filled[0].name} is filled from columns, and there is no dataset",
            hint="add dataset: to this stage",
        )
    if filled and dataset is not None:
        used = {port.name: sources[port.name] for port in filled}
        location = inputs[dataset.dataset].location
        tables |= _first_rows(filled, dataset.model_copy(update={"inputs": used}), location)
    return tables


def _first_rows(ports: Sequence[Port], dataset: Dataset, location: str) -> dict[str, Array]:
    # Lazy: most benchmarks need no rows, and their reader takes memory beside what is measured.
    from mlgate.data import feeds, rows, session  # noqa: PLC0415

    read = rows.open_rows(location, dataset.filter)
    wanted = [session.Port(p.name, str(p.dtype), _row_shape(p)) for p in ports]
    bindings = list(feeds.input_bindings(read, dataset, wanted, {}, "the dataset"))
    columns = [name for binding in bindings for name in binding.columns]
    parts: list[dict[str, Array]] = []
    missing = MOST
    for batch in read.batches(columns, MOST):
        count = min(missing, len(next(iter(batch.values()))))
        window = {name: values[:count] for name, values in batch.items()}
        parts.append({b.port.name: b.feed(window, slice(0, count)) for b in bindings})
        missing -= count
        if not missing:
            break
    if not parts:
        raise StageError(f"{shown(location)} has no rows", hint="a benchmark needs at least one")
    return {port.name: np.concatenate([part[port.name] for part in parts]) for port in ports}


def _row_shape(port: Port) -> tuple[int | None, ...]:
    return tuple(axis if isinstance(axis, int) and axis > 0 else None for axis in port.shape)


def sources_for(
    ports: Sequence[Port], own: Mapping[str, InputSource], dataset: Dataset | None
) -> dict[str, InputSource]:
    """How each input is filled: as written, else from the dataset's column of its name."""
    sources: dict[str, InputSource] = {**(dataset.inputs if dataset else {}), **own}
    if dataset is not None:
        for port in ports:
            sources.setdefault(port.name, Columns(columns=port.name))
    return sources


def _npz(location: str, name: str) -> Array:
    from mlgate.data.rows import load_npz  # noqa: PLC0415  # as in `_first_rows`

    arrays = load_npz(location)
    if name not in arrays:
        raise StageError(
            f"{Path(location).name} has no array {name}",
            hint=f"it has {', '.join(sorted(arrays)) or 'none'}",
        )
    return arrays[name]
