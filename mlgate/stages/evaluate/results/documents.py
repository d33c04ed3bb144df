"""JSON results: promptfoo, Inspect, lm-evaluation-harness, and a plain `metrics.json`."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from mlgate.errors import StageError
from mlgate.stages.evaluate.results.items import Found, Item, Number, unknown_version

_MOST: Final = 256 << 20
_INSPECT_MARKS: Final = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}
_PROMPTFOO: Final = (3, 4)
_INSPECT: Final = (1, 2)
Json = Mapping[str, Any]


def read_json(path: Path) -> Any:
    """The file's JSON value. Raises `StageError`."""
    if path.stat().st_size > _MOST:
        raise StageError(f"{path.name} is over 256 MiB", hint="give JSON Lines, or fewer items")
    try:
        return json.loads(path.read_bytes(), parse_constant=_no_number)
    except RecursionError:
        raise StageError(f"{path.name} is nested too deep") from None
    except ValueError as error:
        raise StageError(f"{path.name} is not JSON: {error}") from None


def _no_number(_: str) -> float:
    return math.nan  # a score that is NaN is a missing one; told by the item


def is_promptfoo(document: Any) -> bool:
    return isinstance(document, dict) and "evalId" in document and "results" in document


def read_promptfoo(document: Json) -> Found:
    """`promptfoo eval -o results.json`: each test × prompt × provider; `--repeat` gives repeats."""
    results = document["results"]
    version = results.get("version") if isinstance(results, dict) else None
    if version not in _PROMPTFOO:
        raise unknown_version("promptfoo", version, "3 or 4")
    rows = results.get("results")
    if not isinstance(rows, list):
        raise StageError("this promptfoo file holds no results.results")
    return Found(f"promptfoo, format {version}", tuple(_promptfoo_item(row) for row in rows))


def _promptfoo_item(row: Json) -> Item:
    provider = row.get("provider")
    name = str(provider.get("id") if isinstance(provider, dict) else provider)
    # A repeat has the same variables, prompt and provider, and another testIdx.
    unit = json.dumps(
        [row.get("vars"), row.get("promptId") or row.get("promptIdx"), name], sort_keys=True
    )
    scores = {"score": row.get("score"), **(row.get("namedScores") or {})}
    if row.get("failureReason") == 2 or (row.get("error") and row.get("gradingResult") is None):
        return Item(unit, group=name, reason=str(row.get("error"))[:200])
    return Item(unit, bool(row.get("success")), _numbers(scores), name)


def is_inspect(document: Any) -> bool:
    return isinstance(document, dict) and "eval" in document and "status" in document


def read_inspect(document: Json) -> Found:
    """An Inspect log (`inspect eval --log-format json`): samples, their epochs and scores."""
    version = document.get("version")
    if version not in _INSPECT:
        raise unknown_version("Inspect's log", version, "1 or 2")
    samples = document.get("samples")
    if document["status"] != "success" and not samples:
        said = (document.get("error") or {}).get("message", "")
        raise StageError(f"this Inspect run ended as {document['status']}: {str(said)[:200]}")
    if not isinstance(samples, list):
        raise StageError(
            "this Inspect log holds no samples",
            hint="write it with its samples: no --no-log-samples",
        )
    task = str(document["eval"].get("task", ""))
    return Found("inspect", tuple(_inspect_item(sample, task) for sample in samples))


def _inspect_item(sample: Json, task: str) -> Item:
    unit = f"{task}:{sample.get('id')}"
    if sample.get("error"):
        return Item(unit, group=task, reason=str(sample["error"].get("message", ""))[:200])
    scores: dict[str, Any] = {}
    for name, score in (sample.get("scores") or {}).items():
        value = score.get("value") if isinstance(score, dict) else score
        if isinstance(value, str):
            value = _INSPECT_MARKS.get(value)
        if isinstance(value, dict):
            scores |= {f"{name}.{part}": number for part, number in value.items()}
        else:
            scores[name] = value
    return Item(unit, scores=_numbers(scores), group=task)


def is_lm_eval(document: Any) -> bool:
    return isinstance(document, dict) and "results" in document and "n-shot" in document


def read_lm_eval(document: Json) -> Found:
    """`lm_eval --output_path`: aggregates, with the standard error that the tool states."""
    found = []
    for task, metrics in document["results"].items():
        size = (document.get("n-samples") or {}).get(task) or {}
        n = size.get("effective") if isinstance(size, dict) else None
        for key, value in metrics.items():
            name, _, kind = key.partition(",")
            if name.endswith("_stderr") or name == "alias" or not _is_number(value):
                continue
            labels = {"task": str(task)} | ({"filter": kind} if kind else {})
            error = metrics.get(f"{name}_stderr,{kind}")
            stated = float(error) if _is_number(error) else None
            found.append(Number(name, float(value), n=n, labels=labels, error=stated))
    return Found("lm-evaluation-harness", numbers=tuple(found))


def is_lm_eval_samples(first: Any) -> bool:
    return isinstance(first, dict) and {"doc_id", "doc_hash"} <= first.keys()


def read_lm_eval_samples(rows: Iterable[Json]) -> Found:
    """`lm_eval --log_samples`: one line per document and filter; `metrics` names the scores."""
    items = []
    for row in rows:
        names = row.get("metrics") or [k for k in ("acc", "exact_match", "f1") if k in row]
        scores = {name: row.get(name) for name in names}
        group = str(row.get("filter", ""))
        items.append(
            Item(f"{row['doc_hash']}:{row['doc_id']}", scores=_numbers(scores), group=group)
        )
    return Found("lm-evaluation-harness samples", tuple(items))


def read_metrics(document: Any) -> Found:
    """{"accuracy": 0.9} or {"metrics": [{"name", "value", "unit"?, "n"?, "labels"?, …}]}."""
    if isinstance(document, dict) and isinstance(document.get("metrics"), list):
        return Found("metrics", numbers=tuple(_number(entry) for entry in document["metrics"]))
    if not isinstance(document, dict) or not document:
        raise StageError('a plain metrics.json is {"name": number, …}')
    found = []
    for name, value in document.items():
        if not _is_number(value):
            raise StageError(f"{name} is {json.dumps(value)[:60]}, and a metric is a number")
        found.append(Number(str(name), float(value)))
    return Found("metrics", numbers=tuple(found))


def _number(entry: Any) -> Number:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise StageError('an entry of "metrics" has a name and a value')
    value = entry.get("value")
    if not _is_number(value):
        raise StageError(f"{entry['name']} is {json.dumps(value)[:60]}, and a metric is a number")
    bounds: tuple[tuple[float, float, float], ...] = ()
    if _is_number(entry.get("low")) and _is_number(entry.get("high")):
        bounds = ((float(entry.get("confidence") or 0.95), entry["low"], entry["high"]),)
    labels = {str(k): str(v) for k, v in (entry.get("labels") or {}).items()}
    unit = str(entry.get("unit", "1"))
    return Number(entry["name"], float(value or 0.0), unit, entry.get("n"), labels, bounds=bounds)


def _numbers(scores: Mapping[str, Any]) -> dict[str, float]:
    return {
        str(name): float(value)
        for name, value in scores.items()
        if _is_number(value) or isinstance(value, bool)
    }


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
