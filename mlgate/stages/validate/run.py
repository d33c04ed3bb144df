"""Measure one dataset: open it once, ask each question that the spec asks, report numbers."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from mlgate.data.table import Table, connect, open_table, quoted
from mlgate.errors import StageError, about
from mlgate.evidence import (
    Artifact,
    Measured,
    Measurement,
    artifact,
    canonical,
    measured,
    rounded,
    unmeasured,
)
from mlgate.quantity import size
from mlgate.stage import DataInput, Job, Progress, Sql
from mlgate.stages.validate import overlap as overlaps
from mlgate.stages.validate.contracts import contract as contracts
from mlgate.stages.validate.contracts.compatibility import Change, check_versions
from mlgate.stages.validate.contracts.conformance import check_table
from mlgate.stages.validate.contracts.contract import Contract
from mlgate.stages.validate.drift import comparison as drifts
from mlgate.stages.validate.drift import profile as profiles
from mlgate.stages.validate.drift.profile import Profile
from mlgate.stages.validate.drift.profiling import build
from mlgate.stages.validate.freshness import freshness
from mlgate.stages.validate.leakage import leakage
from mlgate.stages.validate.skew import skew
from mlgate.stages.validate.snapshot import snapshot
from mlgate.stages.validate.spec import Validate
from mlgate.statistics.distances import Statistic

if TYPE_CHECKING:
    from mlgate.stages.validate.expectations.batches import Batch
    from mlgate.stages.validate.expectations.outcomes import ExpectationResult

_BECAUSE = 5


@dataclass
class _Findings:
    """What was measured so far."""

    measurements: list[Measurement] = field(default_factory=list)
    details: dict[str, JsonValue] = field(default_factory=dict)
    outputs: dict[str, Artifact] = field(default_factory=dict)


def measure(job: Job[Validate]) -> Measured:
    """The evidence for a `validate` stage. Raises `StageError`."""
    found = _Findings()
    if job.options.dataset.dataset.sql is not None:
        _database(job, job.options.dataset.dataset.sql, found)
    else:
        _files(job, found)
    return Measured(
        measurements=tuple(found.measurements),
        outputs=found.outputs,
        details=found.details,
    )


def _database(job: Job[Validate], source: Sql, found: _Findings) -> None:
    url = os.environ.get(source.url.env)
    if not url:
        raise StageError(
            f"the environment has no {source.url.env}", hint=f"export {source.url.env}=…"
        )
    from mlgate.stages.validate.expectations.batches import open_sql  # noqa: PLC0415  # as below

    job.tell(Progress("connecting"))
    batch = open_sql(url, table=source.table, query=source.query)
    _expectations(job, batch, found)


def _files(job: Job[Validate], found: _Findings) -> None:
    options = job.options
    connection = connect(
        memory=size(options.memory), threads=job.threads, spill=job.workdir / "spill"
    )
    job.tell(Progress("opening the data"))
    location = job.inputs[options.dataset.dataset].location
    with about("dataset"):
        table = open_table(connection, location, view="data", filter=options.dataset.filter)
        rows = _rows(table)
    if rows < options.min_rows:
        raise StageError(
            f"the dataset has {rows:,} rows, and at least {options.min_rows:,} must be there",
            hint="check the path and the filter, or lower min_rows",
            option=("dataset",),
        )
    found.measurements.append(measured("rows", rows, unit="count", n=rows))
    with about("contract"):
        contract = _contract(job, table, found)
    with about("disjoint_from"):
        _overlap(job, table, found)
    with about("freshness"):
        _freshness(job, table, found)
    with about("skew"):
        _skew(job, table, found)
    with about("reference"):
        own = _profile(job, table, contract, found)
    with about("leakage"):
        _leakage(job, table, own, found)
    _snapshot(job, table, found)
    if options.expectations is not None:
        # Great Expectations takes seconds to import: a stage without a suite does not wait for it.
        from mlgate.stages.validate.expectations.batches import open_batch  # noqa: PLC0415

        job.tell(Progress("expectations"))
        with about("expectations"):
            engine = "auto" if options.engine == "sql" else options.engine
            _expectations(job, open_batch(table, engine), found)


def _rows(table: Table) -> int:
    row = table.connection.execute(f"select count(*) from {quoted(table.view)}").fetchone()
    assert row is not None
    return int(row[0])


def _expectations(job: Job[Validate], batch: "Batch", found: _Findings) -> None:
    from mlgate.stages.validate.expectations.outcomes import (  # noqa: PLC0415  # as above
        row_count,
        run_suite,
    )
    from mlgate.stages.validate.expectations.suites import load_suite  # noqa: PLC0415  # as above

    options = job.options
    if options.expectations is None:
        raise StageError("there is nothing to check", hint="add expectations: to this stage")
    if isinstance(options.expectations, tuple):
        suite = load_suite([e.model_dump(mode="json") for e in options.expectations])
    else:
        suite = load_suite(Path(job.inputs[options.expectations].location))
    results = run_suite(
        suite, batch, values=options.values, keys=options.keys, min_rows=options.min_rows
    )
    if not results:
        raise StageError("the suite has no expectations", hint="a suite must expect something")
    for severity in ("critical", "warning", "info"):
        some = [r for r in results if r.severity == severity]
        if some:
            found.measurements += _counted(some, {"severity": severity})
    if batch.table is None:
        rows = row_count(batch)
        found.measurements.append(measured("rows", rows, unit="count", n=rows))
    found.details["expectations"] = [_told(result) for result in results]
    found.details["engine"] = batch.engine


def _counted(
    results: Sequence["ExpectationResult"], labels: dict[str, str]
) -> Iterator[Measurement]:
    """How many expectations fail; an expectation that raised makes that unknowable."""
    broken = [r for r in results if r.outcome == "error"]
    failed = [r for r in results if r.outcome == "fail"]
    if broken:
        reasons = list(dict.fromkeys(r.message for r in broken))
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        for name, unit in (("failed", "count"), ("success_ratio", "1")):
            yield unmeasured(
                f"expectations.{name}", f"{reasons[0]}{more}", labels=labels, unit=unit
            )
        return
    because = [_with_rows(result) for result in failed]
    yield measured(
        "expectations.failed",
        len(failed),
        labels=labels,
        unit="count",
        n=len(results),
        because=_first(because),
    )
    share = 1 - len(failed) / len(results)
    yield measured(
        "expectations.success_ratio", share, labels=labels, n=len(results), because=_first(because)
    )


def _with_rows(result: "ExpectationResult") -> str:
    """The message, and where to look: row numbers count from 0, over all files in order."""
    if not result.rows:
        return result.message
    some = ", ".join(str(row) for row in result.rows[:_BECAUSE])
    more = ", …" if (result.unexpected_count or 0) > _BECAUSE else ""
    return f"{result.message} (row{'s' if len(result.rows) > 1 else ''} {some}{more})"


def _told(result: "ExpectationResult") -> dict[str, JsonValue]:
    from mlgate.stages.validate.expectations.plain_values import plain  # noqa: PLC0415  # as above

    return {
        "type": result.type,
        "column": result.column,
        "kwargs": plain(result.kwargs),
        "severity": result.severity,
        "outcome": result.outcome,
        "elements": result.element_count,
        "missing": result.missing_count,
        "unexpected": result.unexpected_count,
        "observed": _steady(result.observed),
        "rows": list(result.rows),
        "values": [_steady(value) for value in result.values],
        "message": result.message,
    }


def _steady(value: JsonValue) -> JsonValue:
    """Floats to 12 digits, at any depth: engines sum in different orders."""
    if isinstance(value, float):
        return rounded(value)
    if isinstance(value, list):
        return [_steady(item) for item in value]
    if isinstance(value, dict):
        return {key: _steady(item) for key, item in value.items()}
    return value


def _contract(job: Job[Validate], table: Table, found: _Findings) -> Contract | None:
    wanted = job.options.contract
    if wanted is None:
        return None
    job.tell(Progress("contract"))
    contract = contracts.load(Path(job.inputs[wanted.file].location))
    changes = check_table(contract, table)
    if wanted.previous:
        earlier = [contracts.load(Path(job.inputs[file].location)) for file in wanted.previous]
        changes += check_versions([*earlier, contract], wanted.compatibility)
    breaking = [change for change in changes if change.breaking(wanted.compatibility)]
    found.measurements.append(
        measured(
            "contract.breaking_changes",
            len(breaking),
            labels={"mode": wanted.compatibility},
            unit="count",
            n=len(contract.columns),
            because=_first(_said(change) for change in breaking),
        )
    )
    found.details["contract"] = [
        {
            "column": change.path,
            "change": change.kind,
            "old": change.old,
            "new": change.new,
            "breaking": change.breaking(wanted.compatibility),
            "why": change.why,
            "read_by_model": change.read_by_model,
        }
        for change in changes
    ]
    return contract


def _said(change: Change) -> str:
    if change.why.startswith(f"{change.path} is "):
        return change.why
    sides = f" ({change.old} → {change.new})" if change.old or change.new else ""
    return f"{change.path} {change.kind}{sides}: {change.why}"


def _profile(
    job: Job[Validate], table: Table, contract: Contract | None, found: _Findings
) -> Profile:
    """The data's own profile, which is an output, and its drift from the reference."""
    options = job.options
    job.tell(Progress("profile"))
    with about("drift", "ignore"):
        _check_names("drift.ignore", options.drift.ignore, table)
    pii = [column.name for column in contract.columns if column.pii] if contract else []
    reference = _reference(job, table, pii)
    common = {"ignore": options.drift.ignore, "pii": pii, "unit": options.drift.unit}
    own = build(table, **common)  # type: ignore[arg-type]  # each value is of its own type
    file = job.workdir / f"{job.stage}.profile.json"
    file.write_bytes(own.canonical())
    found.outputs["profile"] = artifact(file, "application/json")
    if reference is None:
        return own
    job.tell(Progress("drift"))
    current = build(table, edges_from=reference, **common)  # type: ignore[arg-type]  # as above
    drift = drifts.compare(reference, current, bins=options.drift.bins, ignore=options.drift.ignore)
    compared = [c for c in drift.columns if c.statistics or c.reasons]
    if not compared:
        raise StageError(
            "no column can be compared with the reference",
            hint="are the columns' types ones that have a distribution?",
        )
    for column in compared:
        found.measurements += _drifted(column, job.confidences)
    found.details["drift"] = {
        "left_out": [list(pair) for pair in drift.left_out],
        "unit": drift.unit or "rows taken as independent",
        "reference_rows": reference.rows,
        "rows": current.rows,
    }
    return own


