"""The files of a Maildir folder: listed so that no message hides in a race, read with limits, removed by exact name.

The format is D. J. Bernstein's (maildir(5)): a message is delivered into ``new/``; a reader moves it to ``cur/`` and
says its flags behind a colon, so its name changes and its *base name*, before the colon, stays. The file is the same
while base name and inode are. Whoever may write there is hostile: no symbolic link is followed, nothing but regular
files is opened, no name leaves its directory, every read has a limit.

``readdir`` is no snapshot: of a file that is renamed meanwhile it may show the old name, the new one, both or none.
So ``new`` is listed before ``cur`` (what leaves the one while it is listed is in the other by then). A fresh listing is
done three times, and on until the directories' times say that nothing was renamed meanwhile, at most 16 times: only a
message that is renamed in each of these could be in none. Where a name is gone before it could be asked for, all is
listed again.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from probe.clock import Instant
from probe.errors import FolderMissing, MailboxError

HEADER_LIMIT = 64 * 1024  # what recognising looks at
FRESH_ROUNDS, MOST_ROUNDS = 3, 16
SETTLING = timedelta(seconds=3)  # above the coarsest time of a file system, 2 s
_ATTEMPTS = 8
NEW, CUR = "new", "cur"
_PARTS = ("", f"/{NEW}", f"/{CUR}")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A fifo must not block, a terminal must not become ours.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_END = re.compile(rb"\n\r?\n")
_FIELD = re.compile(rb"^[A-Za-z][A-Za-z0-9-]{0,76}[ \t]*:", re.MULTILINE)
# gzip, bzip2, zstd, xz, lz4, and Dovecot's mail_crypt: a canary inside would be there and not be seen.
_PACKED = (b"\x1f\x8b", b"BZh", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"\x04\x22\x4d\x18", b"CRYPTED\x03\x07")


@dataclass(frozen=True, slots=True)
class Look:
    """A message looked at: ``header`` is b"" where it is there and cannot be read as mail."""

    size: int
    arrived: datetime | None
    header: bytes


@contextmanager
def opened(root: Path, directory: str) -> Iterator[Files]:
    """The folder ``directory`` (a name inside ``root``, "." for itself), open for one call. Raises FolderMissing where
    it is none, MailboxError where it cannot be opened."""
    handles: list[int] = []
    try:
        handles.append(os.open(root, _FOLDER))
        handles.append(os.open(directory, _FOLDER, dir_fd=handles[0]))
        for name in (NEW, CUR):
            handles.append(os.open(name, _FOLDER, dir_fd=handles[1]))
        yield Files(handles[2], handles[3])
    except FileNotFoundError as error:
        if len(handles) == 4:
            raise
        if not handles:
            raise MailboxError("connect", f"{root}: there is no such directory") from error
        raise FolderMissing("folder", f"{directory}: there is no such Maildir folder") from error
    except OSError as error:
        if len(handles) == 4:
            raise
        reason = os.strerror(error.errno or 0)
        where = f"{root / directory}: cannot be opened as a Maildir (symbolic links are not followed)"
        raise MailboxError("folder", f"{where}: {reason}") from error
    finally:
        for handle in handles:
            os.close(handle)


def subfolders(root: Path) -> list[str]:
    """Names of the Maildir++ subfolders (``.Junk``), rising, without their dot; symbolic links are none."""
    handle = os.open(root, _FOLDER)
    try:
        names = [name for name in os.listdir(handle) if name.startswith(".") and name.strip(".")]
        return sorted(name[1:] for name in names if all(_is_directory(f"{name}{part}", handle) for part in _PARTS))
    finally:
        os.close(handle)


def _is_directory(name: str, inside: int) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=inside, follow_symlinks=False).st_mode)
    except OSError:
        return False


class Listing:
    """What is known of a folder's files. An economy only: a fresh ``update`` trusts nothing of it.

    ``places``: by key (inode and base name), the directory and the name under which the file was seen last.
    """

    def __init__(self) -> None:
        self.places: dict[str, tuple[str, str]] = {}
        self._keys: dict[str, dict[str, str]] = {NEW: {}, CUR: {}}
        self._stamps: tuple[int, ...] = ()
        self._stamped: Instant | None = None
        self._settled = False

    def quiet(self, files: Files, now: Instant) -> bool:
        """Whether a listing would show nothing new: no directory was written to since one that began well after they
        were written to last. Within ``SETTLING`` of that a second change may bear the same time as the first."""
        stamps = files.stamps
        if stamps != self._stamps or self._stamped is None:
            self._stamps, self._stamped, self._settled = stamps, now, False
        elif self._settled:
            return True
        else:
            self._settled = now.since(self._stamped) >= SETTLING  # true for the listing that follows now
        return False

    def update(self, files: Files, *, fresh: bool) -> None:
        """List anew. Costs one listing and a stat a new name; fresh: three listings or more, and a stat a file. A fresh
        one raises MailboxError where names vanish faster than they can be asked for, so that none is passed over; any
        other leaves them to the next."""
        if fresh:
            self.places.clear()
            for keys in self._keys.values():
                keys.clear()
        for _ in range(_ATTEMPTS):
            if self._listed(files, fresh=fresh):
                return
        if fresh:
            raise MailboxError("other", "the Maildir changes faster than it can be listed")

    def _listed(self, files: Files, *, fresh: bool) -> bool:
        """Whether every new name still stood for a file when it was asked for; else it is under another name now."""
        names: dict[str, set[str]] = {NEW: set(), CUR: set()}
        for done in range(1, MOST_ROUNDS + 1 if fresh else 2):
            before = files.stamps
            for where in (NEW, CUR):
                names[where].update(files.names(where))
            if done >= FRESH_ROUNDS and files.stamps == before:
                break
        orphans: set[str] = set()
        for where, keys in self._keys.items():
            for name in keys.keys() - names[where]:
                key = keys.pop(name)
                if self.places.get(key) == (where, name):
                    del self.places[key]
                    orphans.add(key)
        all_there = True
        for where, keys in self._keys.items():
            for name in names[where] - keys.keys():
                try:
                    status = files.status(where, name)
                except FileNotFoundError:
                    all_there = False
                    continue
                if stat.S_ISREG(status.st_mode):
                    keys[name] = _key(status, name)
                    self.places[keys[name]] = (where, name)
        self._adopt(orphans - self.places.keys())
        return all_there

    def _adopt(self, orphans: set[str]) -> None:
        """A file that was seen under two names, and the later one is gone, has the other."""
        for where, keys in self._keys.items() if orphans else ():
            self.places.update((key, (where, name)) for name, key in keys.items() if key in orphans)


class Files:
    """The files of an open folder, by the descriptors of its ``new`` and ``cur``."""

    def __init__(self, new: int, cur: int) -> None:
        self._handles = {NEW: new, CUR: cur}

    @property
    def identity(self) -> str:
        """Differs once ``new`` or ``cur`` is another directory. Without the device: its number changes at a boot."""
        return "/".join(str(os.fstat(handle).st_ino) for handle in self._handles.values())

    @property
    def stamps(self) -> tuple[int, ...]:
        """When the directories were written to last, in ns of the file system's own clock."""
        return tuple(os.fstat(handle).st_mtime_ns for handle in self._handles.values())

    @property
    def writable(self) -> bool:
        """Whether messages can be removed from it."""
        return all(
            os.access(".", os.W_OK | os.X_OK, dir_fd=handle, effective_ids=True) for handle in self._handles.values()
        )

    def names(self, where: str) -> list[str]:
        """What lies in a directory now, but for names that begin with a dot: these are no messages (maildir(5))."""
        return [name for name in os.listdir(self._handles[where]) if name[0] != "."]

    def status(self, where: str, name: str) -> os.stat_result:
        """Of the name itself. Raises FileNotFoundError where it is gone."""
        return os.stat(name, dir_fd=self._handles[where], follow_symlinks=False)

    def content(self, where: str, name: str, limit: int) -> tuple[os.stat_result, bytes]:
        """Its status and first ``limit`` bytes. Raises OSError."""
        handle = os.open(name, _FILE, dir_fd=self._handles[where])
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise OSError("not a regular file")
            read = b""
            while len(read) < limit and (more := os.read(handle, limit - len(read))):
                read += more
            return status, read
        finally:
            os.close(handle)

    def look(self, where: str, name: str) -> Look:
        """Its header, to the empty line. Raises FileNotFoundError alone."""
        try:
            status, text = self.content(where, name, HEADER_LIMIT)
        except FileNotFoundError:
            raise
        except OSError:  # no right to read it, or a bad disk: it is there and nobody knows what it says
            return Look(0, None, b"")
        return Look(status.st_size, _moment(status.st_mtime_ns), _header(text, whole=status.st_size <= len(text)))

    def text(self, where: str, name: str, limit: int) -> bytes:
        """Its first ``limit`` bytes; b"" where they cannot be had. Raises FileNotFoundError alone."""
        try:
            return self.content(where, name, limit)[1]
        except FileNotFoundError:
            raise
        except OSError:
            return b""

    def unlink(self, where: str, name: str, key: str) -> None:
        """Delete the file if it is still the one. Raises OSError; FileNotFoundError where it is not there."""
        self._expect(where, name, key)
        os.unlink(name, dir_fd=self._handles[where])

    def move(self, where: str, name: str, key: str, target: Files) -> None:
        """Into ``cur`` of another folder under its own name, never over a file. Raises OSError."""
        self._expect(where, name, key)
        there = target._handles[CUR]
        name_there = name if ":" in name else f"{name}:2,"
        try:
            os.stat(name_there, dir_fd=there, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(name, name_there, src_dir_fd=self._handles[where], dst_dir_fd=there)
        else:
            raise OSError(f"{name_there} is there already")

    def _expect(self, where: str, name: str, key: str) -> None:
        status = self.status(where, name)
        if not stat.S_ISREG(status.st_mode) or _key(status, name) != key:
            raise FileNotFoundError(name)


def _key(status: os.stat_result, name: str) -> str:
    return f"{status.st_ino}/{name.partition(':')[0]}"


def _header(text: bytes, *, whole: bool) -> bytes:
    """The header in the first bytes of a file; b"" where it is no mail, or goes on beyond them: below may be anything.
    ``whole``: there is no more."""
    if text.startswith((b"\n", b"\r\n")):
        return text[: text.index(b"\n") + 1]  # an empty header is one that was looked at
    end = _END.search(text)
    header = text[: end.end()] if end else text
    if text.startswith(_PACKED) or not (end or whole) or not _FIELD.search(header):
        return b""
    return header


def _moment(nanoseconds: int) -> datetime | None:
    """As an aware datetime; None where no calendar has it."""
    try:
        return datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC).replace(
            microsecond=nanoseconds % 1_000_000_000 // 1000
        )
    except (OverflowError, ValueError, OSError):
        return None
