"""Run a Great Expectations suite and say of each expectation: pass, fail or error. Fail-closed.

GX passes an empty table, an all-null column and an empty suite, reports exceptions in two shapes,
loses the order, and lets one exception spoil every other result. What it says is therefore taken
apart here; its overall `success` is never read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, Literal

from mlgate.data.reading import without_values
from mlgate.errors import StageError
from mlgate.stages.validate.expectations.batches import Batch, has_value
from mlgate.stages.validate.expectations.gx import MetricConfiguration, quietly
from mlgate.stages.validate.expectations.plain_values import plain
from mlgate.stages.validate.expectations.suites import Severity, Suite, SuiteEntry, load_suite
from mlgate.stages.validate.expectations.type_names import is_of_type
from mlgate.stages.validate.expectations.unexpected_rows import unexpected_rows

__all__ = ["ExpectationResult", "Outcome", "Values", "load_suite", "run_suite"]

Outcome = Literal["pass", "fail", "error"]
Values = Literal["redacted", "keys", "raw"]

_TYPES: Final = {
    "expect_column_values_to_be_of_type": "type_",
    "expect_column_values_to_be_in_type_list": "type_list",
    "expect_column_type_to_be": "type_",
}
_QUERIES: Final = {
    "unexpected_rows_expectation",
    "expect_query_results_to_match_comparison",
    "expect_table_row_count_to_equal_other_table",
}
_ORDERED: Final = {
    "expect_column_values_to_be_increasing",
    "expect_column_values_to_be_decreasing",
}
# A column without any value can still answer these.
_ABOUT_NULLS: Final = {
    "expect_column_values_to_be_null",
    "expect_column_values_to_not_be_null",
    "expect_column_proportion_of_non_null_values_to_be_between",
    "expect_column_to_exist",
    *_TYPES,
}
# Observed numbers that are statistics of a column, not values of single rows.
_STATISTICS: Final = {
    "expect_column_kl_divergence_to_be_less_than",
    "expect_column_max_to_be_between",
    "expect_column_mean_to_be_between",
    "expect_column_median_to_be_between",
    "expect_column_min_to_be_between",
    "expect_column_proportion_of_non_null_values_to_be_between",
    "expect_column_proportion_of_unique_values_to_be_between",
    "expect_column_quantile_values_to_be_between",
    "expect_column_stdev_to_be_between",
    "expect_column_sum_to_be_between",
    "expect_column_unique_value_count_to_be_between",
}


@dataclass(frozen=True)
class ExpectationResult:
    """What came of one expectation. Counts are of rows that its `row_condition` selects."""

    index: int
    type: str
    column: str | None
    kwargs: dict[str, Any]
    severity: Severity
    outcome: Outcome
    element_count: int | None
    missing_count: int | None
    unexpected_count: int | None
    observed: Any
    """JSON scalar or list; None where it would show values of rows that may not be shown."""
    rows: tuple[int, ...]
    """Up to 20 row numbers of unexpected values, from 0, over all files, before the filter."""
    values: tuple[Any, ...]
    """For these rows the unexpected values (`raw`), or the key columns (`keys`)."""
    message: str


@dataclass(frozen=True)
class _Answer:
    """GX's result, or why there is none."""

    success: bool
    result: Mapping[str, Any]
    problem: str | None = None


def run_suite(
    suite: Suite,
    batch: Batch,
    *,
    values: Values = "redacted",
    keys: Sequence[str] = (),
    min_rows: int = 1,
) -> tuple[ExpectationResult, ...]:
    """One result per expectation, in the order of the suite.

    Raises `StageError` when there are fewer than `max(1, min_rows)` rows, when `keys` names a
    column that is not there, and when the rows cannot be read at all.
    """
    unknown = [key for key in keys if key not in batch.columns]
    if values == "keys" and unknown:
        raise StageError(_not_there(unknown[0], batch))
    with quietly():
        _check_rows(batch, min_rows)
        answers = _settled_before(suite, batch)
        open_ = [entry for entry in suite.entries if entry.index not in answers]
        answers |= _asked(batch, open_)
        empty = _without_values(batch, open_, answers)
        return tuple(
            _interpreted(entry, answers[entry.index], batch, entry.index in empty, values, keys)
            for entry in suite.entries
        )


def row_count(batch: Batch) -> int:
    """Rows that the batch has. Raises `StageError` when they cannot be counted."""
    try:
        return int(batch.validator.get_metric(MetricConfiguration("table.row_count", {})))
    except Exception as error:  # noqa: BLE001 - GX wraps what every engine raises
        raise StageError(
            f"the rows cannot be read: {without_values(str(error))}",
            hint="does the dataset open with another tool?",
        ) from None


