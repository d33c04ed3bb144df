"""Everything that stops mlgate: the message, the hint, and the exit code.

A gate that fails is not here: failing is an answer (see `mlgate.gate`). These are the cases in
which there is no answer.

    MlgateError                3  mlgate could not do what it was asked
    ├── SpecError              2  mlgate.yaml is wrong; carries every problem, with positions
    ├── UsageError             2  the command line is wrong
    ├── StageError             3  a stage could not measure
    │   └── MissingPackage     3  … because a library is not installed
    ├── StoreError             3  evidence or blobs cannot be read or written
    └── Interrupted          130  somebody pressed Ctrl-C or sent SIGTERM
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Final


class MlgateError(Exception):
    """Base of every error raised on purpose. `hint` says what the reader can do about it."""

    exit_code: ClassVar[int] = 3

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def printable(text: str) -> str:
    """Text that came from data, a file or a name, on one line: it commands no terminal.

    Control characters, line ends and marks that turn the direction of text around are written as
    escapes. Every door applies it: the terminal's `echo`, and each renderer.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else ascii(c)[1:-1] for c in text)


def obeyed_by_nobody(line: str) -> str:
    """A printable line that no CI runner takes for a command of its own.

    GitHub's runner obeys `::error::…` at the start of a line, and `##[error]…` anywhere in it.
    """
    start = len(line) - len(line.lstrip())
    if line.startswith("::", start):
        line = f"{line[:start]}\\x3a{line[start + 1 :]}"
    return line.replace("##[", "#\\x23[")


# A URL up to its last @, and what follows its ?: where passwords and tokens stand.
_USER = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)([^\s\"'`<>]*)@")
_QUERY = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^\s\"'`<>?]*\?)([^\s\"'`<>]+)")


def without_passwords(text: str) -> str:
    """Text whose URLs show no user, password or query; it is as long as before."""
    if "://" not in text:
        return text
    text = _USER.sub(lambda found: f"{found[1]}{'*' * len(found[2])}@", text)
    return _QUERY.sub(lambda found: found[1] + "*" * len(found[2]), text)


@dataclass(frozen=True)
class Position:
    """A place in a text file; `line` and `column` count from 1.

    `text` is the part of the line that is shown, and `shown_from` the column at which it starts.
    """

    file: str
    line: int
    column: int
    text: str = ""
    shown_from: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a file somebody wrote, and where.

    `code` is stable (see `mlgate explain CODE`).
    """

    code: str
    message: str
    position: Position
    hint: str | None = None

    def __post_init__(self) -> None:
        # Whoever shows a problem, wherever: a value that was repeated may hold a password.
        object.__setattr__(self, "message", without_passwords(self.message))

    def __str__(self) -> str:
        """The problem on a few lines; whatever stands in the file is printable on its own."""
        at = self.position
        lines = [printable(f"{at}: error[{self.code}]: {_short(self.message)}")]
        if at.text:
            before = printable(at.text[: at.column - at.shown_from])
            rest = printable(at.text[at.column - at.shown_from :])
            lines.append(f"  | {before}{rest}")
            lines.append("  | " + " " * len(before) + "^")
        if self.hint:
            lines.append(printable(f"  hint: {_short(self.hint)}"))
        return "\n".join(lines)


_LONGEST_MESSAGE = 500
# Of more problems than these only the number is told.
MOST_PROBLEMS = 100


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[: _LONGEST_MESSAGE - 1]}…"


class SpecError(MlgateError):
    """`mlgate.yaml` cannot be understood. Carries every problem found, not only the first.

    Of very many it carries the first ones, and how many `more` there are.
    """

    exit_code = 2

    def __init__(self, problems: tuple[Problem, ...], *, more: int = 0) -> None:
        count = len(problems) + more
        many = "1 problem" if count == 1 else f"{count} problems"
        super().__init__(f"{many} in the spec: nothing was checked")
        self.problems = problems[:MOST_PROBLEMS]
        self.more = count - len(self.problems)


class UsageError(MlgateError):
    """The command line asks for something that is not there."""

    exit_code = 2


class StageError(MlgateError):
    """A stage could not measure what it was asked to measure.

    `option` is the path of the option of its block that is at fault, where that is known: the
    reader is shown its line.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, option: tuple[str | int, ...] = ()
    ) -> None:
        super().__init__(message, hint=hint)
        self.option = option


@contextmanager
def about(*option: str | int) -> Iterator[None]:
    """A `StageError` raised in here is about this option of the stage, unless it names another."""
    try:
        yield
    except StageError as error:
        error.option = error.option or option
        raise


# The extra of mlgate that brings a package; every other is installed by its own name.
EXTRAS: Final = {
    "aiohttp": "remote",
    "fsspec": "remote",
    "nvidia-ml-py": "gpu",
    "onnx-ir": "weights",
    "onnxruntime": "cpu",
    "pyspark": "spark",
    "s3fs": "s3",
    "zstandard": "slim",
}


class MissingPackage(StageError):
    """A stage needs a library that is not installed."""

    def __init__(self, package: str, *, extra: str | None = None) -> None:
        extra = extra or EXTRAS.get(package)
        wanted = f"mlgate[{extra}]" if extra else package
        super().__init__(f"{package} is not installed", hint=f"pip install '{wanted}'")


class StoreError(MlgateError):
    """Evidence or a blob cannot be read or written."""


class Interrupted(MlgateError):
    """The run was stopped from outside. What was finished is kept."""

    exit_code = 130
