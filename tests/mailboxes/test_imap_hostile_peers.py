"""The imap kind against servers that refuse the login, strip the encryption, stall or trickle."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest

from probe.clock import Instant
from probe.errors import LoginRefused, MailboxError, MailboxHostile
from probe.mailboxes.base import FolderRequest
from probe.mailboxes.imap import ImapMailbox, Tls
from probe.mailboxes.imap_wire import LINE_LIMIT
from tests.mailboxes.scripted_imap import (
    PASSWORD,
    Script,
    ScriptedImap,
    silence,
)

Scripted = Callable[..., ScriptedImap]


@pytest.mark.fault("R02", "R15")
@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (b"%TAG% NO [AUTHENTICATIONFAILED] no\r\n", LoginRefused, "auth"),
        (b"%TAG% NO Invalid credentials\r\n", LoginRefused, "auth"),
        (b"%TAG% NO [UNAVAILABLE] Temporary authentication failure\r\n", MailboxError, "auth_temporary"),
        (b"%TAG% NO [INUSE] busy\r\n", MailboxError, "throttled"),
        (b"%TAG% NO [LIMIT] too much\r\n", MailboxError, "throttled"),
        (b"%TAG% NO [ALERT] Too many simultaneous connections. (Failure)\r\n", MailboxError, "throttled"),
        (b"* BYE [UNAVAILABLE] later\r\n", MailboxError, "throttled"),
        (b"* BYE bye\r\n", MailboxError, "disconnected"),
        (b'%TAG% BAD LOGIN "canary" "open sesame" is not liked\r\n', MailboxHostile, "protocol"),
        (b'%TAG% NO LOGIN "canary" "open sesame" is not liked\r\n', LoginRefused, "auth"),
    ],
)
def test_refused_logins_are_told_apart(
    scripted: Scripted, answer: bytes, kind: type[MailboxError], reason: str
) -> None:
    mailbox = scripted({"LOGIN": answer}).mailbox()
    with pytest.raises(MailboxError) as caught:
        mailbox.connect()
    assert (type(caught.value), caught.value.reason) == (kind, reason)
    assert PASSWORD not in str(caught.value)


def no_login(server: ScriptedImap) -> bool:
    return not any(PASSWORD in line or line.startswith(("LOGIN", "AUTHENTICATE")) for line in server.received)


@pytest.mark.parametrize(
    ("capabilities", "starttls", "greeting"),
    [
        ("IMAP4rev1", b"", b"* OK ready\r\n"),
        ("IMAP4rev1 STARTTLS", b"%TAG% NO not today\r\n", b"* OK ready\r\n"),
        ("IMAP4rev1 STARTTLS", b"%TAG% BAD what\r\n", b"* OK ready\r\n"),
        ("IMAP4rev1 STARTTLS", b"%TAG% OK go\r\n* OK [CAPABILITY IMAP4rev1] injected\r\n", b"* OK ready\r\n"),
        ("IMAP4rev1 STARTTLS", b"%TAG% OK go\r\n", b"* PREAUTH welcome\r\n"),
    ],
    ids=["stripped", "refused", "unknown", "injected", "preauth"],
)
def test_no_login_without_the_tls_asked_for(
    scripted: Scripted, capabilities: str, starttls: bytes, greeting: bytes
) -> None:
    server = scripted({"STARTTLS": starttls}, capabilities=capabilities, greeting=greeting)
    with pytest.raises(MailboxError) as caught:
        server.mailbox(tls=Tls.STARTTLS).connect()
    assert caught.value.reason == "tls"
    assert no_login(server)


def test_no_login_where_it_makes_no_sense(scripted: Scripted) -> None:
    for server, reason in (
        (scripted(greeting=b"* PREAUTH welcome\r\n"), "protocol"),
        (scripted(capabilities="IMAP4rev1 LOGINDISABLED"), "auth"),
        (scripted(greeting=b"* BYE [UNAVAILABLE] full\r\n"), "protocol"),
        (scripted(greeting=b"HTTP/1.1 400 Bad Request\r\n"), "protocol"),
        (scripted(greeting=b"x" * (LINE_LIMIT + 2)), "limit"),
    ):
        with pytest.raises(MailboxError) as caught:
            server.mailbox().connect()
        assert caught.value.reason == reason
        assert no_login(server)


@pytest.mark.parametrize("stage", ["NOOP", "LOGIN", "TLS"])
def test_interrupt_frees_a_call_that_hangs(scripted: Scripted, stage: str) -> None:
    scripts: dict[str, Script] = {"NOOP": silence, "LOGIN": silence if stage == "LOGIN" else b""}
    server = scripted(scripts, greeting=b"" if stage == "TLS" else b"* OK ready\r\n")
    mailbox = server.mailbox(tls=Tls.IMPLICIT if stage == "TLS" else Tls.NONE)
    outcome: list[MailboxError] = []

    def work() -> None:
        try:
            mailbox.connect()
            start = mailbox.read(FolderRequest("INBOX", None))
            mailbox.read(FolderRequest("INBOX", start.cursor))
        except MailboxError as error:
            outcome.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert server.connected.wait(20)
    if stage != "TLS":
        server.wait_for(stage)
    mailbox.interrupt()
    thread.join(20)
    assert not thread.is_alive()
    assert outcome[0].reason in {"disconnected", "tls", "connect"}
    mailbox.close()


class StridingClock:
    """Each look at it finds 30 s gone by."""

    def __init__(self) -> None:
        self._now = Instant(0, 0, "boot")

    def now(self) -> Instant:
        self._now += timedelta(seconds=30)
        return self._now

    async def sleep(self, duration: timedelta) -> None:
        raise AssertionError("a mailbox does not wait")


@pytest.mark.fault("R18")
def test_a_server_that_trickles_is_cut_off(scripted: Scripted) -> None:
    def trickle(connection: socket.socket, tag: bytes) -> None:
        while True:
            connection.sendall(b"*")

    server = scripted({"NOOP": trickle})
    mailbox = ImapMailbox("slow", server.options(), StridingClock())
    mailbox.connect()
    start = mailbox.read(FolderRequest("INBOX", None))
    with pytest.raises(MailboxError) as caught:
        mailbox.read(FolderRequest("INBOX", start.cursor))
    assert caught.value.reason == "timeout"


def test_close_waits_for_nobody(scripted: Scripted) -> None:
    server = scripted({"LOGOUT": b"* BYE bye\r\n"})
    mailbox = server.mailbox()
    mailbox.close()
    mailbox.connect()
    mailbox.close()
    mailbox.close()
    mailbox.interrupt()
    assert server.received[-1] == "LOGOUT"
    rude = scripted({"LOGOUT": b"garbage\r\n"}).mailbox()
    rude.connect()
    rude.close()
    with pytest.raises(MailboxError, match="not connected"):
        rude.read(FolderRequest("INBOX", None))
