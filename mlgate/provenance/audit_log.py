"""The audit log: every decision, in an append-only Merkle log that others can check.

FOLDER/entries.jsonl   one JSON text a line, an entry each
FOLDER/checkpoint      the signed tree head: keep a copy elsewhere, for only that proves truncation
FOLDER/log.pem, .pub   the log's own key
FOLDER/trusted-root.json   for cosign and sigstore-js: the log, as an authority that they require

The time of an entry is this machine's clock; nobody else vouches for it.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from mlgate.errors import StoreError
from mlgate.files import cannot_write, write_atomic
from mlgate.provenance import merkle
from mlgate.provenance.bundle import Bundle
from mlgate.provenance.keys import LocalKey, PublicKey, Signer, own_key, public_key_file
from mlgate.provenance.log_entry import (
    Checkpoint,
    LogKey,
    body,
    checkpoint,
    entry,
    read_checkpoint,
)
from mlgate.provenance.reasons import Refused
from mlgate.provenance.strict_json import parsed

NAME: Final = "mlgate.local"
_LARGEST_LINE: Final = 16 << 20


@dataclass(frozen=True)
class AuditLog:
    """The log in a folder. `now` of its calls is aware."""

    folder: Path

    @property
    def _entries(self) -> Path:
        return self.folder / "entries.jsonl"

    def key(self) -> LogKey:
        """The log as those trust it who know its public key. Raises `StageError`."""
        return LogKey(NAME, public_key_file(self.folder / "log.pub"))

    def decide(self, decision: Mapping[str, Any], now: datetime) -> Checkpoint:
        """Append a decision. One that was forced says by whom and why: `forced`, `by`, `reason`."""
        row = {"at": now.isoformat(), "decision": dict(decision), "kind": "decision"}
        with self._locked() as signer:
            return self._append([_line(row)], signer, now)[1]

    def log(self, signed: Iterable[Bundle], key: PublicKey, now: datetime) -> list[Bundle]:
        """Append bundles; each comes back with its entry, provable in the tree of all of them."""
        with self._locked() as signer:
            bundles = list(signed)
            logged = [body(one.envelope, key.pem) for one in bundles]
            leaves, head = self._append(logged, signer, now)
            first = head.size - len(bundles)
            return [
                _with_entry(one, entry(text, first + at, leaves, signer, name=NAME, at=now))
                for at, (one, text) in enumerate(zip(bundles, logged, strict=True))
            ]

    def _append(
        self, texts: list[bytes], signer: Signer, now: datetime
    ) -> tuple[list[bytes], Checkpoint]:
        leaves = [merkle.leaf(text) for text in self._read()]
        self._refuse_other_history(leaves, signer)
        leaves += [merkle.leaf(text) for text in texts]
        root = merkle.root(leaves)
        try:
            with self._entries.open("ab") as file:
                file.write(b"".join(text + b"\n" for text in texts))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise cannot_write(self._entries, error) from None
        write_atomic(
            self.folder / "checkpoint", checkpoint(NAME, len(leaves), root, signer).encode()
        )
        root_file = self.folder / "trusted-root.json"
        if not root_file.is_file():
            trusted = LogKey(NAME, signer.public).trusted_root(now)
            write_atomic(root_file, json.dumps(trusted, indent=2).encode() + b"\n")
        return leaves, Checkpoint(len(leaves), root)

    def _refuse_other_history(self, leaves: list[bytes], signer: Signer) -> None:
        """Nothing is appended to a log that was edited. One that was killed has more than it says."""
        head = self._head(LogKey(NAME, signer.public))
        if head is None and not leaves:
            return
        if head is None:
            raise Refused("log-edited", "the log's checkpoint is gone")
        _refuse_other_root(leaves, head)

    def _head(self, log: LogKey) -> Checkpoint | None:
        path = self.folder / "checkpoint"
        if not path.is_file():
            return None
        return read_checkpoint(path.read_text(encoding="utf-8", errors="replace"), log)

    def verify(self, *, seen: str | None = None, log: LogKey | None = None) -> Checkpoint:
        """Read all of it, and say what its entries come to. Raises `Refused`, `StoreError`.

        `seen` is a checkpoint that was kept elsewhere: only with one can a log that was cut short,
        or made anew, be told. `log` is the key to believe, instead of the one beside the entries.
        """
        trusted = log or self.key()
        leaves = [merkle.leaf(text) for text in self._read()]
        head = self._head(trusted)
        if head is None:
            raise Refused("log-absent", "the log has no checkpoint")
        _refuse_other_root(leaves, head)
        if len(leaves) > head.size:
            raise Refused("log-edited", f"{len(leaves) - head.size} entries follow the checkpoint")
        if seen is not None:
            earlier = read_checkpoint(seen, trusted)
            if earlier.size > head.size:
                message = f"{earlier.size} entries were seen before, and {head.size} are there"
                raise Refused("log-rewound", message)
            if merkle.root(leaves[: earlier.size]) != earlier.root:
                raise Refused("log-history", "the first entries are others than were seen before")
        return head

    def _read(self) -> Iterator[bytes]:
        if not self._entries.is_file():
            return
        try:
            with self._entries.open("rb") as file:
                while line := file.readline(_LARGEST_LINE):
                    if not line.endswith(b"\n"):
                        raise Refused("log-edited", "the log's last line is cut off")
                    yield line[:-1]
        except OSError as error:
            raise StoreError(f"{self._entries} cannot be read: {error.strerror}") from None

    def decisions(self) -> Iterator[dict[str, Any]]:
        """The decisions, oldest first."""
        for text in self._read():
            row = parsed(text)
            if isinstance(row, dict) and row.get("kind") == "decision":
                yield row

    @contextlib.contextmanager
    def _locked(self) -> Iterator[LocalKey]:
        """One writer at a time. Yields the log's key."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / "lock").open("wb")
        except OSError as error:
            raise cannot_write(self.folder, error) from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield own_key(self.folder / "log.pem")


def _line(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _refuse_other_root(leaves: list[bytes], head: Checkpoint) -> None:
    if len(leaves) < head.size:
        message = f"the checkpoint is of {head.size} entries, and {len(leaves)} are there"
        raise Refused("log-truncated", message)
    if merkle.root(leaves[: head.size]) != head.root:
        raise Refused("log-edited", "the entries are not those that the checkpoint signs")


def _with_entry(one: Bundle, logged: dict[str, Any]) -> Bundle:
    return Bundle(one.envelope, one.statement, one.hint, one.certificate, (logged,), one.stamps)
