"""A folder private to one run, and the removal of what dead runs left behind.

A run holds a lock on its folder for as long as it lives: one whose lock is free belongs to nobody.
"""

import contextlib
import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mlgate.files import cannot_write

# What was killed between two steps of its own is not told from what is about to take the next one
# but by its age.
_OLD_S: Final = 3600.0
_TEMPORARY: Final = re.compile(r"\..+\.[0-9a-f]{8,16}")


@contextlib.contextmanager
def run_directory(root: Path, run: str) -> Iterator[Path]:
    """A folder below `root`, gone afterwards. Raises `StoreError`."""
    work = root / "work"
    folder = work / run
    try:
        work.mkdir(parents=True, exist_ok=True)
        _ignore_in_git(root)
        # Nobody cleans up between the making of a folder and the locking of it.
        with (root / "work.lock").open("wb") as door:
            fcntl.flock(door, fcntl.LOCK_EX)
            folder.mkdir()
            lock = (folder / "lock").open("wb")
            fcntl.flock(lock, fcntl.LOCK_EX)
            remove_left_behind(root, but=run)
    except OSError as error:
        raise cannot_write(work, error) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()


def _ignore_in_git(root: Path) -> None:
    """Nobody commits evidence by accident."""
    ignore = root / ".gitignore"
    if not ignore.exists():
        with contextlib.suppress(OSError):
            ignore.write_text("*\n")


def remove_left_behind(root: Path, *, but: str) -> None:
    """Remove what dead runs left: their folders, records without an end, temporary files."""
    with contextlib.suppress(OSError):
        for folder in (root / "work").iterdir():
            if folder.name != but:
                _remove_if_dead(folder)
        living = {folder.name for folder in (root / "work").iterdir()}
        for record in (root / "runs").iterdir():
            if record.name not in living and _never_ended(record):
                shutil.rmtree(record, ignore_errors=True)
    for place in (root / "store" / "sha256", root / "cache", root / "cache" / "stages"):
        with contextlib.suppress(OSError):
            for entry in os.scandir(place):
                if _TEMPORARY.fullmatch(entry.name) and _is_old(Path(entry.path)):
                    Path(entry.path).unlink()


def _never_ended(record: Path) -> bool:
    """Whether a run's record is no more than its journal and logs."""
    ended = ("run.json", "verdict.json", "result.json")
    names = set(os.listdir(record))
    return names <= {"journal.jsonl", "logs"} and not names & set(ended) and bool(names)


def _is_old(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > _OLD_S


def _remove_if_dead(folder: Path) -> None:
    try:
        lock = (folder / "lock").open("rb")
    except FileNotFoundError:  # killed before it took its lock, or while it was removed
        if _is_old(folder):
            shutil.rmtree(folder, ignore_errors=True)
        return
    with contextlib.suppress(BlockingIOError), lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
