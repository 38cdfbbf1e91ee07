"""IDLE as a hint, against a scripted server: what counts as word of mail, however it comes, and what ends an idle."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta

import pytest

from probe.errors import MailboxError, MailboxHostile
from probe.mailboxes import imap_wire
from probe.mailboxes.base import FolderRequest, Hinting
from probe.mailboxes.imap import Idle, ImapMailbox
from probe.mailboxes.imap_wire import BYTES_LIMIT, LINE_LIMIT
from tests.mailboxes.scripted_imap import SINCE, Script, ScriptedImap, forever, selection, silence
from tests.worlds.ports import wait_until

Scripted = Callable[..., ScriptedImap]
OFFERED = "IMAP4rev1 UIDPLUS MOVE IDLE"
LONG = timedelta(minutes=1)
SHORT = timedelta(milliseconds=50)
TOLD = b"+ idling\r\n* 1 EXISTS\r\n"


@pytest.fixture
def at_rest(scripted: Scripted) -> Iterator[Callable[..., tuple[ScriptedImap, ImapMailbox]]]:
    """A factory of servers that offer IDLE, each with a mailbox that has read INBOX; closed after the test."""
    with ExitStack() as stack:

        def make(
            idle: Script = b"+ idling\r\n", *, offered: str = OFFERED, wanted: Idle = Idle.AUTO, **scripts: Script
        ) -> tuple[ScriptedImap, ImapMailbox]:
            server = scripted({"IDLE": idle, **scripts}, capabilities=offered)
            mailbox = server.mailbox(idle=wanted)
            stack.callback(mailbox.close)
            mailbox.connect()
            mailbox.read(FolderRequest("INBOX", SINCE))
            return server, mailbox

        yield make


AtRest = Callable[..., tuple[ScriptedImap, ImapMailbox]]


@pytest.mark.fault("R07")
@pytest.mark.parametrize(
    ("idle", "done"),
    [
        (TOLD, b""),
        (b"* 1 EXISTS\r\n+ idling\r\n", b""),
        (b"+ \r\n* OK Still here\r\n* 1 EXISTS\r\n* 1 RECENT\r\n", b""),
        (b"+ idling\r\n* 1 RECENT\r\n", b""),
        (b"+ idling\r\n* 2 FETCH (X {3}\r\nabc)\r\n* 1 EXISTS\r\n", b""),
        (b"+ idling\r\n", b"* 1 EXISTS\r\n"),
    ],
    ids=["one segment", "before the +", "after others", "recent", "after a literal", "with the answer to DONE"],
)
def test_word_of_mail_is_a_hint(at_rest: AtRest, idle: bytes, done: bytes) -> None:
    server, mailbox = at_rest(idle, DONE=done)
    assert mailbox.wait(SHORT if done else LONG) is True
    assert server.received[-2:] == ["IDLE", "DONE"]
    # It only hints: the read still asks the server, and the connection is as good as before.
    mailbox.read(FolderRequest("INBOX", SINCE))
    assert mailbox.wait(SHORT) is True


def test_what_idle_told_needs_no_noop(at_rest: AtRest) -> None:
    server, mailbox = at_rest(TOLD)
    assert mailbox.wait(LONG) is True
    mailbox.read(FolderRequest("INBOX", SINCE))
    assert server.received[-2:] == ["DONE", "UID SEARCH UID 10:*"]


@pytest.mark.fault("R07")
@pytest.mark.parametrize("cut", range(1, len(TOLD)))
def test_a_line_may_be_split_anywhere(at_rest: AtRest, cut: int) -> None:
    def split(connection: socket.socket, tag: bytes) -> None:
        before = mailbox.bytes_in
        connection.sendall(TOLD[:cut])
        wait_until(lambda: mailbox.bytes_in == before + cut, 10, "the first part is taken up")
        connection.sendall(TOLD[cut:])

    _, mailbox = at_rest(split)
    assert mailbox.wait(LONG) is True


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"* OK Still here\r\n",
        b"* 0 RECENT\r\n",
        b"* 3 FETCH (FLAGS (\\Seen))\r\n* 3 EXPUNGE\r\n",
        b"+ still idling\r\n",
        b"* 1 EXIS",
    ],
)
def test_anything_else_is_no_hint(at_rest: AtRest, said: bytes) -> None:
    server, mailbox = at_rest(b"+ idling\r\n" + said, DONE=b"TS\r\n%TAG% OK done\r\n" if said.endswith(b"S") else b"")
    assert mailbox.wait(SHORT) is said.endswith(b"EXIS")
    assert server.received[-2:] == ["IDLE", "DONE"]
    assert mailbox.hints


def test_what_was_told_before_needs_no_idle(at_rest: AtRest) -> None:
    server, mailbox = at_rest(STATUS=b'* STATUS "Junk" (MESSAGES 0 UIDNEXT 10 UIDVALIDITY 7)\r\n* 1 EXISTS\r\n')
    mailbox.read(FolderRequest("Junk", SINCE))
    assert mailbox.wait(LONG) is True
    assert "IDLE" not in server.received


def test_it_idles_only_in_the_first_folder(at_rest: AtRest) -> None:
    _, mailbox = at_rest()
    mailbox.read(FolderRequest("Junk", SINCE, fresh=True))
    assert not mailbox.hints
    mailbox.read(FolderRequest("INBOX", SINCE))
    assert mailbox.hints


@pytest.mark.fault("R08")
def test_it_idles_only_where_that_is_offered_and_wanted(at_rest: AtRest) -> None:
    for offered, wanted, hints in (
        (OFFERED, Idle.AUTO, True),
        ("IMAP4rev1", Idle.AUTO, False),
        (OFFERED, Idle.OFF, False),
    ):
        _, mailbox = at_rest(offered=offered, wanted=wanted)
        assert isinstance(mailbox, Hinting)
        assert (mailbox.hints, mailbox.no_hints) == (hints, "")


@pytest.mark.fault("R05", "R06")
@pytest.mark.parametrize(
    ("idle", "reason"),
    [
        (b"+ idling\r\n* BYE going down\r\n", "disconnected"),
        (b"+ idling\r\n* BYE [UNAVAILABLE] later\r\n", "throttled"),
        (b"* BYE going down\r\n", "disconnected"),
        (b"+ idling\r\n(((((\r\n", "protocol"),
        (b"+ idling\r\nzzz9 OK somebody else's\r\n", "protocol"),
        (b"+ idling\r\n* 99999999999 EXISTS\r\n", "protocol"),
        (b"+ idling\r\n* 1 FETCH (X {40000000000}\r\n", "limit"),
        (b"+ idling\r\n* 1 FETCH (X {4}\r\nab", "timeout"),
        (b"+ idling\r\n" + b"x" * (LINE_LIMIT + 1), "limit"),
        (forever(b"x" * 65536), "limit"),
        (
            lambda connection, tag: [connection.sendall(b"+ idling\r\n"), forever(b"x" * 65536)(connection, tag)],
            "limit",
        ),
        (
            lambda connection, tag: [connection.sendall(b"+\r\n"), forever(b"* OK x\r\n" * 999)(connection, tag)],
            "limit",
        ),
        (lambda connection, tag: connection.shutdown(socket.SHUT_RDWR), "disconnected"),
        (lambda connection, tag: [connection.sendall(b"+ \r\n"), connection.shutdown(socket.SHUT_WR)], "disconnected"),
        (silence, "timeout"),
    ],
)
def test_a_broken_idle_closes_the_connection(
    at_rest: AtRest, monkeypatch: pytest.MonkeyPatch, idle: Script, reason: str
) -> None:
    monkeypatch.setattr(imap_wire, "IDLE_ANSWER_TIME", timedelta(seconds=1))
    _, mailbox = at_rest(idle)
    with pytest.raises(MailboxError) as caught:
        mailbox.wait(LONG)
    assert caught.value.reason == reason
    assert isinstance(caught.value, MailboxHostile) == (reason in {"limit", "protocol"})
    assert mailbox.bytes_in < BYTES_LIMIT + LINE_LIMIT
    assert not mailbox.hints
    with pytest.raises(MailboxError, match="not connected"):
        mailbox.wait(LONG)


@pytest.mark.parametrize(
    ("done", "reason"),
    [
        (silence, "timeout"),
        (b"* BYE bye\r\n%TAG% OK done\r\n", "disconnected"),
        (b"what\r\n%TAG% OK done\r\n", "protocol"),
        (forever(b"* 3 EXISTS\r\n" * 5000), "limit"),
        (lambda connection, tag: connection.shutdown(socket.SHUT_RDWR), "disconnected"),
    ],
)
def test_done_must_be_answered(at_rest: AtRest, monkeypatch: pytest.MonkeyPatch, done: Script, reason: str) -> None:
    monkeypatch.setattr(imap_wire, "IDLE_ANSWER_TIME", timedelta(seconds=1))
    _, mailbox = at_rest(DONE=done)
    with pytest.raises(MailboxError) as caught:
        mailbox.wait(SHORT)
    assert caught.value.reason == reason
    assert not mailbox.hints


def test_another_thread_ends_it_at_once(at_rest: AtRest) -> None:
    server, mailbox = at_rest()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(mailbox.wait, LONG)
        server.wait_for("IDLE")
        mailbox.wake()
        assert waiting.result(10) is False
    assert server.received[-1] == "DONE"
    assert mailbox.hints


def test_a_wake_that_comes_before_the_wait_is_not_missed(at_rest: AtRest) -> None:
    server, mailbox = at_rest()
    mailbox.wake()
    mailbox.wake()
    assert mailbox.wait(LONG) is False
    assert "IDLE" not in server.received
    assert mailbox.wait(SHORT) is False
    assert server.received[-2:] == ["IDLE", "DONE"]


def test_a_flood_does_not_keep_it_from_waking(at_rest: AtRest) -> None:
    flowing = threading.Event()

    def flood(connection: socket.socket, tag: bytes) -> None:
        connection.sendall(b"+ idling\r\n")
        for _ in range(40_000):
            connection.sendall(b"* OK Still here\r\n")
            flowing.set()
        connection.sendall(tag + b" OK done\r\n")

    _, mailbox = at_rest(flood, DONE=silence)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(mailbox.wait, LONG)
        assert flowing.wait(20)
        mailbox.wake()
        assert waiting.result(20) is False


def test_interrupt_frees_it(at_rest: AtRest) -> None:
    server, mailbox = at_rest()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(mailbox.wait, LONG)
        server.wait_for("IDLE")
        mailbox.interrupt()
        with pytest.raises(MailboxError) as caught:
            waiting.result(10)
    assert caught.value.reason == "disconnected"


def test_the_socket_has_its_own_limits_again_afterwards(at_rest: AtRest) -> None:
    _, mailbox = at_rest(SELECT=selection(0))
    assert mailbox._wire is not None
    before = mailbox._wire.sock.gettimeout()
    assert mailbox.wait(SHORT) is False
    assert mailbox._wire.sock.gettimeout() == before == 60
