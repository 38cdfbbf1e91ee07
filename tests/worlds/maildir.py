"""A Maildir as a mail system and other people would treat it: delivered into, moved to cur, flagged, deleted from."""

from __future__ import annotations

import os
import re
from itertools import count
from pathlib import Path

from probe.clock import Clock, SystemClock

_NUMBERS = count(1)
_SUBJECT = re.compile(rb"^Subject: (.*?)\r?$", re.MULTILINE)


class Maildir:
    """One Maildir at ``root``. ``clock`` stamps what is delivered, so that tests in virtual time have its times."""

    def __init__(self, root: Path, clock: Clock | None = None) -> None:
        self.root = root
        self.clock = clock or SystemClock()
        self.make("INBOX")

    def folder(self, name: str = "INBOX") -> Path:
        return self.root if name == "INBOX" else self.root / f".{name}"

    def make(self, name: str) -> None:
        for part in ("tmp", "new", "cur"):
            (self.folder(name) / part).mkdir(parents=True, exist_ok=True)

    def deliver(self, raw: bytes, folder: str = "INBOX") -> Path:
        """As a delivery agent: written in tmp, then renamed into new."""
        wall = self.clock.now().wall
        name = f"{wall // 1_000_000_000}.M{wall // 1000 % 1_000_000}P{os.getpid()}Q{next(_NUMBERS)}.host"
        written = self.folder(folder) / "tmp" / name
        written.write_bytes(raw)
        os.utime(written, ns=(wall, wall))
        delivered = written.rename(self.folder(folder) / "new" / name)
        self._stamp(delivered.parent)
        return delivered

    def files(self, folder: str = "INBOX") -> list[Path]:
        """Every message, oldest first."""
        found = [path for part in ("new", "cur") for path in (self.folder(folder) / part).iterdir()]
        return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))

    def subjects(self, folder: str = "INBOX") -> list[str]:
        found = (_SUBJECT.search(path.read_bytes()) for path in self.files(folder))
        return [match[1].decode() for match in found if match]

    def find(self, subject: str, folder: str = "INBOX") -> Path:
        return next(path for path in self.files(folder) if f"Subject: {subject}\n".encode() in lf(path.read_bytes()))

    def flag(self, path: Path, flags: str = "S") -> Path:
        """As a reader: into cur, with these flags."""
        base = path.name.partition(":")[0]
        flagged = path.rename(path.parent.parent / "cur" / f"{base}:2,{flags}")
        for directory in (path.parent, flagged.parent):
            self._stamp(directory)
        return flagged

    def _stamp(self, directory: Path) -> None:
        """In virtual time days pass within one tick of the file system's clock; in real time this changes nothing."""
        wall = self.clock.now().wall
        os.utime(directory, ns=(wall, wall))


def lf(raw: bytes) -> bytes:
    """With bare line feeds."""
    return raw.replace(b"\r\n", b"\n")
