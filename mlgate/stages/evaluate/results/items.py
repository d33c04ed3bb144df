"""What every reader of results returns: items with numbers, and numbers without items."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mlgate.errors import StageError


@dataclass(frozen=True)
class Item:
    """One outcome of one test case: several of one `unit` are its repeats.

    `passed` and `scores` hold what was measured; both are empty where the tool has no outcome, and
    `reason` says why. `skipped`: it was left out on purpose.
    """

    unit: str
    passed: bool | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    group: str = ""
    reason: str = ""
    skipped: bool = False

    @property
    def missing(self) -> bool:
        return self.passed is None and not self.scores and not self.skipped


@dataclass(frozen=True)
class Number:
    """A number that a tool gives without its items, with its interval where it states one."""

    name: str
    value: float
    unit: str = "1"
    n: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    error: float | None = None  # standard error
    bounds: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True)
class Found:
    """All that a file of results says; `tool` is who wrote it, with its version where it has one."""

    tool: str
    items: tuple[Item, ...] = ()
    numbers: tuple[Number, ...] = ()


def unknown_version(tool: str, version: object, known: str) -> StageError:
    """The error of a file that a later version of a tool may have written."""
    return StageError(
        f"this is {tool} in version {version!r} of its format, and {known} is known",
        hint="write it with a version of the tool that this mlgate knows",
    )
