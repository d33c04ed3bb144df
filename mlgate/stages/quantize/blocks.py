"""Rows met block by block in an order drawn by their hashes, the source's answers kept.

What is not looked at costs no inference, of neither model. Files are often sorted by class, so
the first rows of a file are not a sample of it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mlgate.data.session import Array, Session
from mlgate.errors import StageError
from mlgate.metrics.scoring import Seen
from mlgate.stages.quantize.looks import Look
from mlgate.stages.quantize.samples import Samples

Answers = dict[str, Array]
Answer = Callable[[Session, Samples], Answers]


@dataclass
class Blocks:
    """Samples in blocks that end where the looks are; within a block in file order.

    `answer` gives all outputs [n, …] of a model on some samples; `output` is the one that counts.
    """

    samples: Samples
    looks: tuple[Look, ...]
    seed: int
    source: Session
    answer: Answer
    output: str
    _order: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, np.intp))
    _parts: list[Samples] = field(default_factory=list)
    _sources: list[Answers] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def last(self) -> Look:
        """The look at all samples."""
        return self.looks[-1]

    def compared(self, candidate: Session) -> Iterator[tuple[Look, Seen]]:
        """Both models' answers on all samples up to each look, as far as one goes on."""
        after: list[Answers] = []
        for number, look in enumerate(self.looks):
            before = self.known(number)
            after.append(self.answer(candidate, self._part(number)))
            yield look, self._seen(before, joined(after), number)

    def first(self) -> Seen:
        """The source's answers up to the first look, compared with nothing."""
        return self._seen(None, self.known(0), 0)

    def _seen(self, before: Answers | None, after: Answers, number: int) -> Seen:
        parts = self._parts[: number + 1]
        labels = [part.labels for part in parts if part.labels is not None]
        return Seen(
            before,
            after,
            np.concatenate(labels) if labels else None,
            {
                name: np.concatenate([part.slices[name] for part in parts])
                for name in self.samples.slices
            },
            _repeated(parts),
        )

    def known(self, number: int) -> Answers:
        """The source's answers up to a look."""
        while len(self._sources) <= number:
            found = self.answer(self.source, self._part(len(self._sources)))
            _must_be_finite(found[self.output], self.output)
            self._sources.append(found)
        return joined(self._sources[: number + 1])

    def _part(self, number: int) -> Samples:
        while len(self._parts) <= number:
            place = len(self._parts)
            start = self.looks[place - 1].rows if place else 0
            if not place:
                self._order = self.samples.drawn(self.seed)
            index = self._order[start : self.looks[place].rows]
            # Every candidate meets the first parts.
            self._parts.append(self.samples.take(index).in_memory())
        return self._parts[number]


def _must_be_finite(values: Array, output: str) -> None:
    """Raises `StageError` where the source has no answer that a candidate could be compared with."""
    if values.dtype.kind != "f":
        return
    broken = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    if broken.any():
        raise StageError(
            f"the source's output {output} is NaN or infinite on {int(broken.sum())} "
            f"of {len(values)} rows",
            hint="the source model itself overflows: are the inputs scaled as in training?",
        )


def _repeated(parts: Sequence[Samples]) -> NDArray[np.intp] | None:
    """The unit of each row, where rows are repeated: equal ones say one thing only."""
    hashes = np.concatenate([part.hashes for part in parts])
    distinct, units = np.unique(hashes, return_inverse=True)
    return None if len(distinct) == len(hashes) else units.astype(np.intp)


def joined(parts: Sequence[Answers]) -> Answers:
    """Outputs of batches or blocks as one array each. Raises `StageError` when shapes differ."""
    if len(parts) == 1:
        return parts[0]
    try:
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    except ValueError:
        raise StageError(
            "the model's outputs have another shape in every batch, and cannot be compared",
            hint="pad variable outputs to one shape inside the model",
        ) from None
