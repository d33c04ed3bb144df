"""Names and texts in SQL, and what DuckDB and Arrow raise, as errors that quote no data."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import pyarrow as pa

from mlgate.data.location import shown
from mlgate.errors import StageError


def quoted(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn what DuckDB and Arrow raise while they read `what` into a `StageError`.

    Their messages may quote rows, so of them only the place (file, line, column) is kept.
    """
    try:
        yield
    except duckdb.OutOfMemoryException:
        raise StageError(
            f"{what}: the memory limit is too small for this query",
            hint="raise `memory`, or leave room on the disk for what is spilled",
        ) from None
    except duckdb.Error as error:
        raise _from_duckdb(what, str(error)) from None
    except (pa.ArrowException, pa.ArrowKeyError) as error:
        raise StageError(
            f"{what} cannot be read: {without_values(str(error))}", hint="is the file whole?"
        ) from None


def _from_duckdb(what: str, text: str) -> StageError:
    file = re.search(r'file = (.+)|file ["\']([^"\']+)["\']', text)
    where = shown((file[1] or file[2]).strip()) if file else what
    line = re.search(r"(?:CSV Error on Line:|in line) (\d+)", text)
    where += f", line {line[1]}" if line else ""
    if "not utf-8 encoded" in text:
        return StageError(
            f"{where}: the text is not UTF-8",
            hint="convert it: iconv -f LATIN1 -t UTF-8 (or whichever encoding it has)",
        )
    if "CSV Error" in text:
        column = re.search(r'converting column "([^"]+)"', text)
        what_is_wrong = (
            f"a value of column {column[1]!r} does not fit its type"
            if column
            else "the row does not have the columns of the header"
        )
        return StageError(f"{where}: {what_is_wrong}", hint="look at that line")
    if "Error when sniffing file" in text:
        return StageError(
            f"{where}: not every row has the columns of the header",
            hint="every row must have as many fields as the first line names",
        )
    if "JSON" in text and ("Malformed" in text or "Invalid" in text):
        return StageError(f"{where}: not JSON", hint="each line must be one JSON object")
    return StageError(
        f"{where} cannot be read: {without_values(text)}",
        hint="is the file whole and of this format?",
    )


def without_values(text: str) -> str:
    """The first line of a library's message, without what it quotes (it may be data)."""
    line = text.strip().splitlines()[0] if text.strip() else "no reason given"
    return re.sub(r"'[^']*'|\"[^\"]*\"", "…", line)[:200]
