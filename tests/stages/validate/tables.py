"""Small tables on disk, opened as the stage opens them."""

from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from mlgate.data.table import Table, connect, open_table


class Tables:
    """One connection, and a view for each table that is opened; use it with `with`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.connection = connect(memory=None, threads=2, spill=folder / "spill")
        self.opened = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.connection.close()

    def at(self, location: Path, *, where: str | None = None) -> Table:
        self.opened += 1
        return open_table(
            self.connection, str(location), view="abc"[self.opened - 1 :][:1] or f"t{self.opened}",
            filter=where,
        )  # fmt: skip

    def of(
        self, data: pa.Table, *, where: str | None = None, row_group_size: int | None = None
    ) -> Table:
        path = self.folder / f"{self.opened}.parquet"
        pq.write_table(data, path, row_group_size=row_group_size)
        return self.at(path, where=where)
