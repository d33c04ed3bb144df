"""Digests of files, bound to the very content that was read.

A file's mark is its size, its times, its inode and its device. Nobody can set the time at which an
inode last changed (ctime), so content that was replaced has another mark, even where size and
modification time were put back. What is left: a write within one tick of the file system's clock of
the moment at which a mark was taken; a mark is taken only of a file that has been at rest for longer.
"""

import hashlib
import json
import time
from pathlib import Path
from typing import Final

from mlgate.errors import StageError
from mlgate.files import open_regular, read_bytes, write_atomic

# Size, mtime, ctime, inode, device.
Mark = tuple[int, int, int, int, int]
# A file that was written this recently may be written again within the clock's resolution.
_RACY_NS: Final = 2_000_000_000
# Kernels stamp files with the time of the last tick: 10 ms apart at most.
_TICK_NS: Final = 20_000_000
_LARGEST_MEMORY: Final = 64_000_000


def mark_of(path: Path) -> Mark:
    """What a file looks like from outside. Raises `OSError`."""
    seen = path.stat()
    return (seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino, seen.st_dev)


class FileDigests:
    """SHA-256 of files, remembered in `memory` (a JSON file) under their marks.

    `now_ns` is the clock, in nanoseconds since the epoch. With `fresh`, nothing that was remembered
    is believed.
    """

    def __init__(self, memory: Path, now_ns: int, *, fresh: bool = False) -> None:
        self._memory = memory
        self._now_ns = now_ns
        self._known = {} if fresh else _load(memory)
        self._changed = False

    def of(self, path: Path) -> tuple[str, Mark]:
        """The digest of a regular file, and its mark while that was taken. Raises `StageError`."""
        try:
            mark = mark_of(path)
            known = self._known.get(str(path))
            if known is not None and known[:-1] == list(mark):
                return str(known[-1]), mark
            mark = _at_rest(path)
            with open_regular(path) as file:
                digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
            if mark_of(path) != mark:
                raise StageError(f"{path} changed while it was read", hint="run it again")
        except OSError as error:
            raise StageError(f"{path} cannot be read: {error.strerror}") from None
        if self._now_ns - max(mark[1], mark[2]) > _RACY_NS:
            self._known[str(path)] = [*mark, digest]
            self._changed = True
        return digest, mark

    def save(self) -> None:
        """Remember what was read. Where that cannot be written, files are read again next time."""
        if self._changed:
            write_atomic(self._memory, json.dumps(self._known, sort_keys=True).encode())
            self._changed = False


def _at_rest(path: Path) -> Mark:
    """A file's mark, once the clock of the file system has moved on since its last change."""
    mark = mark_of(path)
    age = time.time_ns() - mark[2]
    if 0 <= age < _TICK_NS:
        time.sleep((_TICK_NS - age) / 1e9)
        mark = mark_of(path)
    return mark


def _load(memory: Path) -> dict[str, list[int | str]]:
    try:
        known = json.loads(read_bytes(memory, most=_LARGEST_MEMORY))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {k: v for k, v in known.items() if isinstance(v, list) and len(v) == 6}
