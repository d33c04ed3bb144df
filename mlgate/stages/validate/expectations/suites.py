"""Great Expectations suites: read from GX's own JSON or from mlgate.yaml, and checked before a run.

Everything that can be wrong with a suite without looking at data is found here: an unknown
expectation, wrong arguments, an empty suite. GX itself calls an empty suite a success.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal

from mlgate.errors import StageError
from mlgate.stages.validate.expectations.gx import (
    Expectation,
    ExpectationConfiguration,
    get_expectation_impl,
    list_registered_expectation_implementations,
    quietly,
)

Severity = Literal["critical", "warning", "info"]

_COLUMN_KWARGS: Final = ("column", "column_A", "column_B")
# What GX saves beside an expectation and what does not change what is checked.
_IGNORED: Final = {"id", "notes", "rendered_content", "description", "success_on_last_run"}
_SETS: Final = ("value_set", "regex_list", "like_pattern_list", "type_list", "column_set")
_FIELDS: Final = {"type", "expectation_type", "kwargs", "meta", "severity"}


@dataclass(frozen=True)
class SuiteEntry:
    """One expectation as written; `kwargs` are the suite's own, not GX's normalised ones."""

    index: int
    type: str
    kwargs: dict[str, Any]
    severity: Severity
    configuration: ExpectationConfiguration
    expectation: Expectation

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it looks at."""
        single = [self.kwargs[k] for k in _COLUMN_KWARGS if isinstance(self.kwargs.get(k), str)]
        if self.type.startswith("expect_table_"):
            return tuple(single)  # what it asks of names needs no values, and no column either
        several = self.kwargs.get("column_list")
        return tuple(single + [c for c in several if isinstance(c, str)] if several else single)


@dataclass(frozen=True)
class Suite:
    """Expectations in the order of the file; never empty."""

    name: str
    entries: tuple[SuiteEntry, ...]


def load_suite(source: Path | Sequence[Mapping[str, Any]]) -> Suite:
    """The suite in the file `source` (as GX saves it), or the expectations listed in mlgate.yaml.

    A listed one is `{type, kwargs, severity}`; arguments may also stand beside `type`. Raises
    `StageError` that names the file and the expectation.
    """
    if isinstance(source, Path):
        name, written = _from_file(source)
    else:
        name, written = "expectations", list(source)
    if not written:
        raise StageError(
            f"{name}: there are no expectations, so nothing would be checked",
            hint="add at least one, such as {type: expect_column_values_to_not_be_null, "
            "kwargs: {column: id}}",
        )
    return Suite(name, tuple(_entry(name, i, one) for i, one in enumerate(written)))


def _from_file(path: Path) -> tuple[str, list[Any]]:
    hint = "a suite is the JSON file that Great Expectations saves: {name, expectations: […]}"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise StageError(f"{path} cannot be read: {error.strerror}", hint=hint) from None
    except UnicodeDecodeError:
        raise StageError(f"{path} is not UTF-8 text", hint=hint) from None
    if not text.strip():
        raise StageError(f"{path} is empty", hint=hint)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise StageError(f"{path}{where}: not JSON", hint=hint) from None
    if not isinstance(content, dict) or not isinstance(content.get("expectations"), list):
        raise StageError(f"{path} is not a suite of expectations", hint=hint)
    return str(path), content["expectations"]


def _entry(suite: str, index: int, written: object) -> SuiteEntry:
    where = f"{suite}, expectation {index + 1}"
    if not isinstance(written, Mapping):
        raise StageError(f"{where}: not a mapping with a type", hint="write {type: …, kwargs: {…}}")
    type_ = written.get("type", written.get("expectation_type"))
    if not isinstance(type_, str):
        raise StageError(f"{where}: the type is missing", hint="write {type: …, kwargs: {…}}")
    _known(where, type_)
    kwargs = dict(written.get("kwargs") or {})
    kwargs |= {k: v for k, v in written.items() if k not in _FIELDS | _IGNORED}
    kwargs.pop("batch_id", None)
    severity = _severity(where, written)
    if any(isinstance(v, Mapping) and "$PARAMETER" in v for v in kwargs.values()):
        raise StageError(
            f"{where} ({type_}): suite parameters ($PARAMETER) have no value here",
            hint="write the value into the suite",
        )
    _can_fail(f"{where} ({type_})", type_, kwargs)
    try:
        # The index in `meta` is how a result finds its way back: GX changes the order.
        with quietly():
            configuration = ExpectationConfiguration(
                type=type_, kwargs=dict(kwargs), meta={"mlgate": index}, severity=severity
            )
            expectation = configuration.to_domain_obj()
    except Exception as error:  # noqa: BLE001 - GX and its pydantic raise many kinds
        raise _wrong_arguments(where, type_, error) from None
    return SuiteEntry(index, type_, kwargs, severity, configuration, expectation)


