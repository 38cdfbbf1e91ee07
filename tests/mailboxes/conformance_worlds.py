"""One world a kind of mailbox: what starts it, puts mail in, and plays the other people who use the account.

A kind passes the conformance suite (conformance.py) by one more such class. What a kind cannot do for its nature it
says in ``cannot``, by the name of the behaviour, with the reason.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

from probe.clock import SystemClock
from probe.mailboxes import imap, kinds
from probe.mailboxes.base import Mailbox
from probe.mailboxes.cleanup import Cleanup, CleanupMode
from tests.engine import fakes
from tests.mailboxes.conftest import real_options
from tests.worlds.dovecot import Dovecot
from tests.worlds.maildir import Maildir

DELETE = Cleanup(mode=CleanupMode.DELETE)
OFF = Cleanup(mode=CleanupMode.OFF)


class World(Protocol):
    """What the suite asks of a kind. ``options`` are those of the kind; folders exist where they are made."""

    cannot: ClassVar[Mapping[str, str]]
    most: ClassVar[int]

    def open(self, *, exclusive: bool = True, cleanup: Cleanup = DELETE) -> Mailbox:
        """A new object for the account, not yet connected."""
        ...

    def deliver(self, raw: bytes, folder: str = "INBOX") -> None: ...
    def deliver_many(self, mails: list[bytes]) -> None: ...
    def delete(self, subject: str, folder: str = "INBOX") -> None:
        """By another client."""
        ...

    def make(self, folder: str) -> None: ...
    def renumber(self) -> None:
        """INBOX's numbers mean something else now, and a mail with the subject ``kept`` is in it."""
        ...

    def subjects(self, folder: str = "INBOX") -> list[str]:
        """As another client sees them."""
        ...


def mail(subject: str, extra: str = "", body: str = "body") -> bytes:
    """A mail in the network's form."""
    return f"From: a@example.net\r\nSubject: {subject}\r\n{extra}\r\n{body}\r\n".encode()


def subject_of(raw: bytes) -> str:
    return raw.partition(b"Subject: ")[2].partition(b"\r\n")[0].partition(b"\n")[0].decode()


class ImapWorld:
    """A user of the real Dovecot."""

    cannot: ClassVar[Mapping[str, str]] = {}
    most: ClassVar[int] = 500

    def __init__(self, dovecot: Dovecot) -> None:
        self.dovecot = dovecot
        self.account = dovecot.new_account()

    def open(self, *, exclusive: bool = True, cleanup: Cleanup = DELETE) -> Mailbox:
        given = imap.Cleanup(mode=imap.CleanupMode(cleanup.mode.value))
        options = real_options(self.dovecot, self.account, exclusive=exclusive, cleanup=given)
        return options.open("real", SystemClock())

    def deliver(self, raw: bytes, folder: str = "INBOX") -> None:
        with self.dovecot.imap(self.account) as client:
            client.append(folder, raw)

    def deliver_many(self, mails: list[bytes]) -> None:
        self.dovecot.deliver_many(self.account.address, mails)

    def delete(self, subject: str, folder: str = "INBOX") -> None:
        with self.dovecot.imap(self.account) as client:
            client.select_folder(folder)
            client.delete_messages(client.search(["SUBJECT", subject]))
            client.expunge()

    def make(self, folder: str) -> None:
        with self.dovecot.imap(self.account) as client:
            client.create_folder(folder)

    def renumber(self) -> None:
        home = self.dovecot.folder / "mail" / self.account.address / "Maildir"
        self.dovecot.disconnect(self.account.address)
        for path in home.glob("dovecot*"):
            path.unlink()
        # UIDVALIDITY is the second in which Dovecot makes it.
        time.sleep(1.1)
        self.deliver(mail("kept"))

    def subjects(self, folder: str = "INBOX") -> list[str]:
        with self.dovecot.imap(self.account) as client:
            client.select_folder(folder, readonly=True)
            numbers = client.search()
            fetched = client.fetch(numbers, ["BODY.PEEK[HEADER]"]) if numbers else {}
            return [subject_of(each[b"BODY[HEADER]"]) for _, each in sorted(fetched.items())]


