"""An error as a JSON document, or as GitHub's commands, for commands whose output is one."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mlgate.documents import ErrorDocument, ProblemRow
from mlgate.errors import MlgateError, Problem, SpecError
from mlgate.render import github


@contextmanager
def errors_as_json(wanted: bool) -> Iterator[None]:
    """With `--format json`, an error is a document on standard output too."""
    try:
        yield
    except MlgateError as error:
        if wanted:
            sys.stdout.write(_document(error))
        raise


@contextmanager
def errors_as_commands(wanted: bool) -> Iterator[None]:
    """For GitHub Actions, what is wrong is an annotation too: with a spec, at its lines."""
    try:
        yield
    except SpecError as error:
        if wanted:
            sys.stdout.write(github.problems(error.problems))
        raise
    except MlgateError as error:
        if wanted:
            sys.stdout.write(github.error(error))
        raise


def _document(error: MlgateError) -> str:
    problems = error.problems if isinstance(error, SpecError) else ()
    return ErrorDocument(
        exit_code=error.exit_code,
        message=error.message,
        hint=error.hint,
        problems=rows(problems),
    ).printed()


def rows(problems: Sequence[Problem]) -> tuple[ProblemRow, ...]:
    """Problems as JSON, each with its place."""
    return tuple(
        ProblemRow(
            code=problem.code,
            message=problem.message,
            hint=problem.hint,
            file=problem.position.file,
            line=problem.position.line,
            column=problem.position.column,
        )
        for problem in problems
    )
