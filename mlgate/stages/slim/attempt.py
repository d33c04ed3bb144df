"""One level of one image, built."""

from dataclasses import dataclass
from pathlib import Path

from mlgate.images.read import Image
from mlgate.images.tree import Tree
from mlgate.images.write import Written
from mlgate.stage import Job, Progress
from mlgate.stages.slim.build import build
from mlgate.stages.slim.keep import Kept, choose
from mlgate.stages.slim.packages import Package
from mlgate.stages.slim.spec import LEVELS, Level, Slim


@dataclass(frozen=True)
class Subject:
    """The image under work."""

    image: Image
    tree: Tree
    packages: dict[str, Package]
    first_party: tuple[str, ...]
    name: str
    scratch: Path


@dataclass(frozen=True)
class Attempt:
    """One level, built."""

    level: Level
    kept: Kept
    written: Written


def make(job: Job[Slim], subject: Subject, level: Level, used: set[str]) -> Attempt:
    """Builds one level."""
    options = job.options
    kept = choose(
        subject.tree,
        subject.image.config,
        subject.packages,
        used,
        level,
        keep=options.keep,
        drop=options.drop,
        first_party=subject.first_party,
        gpus=options.run.gpus,
    )
    folder = subject.scratch / level
    folder.mkdir()
    written = build(
        subject.tree, subject.image.config, kept, subject.packages, subject.first_party, folder
    )
    job.tell(Progress(f"{level}: {written.size_bytes / 1e6:.1f} MB"))
    return Attempt(level, kept, written)


def levels_from(level: Level, escalate: bool) -> tuple[Level, ...]:
    """The level asked for, and the safer ones where they may be tried."""
    start = LEVELS.index(level)
    return LEVELS[start:] if escalate else LEVELS[start : start + 1]