class MaildirWorld:
    """A Maildir on this machine."""

    cannot: ClassVar[Mapping[str, str]] = {
        "what came and went is a gap of its own": "a directory keeps no trace of a file that is gone"
    }
    most: ClassVar[int] = 500

    def __init__(self, folder: Path) -> None:
        self.maildir = Maildir(folder / "Maildir")
        self.index = folder / "state"
        self.index.mkdir()

    def open(self, *, exclusive: bool = True, cleanup: Cleanup = DELETE) -> Mailbox:
        options = kinds.kind("maildir").OPTIONS
        given = {"path": self.maildir.root, "index": self.index, "exclusive": exclusive, "cleanup": cleanup}
        mailbox: Mailbox = options(**given).open("local", SystemClock())
        return mailbox

    def deliver(self, raw: bytes, folder: str = "INBOX") -> None:
        self.maildir.deliver(raw, folder)

    def deliver_many(self, mails: list[bytes]) -> None:
        for raw in mails:
            self.maildir.deliver(raw)

    def delete(self, subject: str, folder: str = "INBOX") -> None:
        self.maildir.find(subject, folder).unlink()

    def make(self, folder: str) -> None:
        self.maildir.make(folder)

    def renumber(self) -> None:
        self.maildir.deliver(mail("kept"))
        for path in self.index.iterdir():
            path.unlink()

    def subjects(self, folder: str = "INBOX") -> list[str]:
        return [subject.removesuffix("\r") for subject in self.maildir.subjects(folder)]


class FakeWorld:
    """The mailbox in memory of the engine's tests: what they prove holds for real kinds only if it is like one."""

    cannot: ClassVar[Mapping[str, str]] = {}
    most: ClassVar[int] = fakes.SLICE

    def __init__(self) -> None:
        self.account = fakes.Account(SystemClock(), {"INBOX": fakes.Folder()})

    def open(self, *, exclusive: bool = True, cleanup: Cleanup = DELETE) -> Mailbox:
        given = imap.Cleanup(mode=imap.CleanupMode(cleanup.mode.value))
        return replace(fakes.MailboxOptions(self.account), cleanup=given).open("fake", SystemClock())

    def deliver(self, raw: bytes, folder: str = "INBOX") -> None:
        self.account.put(raw, folder)

    def deliver_many(self, mails: list[bytes]) -> None:
        for raw in mails:
            self.account.put(raw)

    def delete(self, subject: str, folder: str = "INBOX") -> None:
        messages = self.account.folders[folder].messages
        for uid in [uid for uid, (raw, _) in messages.items() if subject_of(raw) == subject]:
            del messages[uid]

    def make(self, folder: str) -> None:
        self.account.folders[folder] = fakes.Folder()

    def renumber(self) -> None:
        self.account.put(mail("kept"))
        self.account.folders["INBOX"].renumber()

    def subjects(self, folder: str = "INBOX") -> list[str]:
        return [subject_of(raw) for raw, _ in self.account.folders[folder].messages.values()]


class ShelfWorld:
    """The kind of another distribution, found by its entry point."""

    cannot: ClassVar[Mapping[str, str]] = dict.fromkeys(
        (
            "a message put there is seen by the next read, under the next number, and recognised",
            "what was put there, seen and removed leaves no gap, and the proof of absence stands",
            "putting a message there needs no folder that was read, and not twice the same number",
        ),
        "it does not offer to take a message, which is optional",
    )
    most: ClassVar[int] = 40

    def __init__(self, folder: Path) -> None:
        self.path = folder / "shelf.sqlite"
        self._do("CREATE TABLE folders (name TEXT PRIMARY KEY, epoch INTEGER)")
        self._do("CREATE TABLE mails (n INTEGER PRIMARY KEY AUTOINCREMENT, folder TEXT, raw BLOB, at REAL)")
        self.make("INBOX")

    def _do(self, statement: str, *values: Any) -> list[Any]:
        with closing(sqlite3.connect(self.path)) as file, file:
            return file.execute(statement, values).fetchall()

    def open(self, *, exclusive: bool = True, cleanup: Cleanup = DELETE) -> Mailbox:
        options = kinds.kind("shelf").OPTIONS
        mailbox: Mailbox = options(path=self.path, exclusive=exclusive, cleanup=cleanup).open("shelf", SystemClock())
        return mailbox

    def deliver(self, raw: bytes, folder: str = "INBOX") -> None:
        self._do("INSERT INTO mails (folder, raw, at) VALUES (?, ?, ?)", folder, raw, time.time())

    def deliver_many(self, mails: list[bytes]) -> None:
        for raw in mails:
            self.deliver(raw)

    def delete(self, subject: str, folder: str = "INBOX") -> None:
        self._do("DELETE FROM mails WHERE folder = ? AND instr(raw, ?)", folder, f"Subject: {subject}\r\n".encode())

    def make(self, folder: str) -> None:
        self._do("INSERT INTO folders VALUES (?, 1)", folder)

    def renumber(self) -> None:
        self.deliver(mail("kept"))
        self._do("UPDATE folders SET epoch = epoch + 1")

    def subjects(self, folder: str = "INBOX") -> list[str]:
        rows = self._do("SELECT raw FROM mails WHERE folder = ? ORDER BY n", folder)
        return [subject_of(raw) for (raw,) in rows]
