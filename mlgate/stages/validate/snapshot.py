"""Which data it was: a digest for each file and row group, and one for the rows whatever the files.

The dataset's identity is the SHA-256 of its manifest. It changes with any byte of any file and with
the layout below the dataset's folder (partition values live in paths), not with where it lies.
"""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import IO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from mlgate.data import row_digest
from mlgate.data.location import Location, locate
from mlgate.data.table import Table, reading
from mlgate.evidence import Digest, canonical, digest_of

SCHEMA: Final = "mlgate/snapshot/v1"
_CHUNK: Final = 1 << 20


def snapshot(table: Table, *, logical: bool = False) -> dict[str, object]:
    """The manifest of a table's files.

    `{schema, dataset, columns, files: [{path, size, sha256, schema, rows?, row_groups?}], rows?}`.
    `dataset` is the digest of `files`; `columns` that of names and types, without what writers add.
    Row-group digests (Parquet only) cover the column chunks: after an append only the new ones
    differ. With `logical` there is `rows: {sha256, count}`, the digest of the rows that the filter
    leaves, in no order and whatever file they are in (see `row_digest`).
    """
    place = locate(table.location)
    with ThreadPoolExecutor(2) as pool, reading(table.location):
        files = [_file(place, file, pool) for file in place.files]
    found: dict[str, object] = {
        "schema": SCHEMA,
        "dataset": digest_of(canonical(files)),
        "columns": _columns_digest(table.schema),
        "files": files,
    }
    if logical:
        sha256, count = row_digest.of_table(table)
        found["rows"] = {"sha256": sha256, "count": count}
    return found


def dataset_digest(table: Table) -> Digest:
    """The digest that identifies the files of a table."""
    return str(snapshot(table)["dataset"])


def _columns_digest(schema: pa.Schema) -> Digest:
    return digest_of(canonical([[field.name, str(field.type)] for field in schema]))


def _file(place: Location, file: str, pool: ThreadPoolExecutor) -> dict[str, object]:
    whole = pool.submit(_whole, place, file)
    entry: dict[str, object] = {"path": _below(place.location, file)}
    if place.format == "parquet":
        with place.open(file) as stream:
            footer = pq.read_metadata(stream)
            schema = footer.schema.to_arrow_schema()
            groups = pool.submit(lambda: list(_row_groups(stream, footer)))
            entry |= {"rows": footer.num_rows, "row_groups": groups.result()}
            entry |= {"schema": _columns_digest(schema)}
    size, sha256 = whole.result()
    return entry | {"size": size, "sha256": sha256}


def _whole(place: Location, file: str) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with place.open(file) as stream:
        while block := stream.read(_CHUNK):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def _row_groups(stream: IO[bytes], footer: pq.FileMetaData) -> Iterator[str]:
    """SHA-256 of the bytes of each row group's column chunks, in the order of columns."""
    for group in map(footer.row_group, range(footer.num_row_groups)):
        digest = hashlib.sha256()
        for chunk in map(group.column, range(group.num_columns)):
            # An offset of 0 or None says that there is no such page.
            starts = [o for o in (chunk.dictionary_page_offset, chunk.data_page_offset) if o]
            stream.seek(min(starts))
            left = chunk.total_compressed_size
            while left > 0 and (block := stream.read(min(left, _CHUNK))):
                digest.update(block)
                left -= len(block)
        yield digest.hexdigest()


def _below(root: str, file: str) -> str:
    """The file's path below the fixed part of `root`; `.` for a dataset of one file."""
    parts: Sequence[str] = PurePosixPath(root).parts
    magic = next((i for i, part in enumerate(parts) if any(c in part for c in "*?[")), len(parts))
    fixed = PurePosixPath(*parts[:magic])
    try:
        return str(PurePosixPath(file).relative_to(fixed))
    except ValueError:
        return PurePosixPath(file).name
