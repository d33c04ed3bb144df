"""Which batch and which delay a dynamic batcher should use, from measured service times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from mlgate.statistics.quantiles import percentile_of

Integers = npt.NDArray[np.int64]

_DELAYS: Final = (0.0, 0.25, 0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Batching:
    """A setting of the batcher and the response it would give. Times in nanoseconds."""

    max_batch: int
    max_delay: int
    response: float
    mean_batch: float


def recommend(
    arrivals: Integers, service: Mapping[int, float], percentile: float, limit: float
) -> Batching | None:
    """The setting with the smallest `percentile` response for `arrivals`, simulated.

    `service` maps each measured batch size to its time in ns. None when no setting keeps the
    promise of `limit` ns.
    """
    best: Batching | None = None
    for max_batch in sorted(service):
        for factor in _DELAYS if max_batch > 1 else (0.0,):
            delay = int(factor * service[max_batch])
            responses, batches = _served(arrivals, service, max_batch, delay)
            found = Batching(
                max_batch,
                delay,
                percentile_of(np.sort(responses), percentile),
                len(arrivals) / batches,
            )
            if best is None or found.response < best.response:
                best = found
    return best if best is not None and best.response <= limit else None


def _served(
    arrivals: Integers, service: Mapping[int, float], max_batch: int, delay: int
) -> tuple[Integers, int]:
    """Responses of one server that waits up to `delay` for a batch to fill."""
    sizes = sorted(service)
    times = [service[size] for size in sizes]
    at = arrivals.tolist()
    responses: list[int] = []
    free, i, batches = 0, 0, 0
    while i < len(at):
        open_until = max(free, at[i] + delay)
        count = 1
        while count < max_batch and i + count < len(at) and at[i + count] <= open_until:
            count += 1
        # A full batch leaves as soon as it is full and the server is free.
        leaves = max(free, at[i + count - 1]) if count == max_batch else open_until
        free = leaves + int(_time(sizes, times, count))
        responses += [free - arrival for arrival in at[i : i + count]]
        i += count
        batches += 1
    return np.asarray(responses, dtype=np.int64), batches


def _time(sizes: Sequence[int], times: Sequence[float], count: int) -> float:
    """Service time of a batch of `count`: that of the smallest measured batch which holds it."""
    return next((t for size, t in zip(sizes, times, strict=True) if size >= count), times[-1])
