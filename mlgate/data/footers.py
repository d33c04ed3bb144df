"""Parquet footers of a table: counts and extremes that are known without reading a row."""

import pyarrow.parquet as pq

from mlgate.data.table import Table, reading


def footers(table: Table) -> dict[str, pq.FileMetaData] | None:
    """The footer of each file, where footers speak for the table's rows; else None.

    None for other formats, for files behind a URL, and when the filter leaves out a row.
    """
    if table.format != "parquet" or "://" in table.location:
        return None
    with reading(table.location):
        found = {file: pq.read_metadata(file) for file in table.files}
        row = table.connection.execute(f"select count(*) from {table.view}").fetchone()
    stored = sum(footer.num_rows for footer in found.values())
    return found if row is not None and row[0] == stored else None
