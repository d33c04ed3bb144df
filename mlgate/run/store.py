"""Evidence and blobs by digest, on disk; and what was measured under which key.

    .mlgate/store/sha256/<hex>   blobs, read-only, immutable: evidence, and the files stages made
    .mlgate/cache/<hex>.json     content key → digest of the evidence; failures are never here
    .mlgate/cache/stages/*.json  what each stage's last key was made of, to explain a miss

Every write is atomic: a file under its name is whole. Two runs at once write equal bytes.
"""

import contextlib
import hashlib
import json
import time
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

from pydantic import ValidationError

from mlgate.digests import FileDigests
from mlgate.errors import StageError, StoreError
from mlgate.evidence import Artifact, Digest, Evidence, Frozen, canonical, digest_of
from mlgate.files import cannot_write, open_regular, read_bytes, write_atomic

# Evidence holds no rows and no weights; this is a hundred times the largest that we saw.
LARGEST_EVIDENCE: Final = 256_000_000
_LARGEST_ENTRY: Final = 16_000_000

_MOST_EARLIER: Final = 2000  # entries that are looked through


class _Entry(Frozen):
    """What lies under a key."""

    evidence: Digest
    stage: str


def _is(blob: Path, made: Artifact, digests: FileDigests) -> bool:
    try:
        return digests.of(blob)[0] == made.digest
    except StageError:
        return False


def altered(blob: Path) -> StoreError:
    """The error for a blob whose content is not what its name says."""
    return StoreError(
        f"{blob} was altered: its content is not what its name says",
        hint="delete that file and run mlgate check again",
    )


class Store:
    """The store in a spec's `.mlgate` folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, digest: str) -> Path:
        """Where the blob of that digest lies, if it is there."""
        return self.root / "store" / "sha256" / digest.removeprefix("sha256:")

    def put(self, data: bytes) -> str:
        """Keep `data`; returns its digest. Raises `StoreError`."""
        digest = digest_of(data)
        try:
            whole = self.path(digest).read_bytes() == data
        except OSError:
            whole = False
        if not whole:  # not there, or damaged since
            write_atomic(self.path(digest), data)
        return digest

    def adopt(self, file: Path, artifact: Artifact) -> None:
        """Move a file that a stage made into the store, without copying it."""
        kept = self.path(artifact.digest)
        try:
            if file.stat().st_size != artifact.size_bytes:
                raise StoreError(f"{artifact.name} is not the file that the stage described")
            kept.parent.mkdir(parents=True, exist_ok=True)
            file.chmod(0o444)
            file.replace(kept)
        except FileNotFoundError:
            raise StoreError(f"the stage named {artifact.name} and did not make it") from None
        except OSError as error:
            raise cannot_write(kept, error) from None

    def copy_to(self, target: Path, made: Artifact) -> None:
        """Copy a blob to a file of its own, whole or not at all. Raises `OSError`, `StoreError`.

        What is copied is held against the digest: a blob that was altered goes nowhere.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name[:200]}.{token_hex(8)}")
        hashed = hashlib.sha256()
        try:
            with open_regular(self.path(made.digest)) as blob, temporary.open("wb") as copy:
                while chunk := blob.read(1 << 20):
                    hashed.update(chunk)
                    copy.write(chunk)
            if f"sha256:{hashed.hexdigest()}" != made.digest:
                raise altered(self.path(made.digest))
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def get(self, digest: str) -> bytes:
        """The blob of that digest, verified. Raises `StoreError`."""
        try:
            data = read_bytes(self.path(digest), most=LARGEST_EVIDENCE)
        except OSError:
            raise StoreError(
                f"{digest} is not in the store", hint="run mlgate check --no-cache"
            ) from None
        if digest_of(data) != digest:
            raise altered(self.path(digest))
        return data

    def evidence(self, digest: str) -> Evidence:
        """The evidence of that digest. Raises `StoreError`."""
        try:
            return Evidence.model_validate_json(self.get(digest))
        except ValidationError:
            raise StoreError(f"{digest} is no evidence that this version reads") from None

    def has(self, evidence: Evidence) -> bool:
        """Whether every file that the evidence names is here, by content."""
        digests = FileDigests(self.root / "cache" / "blobs.json", time.time_ns())
        try:
            return all(
                _is(self.path(made.digest), made, digests) for made in evidence.outputs.values()
            )
        finally:
            with contextlib.suppress(StoreError):
                digests.save()

    def verify(self, made: Artifact) -> bool:
        """Whether a file's content is what its digest says; reads it all."""
        try:
            with open_regular(self.path(made.digest)) as file:
                return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" == made.digest
        except OSError:
            return False

    def remember(self, stage: str, key: str, parts: dict[str, Any], evidence: str) -> None:
        """Note that a stage's `key`, made of `parts`, led to this evidence."""
        entry = canonical({"evidence": evidence, "stage": stage})
        write_atomic(self._entry(key), entry)
        write_atomic(self.root / "cache" / "stages" / f"{stage}.json", canonical(parts))

    def recall(self, key: str) -> tuple[str, Evidence] | None:
        """The evidence under a key, and its digest; None when there is none that is whole."""
        try:
            entry = _Entry.model_validate_json(read_bytes(self._entry(key), most=_LARGEST_ENTRY))
            digest, evidence = entry.evidence, self.evidence(entry.evidence)
        except (OSError, ValueError, StoreError):
            return None
        return (digest, evidence) if self.has(evidence) else None

    def earlier(self, stage: str) -> tuple[Path, ...]:
        """The files of what this stage found before under other keys: some of the last, sorted."""
        found = []
        for file in sorted((self.root / "cache").glob("*.json"))[:_MOST_EARLIER]:
            try:
                entry = _Entry.model_validate_json(read_bytes(file, most=_LARGEST_ENTRY))
            except (OSError, ValueError, StoreError):
                continue
            if entry.stage == stage:
                found.append(self.path(entry.evidence))
        return tuple(sorted(set(found)))

    def last_parts(self, stage: str) -> dict[str, Any] | None:
        """What a stage's last key was made of; None when it never finished here."""
        try:
            file = self.root / "cache" / "stages" / f"{stage}.json"
            parts = json.loads(read_bytes(file, most=_LARGEST_ENTRY))
        except (OSError, ValueError, RecursionError):
            return None
        return parts if isinstance(parts, dict) else None

    def _entry(self, key: str) -> Path:
        return self.root / "cache" / f"{key.removeprefix('sha256:')}.json"
