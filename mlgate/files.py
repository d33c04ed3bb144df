"""Files as every room reads and writes them: whole or not at all."""

import contextlib
import errno
import os
import secrets
from pathlib import Path
from typing import Final

from mlgate.errors import StoreError

# Beside the spec: store, cache, runs.
FOLDER: Final = ".mlgate"


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file whole or not at all. Raises `StoreError`."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise cannot_write(path, error) from None


def cannot_write(path: Path, error: OSError) -> StoreError:
    """The `StoreError` for a failed write, with what to do about it."""
    hint = None
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "the disk is full: free some space and run again; what was finished is kept"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        hint = f"make the folder that holds {FOLDER} writable"
    return StoreError(f"{path} cannot be written: {error.strerror}", hint=hint)
