"""An error as a JSON document on standard output, for commands that have `--format json`."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mlgate.errors import MlgateError, SpecError


@contextmanager
def errors_as_json(wanted: bool) -> Iterator[None]:
    """With `--format json`, an error is a document on standard output too."""
    try:
        yield
    except MlgateError as error:
        if wanted:
            json.dump(_document(error), sys.stdout, indent=2, ensure_ascii=False)
            sys.stdout.write("\n")
        raise


def _document(error: MlgateError) -> dict[str, Any]:
    problems = error.problems if isinstance(error, SpecError) else ()
    return {
        "schema": "mlgate/error/v1",
        "exit_code": error.exit_code,
        "message": error.message,
        "hint": error.hint,
        "problems": [
            {
                "code": p.code,
                "message": p.message,
                "hint": p.hint,
                "file": p.position.file,
                "line": p.position.line,
                "column": p.position.column,
            }
            for p in problems
        ],
    }
