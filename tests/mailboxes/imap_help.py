"""What the tests of the imap kind share: mails, and short ways to read."""

from __future__ import annotations

from collections.abc import Callable

from imapclient import IMAPClient

from probe.canary.coverage import Cursor
from probe.mailboxes.base import FolderRead, FolderRequest
from probe.mailboxes.imap import ImapMailbox
from tests.worlds.dovecot import Account

Open = Callable[..., ImapMailbox]
Fresh = Callable[[], Account]
LONG = "a" * 63
TAG = "b" * 29


def mail(subject: str = "hello", *, extra: str = "", message_id: str = "x@example.net") -> bytes:
    return f"From: a@example.net\r\nSubject: {subject}\r\nMessage-ID: <{message_id}>\r\n{extra}\r\nbody\r\n".encode()


def append(client: IMAPClient, count: int = 1, folder: str = "INBOX") -> None:
    for n in range(count):
        client.append(folder, mail(f"number {n}"))


def read(mailbox: ImapMailbox, since: Cursor | None, folder: str = "INBOX", **options: object) -> FolderRead:
    return mailbox.read(FolderRequest(folder, since, **options))  # type: ignore[arg-type]


def uids(found: FolderRead) -> list[int]:
    return [message.uid for message in found.messages]
