"""Compress an embedding matrix for search: the fewest bits whose recall@k passes the gates.

The truth is the exact search over the full vectors. Queries stay in full precision (asymmetric
search). As with models, candidates are ranked on one part of the queries, and the winner alone
meets the other.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from mlgate.data.session import first_line
from mlgate.errors import StageError
from mlgate.evidence import Comparison, Measured, digest_of, measured, rounded
from mlgate.gate import GateResult, Outcome, judge
from mlgate.metrics.scoring import Row
from mlgate.metrics.values import shared
from mlgate.stage import Job, Progress
from mlgate.stages.quantize.conclude import judged, verdict_details, whole, written
from mlgate.stages.quantize.confirm import SHARES
from mlgate.stages.quantize.spec import Quantize, Vectors
from mlgate.stages.quantize.trial import measured_of
from mlgate.stages.quantize.vector_codes import (
    Codes,
    Kind,
    Rotation,
    aware_codes,
    product_codes,
    sizes,
)
from mlgate.statistics.bootstrap import FEWEST, percentiles, resample

Floats = NDArray[np.float32]
Index = NDArray[np.intp]

_KINDS: Final[tuple[Kind, ...]] = ("aware", "pq")


@dataclass(frozen=True)
class Coded:
    """One candidate: its codes, as a file, and its recall per search query."""

    name: str
    codes: Codes
    data: bytes
    recall: NDArray[np.float64]
    promising: bool


def measure_vectors(job: Job[Quantize], confidence: float) -> Measured:
    """Evidence of the search over codes. Raises `StageError` for matrices that do not fit."""
    options = job.options.vectors
    assert options is not None
    vectors = _matrix(job.inputs[options.matrix].location)
    queries = _matrix(job.inputs[options.queries].location)
    if vectors.shape[1] != queries.shape[1]:
        raise StageError(
            f"vectors have {vectors.shape[1]} dimensions, queries {queries.shape[1]}",
            hint="are both from the same model?",
        )
    if len(vectors) <= options.k:
        raise StageError(f"{len(vectors)} vectors have no {options.k} nearest: lower k")
    full_bytes = vectors.nbytes
    if options.space == "cosine":
        vectors, queries = _unit(vectors), _unit(queries)
    search, confirm = _parts(queries, options)
    wanted = nearest(vectors, search, options)
    truth = nearest(vectors, confirm, options)
    candidates = _Search(job, vectors, search, wanted, full_bytes, len(confirm), confidence)
    proved: list[_Proof] = []
    for share in SHARES:
        winner = candidates.next(share)
        if winner is None:
            break
        found = shared(truth, nearest(winner.codes.decode(), confirm, options))
        levels = _levels(job.confidences, share)
        rows = _rows(found, winner.data, full_bytes, options.k, levels, 1.0)
        rows += (measured("trials", len(candidates.tried), unit="count"),)
        results, refused = judged(job, rows, confidence)
        proved.append(_Proof(winner, share, rows, results, refused))
        if refused is None or not winner.promising:
            break
    # Without one that is proved, the best recall is the best effort.
    best = min(proved, key=lambda p: (sum(r.rank for r in p.results), -p.coded.recall.mean()))
    winner = best.coded
    artifact = written(job, f"{winner.name.replace(' ', '.')}.npz", winner.data)
    artifact = artifact.model_copy(update={"media_type": "application/zip"})
    details: dict[str, JsonValue] = {
        "winner": winner.name,
        "candidates": [_told(coded, full_bytes) for coded in candidates.tried],
        "confirmed": [proof.as_json() for proof in proved],
        "vectors": {"count": len(vectors), "dimensions": vectors.shape[1]},
        "queries": {"search": len(search), "confirm": len(confirm), "seed": options.seed},
    }
    details |= verdict_details(best.results, best.refused)
    return whole(best.rows, {"best_effort" if best.refused else "index": artifact}, details)


@dataclass(frozen=True)
class _Proof:
    """What came of one candidate on the confirm queries, at a `share` of each gate's error."""

    coded: Coded
    share: float
    rows: tuple[Row, ...]
    results: tuple[GateResult, ...]
    refused: str | None

    def as_json(self) -> JsonValue:
        found: dict[str, JsonValue] = {"name": self.coded.name, "share": rounded(self.share)}
        if self.refused is not None:
            found["refused"] = self.refused
        return found


def nearest(vectors: Floats, queries: Floats, options: Vectors) -> Index:
    """The k nearest vectors of each query [queries, k]; of equal ones the lower row first."""
    lengths = (vectors.astype(np.float64) ** 2).sum(axis=1)
    if options.space == "cosine":
        scale = np.where(lengths > 0, 1 / np.sqrt(np.maximum(lengths, 1e-30)), 0.0)
    found = []
    for start in range(0, len(queries), 256):
        products = (queries[start : start + 256] @ vectors.T).astype(np.float64)
        if options.space == "l2":
            products = 2 * products - lengths
        elif options.space == "cosine":
            products = products * scale
        some = np.argpartition(-products, options.k - 1, axis=1)[:, : options.k]
        some.sort(axis=1)
        order = np.argsort(-np.take_along_axis(products, some, axis=1), axis=1, kind="stable")
        found.append(np.take_along_axis(some, order, axis=1))
    return np.concatenate(found)


