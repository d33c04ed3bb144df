"""What a rollout did, line by line: appended, chained by digest, and on the disk before it counts.

Each line holds the digest of the line before, so that a change to any of them shows. A last line
without its end was torn by a crash: it never counted, and is dropped. Anything else that does not
fit is refused.
"""

import contextlib
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import JsonValue, ValidationError

from mlgate.errors import MlgateError
from mlgate.evidence import Digest, Frozen, canonical, digest_of
from mlgate.files import cannot_write

Kind = Literal[
    "started",
    "resumed",
    "warmed",
    "frozen",
    "decided",
    "intent",
    "done",
    "batch",
    "person",
    "failed",
    "ended",
    "notified",
]
_FIRST: Final = digest_of(b"")
_LARGEST: Final = 2**30


class JournalError(MlgateError):
    """A journal cannot be read, or does not follow from itself."""


class Entry(Frozen):
    """One line: what happened, when, and the digest of the line before."""

    number: int
    at: str
    kind: Kind
    body: dict[str, JsonValue] = {}
    previous: Digest

    @property
    def digest(self) -> Digest:
        return digest_of(canonical(self.model_dump(mode="json")))


def read(path: Path) -> tuple[Entry, ...]:
    """All whole lines of a journal. Raises `JournalError`, with the line, for a broken chain."""
    return _read(path)[0]


def _read(path: Path) -> tuple[tuple[Entry, ...], int]:
    """The entries, and the length in bytes of the lines that hold them."""
    try:
        if path.stat().st_size > _LARGEST:
            raise JournalError(f"{path} is larger than a journal can be (1 GiB)")
        data = path.read_bytes()
    except FileNotFoundError:
        return (), 0
    except OSError as error:
        raise JournalError(f"{path} cannot be read: {error.strerror}") from None
    lines = data.split(b"\n")
    torn = lines.pop()
    entries: list[Entry] = []
    previous = _FIRST
    for number, line in enumerate(lines):
        entry = _entry(line)
        if entry is None or entry.number != number or entry.previous != previous:
            raise JournalError(
                f"{path}:{number + 1}: the chain is broken: this line does not follow the one before",
                hint="the journal was changed by hand, or its disk is at fault; the traffic is not "
                "touched. Look at the shares with `mlgate canary status`, and keep the file",
            )
        previous = entry.digest
        entries.append(entry)
    return tuple(entries), len(data) - len(torn)


def _entry(line: bytes) -> Entry | None:
    try:
        written = json.loads(line)
        digest = written.pop("digest")
        entry = Entry.model_validate(written)
    except (ValueError, KeyError, AttributeError, TypeError, ValidationError, RecursionError):
        return None
    return entry if entry.digest == digest else None


class Journal:
    """An open journal. Everything that it holds is on the disk."""

    def __init__(self, path: Path, now: Callable[[], datetime]) -> None:
        self.path = path
        self.entries: list[Entry] = []
        self._now = now
        self._file: FileIO | None = None

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            entries, length = _read(self.path)
            self._file = self.path.open("ab", buffering=0)
            self._file.truncate(length)
            _sync_folder(self.path.parent)
        except OSError as error:
            raise cannot_write(self.path, error) from None
        self.entries = list(entries)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def append(self, kind: Kind, **body: Any) -> Entry:
        """Write a line and wait until the disk has it. Raises `StoreError`."""
        assert self._file is not None
        previous = self.entries[-1].digest if self.entries else _FIRST
        at = self._now().astimezone(UTC).isoformat(timespec="milliseconds")
        number = len(self.entries)
        entry = Entry(number=number, at=at, kind=kind, body=body, previous=previous)
        line = canonical({**entry.model_dump(mode="json"), "digest": entry.digest})
        length = os.fstat(self._file.fileno()).st_size
        try:
            self._file.write(line + b"\n")
            os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):  # half a line must not precede the next one
                self._file.truncate(length)
            raise cannot_write(self.path, error) from None
        self.entries.append(entry)
        return entry


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems have no such thing
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