def _check_names(where: str, names: Sequence[str], table: Table) -> None:
    """A misspelt column would be judged as if nobody had named it."""
    for name in names:
        if name not in table.schema.names:
            close = get_close_matches(name, table.schema.names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else None
            raise StageError(f"{where}: there is no column {name!r}", hint=hint)


def _reference(job: Job[Validate], table: Table, pii: Sequence[str]) -> Profile | None:
    source = job.options.reference
    if source is None:
        return None
    location = job.inputs[source].location
    if location.endswith(".json") and "://" not in location:
        return profiles.load(Path(location))
    other = open_table(table.connection, location, view="reference")
    drift = job.options.drift
    return build(other, ignore=drift.ignore, pii=pii, unit=drift.unit)


def _drifted(column: drifts.ColumnDrift, confidences: Sequence[float]) -> Iterator[Measurement]:
    labels = {"column": column.column}
    for metric in drifts.METRICS:
        name = f"drift.{metric}"
        if metric in column.reasons:
            yield unmeasured(name, column.reasons[metric], labels=labels)
        elif metric in column.statistics:
            yield _estimated(name, column.statistics[metric], labels, confidences)


def _estimated(
    name: str, statistic: Statistic, labels: dict[str, str], confidences: Sequence[float]
) -> Measurement:
    estimates = [(level, statistic.at(level)) for level in confidences]
    return measured(
        name,
        statistic.value,
        labels=labels,
        n=statistic.n,
        bounds=[(level, e.low, e.high) for level, e in estimates],
    )


def _overlap(job: Job[Validate], table: Table, found: _Findings) -> None:
    options = job.options
    for index, source in enumerate(options.disjoint_from):
        job.tell(Progress("overlap", index, len(options.disjoint_from)))
        other = open_table(table.connection, job.inputs[source].location, view=f"other_{index}")
        labels = {"other": _named(source)}
        shared = overlaps.rows(table, other)
        because = [f"over {len(shared.columns)} common columns"] if shared.rows else []
        found.measurements.append(
            measured(
                "overlap.rows",
                shared.rows,
                labels=labels,
                unit="count",
                n=shared.n,
                because=because,
            )
        )
        if options.keys:
            same = overlaps.keys(table, other, options.keys)
            found.measurements.append(
                measured("overlap.keys", same.keys, labels=labels, unit="count", n=same.n)
            )


def _named(source: DataInput) -> str:
    return source.path or source.from_ or "sql"


def _freshness(job: Job[Validate], table: Table, found: _Findings) -> None:
    wanted = job.options.freshness
    if wanted is None:
        return
    if job.now is None:
        raise StageError("freshness needs a clock, and this run has none")
    job.tell(Progress("freshness"))
    result = freshness(table, wanted.column, timezone=wanted.timezone, now=job.now)
    found.measurements.append(measured("freshness.lag_s", result.lag_s, unit="s", n=result.n))
    for partition, lag in result.partitions:
        found.measurements.append(
            measured("freshness.lag_s", lag, labels={"partition": partition}, unit="s")
        )


def _leakage(job: Job[Validate], table: Table, own: Profile, found: _Findings) -> None:
    wanted = job.options.leakage
    if wanted is None:
        return
    job.tell(Progress("leakage"))
    _check_names("leakage.ignore", wanted.ignore, table)
    result = leakage(table, own, wanted.label, ignore=wanted.ignore)
    for feature in result.columns:
        labels = {"column": feature.column}
        if feature.score is None:
            reason = feature.reason or "it has no score"
            found.measurements.append(unmeasured("leakage.score", reason, labels=labels))
        else:
            found.measurements.append(
                _estimated("leakage.score", feature.score, labels, job.confidences)
            )
    found.details["leakage"] = {"left_out": [list(pair) for pair in result.left_out]}


def _skew(job: Job[Validate], table: Table, found: _Findings) -> None:
    key = job.options.skew
    if key is None:
        return
    job.tell(Progress("skew"))
    result = skew(table, key)
    found.measurements.append(
        measured("partition.skew", result.value, labels={"key": key}, n=result.n)
    )


def _snapshot(job: Job[Validate], table: Table, found: _Findings) -> None:
    job.tell(Progress("snapshot"))
    file = job.workdir / f"{job.stage}.snapshot.json"
    file.write_bytes(canonical(snapshot(table)))
    found.outputs["snapshot"] = artifact(file, "application/json")


def _first(reasons: Iterable[str]) -> list[str]:
    """The first few, and how many are left."""
    listed = list(reasons)
    more = len(listed) - _BECAUSE
    return [*listed[:_BECAUSE], f"and {more} more"] if more > 0 else listed
