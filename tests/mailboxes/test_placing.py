"""Putting a message of our own there, where the mailbox will not have it, or the connection breaks."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from probe.clock import SystemClock
from probe.errors import MailboxError
from probe.mailboxes.base import FolderRequest
from probe.mailboxes.maildir_place import place
from probe.message.control import SUBJECT
from tests.mailboxes.conformance_placing import control
from tests.mailboxes.maildir_help import Open, found, maildir, open_maildir, read
from tests.mailboxes.scripted_imap import Script, ScriptedImap
from tests.worlds.maildir import Maildir

__all__ = ["maildir", "open_maildir"]

Scripted = Callable[..., ScriptedImap]


# IMAP.


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"%TAG% NO [OVERQUOTA] Quota exceeded\r\n", "APPEND refused: [OVERQUOTA] Quota exceeded"),
        (b"%TAG% NO [TRYCREATE] no such folder\r\n", "no such folder"),
        (b"%TAG% NO [UNAVAILABLE] later\r\n", "later"),
        (b"%TAG% BAD what is that\r\n", "what is that"),
    ],
)
def test_a_refusal_is_told_and_the_connection_goes_on(scripted: Scripted, answer: Script, said: str) -> None:
    server = scripted({"APPEND": answer})
    mailbox = server.mailbox()
    mailbox.connect()
    assert said in mailbox.place(control())
    assert mailbox.read(FolderRequest("INBOX", None)).complete
    assert mailbox.place(control()) != ""
    mailbox.close()
    assert sum(line.startswith("LOGIN") for line in server.received) == 1
    (first, _) = (line for line in server.received if line.startswith("APPEND"))
    assert first == f'APPEND "INBOX" (\\Seen) {{{len(control())}}}'
    assert not any("X-Mailcanary" in line for line in server.received), "no literal without the server's leave"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"* BYE going down\r\n", "disconnected"),
        (b"zzz9 OK somebody else's\r\n", "protocol"),
        (b"* 1 FETCH (X {40000000000}\r\n", "limit"),
    ],
)
def test_where_nobody_knows_the_connection_is_closed(scripted: Scripted, answer: Script, reason: str) -> None:
    server = scripted({"APPEND": answer})
    mailbox = server.mailbox()
    mailbox.connect()
    with pytest.raises(MailboxError) as raised:
        mailbox.place(control())
    assert raised.value.reason == reason
    with pytest.raises(MailboxError):
        mailbox.read(FolderRequest("INBOX", None))
    mailbox.connect()
    assert mailbox.read(FolderRequest("INBOX", None)).complete
    mailbox.close()


def test_a_first_folder_that_is_not_there_is_a_refusal(scripted: Scripted) -> None:
    server = scripted({"LIST": b'* LIST () "/" INBOX\r\n'})
    mailbox = server.mailbox(folders=("junk", "INBOX"))
    mailbox.connect()
    assert "no folder of the account is flagged" in mailbox.place(control())
    mailbox.close()
    assert not any(line.startswith("APPEND") for line in server.received)


def test_without_a_connection_it_fails_as_a_mailbox(scripted: Scripted) -> None:
    with pytest.raises(MailboxError):
        scripted().mailbox().place(control())


# Maildir.


def test_a_maildir_gets_a_whole_file_and_keeps_nothing_else(maildir: Maildir, open_maildir: Open) -> None:
    new = maildir.root / "new"
    new.chmod(0o750)
    mailbox = open_maildir()
    start = read(mailbox, None).cursor
    old = os.umask(0o077)
    try:
        assert mailbox.place(control()) == ""
    finally:
        os.umask(old)
    (file,) = new.iterdir()
    assert file.read_bytes() == control().replace(b"\r\n", b"\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640, "who may read the folder may read it"
    assert ":" not in file.name
    assert list((maildir.root / "tmp").iterdir()) == []
    assert found(read(mailbox, start)) == [SUBJECT]


def test_a_maildir_that_cannot_be_written_refuses(maildir: Maildir, open_maildir: Open) -> None:
    mailbox = open_maildir()
    (maildir.root / "tmp").rmdir()
    assert "No such file" in mailbox.place(control())
    (maildir.root / "tmp").symlink_to(maildir.root.parent)
    assert mailbox.place(control()) != ""
    assert list((maildir.root / "new").iterdir()) == []
    assert read(mailbox, None).complete, "nobody is blind for it"


def test_what_fails_halfway_leaves_nothing(maildir: Maildir, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    for call in ("fsync", "link"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, full)
            assert "No space left" in place(maildir.root, ".", control(), SystemClock().now())
    assert [*(maildir.root / "tmp").iterdir(), *(maildir.root / "new").iterdir()] == []


def test_names_never_meet(maildir: Maildir) -> None:
    now = SystemClock().now()
    for _ in range(50):
        assert place(maildir.root, ".", control(), now) == ""
    assert len(list((maildir.root / "new").iterdir())) == 50


def test_a_subfolder_may_be_the_first(maildir: Maildir, open_maildir: Open) -> None:
    maildir.make("Probes")
    mailbox = open_maildir(folders=("Probes", "INBOX"))
    assert mailbox.place(control()) == ""
    assert [path.parent for path in Path(maildir.root).rglob("*mailcanary*")] == []
    assert len(list((maildir.root / ".Probes" / "new").iterdir())) == 1
    assert "no subfolder" in open_maildir(folders=("junk", "INBOX")).place(control())
