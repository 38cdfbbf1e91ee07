"""One regular file, read whole and with a limit; anything that could block or grow without end is refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path


class FileError(Exception):
    """The file cannot be had; the message goes on from its name. ``missing``: there is none."""

    def __init__(self, message: str, *, missing: bool = False) -> None:
        self.missing = missing
        super().__init__(message)


def read_regular(path: Path, limit: int, *, private: bool = False) -> bytes:
    """The bytes of ``path``; a symlink is followed. ``private``: refused where others than its owner may use it."""
    try:
        # O_NONBLOCK: opening a FIFO would otherwise wait for a writer
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:
        raise FileError("is not a path") from error
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        raise FileError(f"cannot be opened: {error.strerror}", missing=missing) from error
    try:
        return _read(handle, path, limit, private=private)
    except OSError as error:
        raise FileError(f"cannot be read: {error.strerror}") from error
    finally:
        os.close(handle)


def _read(handle: int, path: Path, limit: int, *, private: bool) -> bytes:
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        raise FileError("is not a regular file")
    mode = stat.S_IMODE(status.st_mode)
    if private and mode & 0o077:
        raise FileError(f"has mode {mode:04o}, so others may use it: chmod 600 {path}")
    data = bytearray()
    while len(data) <= limit:
        chunk = os.read(handle, limit + 1 - len(data))
        if not chunk:
            return bytes(data)
        data += chunk
    raise FileError(f"is larger than {limit} bytes")
