"""The numbering of a Maildir: which number each file has, kept in a small SQLite file of our own.

A Maildir has no UIDs, and nothing that a file has by itself will do for one: times can be set, stand still when a clock
is set back, and are older than the arrival where a delivery was slow or a message was moved in. So each file gets the
next number when it is first listed, as an IMAP server over a Maildir does it. The numbers outlive a restart; they are
written before the cursor that counts on them gets into the ledger. Where they are lost, or older than the ledger's
cursor, the numbering begins anew under another epoch, and the engine says that older positions mean nothing.

One process holds the file at a time. A damaged one is set aside, never deleted.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from probe.errors import MailboxError

_TABLES = """
CREATE TABLE IF NOT EXISTS folders
    (name TEXT PRIMARY KEY, epoch INTEGER NOT NULL, next INTEGER NOT NULL, identity TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files
    (folder TEXT NOT NULL, number INTEGER NOT NULL, file BLOB NOT NULL, PRIMARY KEY (folder, number)) WITHOUT ROWID;
"""


@dataclass(slots=True)
class Numbering:
    """The numbers of one folder's files. ``next``: the first that no file had yet; none is ever used again.

    ``identity``: of the directories it is about. ``numbers``: by the file's key, rising. ``stored``: the index has this
    numbering, as it was when it was saved last.
    """

    epoch: int
    identity: str
    next: int = 1
    numbers: dict[str, int] = field(default_factory=dict)
    keys: dict[int, str] = field(default_factory=dict)
    added: list[int] = field(default_factory=list)
    dropped: set[int] = field(default_factory=set)
    unsaved: bool = True
    stored: bool = False

    def add(self, key: str) -> int:
        """The number of a file: its own, or the next."""
        number = self.numbers.get(key)
        if number is None:
            number = self.skip()
            self.numbers[key] = number
            self.keys[number] = key
            self.added.append(number)
        return number

    def skip(self) -> int:
        """Use a number for no file."""
        number, self.next = self.next, self.next + 1
        self.unsaved = True
        return number

    def drop(self, key: str) -> None:
        """The file is gone; should it come back it is a new one."""
        number = self.numbers.pop(key)
        del self.keys[number]
        self.dropped.add(number)
        self.unsaved = True

    def since(self, position: int) -> list[tuple[int, str]]:
        """Numbers from ``position`` on with their keys, rising; costs O(those)."""
        found = []
        for key in reversed(self.numbers):
            if (number := self.numbers[key]) < position:
                break
            found.append((number, key))
        return found[::-1]


class Index:
    """The open file. Every method raises MailboxError where it cannot be read or written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._door():
            try:
                self._file = self._opened()
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:
                os.replace(path, f"{path}.damaged")
                for side in ("-wal", "-shm"):
                    with suppress(FileNotFoundError):
                        os.replace(f"{path}{side}", f"{path}.damaged{side}")
                self._file = self._opened()

    def _opened(self) -> sqlite3.Connection:
        file = sqlite3.connect(self._path, timeout=1, isolation_level=None, check_same_thread=False)
        try:
            file.execute("PRAGMA locking_mode = EXCLUSIVE")  # before WAL: so no shared memory is needed, and no reader
            file.execute("PRAGMA journal_mode = WAL")
            file.execute("PRAGMA synchronous = FULL")
            file.execute("BEGIN IMMEDIATE")  # takes the lock for as long as the file is open
            for statement in _TABLES.split(";"):
                file.execute(statement)
            file.execute("COMMIT")
        except BaseException:
            file.close()
            raise
        return file

    @contextmanager
    def _door(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            told = f"{self._path}: the numbering of the Maildir cannot be kept there (see the key index): {error}"
            raise MailboxError("other", told) from error
        except OSError as error:
            raise MailboxError("other", f"{self._path}: damaged, and cannot be set aside: {error}") from error

    def close(self) -> None:
        """Never raises."""
        with suppress(sqlite3.Error):
            self._file.close()

    def load(self, name: str) -> Numbering | None:
        """The numbering of a folder; None where it never had one."""
        with self._door():
            row = self._file.execute("SELECT epoch, next, identity FROM folders WHERE name = ?", (name,)).fetchone()
            if row is None:
                return None
            found = Numbering(row[0], row[2], row[1], unsaved=False, stored=True)
            rows: Iterable[tuple[int, bytes]] = self._file.execute(
                "SELECT number, file FROM files WHERE folder = ? ORDER BY number", (name,)
            )
            for number, file in rows:
                found.numbers[os.fsdecode(file)] = number
                found.keys[number] = os.fsdecode(file)
            return found

    def save(self, name: str, numbering: Numbering) -> None:
        """Write what changed, durably, or all of it where the index has another numbering. One transaction."""
        if not numbering.unsaved:
            return
        anew = not numbering.stored
        added = numbering.keys if anew else [n for n in numbering.added if n in numbering.keys]
        with self._door():
            self._file.execute("BEGIN IMMEDIATE")
            try:
                if anew:
                    self._file.execute("DELETE FROM files WHERE folder = ?", (name,))
                self._file.execute(
                    "INSERT OR REPLACE INTO folders (name, epoch, next, identity) VALUES (?, ?, ?, ?)",
                    (name, numbering.epoch, numbering.next, numbering.identity),
                )
                self._file.executemany(
                    "DELETE FROM files WHERE folder = ? AND number = ?", [(name, n) for n in numbering.dropped]
                )
                self._file.executemany(
                    "INSERT OR REPLACE INTO files (folder, number, file) VALUES (?, ?, ?)",
                    [(name, n, os.fsencode(numbering.keys[n])) for n in added],
                )
                self._file.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._file.execute("ROLLBACK")
                raise
        numbering.added.clear()
        numbering.dropped.clear()
        numbering.unsaved = False
        numbering.stored = True
