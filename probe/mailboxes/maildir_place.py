"""Putting a message of our own into a Maildir folder, as a delivery does it (maildir(5)): whole in ``tmp``, then linked
into ``new``, so that no reader ever sees a part of it.

No symbolic link is followed and no file is ever written over: the names are new, and a link fails where one is not.
"""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from itertools import count
from pathlib import Path

from probe.clock import NANOSECONDS, Instant

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_COUNT = count(1)


def place(root: Path, directory: str, message: bytes, now: Instant) -> str:
    """Deliver ``message`` into the folder ``directory`` inside ``root`` ("." for itself); "" when it is there, else
    why not. Lines end as files end them here; who may read ``new`` may read the message."""
    handles: list[int] = []
    name = _unique(now)
    try:
        handles.append(os.open(root, _FOLDER))
        handles.append(os.open(directory, _FOLDER, dir_fd=handles[0]))
        handles += [os.open(part, _FOLDER, dir_fd=handles[1]) for part in ("tmp", "new")]
        tmp, new = handles[2:]
        handles.append(os.open(name, _NEW_FILE, 0o600, dir_fd=tmp))
        try:
            _write(handles[-1], message.replace(b"\r\n", b"\n"), os.fstat(new).st_mode)
            os.link(name, name, src_dir_fd=tmp, dst_dir_fd=new, follow_symlinks=False)
        finally:
            with suppress(OSError):
                os.unlink(name, dir_fd=tmp)
    except OSError as error:
        return f"{root / directory}: {error.strerror or error}"
    finally:
        for handle in handles:
            os.close(handle)
    return ""


def _write(handle: int, text: bytes, like: int) -> None:
    os.fchmod(handle, stat.S_IMODE(like) & 0o666)
    left = memoryview(text)
    while left:
        left = left[os.write(handle, left) :]
    os.fsync(handle)


def _unique(now: Instant) -> str:
    """A base name that no other delivery has: time, process, count and host, without what would end it."""
    seconds, rest = divmod(now.wall, NANOSECONDS)
    host = socket.gethostname().replace("/", "_").replace(":", "_")
    return f"{seconds}.M{rest // 1000}P{os.getpid()}Q{next(_COUNT)}.{host}"
