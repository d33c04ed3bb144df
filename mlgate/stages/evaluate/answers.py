"""Answers from anywhere, as the outputs that the metrics read."""

import fnmatch
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlgate.errors import StageError
from mlgate.stages.evaluate.spec import Evaluate, Predictions, Record
from mlgate.stages.evaluate.tables import Truth, column, joined, keys_of, text_of

Array = NDArray[Any]
ANSWER, SCORES = "answer", "scores"


@dataclass(frozen=True)
class Answers:
    """What was answered to each row: `said` [n] as text, None where nothing was, and scores [n, k].

    `order` names the classes of the scores' columns, where that is known.
    """

    said: Array | None
    scores: Array | None
    order: tuple[str, ...] = ()


def of_table(way: Predictions, table: pa.Table, truth: Truth, options: Evaluate) -> Answers:
    """Answers in a file. Raises `StageError` for keys, columns and scores that do not fit."""
    rows = options.evaluation
    assert rows is not None
    key = way.key or rows.key
    places = joined(keys_of(table, key), truth.keys, "the predictions", options.missing)
    if way.answer is None and way.scores is None:
        raise StageError(
            "predictions name neither a column of answers nor of scores",
            hint=f"answer: one of {', '.join(table.column_names[:12])}",
        )
    said = None
    if way.answer is not None:
        found = column(table, way.answer)
        text = text_of(found)
        text[found.is_null().to_numpy(zero_copy_only=False)] = ""
        said = np.where(places >= 0, text[places], "")
    order, names = _score_columns(way, table)
    scores = None
    if names:
        columns = [_numbers(table, name) for name in names]
        scores = np.stack(columns, axis=1)[places]
        scores[places < 0] = np.nan
    return Answers(said, scores, order)


def of_records(records: Sequence[Record], truth: Truth, missing: str, whose: str) -> Answers:
    """Answers as JSON objects: {"key", "answer" and/or "scores"}. Raises `StageError`."""
    keys = [_text(record.get("key")) for record in records]
    if not keys:
        raise StageError(f"{whose} gave no answers")
    places = joined(pa.array(keys, pa.string()), truth.keys, whose, missing)
    said = None
    if any("answer" in record for record in records):
        text = np.array([_text(record.get("answer")) for record in records], dtype=np.str_)
        said = np.where(places >= 0, text[places], "")
    order, found = _scores_of(records, whose)
    scores = None
    if found is not None:
        scores = found[places]
        scores[places < 0] = np.nan
    if said is None and scores is None:
        raise StageError(
            f"{whose} gave neither answer nor scores",
            hint='a line is {"key": …, "answer": …, "scores": […]}',
        )
    return Answers(said, scores, order)


def class_order(
    options: Evaluate, labels: Array | None, sides: Sequence[Answers], width: int
) -> tuple[str, ...]:
    """The classes, in the order of the scores: as listed, as the scores say, or as they sort.

    `width` is how many classes a model's outputs have: those number them from 0; 0: none do.
    """
    if options.classes:
        return options.classes
    orders = {side.order for side in sides if side.order}
    if len(orders) > 1:
        raise StageError("the two models order their classes differently", hint="classes: [...]")
    if orders:
        return orders.pop()
    kinds: set[str] = set()
    if labels is not None:
        kinds |= set(np.unique(labels).tolist())
    for side in sides:
        if side.said is not None:
            kinds |= set(np.unique(side.said).tolist()) - {""}
        if side.scores is not None:
            width = max(width, side.scores.shape[1], 2)
    numbers = [int(kind) for kind in kinds if kind.isdecimal()]
    if width and len(numbers) == len(kinds):
        return tuple(str(number) for number in range(max([width - 1, *numbers]) + 1))
    if width and len(kinds) != width:
        raise StageError(
            f"the labels are {', '.join(sorted(map(repr, kinds))[:8])}, and there are {width} scores",
            hint="list the classes in the order of the scores: classes: [...]",
        )
    return tuple(sorted(kinds, key=_sorting))


def outputs_of(answers: Answers, classes: Sequence[str], task: str) -> dict[str, Array]:
    """Arrays by name, as the metrics read a model's outputs; `answer` holds class numbers."""
    outputs: dict[str, Array] = {}
    if answers.said is not None:
        if task == "classification":
            outputs[ANSWER] = numbered(answers.said, classes, "the answer")
        else:
            outputs[ANSWER] = _as_numbers(answers.said)
    if answers.scores is not None:
        scores = answers.scores
        if task == "classification" and scores.shape[1] not in (1, len(classes)):
            raise StageError(
                f"there are {scores.shape[1]} scores a row and {len(classes)} classes: "
                f"{', '.join(classes[:12])}",
                hint="list the classes in the order of the scores: classes: [...]",
            )
        outputs[SCORES] = scores[:, 0] if scores.shape[1] == 1 else scores
    return outputs


