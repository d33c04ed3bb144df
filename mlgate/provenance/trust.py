"""Whom and what to believe: the policy that `mlgate verify --policy` reads.

A closed YAML document. Paths in it are relative to its own folder. Without a key nothing can be
believed, and a development key has to be allowed by name.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, ValidationError

from mlgate import document
from mlgate.errors import SpecError, UsageError
from mlgate.evidence import Digest, Frozen
from mlgate.provenance.keys import PublicKey, public_key_file
from mlgate.provenance.log_entry import LogKey
from mlgate.provenance.reasons import Refused
from mlgate.quantity import seconds

VERIFIER: Final = "https://mlgate.dev/verifier/v1"


class TrustedKey(Frozen):
    """A public key, and when what it signed counts. An end that is left out is open."""

    file: str
    not_before: str | None = None
    not_after: str | None = None
    development: bool = False
    revoked: bool = False


class TrustedLog(Frozen):
    """A transparency log, by the host in its checkpoints; `required`: what is not in it is refused."""

    name: str
    file: str
    required: bool = True


class Policy(Frozen):
    """What has to hold of a release."""

    version: Literal[1]
    keys: tuple[TrustedKey, ...] = Field(min_length=1)
    logs: tuple[TrustedLog, ...] = ()
    verifier: str = VERIFIER
    spec: Digest | None = None
    target: str | None = None
    max_age: str | None = None
    require: tuple[Literal["provenance", "test-result", "model-signature", "bom"], ...] = ()
    release_at_least: int | None = None


@dataclass(frozen=True)
class Holder:
    """A key that is trusted, from when to when."""

    key: PublicKey
    start: datetime | None = None
    end: datetime | None = None
    development: bool = False
    revoked: bool = False

    def refuse_at(self, at: datetime, *, development: bool) -> None:
        """Raise `Refused` unless a signature of that moment counts."""
        name = self.key.hint[:12]
        if self.revoked:
            raise Refused("signer-revoked", f"key {name} was revoked")
        if self.development and not development:
            raise Refused("signer-development", f"key {name} is a development key")
        if self.start is not None and at < self.start:
            raise Refused("signer-not-yet-valid", f"key {name} counts from {self.start:%Y-%m-%d}")
        if self.end is not None and at >= self.end:
            raise Refused("signer-expired", f"key {name} counted until {self.end:%Y-%m-%d}")


@dataclass(frozen=True)
class Trust:
    """A policy, with its keys read."""

    holders: tuple[Holder, ...]
    logs: tuple[LogKey, ...] = ()
    log_required: bool = False
    verifier: str = VERIFIER
    spec: str | None = None
    target: str | None = None
    max_age: timedelta | None = None
    require: tuple[str, ...] = ()
    release_at_least: int | None = None
    development: bool = False

    def signer(self, hint: str | None) -> tuple[Holder, ...]:
        """Holders whose key it may be: of that name, or all where there is none."""
        named = tuple(holder for holder in self.holders if hint in (None, holder.key.hint))
        if not named:
            raise Refused("signer-unknown", f"key {str(hint)[:12]} is none that is trusted")
        return named


def of_key(path: Path) -> Trust:
    """Trust in one key alone, whatever it signed: what `--key` asks for."""
    return Trust((Holder(public_key_file(path)),), development=True)


def read(path: Path) -> Trust:
    """A policy file. Raises `SpecError`, `UsageError`, `StageError` for its keys."""
    root, problems = document.parse(document.read(path, str(path)), str(path))
    if problems or root is None:
        raise SpecError(tuple(problems))
    try:
        policy = Policy.model_validate_json(json.dumps(document.plain(root)))
    except ValidationError as wrong:
        first = wrong.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise UsageError(
            f"{path}: {where}: {first['msg']}", hint="see docs/provenance.md"
        ) from None
    folder = path.parent
    holders = [
        Holder(
            public_key_file(folder / key.file),
            _moment(key.not_before, path),
            _moment(key.not_after, path),
            key.development,
            key.revoked,
        )
        for key in policy.keys
    ]
    age = None
    if policy.max_age is not None:
        try:
            age = timedelta(seconds=seconds(policy.max_age))
        except ValueError as wrong:
            raise UsageError(f"{path}: max_age: {wrong}") from None
    return Trust(
        holders=tuple(holders),
        logs=tuple(LogKey(log.name, public_key_file(folder / log.file)) for log in policy.logs),
        log_required=any(log.required for log in policy.logs),
        verifier=policy.verifier,
        spec=policy.spec,
        target=policy.target,
        max_age=age,
        require=policy.require,
        release_at_least=policy.release_at_least,
    )


def _moment(text: str | None, path: Path) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{path}: {text[:40]!r} is no date", hint="write 2026-11-28") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