@dataclass
class _Search:
    """Candidates from small to large, made as they are asked for."""

    job: Job[Quantize]
    vectors: Floats
    search: Floats
    wanted: Index
    full_bytes: int
    confirm_count: int
    confidence: float
    tried: list[Coded] = field(default_factory=list)
    _sizes: list[int] | None = None
    _rotation: Rotation | None = None

    def next(self, share: float) -> Coded | None:
        """The smallest promising one that was not asked for yet.

        Of one size both kinds are tried, and the better one wins. When none is promising, the one
        with the best recall, unless another was promising before.
        """
        if self._sizes is None:
            self._sizes = list(sizes(self.vectors.shape[1]))
            self._rotation = Rotation.of(self.vectors)
        first = not any(coded.promising for coded in self.tried)
        while self._sizes:
            size = self._sizes.pop(0)
            made = [self._made(kind, size, share) for kind in _KINDS]
            self.tried.extend(made)
            good = [coded for coded in made if coded.promising]
            if good:
                return max(good, key=lambda coded: (float(coded.recall.mean()), -len(coded.data)))
        if not first:
            return None
        return max(self.tried, key=lambda c: (float(c.recall.mean()), -len(c.data)))

    def _made(self, kind: Kind, size: int, share: float) -> Coded:
        options = self.job.options.vectors
        assert options is not None
        assert self._rotation is not None
        if kind == "pq":
            codes = product_codes(self.vectors, self._rotation, size, options.seed)
        else:
            codes = aware_codes(self.vectors, self._rotation, size)
        recall = shared(self.wanted, nearest(codes.decode(), self.search, options))
        data = codes.file()
        factor = self.confirm_count / len(self.search)
        levels = _levels(self.job.confidences, share)
        evidence = measured_of(_rows(recall, data, self.full_bytes, options.k, levels, factor))
        good = all(
            judge(gate, evidence, confidence=self.confidence).rank <= Outcome.WARN
            for gate in self.job.options.gates
            if gate.severity == "fail" and gate.metric != "trials"
        )
        self.job.tell(
            Progress(f"{kind}, {size} bytes a vector: recall@{options.k} {recall.mean():.3f}")
        )
        return Coded(f"{kind} {size} bytes", codes, data, recall, good)


def _levels(confidences: tuple[float, ...], share: float) -> tuple[tuple[float, float], ...]:
    """(the confidence an interval stands for, the level that it is worked out at)."""
    return tuple((c, 1 - (1 - c) * share) for c in confidences)


def _rows(
    recall: NDArray[np.float64],
    data: bytes,
    full_bytes: int,
    k: int,
    levels: tuple[tuple[float, float], ...],
    projected: float,
) -> tuple[Row, ...]:
    center = float(recall.mean())
    draws = resample([lambda index: float(recall[index].mean())], len(recall))
    found = percentiles(draws[:, 0], center, len(recall), [at for _, at in levels], projected)
    bounds = [(c, *ends[1:]) for (c, _), ends in zip(levels, found, strict=False)]
    return (
        measured("recall_at_k", center, labels={"k": k}, bounds=bounds, n=len(recall)),
        measured("size_bytes", len(data), unit="B"),
        measured("size_ratio", len(data) / full_bytes),
        Comparison(
            name="size_bytes",
            to="source",
            value=float(len(data)),
            reference=float(full_bytes),
            unit="B",
        ),
    )


def _told(coded: Coded, full_bytes: int) -> JsonValue:
    return {
        "name": coded.name,
        "scheme": coded.codes.kind,
        "digest": digest_of(coded.data),
        "size_bytes": len(coded.data),
        "size_ratio": rounded(len(coded.data) / full_bytes),
        "metrics": {"recall_at_k": {"value": rounded(float(coded.recall.mean()))}},
        "ended": "would be confirmed" if coded.promising else "would not be confirmed",
    }


def _parts(queries: Floats, options: Vectors) -> tuple[Floats, Floats]:
    """(search, confirm): distinct queries, by a seeded permutation."""
    distinct = np.unique(queries, axis=0)
    order = np.random.default_rng(options.seed).permutation(len(distinct))
    cut = len(distinct) - round(options.confirm * len(distinct))
    if min(cut, len(distinct) - cut) < FEWEST:
        raise StageError(
            f"{len(distinct)} distinct queries are too few: search and confirm need {FEWEST} each"
        )
    return distinct[np.sort(order[:cut])], distinct[np.sort(order[cut:])]


def _matrix(path: str) -> Floats:
    try:
        values: NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise StageError(f"{Path(path).name} is not a .npy matrix: {first_line(error)}") from None
    if values.ndim != 2 or values.dtype.kind != "f":
        raise StageError(f"{Path(path).name} is not a matrix of floats, one vector a row")
    if not len(values) or not np.isfinite(values).all():
        raise StageError(f"{Path(path).name} is empty or holds NaN")
    return values.astype(np.float32)


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), dtype=np.float32)
