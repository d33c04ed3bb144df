"""A verdict as it is read back, and the files that it names.

DIR/verdict.json                  canonical, as `Report.verdict` writes it
DIR/evidence/<stage>.json         or in a store, by digest
DIR/outputs/<stage>/<file>
DIR/store/sha256/<hex>            such a store, where it lies beside the verdict
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlgate.documents import VerdictDocument
from mlgate.errors import StoreError
from mlgate.evidence import Artifact
from mlgate.run.store import Store


@dataclass(frozen=True)
class Record:
    """A run's record: the folder with verdict.json, and the store with its blobs.

    Without a store, the folder has to hold them: evidence/<stage>.json, outputs/<stage>/<file>, or
    a store of its own.
    """

    folder: Path
    store: Store | None = None

    def evidence(self, stage: str, digest: str) -> Path | None:
        """Where the evidence of a stage lies, if anywhere."""
        return self._place(digest, "evidence", f"{stage}.json")

    def output(self, stage: str, made: Artifact) -> Path | None:
        """Where a file that a stage made lies, if anywhere."""
        return self._place(made.digest, "outputs", stage, made.name)

    def copies(self) -> Iterator[str]:
        """Everything below evidence/ and outputs/ but folders, as a path from the folder; sorted.

        A link to a folder is one thing: nobody follows it. Raises `StoreError`.
        """
        for top in ("evidence", "outputs"):
            if (self.folder / top).is_file():
                yield top
            for here, folders, files in os.walk(self.folder / top, onerror=_cannot_list):
                folders.sort()
                linked = [name for name in folders if Path(here, name).is_symlink()]
                for name in sorted((*files, *linked)):
                    yield Path(here, name).relative_to(self.folder).as_posix()

    def _place(self, digest: str, *names: str) -> Path | None:
        if self.store is not None:
            return self.store.path(digest)
        own, beside = self._own(*names), Store(self.folder).path(digest)
        return own if own is None or os.path.lexists(own) or not beside.is_file() else beside

    def _own(self, *names: str) -> Path | None:
        """A file of the record; None for names that would lead out of it."""
        if any(name in ("", ".", "..") or "/" in name or "\0" in name for name in names):
            return None
        return self.folder.joinpath(*names)


def _cannot_list(error: OSError) -> None:
    """What is not there is no copy; a folder that cannot be read may hold any."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return
    raise StoreError(f"{error.filename} cannot be read: {error.strerror}") from None


def sha256(path: Path | None) -> str | None:
    """The digest of a regular file; None where there is none. Raises `StoreError`."""
    if path is None:
        return None
    try:
        with contextlib.suppress(ValueError):  # a path with a NUL
            if path.is_file():  # reading a pipe or a device may never end
                with path.open("rb") as file:
                    return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from None
    return None


def content(path: Path) -> bytes:
    """The bytes of a regular file. Raises `StoreError`."""
    try:
        if not path.is_file():
            raise StoreError(f"{path} is not there", hint="give the verdict.json of a finished run")
        return path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from None


def parsed(written: bytes) -> VerdictDocument:
    """verdict.json, read. Raises `StoreError`."""
    try:
        return VerdictDocument.read(written)
    except ValueError as wrong:
        hint = "it was altered, or written by another version of mlgate"
        message = f"verdict.json is none that this version reads: {wrong}"
        raise StoreError(message, hint=hint) from None
