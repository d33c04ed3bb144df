"""A served model that answers over HTTP, in the form of KServe's and TensorFlow Serving's version 1.

Rows go as {"instances": [{column: value, …}, …]}; {"predictions": […]} comes back, as many: an
answer, a list of scores, or an object with `answer` and `scores`.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Final

from mlgate.errors import StageError
from mlgate.quantity import seconds
from mlgate.stages.evaluate.spec import Endpoint, Record
from mlgate.stages.evaluate.tables import Truth

_MOST: Final = 64 << 20


def answers_of_endpoint(
    endpoint: Endpoint, truth: Truth, label: str | None, whose: str
) -> Iterator[Record]:
    """One record per row. Raises `StageError` for a service that does not answer each row."""
    table = truth.table.drop_columns([label]) if label is not None else truth.table
    keys = truth.keys.to_pylist()
    for start in range(0, len(keys), endpoint.batch_size):
        rows = table.slice(start, endpoint.batch_size).to_pylist()
        answers = _asked(endpoint, rows, whose)
        if len(answers) != len(rows):
            raise StageError(f"{whose}: {len(rows)} rows were sent, {len(answers)} answers came")
        for key, answer in zip(keys[start:], answers, strict=False):
            yield {"key": key, **_record(answer)}


def _asked(endpoint: Endpoint, rows: list[Record], whose: str) -> list[object]:
    body = json.dumps({"instances": rows}, default=str).encode()
    request = urllib.request.Request(  # noqa: S310 (the pattern of `url` allows http alone)
        endpoint.url, body, {"Content-Type": "application/json"}
    )
    where = endpoint.url.split("?")[0]
    try:
        with urllib.request.urlopen(request, timeout=seconds(endpoint.timeout)) as response:  # noqa: S310
            text = response.read(_MOST + 1)
    except urllib.error.HTTPError as error:
        raise StageError(f"{whose}: {where} answered {error.code} {error.reason}") from None
    except (OSError, urllib.error.URLError) as error:
        raise StageError(
            f"{whose}: {where} does not answer: {error}", hint="is the server started?"
        ) from None
    if len(text) > _MOST:
        raise StageError(f"{whose}: {where} answered more than 64 MiB")
    try:
        found = json.loads(text)["predictions"]
    except (ValueError, KeyError, TypeError):
        found = None
    if not isinstance(found, list):
        raise StageError(
            f'{whose}: {where} answered no {{"predictions": […]}}',
            hint="is it KServe's version 1 protocol?",
        )
    return found


def _record(answer: object) -> Record:
    if isinstance(answer, dict):
        return {name: answer[name] for name in ("answer", "scores") if name in answer}
    if isinstance(answer, list | float):
        return {"scores": answer}
    return {"answer": answer if isinstance(answer, str | int | bool) else None}
