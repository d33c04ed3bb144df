"""What a stage saw: facts, named and content-addressed. No opinions.

Evidence is canonical JSON (RFC 8785), so equal facts have equal digests on every machine. It
holds no times, hosts or run ids.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


def digest_of(data: bytes) -> Digest:
    """SHA-256 of `data`, as `sha256:<hex>`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def canonical(value: Any) -> bytes:
    """The one byte string that stands for a JSON value (RFC 8785).

    Raises `ValueError` for NaN, infinities and integers beyond ±2⁵³, which JSON cannot carry.
    """
    return rfc8785.dumps(value)


def rounded(x: float) -> float:
    """`x` to 12 significant digits: sums in parallel differ in the last ones from run to run."""
    return float(f"{x:.12g}") if math.isfinite(x) else x


class Frozen(BaseModel):
    """Immutable, closed, strict, and serialised the same way everywhere."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        populate_by_name=True,
        defer_build=True,  # a command pays for the models that it uses
    )

    def canonical(self) -> bytes:
        return canonical(self.model_dump(mode="json", by_alias=True, exclude_none=True))


def tuples(value: Any) -> Any:
    """A JSON value with tuples for its lists, at any depth.

    For `model_validator(mode="before")`: below one, pydantic no longer knows that the value was
    JSON, and a strict model wants tuples where it declares them.
    """
    if isinstance(value, list | tuple):
        return tuple(tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: tuples(item) for key, item in value.items()}
    return value


class Bounds(Frozen):
    """An interval at a stated confidence. An end that is None is unbounded."""

    confidence: float = Field(gt=0, lt=1)
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self


Labels = dict[str, str]


class Measurement(Frozen):
    """One number that a stage measured.

    `bounds` is empty for a number that is exact (a count, a size) and holds one interval per
    confidence that was asked for otherwise. A `value` of None says that it could not be
    measured, and `reason` why: a gate on it is an error, never a pass. `n` is the number of
    samples behind it. `because` names what a reader should look at, most important first.
    """

    name: str
    value: float | None = None
    labels: Labels = {}
    unit: str = "1"
    bounds: tuple[Bounds, ...] = ()
    n: int | None = Field(None, ge=0)
    reason: str | None = None
    because: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _explained(self) -> Self:
        if self.value is None and not self.reason:
            raise ValueError(f"{self.name} has no value and no reason")
        return self


class Comparison(Frozen):
    """One metric of the candidate against the same metric of a reference, measured together.

    `difference` bounds value − reference, `ratio` bounds value / reference; both are empty when
    the two numbers are exact. `to` is the reference's role: source, baseline or stable.
    """

    name: str
    to: str
    value: float | None = None
    reference: float | None = None
    labels: Labels = {}
    unit: str = "1"
    difference: tuple[Bounds, ...] = ()
    ratio: tuple[Bounds, ...] = ()
    n: int | None = Field(None, ge=0)
    reason: str | None = None
    because: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _explained(self) -> Self:
        if (self.value is None or self.reference is None) and not self.reason:
            raise ValueError(f"{self.name} compared to {self.to} lacks a side and a reason")
        return self


class Artifact(Frozen):
    """A file that a stage made, known by its content."""

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")
    digest: Digest
    size_bytes: int = Field(ge=0)
    media_type: str = "application/octet-stream"


def artifact(path: Path, media_type: str = "application/octet-stream") -> Artifact:
    """The `Artifact` for a file that a stage has made in its workdir; reads it once."""
    with path.open("rb") as file:
        hexadecimal = hashlib.file_digest(file, "sha256").hexdigest()
    return Artifact(
        name=path.name,
        digest=f"sha256:{hexadecimal}",
        size_bytes=path.stat().st_size,
        media_type=media_type,
    )


class Measured(Frozen):
    """What only a stage knows of its run: this it returns, and the spine makes Evidence of it.

    `outputs` are keyed by port; `details` is the stage's own account, which renderers may show and
    gates never read.
    """

    measurements: tuple[Measurement, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    outputs: dict[str, Artifact] = {}
    details: dict[str, JsonValue] = {}


class Evidence(Measured):
    """Everything that one run of one stage observed and produced.

    `inputs` are keyed by port, as `outputs` are; `tools` are the versions that took part.
    """

    uses: str
    inputs: dict[str, Digest]
    tools: dict[str, str] = {}


def measured(
    name: str,
    value: float,
    *,
    labels: Mapping[str, object] | None = None,
    unit: str = "1",
    bounds: Iterable[tuple[float, float | None, float | None]] = (),
    n: int | None = None,
    because: Iterable[str] = (),
) -> Measurement:
    """A `Measurement` out of raw numbers.

    `bounds` are (confidence, low, high). A value that is not finite becomes one that could not
    be measured, so that no gate can pass on it.
    """
    marks = {key: str(label) for key, label in (labels or {}).items()}
    if not math.isfinite(value):
        reason = f"{name} is not a finite number ({value})"
        return Measurement(name=name, value=None, labels=marks, unit=unit, n=n, reason=reason)
    return Measurement(
        name=name,
        value=rounded(float(value)),
        labels=marks,
        unit=unit,
        bounds=tuple(
            Bounds(confidence=confidence, low=_end(low), high=_end(high))
            for confidence, low, high in bounds
        ),
        n=n,
        because=tuple(because),
    )


def unmeasured(
    name: str, reason: str, *, labels: Mapping[str, object] | None = None, unit: str = "1"
) -> Measurement:
    """A `Measurement` that could not be made, and why."""
    marks = {key: str(label) for key, label in (labels or {}).items()}
    return Measurement(name=name, value=None, labels=marks, unit=unit, reason=reason)


def _end(x: float | None) -> float | None:
    return None if x is None or not math.isfinite(x) else rounded(float(x))