def _check_rows(batch: Batch, min_rows: int) -> None:
    rows = row_count(batch)
    needed = max(1, min_rows)
    if rows < needed:
        raise StageError(
            f"the dataset has {_rows(rows)}, and at least {needed:,} must be there to judge it",
            hint="was the extract cut short? else lower `min_rows`"
            if rows
            else "is it the right file, and does `filter` let any row through?",
        )


def _settled_before(suite: Suite, batch: Batch) -> dict[int, _Answer]:
    """What needs no rows: missing columns, types, and what this engine cannot answer."""
    answers: dict[int, _Answer] = {}
    reported: dict[str, int] = {}
    for entry in suite.entries:
        missing = [c for c in entry.columns if c not in batch.columns]
        if missing and entry.type != "expect_column_to_exist":
            first = reported.setdefault(missing[0], entry.index)
            text = _not_there(missing[0], batch)
            if first != entry.index:
                text = f"column {missing[0]!r} is not there (see expectation {first + 1})"
            answers[entry.index] = _Answer(False, {}, text)
        elif entry.type in _TYPES and batch.types is not None:
            answers[entry.index] = _of_type(entry, batch)
        elif entry.type in _QUERIES and batch.engine != "sql":
            answers[entry.index] = _Answer(
                False, {}, "it runs SQL of its own, which only `sql` sources can do"
            )
        elif entry.type in _ORDERED and batch.engine in ("spark", "sql"):
            answers[entry.index] = _Answer(
                False, {}, f"the rows of {batch.engine} have no order; use `engine: duckdb`"
            )
    return answers


def _not_there(column: str, batch: Batch) -> str:
    near = get_close_matches(column, batch.columns, n=1)
    near = near or [c for c in batch.columns if c.lower() == column.lower()]
    return f"column {column!r} is not there" + (f" (did you mean {near[0]!r}?)" if near else "")


def _of_type(entry: SuiteEntry, batch: Batch) -> _Answer:
    wanted = entry.kwargs.get(_TYPES[entry.type])
    names = [wanted] if isinstance(wanted, str) else list(wanted or ())
    type_ = (batch.types or {})[entry.columns[0]]
    known, problems = [], []
    for name in names:
        try:
            known.append(is_of_type(type_, name))
        except StageError as error:
            problems.append(f"{error.message}; {error.hint}")
    # In a list, names of other systems are usual: one that is known is enough.
    if not known:
        return _Answer(False, {}, problems[0] if problems else "no type is named")
    return _Answer(any(known), {"observed_value": str(type_)})


def _asked(batch: Batch, entries: Sequence[SuiteEntry]) -> dict[int, _Answer]:
    """GX's answers. When several raised, each is asked again alone: one exception may have spoilt
    the others."""
    answers = _ask(batch, entries)
    raised = [e for e in entries if answers[e.index].problem is not None]
    if len(raised) > 1 or (raised and len(entries) > 1):
        for entry in raised:
            answers |= _ask(batch, [entry])
    return answers


def _ask(batch: Batch, entries: Sequence[SuiteEntry]) -> dict[int, _Answer]:
    lost = "Great Expectations gave no result for it"
    answers = {entry.index: _Answer(False, {}, lost) for entry in entries}
    if not entries:
        return answers
    try:
        results = batch.validator.graph_validate(
            [entry.configuration for entry in entries],
            runtime_configuration={
                "catch_exceptions": True,
                "result_format": {"result_format": "BASIC", "partial_unexpected_count": 0},
            },
        )
    except Exception as error:  # noqa: BLE001 - it catches most, not all, of what metrics raise
        return {e.index: _Answer(False, {}, _problem(str(error))) for e in entries}
    for one in results:
        index = int(one.expectation_config.meta["mlgate"])
        raised = _raised(one.exception_info)
        problem = _problem(raised) if raised is not None else None
        answers[index] = _Answer(bool(one.success), one.result or {}, problem)
    return answers


def _problem(text: str) -> str:
    """An exception's message without what it quotes, which may be data."""
    line = without_values(text)
    if "Out of Memory" in line:
        return "it does not fit into `memory`, and spilling did not help; raise `memory`"
    return f"it cannot be evaluated: {line}" if line.strip("… .") else "it cannot be evaluated"


def _raised(info: Mapping[str, Any] | None) -> str | None:
    """The message of an exception. GX has two shapes: flat, and one entry per metric."""
    flat = [info] if info and "raised_exception" in info else list((info or {}).values())
    for one in flat:
        if isinstance(one, Mapping) and one.get("raised_exception"):
            return str(one.get("exception_message") or "an exception without a message")
    return None


