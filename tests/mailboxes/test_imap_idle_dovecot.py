"""IDLE as a hint on a real Dovecot, which tells 0.5 s after the fact, and over a path that dies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta

import pytest

from probe.clock import SystemClock
from probe.errors import MailboxError
from probe.mailboxes import imap_wire
from probe.mailboxes.imap import ImapMailbox, Tls
from tests.mailboxes.conftest import real_options
from tests.mailboxes.imap_help import Fresh, Open, append, mail, read, uids
from tests.worlds import proxy as proxies
from tests.worlds.dovecot import Dovecot
from tests.worlds.ports import wait_until
from tests.worlds.proxy import Proxy

LONG = timedelta(minutes=1)
SHORT = timedelta(milliseconds=50)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """The thread in which a mailbox lives."""
    with ExitStack() as stack:
        yield stack.enter_context(ThreadPoolExecutor(1))


def idles(mailbox: ImapMailbox, before: int) -> None:
    """Until the server has answered to an IDLE: it is then the mailbox's last command."""
    wait_until(lambda: mailbox.bytes_in > before, 10, "the server idles")


@pytest.mark.parametrize("tls", list(Tls))
def test_mail_that_comes_while_idling_is_told(
    dovecot: Dovecot, fresh_user: Fresh, open_mailbox: Open, threads: ThreadPoolExecutor, tls: Tls
) -> None:
    account = fresh_user()
    mailbox = open_mailbox(account, tls=tls)
    start = read(mailbox, None)
    assert mailbox.hints
    for number in (1, 2):
        before = mailbox.bytes_in
        waiting = threads.submit(mailbox.wait, LONG)
        idles(mailbox, before)
        dovecot.deliver(account.address, mail(f"number {number}"))
        assert waiting.result(20) is True
        found = read(mailbox, start.cursor)
        assert uids(found) == [number]
        start = found
    assert (mailbox.hints, mailbox.no_hints) == (True, "")


def test_mail_that_came_before_the_idle_is_told_at_once(
    dovecot: Dovecot, fresh_user: Fresh, open_mailbox: Open
) -> None:
    account = fresh_user()
    mailbox = open_mailbox(account)
    start = read(mailbox, None)
    with dovecot.imap(account) as client:
        append(client)
    assert mailbox.wait(LONG) is True
    assert uids(read(mailbox, start.cursor)) == [1]


def test_another_client_s_work_is_no_hint(
    dovecot: Dovecot, fresh_user: Fresh, open_mailbox: Open, threads: ThreadPoolExecutor
) -> None:
    account = fresh_user()
    with dovecot.imap(account) as client:
        append(client, 2)
        mailbox = open_mailbox(account)
        read(mailbox, None)
        before = mailbox.bytes_in
        waiting = threads.submit(mailbox.wait, LONG)
        idles(mailbox, before)
        answered = mailbox.bytes_in
        client.select_folder("INBOX")
        client.add_flags([1], [b"\\Seen"])
        wait_until(lambda: mailbox.bytes_in > answered, 10, "the flag is told")
        mailbox.wake()
        assert waiting.result(10) is False
    assert mailbox.hints


def test_stop_while_idling_ends_at_once(fresh_user: Fresh, open_mailbox: Open, threads: ThreadPoolExecutor) -> None:
    mailbox = open_mailbox(fresh_user())
    read(mailbox, None)
    before = mailbox.bytes_in
    waiting = threads.submit(mailbox.wait, LONG)
    idles(mailbox, before)
    mailbox.wake()
    assert waiting.result(5) is False
    before = mailbox.bytes_in
    waiting = threads.submit(mailbox.wait, LONG)
    idles(mailbox, before)
    mailbox.interrupt()
    with pytest.raises(MailboxError):
        waiting.result(5)


def test_an_idle_costs_one_command_and_less_than_150_bytes(fresh_user: Fresh, open_mailbox: Open) -> None:
    mailbox = open_mailbox(fresh_user())
    start = read(mailbox, None)
    commands, traffic = mailbox.commands, mailbox.bytes_in + mailbox.bytes_out
    assert mailbox.wait(SHORT) is False
    assert mailbox.commands == commands + 1
    assert mailbox.bytes_in + mailbox.bytes_out - traffic < 150
    read(mailbox, start.cursor)
    assert mailbox.commands == commands + 2


@pytest.mark.fault("R06")
def test_the_server_s_bye_is_the_end(
    dovecot: Dovecot, fresh_user: Fresh, open_mailbox: Open, threads: ThreadPoolExecutor
) -> None:
    account = fresh_user()
    mailbox = open_mailbox(account)
    read(mailbox, None)
    before = mailbox.bytes_in
    waiting = threads.submit(mailbox.wait, LONG)
    idles(mailbox, before)
    dovecot.disconnect(account.address)
    with pytest.raises(MailboxError) as caught:
        waiting.result(20)
    assert caught.value.reason in {"disconnected", "throttled"}
    mailbox.connect()
    read(mailbox, None)
    assert mailbox.hints


@pytest.mark.fault("R07")
@pytest.mark.parametrize("tls", [Tls.NONE, Tls.IMPLICIT])
def test_lines_and_tls_records_may_come_byte_by_byte(
    dovecot: Dovecot,
    fresh_user: Fresh,
    proxy_to: Callable[[int], Proxy],
    threads: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    tls: Tls,
) -> None:
    monkeypatch.setattr(proxies, "_CHUNK", 1)
    proxy = proxy_to(dovecot.imaps_port if tls is Tls.IMPLICIT else dovecot.imap_port)
    account = fresh_user()
    mailbox = ImapMailbox("far", real_options(dovecot, account, tls=tls, port=proxy.port), SystemClock())
    mailbox.connect()
    start = read(mailbox, None)
    proxy.delay_seconds = 0.002  # so that each is a segment of its own
    before = mailbox.bytes_in
    waiting = threads.submit(mailbox.wait, LONG)
    idles(mailbox, before)
    dovecot.deliver(account.address, mail())
    assert waiting.result(20) is True
    proxy.delay_seconds = 0.0
    assert uids(read(mailbox, start.cursor)) == [1]
    mailbox.close()


@pytest.mark.fault("R04", "R05")
@pytest.mark.parametrize("tls", [Tls.NONE, Tls.IMPLICIT])
@pytest.mark.parametrize("fault", ["cut", "stall"])
def test_a_path_that_dies_while_idling_is_found(
    dovecot: Dovecot,
    fresh_user: Fresh,
    proxy_to: Callable[[int], Proxy],
    threads: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    tls: Tls,
) -> None:
    monkeypatch.setattr(imap_wire, "IDLE_ANSWER_TIME", timedelta(seconds=1))
    proxy = proxy_to(dovecot.imaps_port if tls is Tls.IMPLICIT else dovecot.imap_port)
    options = real_options(dovecot, fresh_user(), tls=tls, port=proxy.port)
    mailbox = ImapMailbox("far", options, SystemClock())
    mailbox.connect()
    read(mailbox, None)
    before = mailbox.bytes_in
    waiting = threads.submit(mailbox.wait, LONG)
    idles(mailbox, before)
    if fault == "cut":
        proxy.cut()
    else:  # nothing tells of it: what the path has forgotten shows only by the answer to DONE that does not come
        proxy.stall()
        mailbox.wake()
    with pytest.raises(MailboxError) as caught:
        waiting.result(20)
    assert caught.value.reason == ("disconnected" if fault == "cut" else "timeout")
    mailbox.close()
