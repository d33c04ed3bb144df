"""How unevenly rows are spread over the values of a key: what makes a distributed job hang."""

from dataclasses import dataclass
from difflib import get_close_matches

from mlgate.data.table import Table, quoted, reading
from mlgate.errors import StageError


@dataclass(frozen=True)
class Skew:
    """Rows of the largest key value over the mean; 1 is even. Null counts as a value."""

    value: float
    largest: int
    mean: float
    keys: int
    n: int
    """Rows of the table."""


def skew(table: Table, key: str) -> Skew:
    """The skew of a table by the column `key`.

    Raises `StageError` when there is no such column or no row.
    """
    if key not in table.schema.names:
        near = get_close_matches(key, table.schema.names, n=1)
        raise StageError(
            f"skew: there is no column {key!r}",
            hint=f"did you mean {near[0]!r}?" if near else None,
        )
    query = (
        f"select max(n), count(*), sum(n)::bigint "
        f"from (select count(*) as n from {table.view} group by {quoted(key)})"
    )
    with reading(table.location):
        row = table.connection.execute(query).fetchone()
    if row is None or not row[1]:
        raise StageError(f"skew: {table.location} has no rows", hint="check its filter")
    largest, keys, n = map(int, row)
    return Skew(value=largest * keys / n, largest=largest, mean=n / keys, keys=keys, n=n)
