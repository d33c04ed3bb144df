"""An error as a JSON document, or as GitHub's commands, for commands whose output is one."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mlgate.errors import MlgateError, Problem, SpecError
from mlgate.render import github


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


@contextmanager
def errors_as_commands(wanted: bool) -> Iterator[None]:
    """For GitHub Actions, what is wrong with a spec stands at its lines too."""
    try:
        yield
    except SpecError as error:
        if wanted:
            sys.stdout.write(github.problems(error.problems))
        raise


def _document(error: MlgateError) -> dict[str, Any]:
    problems = error.problems if isinstance(error, SpecError) else ()
    return {
        "schema": "mlgate/error/v1",
        "exit_code": error.exit_code,
        "message": error.message,
        "hint": error.hint,
        "problems": rows(problems),
    }


def rows(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """Problems as JSON, each with its place."""
    return [
        {
            "code": p.code,
            "message": p.message,
            "hint": p.hint,
            "file": p.position.file,
            "line": p.position.line,
            "column": p.position.column,
        }
        for p in problems
    ]