def _without_values(
    batch: Batch, entries: Sequence[SuiteEntry], answers: Mapping[int, _Answer]
) -> set[int]:
    """Expectations of which a column has no value at all: they would pass without a check."""
    known: dict[tuple[str, str], bool] = {}
    found = set()
    for entry in entries:
        answer = answers[entry.index]
        if entry.type in _ABOUT_NULLS or answer.problem is not None:
            continue
        elements, missing = (answer.result.get(k) for k in ("element_count", "missing_count"))
        if elements is not None and missing is not None and len(entry.columns) == 1:
            if elements == missing:
                found.add(entry.index)
            continue
        for column in entry.columns:
            selection = _selection(entry)
            key = column, repr(selection)
            if key not in known:
                known[key] = has_value(batch, column, selection)
            if not known[key]:
                found.add(entry.index)
    return found


def _selection(entry: SuiteEntry) -> dict[str, Any]:
    kwargs = entry.configuration.to_domain_obj().configuration.kwargs
    return {k: kwargs[k] for k in ("row_condition", "condition_parser") if kwargs.get(k)}


def _interpreted(
    entry: SuiteEntry,
    answer: _Answer,
    batch: Batch,
    empty: bool,
    values: Values,
    keys: Sequence[str],
) -> ExpectationResult:
    counts = {
        name: _count(answer.result.get(name))
        for name in ("element_count", "missing_count", "unexpected_count")
    }
    problem = answer.problem
    if problem is None and counts["element_count"] == 0:
        problem = "no row is selected, so nothing was checked"
        counts = dict.fromkeys(counts, 0)  # SQL sums no rows to NULL
    elif problem is None and empty:
        problem = "the column has no value at all, so nothing was checked"
    outcome: Outcome = "error" if problem else "pass" if answer.success else "fail"
    rows: tuple[int, ...] = ()
    shown: tuple[Any, ...] = ()
    if outcome == "fail" and counts["unexpected_count"]:
        rows, shown = _located(entry, batch, values, keys)
    observed = None if problem else _observed(entry, answer.result, values)
    return ExpectationResult(
        index=entry.index,
        type=entry.type,
        column=", ".join(entry.columns) or None,
        kwargs=entry.kwargs,
        severity=entry.severity,
        outcome=outcome,
        **counts,
        observed=observed,
        rows=rows,
        values=shown,
        message=f"{_title(entry)}: {problem or _finding(entry, answer, counts, observed)}",
    )


def _located(
    entry: SuiteEntry, batch: Batch, values: Values, keys: Sequence[str]
) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    shown = {"redacted": (), "keys": tuple(keys), "raw": entry.columns}[values]
    try:
        found = unexpected_rows(batch, entry, shown)
    except Exception:  # noqa: BLE001 - the verdict stands without the list of rows
        return (), ()
    if not shown:
        return found.rows, ()
    single = len(shown) == 1
    return found.rows, tuple(plain(row[0] if single else row) for row in found.values)


def _observed(entry: SuiteEntry, result: Mapping[str, Any], values: Values) -> Any:
    observed = result.get("observed_value")
    if isinstance(observed, Mapping):
        observed = observed.get("values")
    about_data = entry.columns and entry.type not in _STATISTICS | set(_TYPES)
    return None if about_data and values != "raw" else plain(observed)


def _count(value: Any) -> int | None:
    return None if value is None else int(value)


def _title(entry: SuiteEntry) -> str:
    name = entry.type.removeprefix("expect_").replace("_", " ")
    return f"{', '.join(entry.columns)}: {name}" if entry.columns else name


def _finding(
    entry: SuiteEntry, answer: _Answer, counts: Mapping[str, int | None], observed: Any
) -> str:
    """Both numbers: what was found and what was asked for."""
    unexpected, elements = counts["unexpected_count"], counts["element_count"]
    if unexpected is not None and elements is not None:
        considered = elements - (counts["missing_count"] or 0)
        share = unexpected / considered if considered else 0.0
        allowed = 1 - float(entry.kwargs.get("mostly") or 1)
        return (
            f"{unexpected:,} of {considered:,} unexpected ({share:.4%}), "
            f"{'none' if not allowed else format(allowed, '.4%')} allowed"
        )
    if entry.type == "expect_column_to_exist":
        return "it is there" if answer.success else "it is not there, or not at that place"
    asked = ", ".join(
        f"{name.rstrip('_')} {plain(value)}"
        for name, value in sorted(entry.kwargs.items())
        if name not in {"column", "column_A", "column_B", "column_list"} and value is not None
    )
    seen = "values that are not shown" if observed is None else f"{observed}"
    return f"found {seen}; asked for {asked}"


def _rows(count: int) -> str:
    return "no rows" if count == 0 else "1 row" if count == 1 else f"{count:,} rows"
