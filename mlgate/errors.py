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
    """Text that came from data or a file, on one line: it cannot command a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else ascii(c)[1:-1] for c in text)


@dataclass(frozen=True)
class Position:
    """A place in a text file; `line` and `column` count from 1."""

    file: str
    line: int
    column: int
    text: str = ""

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

    def __str__(self) -> str:
        lines = [f"{self.position}: error[{self.code}]: {self.message}"]
        if self.position.text:
            lines.append(f"  | {self.position.text}")
            lines.append("  | " + " " * (self.position.column - 1) + "^")
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


class SpecError(MlgateError):
    """`mlgate.yaml` cannot be understood. Carries every problem found, not only the first."""

    exit_code = 2

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        many = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{many} in the spec: nothing was checked")
        self.problems = problems


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
