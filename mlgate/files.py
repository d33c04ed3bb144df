"""Files as every room reads and writes them: whole or not at all."""

import contextlib
import errno
import os
import secrets
import stat
from io import BufferedReader
from pathlib import Path
from typing import Final

from mlgate.errors import StoreError

# Beside the spec: store, cache, runs.
FOLDER: Final = ".mlgate"


def read_bytes(path: Path, *, most: int) -> bytes:
    """The bytes of a regular file of at most `most` bytes. Raises `OSError`.

    A pipe or a device is refused without waiting for it.
    """
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise OSError(errno.EFBIG, f"is larger than {most:,} bytes", str(path))
        data = file.read(most + 1)
    if len(data) > most:  # it grew meanwhile
        raise OSError(errno.EFBIG, f"is larger than {most:,} bytes", str(path))
    return data


def open_regular(path: Path) -> BufferedReader:
    """A regular file, opened to read; opening a pipe or a device would hang. Raises `OSError`."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "is no regular file", str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


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


def _no_folder(path: Path) -> str | None:
    """Why there can be no folder on the way to a path, if so, and what to do about it."""
    for above in reversed(path.parents):
        if above.is_symlink() and not above.exists():
            return f"{above} is a link to nowhere: remove it, or make {above.readlink()}"
        if above.is_file():
            return f"{above} is a file, where a folder has to be: move it away"
    return None


def cannot_write(path: Path, error: OSError) -> StoreError:
    """The `StoreError` for a failed write, with what to do about it."""
    hint = _no_folder(path)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "the disk is full: free some space and run again; what was finished is kept"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        hint = f"make the folder that holds {FOLDER} writable"
    return StoreError(f"{path} cannot be written: {error.strerror}", hint=hint)
