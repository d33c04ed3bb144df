"""The door to the terminal: whatever it is given, it writes one line that commands nobody."""

import contextlib

import click

from mlgate.errors import obeyed_by_nobody, printable


def echo(line: str, *, err: bool = False, colour: str | None = None) -> None:
    """One line. Text of data, files and names may be in it: it stays text."""
    click.secho(obeyed_by_nobody(printable(line)), err=err, fg=colour)


def remark(line: str) -> None:
    """One line beside the answer, on standard error; the answer does not depend on it."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        echo(line, err=True)