def _known(where: str, type_: str) -> None:
    known = list_registered_expectation_implementations()
    if type_ in known:
        return
    near = get_close_matches(type_, known, n=1)
    raise StageError(
        f"{where}: there is no expectation {type_!r}",
        hint=f"did you mean {near[0]}?" if near else "see the gallery of Great Expectations",
    )


def _bounds(kwargs: Mapping[str, Any]) -> list[Any]:
    """Every limit of a `…_to_be_between`: two of a value, or two for each quantile."""
    bounds = [kwargs.get("min_value"), kwargs.get("max_value")]
    ranges = kwargs.get("quantile_ranges")
    if isinstance(ranges, Mapping):
        for pair in ranges.get("value_ranges") or ():
            bounds += pair if isinstance(pair, list | tuple) else [pair]
    return bounds


def _binds(bound: object) -> bool:
    """Whether a value can lie beyond the limit: NaN and infinity let all of them pass."""
    return bound is not None and not (isinstance(bound, float) and not math.isfinite(bound))


# Arguments without which Great Expectations calls an expectation a success.
_NEEDED: Final = {
    "expect_column_kl_divergence_to_be_less_than": ("threshold", "partition_object"),
    "expect_column_distinct_values_to_be_in_set": ("value_set",),
    "expect_column_distinct_values_to_contain_set": ("value_set",),
    "expect_column_distinct_values_to_equal_set": ("value_set",),
    "expect_column_most_common_value_to_be_in_set": ("value_set",),
    "expect_column_pair_values_to_be_in_set": ("value_pairs_set",),
    "expect_column_values_to_be_in_set": ("value_set",),
    "expect_column_values_to_not_be_in_set": ("value_set",),
    "expect_column_values_to_be_in_type_list": ("type_list",),
    "expect_column_values_to_be_of_type": ("type_",),
    "expect_table_columns_to_match_ordered_list": ("column_list",),
    "expect_table_columns_to_match_set": ("column_set",),
}


def _can_fail(where: str, type_: str, kwargs: Mapping[str, Any]) -> None:
    """Great Expectations calls an expectation a success that allows everything."""
    mostly = kwargs.get("mostly")
    if isinstance(mostly, int | float) and mostly <= 0:
        raise StageError(
            f"{where}: mostly {mostly:g} lets every row fail, so nothing would be checked",
            hint="mostly is the smallest share of rows that must hold, e.g. 0.95",
        )
    bounds = _bounds(kwargs)
    if type_.endswith("_to_be_between") and not any(_binds(bound) for bound in bounds):
        raise StageError(
            f"{where}: it has neither a smallest nor a largest value, so nothing would be checked",
            hint="give min_value or max_value, or leave the expectation out",
        )
    for name in _NEEDED.get(type_, ()):
        if kwargs.get(name) is None:
            raise StageError(
                f"{where}: {name} is not given, so nothing would be checked",
                hint=f"give {name}, or leave the expectation out",
            )
    for name in _SETS:
        if name in kwargs and kwargs[name] in ([], (), {}):
            raise StageError(
                f"{where}: {name} is empty, so nothing would be checked",
                hint="list at least one, or leave the expectation out",
            )


def _severity(where: str, written: Mapping[str, Any]) -> Severity:
    match written.get("severity") or "critical":
        case "critical" | "warning" | "info" as severity:
            return severity
        case other:
            raise StageError(
                f"{where}: {other!r} is not a severity", hint="critical, warning or info"
            )


def _wrong_arguments(where: str, type_: str, error: Exception) -> StageError:
    found = error.errors() if hasattr(error, "errors") else [{"loc": (), "msg": str(error)}]
    problems: list[str] = []
    for one in found:
        name = str(one["loc"][0]) if one["loc"] and one["loc"][0] != "__root__" else ""
        text = f"{name}: {one['msg']}" if name else str(one["msg"]).splitlines()[0]
        if name not in [p.split(":")[0] for p in problems]:
            problems.append(text)
    fields = sorted(set(get_expectation_impl(type_).__fields__) - _IGNORED - {"meta", "severity"})
    unknown = [p.split(":")[0] for p in problems if "extra fields" in p]
    near = get_close_matches(unknown[0], fields, n=1) if unknown else []
    return StageError(
        f"{where} ({type_}): {'; '.join(problems).replace('extra fields not permitted', 'there is no such argument')}",
        hint=f"did you mean {near[0]}?" if near else f"arguments: {', '.join(fields)}",
    )