def numbered(text: Array, classes: Sequence[str], what: str) -> NDArray[np.int64]:
    """Class numbers [n] of text [n]; −1 for none. Raises `StageError` for an unknown class."""
    kinds, codes = np.unique(text.astype(np.str_), return_inverse=True)
    places = {name: number for number, name in enumerate(classes)} | {"": -1}
    places |= _truths(classes)
    if not any(name.isdecimal() for name in classes):
        # A number is the place of a class among names.
        places |= {str(number): number for number in range(len(classes))}
    unknown = [kind for kind in kinds.tolist() if kind not in places]
    if unknown:
        raise StageError(
            f"{what} {unknown[0]!r} is no known class: {', '.join(map(repr, classes[:12]))}",
            hint="are label, answer and classes written alike?",
        )
    return np.array([places[kind] for kind in kinds.tolist()], dtype=np.int64)[codes]


def _truths(classes: Sequence[str]) -> dict[str, int]:
    """Where 0 and 1 stand among classes that are named yes and no.

    A CSV file with such a column may be read as true and false.
    """
    numbers = {name.lower(): number for number, name in enumerate(classes)}
    for no, yes in (("no", "yes"), ("false", "true"), ("n", "y"), ("f", "t")):
        if numbers.keys() == {no, yes}:
            return {"0": numbers[no], "1": numbers[yes]}
    return {}


def label_text(labels: Array) -> Array:
    """Labels as the text that answers are compared with."""
    if labels.dtype.kind == "f" and np.all(labels == np.round(labels)):
        labels = labels.astype(np.int64)
    return labels.astype(np.str_)


def _score_columns(way: Predictions, table: pa.Table) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(class of each column, where it is said; the columns of scores)."""
    if isinstance(way.scores, dict):
        return tuple(way.scores), tuple(way.scores.values())
    if isinstance(way.scores, str):
        if "*" in way.scores:
            names = tuple(fnmatch.filter(table.column_names, way.scores))
            if not names:
                raise StageError(f"no column is named like {way.scores}")
            return (), names
        return (), (way.scores,)
    return (), way.scores or ()


def _numbers(table: pa.Table, name: str) -> Array:
    found = column(table, name)
    if not (pa.types.is_floating(found.type) or pa.types.is_integer(found.type)):
        raise StageError(f"column {name} holds {found.type}, and scores are numbers")
    values = found.to_numpy(zero_copy_only=False)
    return np.asarray(values, dtype=np.float64)


def _scores_of(records: Sequence[Record], whose: str) -> tuple[tuple[str, ...], Array | None]:
    given = [record.get("scores") for record in records]
    if all(scores is None for scores in given):
        return (), None
    first = next(scores for scores in given if scores is not None)
    order = tuple(first) if isinstance(first, dict) else ()
    width = len(first) if isinstance(first, dict | list) else 1
    table = np.full((len(records), width), np.nan)
    for number, scores in enumerate(given):
        if scores is None:
            continue
        row = _row_of(scores, order)
        if row is None or len(row) != width:
            raise StageError(
                f"{whose} gave other scores for key {records[number].get('key')!r} than "
                f"{width} numbers",
                hint='"scores" is a number, a list, or an object {class: number}, alike in each line',
            )
        table[number] = row
    return order, table


def _row_of(scores: object, order: tuple[str, ...]) -> list[float] | None:
    if isinstance(scores, Mapping):
        if set(scores) != set(order):
            return None
        values: list[object] = [scores[name] for name in order]
    elif order:
        return None
    else:
        values = list(scores) if isinstance(scores, list) else [scores]
    numbers = [float(v) for v in values if isinstance(v, int | float) and math.isfinite(v)]
    return numbers if len(numbers) == len(values) else None


def _as_numbers(text: Array) -> Array:
    try:
        return np.where(text == "", "nan", text).astype(np.float64)
    except ValueError:
        raise StageError("an answer of this task is a number, and some are not") from None


def _text(value: object) -> str:
    """A key or answer as text: 1 and 1.0 and "1" are one."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _sorting(kind: str) -> tuple[int, float, str]:
    try:
        return 0, float(kind), kind
    except ValueError:
        return 1, 0.0, kind
