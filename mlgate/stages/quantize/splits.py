"""Calibration, search and confirm: three sets of samples that share nothing, proved by hash."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from mlgate.data.rows import open_rows
from mlgate.data.session import Port
from mlgate.errors import StageError, about
from mlgate.stage import Dataset, Job, Npz
from mlgate.stages.quantize.samples import KEPT_BYTES, Samples, overlap, read_samples, split
from mlgate.stages.quantize.spec import Evaluation, Quantize

_FEWEST: Final = 10
# Seen once: what is kept must not grow with their number.
_CALIBRATION_KEPT: Final = 2**20


@dataclass(frozen=True)
class Splits:
    """Disjoint samples. `search` ranks the candidates; `confirm` is met by the winner alone.

    Without `calibration` nothing is made smaller: one's own candidate is judged.
    """

    calibration: Samples | None
    search: Samples
    confirm: Samples
    rules: dict[str, str]


def read_splits(job: Job[Quantize], ports: Sequence[Port]) -> Splits:
    """The three parts as the options say. Raises `StageError` when they are not disjoint.

    Where one file serves two roles, calibration takes its rows by a seeded draw, and the other
    role has the rest. Evaluation is split by seeded row hashes within each label.
    """
    options = job.options
    evaluation = options.evaluation
    assert evaluation is not None
    rules: dict[str, str] = {}
    confirm = _read(job, evaluation, evaluation, ports, "evaluation", slices=evaluation.slices)
    calibration = _calibration(job, evaluation, ports)
    search = None
    if options.search is not None:
        search = _read(job, options.search, evaluation, ports, "search", slices=evaluation.slices)
        if calibration is not None and _same_rows(job, options.search, options.calibration):
            search = search.without(calibration)
            rules["search"] = "the rows of its file that calibration does not use"
        rules["confirm"] = "all evaluation rows"
        if evaluation.confirm < 1:
            confirm = split(confirm, evaluation.confirm, evaluation.seed)[1]
            rules["confirm"] = f"{evaluation.confirm:g} of the evaluation rows by row hash"
    if calibration is not None and _same_rows(job, evaluation, options.calibration):
        confirm = confirm.without(calibration)
        rules["evaluation"] = "the rows of its file that calibration does not use"
    elif calibration is not None and options.duplicates == "drop":
        shared = overlap(calibration, confirm)
        if shared:
            rules["duplicates"] = f"{shared} calibration rows dropped"
            calibration = calibration.without(confirm)
    if search is None:
        search, confirm = split(confirm, evaluation.confirm, evaluation.seed)
        rules["split"] = (
            f"confirm has {evaluation.confirm:g} of the evaluation rows, by row hash within each "
            f"label, seed {evaluation.seed}"
        )
    elif options.duplicates == "drop":
        search = search.without(confirm)
        if calibration is not None:
            calibration = calibration.without(search)
    named = {"calibration": calibration, "search": search, "confirm": confirm}
    _disjoint({name: samples for name, samples in named.items() if samples is not None})
    return Splits(calibration, search, confirm, rules)


def _calibration(
    job: Job[Quantize], evaluation: Evaluation, ports: Sequence[Port]
) -> Samples | None:
    given = job.options.calibration
    if given is None or not job.options.searches:
        return None
    return _read(
        job,
        given,
        evaluation,
        ports,
        "calibration",
        limit=given.samples,
        seed=evaluation.seed,
        keep=_CALIBRATION_KEPT,
    )


def _read(
    job: Job[Quantize],
    dataset: Dataset,
    evaluation: Dataset,
    ports: Sequence[Port],
    role: str,
    *,
    slices: Sequence[str] = (),
    limit: int | None = None,
    seed: int = 0,
    keep: int = KEPT_BYTES,
) -> Samples:
    """The role's samples; what it does not say about inputs and label, evaluation says."""
    label = dataset.label or evaluation.label
    if dataset.dataset.sql is not None:
        raise StageError(
            f"{role} is a database, and quantize reads files",
            hint="write the rows to Parquet first: the validate stage's snapshot does",
            option=(role,),
        )
    with about(role):
        rows = open_rows(job.inputs[dataset.dataset].location, dataset.filter)
    if role == "calibration":
        # Not needed, but a pattern over columns must leave it out.
        label = label if label in rows.names else None
    filled = dataset.model_copy(
        update={"inputs": {**evaluation.inputs, **dataset.inputs}, "label": label}
    )
    arrays = {
        name: job.inputs[way.npz].location
        for name, way in filled.inputs.items()
        if isinstance(way, Npz)
    }
    with about(role):
        return read_samples(
            rows, filled, ports, arrays, role=role, slices=slices, limit=limit, seed=seed, keep=keep
        )


def _same_rows(job: Job[Quantize], a: Dataset, b: Dataset | None) -> bool:
    if b is None:
        return False
    where = [(job.inputs[d.dataset].location, d.filter) for d in (a, b)]
    return where[0] == where[1]


def _disjoint(parts: Mapping[str, Samples]) -> None:
    for name, samples in parts.items():
        if not len(samples):
            raise StageError(f"no rows are left for {name}", hint="give it rows of its own")
    if len(parts["search"]) < _FEWEST:
        raise StageError(
            f"{len(parts['search'])} rows are too few to search on: at least {_FEWEST}",
            hint="lower evaluation.confirm, or give search: a dataset of its own",
        )
    names = list(parts)
    for index, first in enumerate(names):
        for second in names[index + 1 :]:
            shared = overlap(parts[first], parts[second])
            if shared:
                raise StageError(
                    f"{shared} of the {len(parts[first])} {first} rows are also {second} rows",
                    hint="a model must be judged on rows that it was not fitted to; "
                    "duplicates: drop takes them out",
                )


def probe_of(samples: Samples, count: int) -> Samples:
    """Up to `count` samples, evenly spread over the file."""
    index = np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(np.intp)
    return samples.take(np.unique(index))
