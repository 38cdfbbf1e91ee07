"""The sandbox as a mail system: it takes mail, delivers it, says no where it should, and ends cleanly."""

from __future__ import annotations

import asyncio
import imaplib
import shutil
import smtplib
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from probe.sandbox.imap_server import ImapServer
from probe.sandbox.spool import Spool, SpoolFull
from probe.sandbox.stores import MessageStore, StoredMessage
from probe.sandbox.system import Sandbox


async def test_mail_through_each_intake_is_delivered(bench: Any) -> None:
    first = await bench.send(1, intake=0)
    second = await bench.send(2, intake=1)
    await bench.settled()

    state = bench.sandbox.snapshot()
    assert [(one.host, one.accepted) for one in state.intakes] == [("mx1.sandbox.test", 1), ("mx2.sandbox.test", 2)]
    assert (state.queue, state.delivered, state.dropped, state.requeued) == (0, 3, 0, 0)
    mails = await bench.mailbox()
    assert len(mails) == 3
    for mail, host, queue_id in zip(mails, ("mx1", "mx2", "mx2"), first + second, strict=True):
        head = mail.decode().partition("\r\n\r\n")[0]
        assert "Return-Path: <prober@prober.example>" in head
        assert "Delivered-To: canary@sandbox.test" in head
        assert f"by {host}.sandbox.test (mailcanary sandbox) with ESMTP id {queue_id}" in head
        assert mail.endswith(b"\r\n\r\nHello\r\n.\r\n")
    assert len({*first, *second}) == 3


async def test_junk_is_flagged_and_the_extensions_are_offered(bench: Any) -> None:
    def ask() -> tuple[list[Any], tuple[str, ...]]:
        with imaplib.IMAP4(*bench.sandbox.imap_address) as client:
            client.login(bench.sandbox.user, bench.sandbox.password)
            capabilities = client.capability()[1][0].decode().split()
            return client.list()[1], tuple(capabilities)

    folders, capabilities = await asyncio.to_thread(ask)
    assert folders == [b'(\\HasNoChildren) "/" INBOX', b'(\\HasNoChildren \\Junk) "/" Junk']
    assert {"UIDPLUS", "MOVE", "IDLE", "SPECIAL-USE"} <= set(capabilities)


async def test_a_wrong_password_is_refused(bench: Any) -> None:
    def ask() -> str:
        with imaplib.IMAP4(*bench.sandbox.imap_address) as client:
            with pytest.raises(imaplib.IMAP4.error) as refusal:
                client.login(bench.sandbox.user, "wrong")
            return str(refusal.value)

    assert "AUTHENTICATIONFAILED" in await asyncio.to_thread(ask)


@pytest.mark.parametrize(
    ("recipient", "code"),
    [
        ("canary@sandbox.test", 250),
        ("CANARY+tag@Sandbox.Test", 250),
        ("other@sandbox.test", 550),
        ("canary@elsewhere.test", 550),
    ],
)
async def test_only_the_one_user_exists(bench: Any, recipient: str, code: int) -> None:
    def ask() -> int:
        with smtplib.SMTP(bench.sandbox.intakes[0].address, bench.sandbox.intakes[0].port) as client:
            client.ehlo()
            client.mail("")
            return client.rcpt(recipient)[0]

    assert await asyncio.to_thread(ask) == code


async def test_a_hostile_helo_cannot_forge_a_header(bench: Any) -> None:
    def ask() -> None:
        with smtplib.SMTP(bench.sandbox.intakes[0].address, bench.sandbox.intakes[0].port) as client:
            for line in (
                b"EHLO x\rSubject: forged (by mx9)\r\n",
                b"MAIL FROM:<a\rX-Forged:1@b.example>\r\n",
                b"RCPT TO:<canary+\rX-Forged:1@sandbox.test>\r\n",
            ):
                client.send(line)
                code, _ = client.getreply()
            if code != 250:  # aiosmtpd itself refused the addresses: then the greeting alone is tried
                client.mail("a@b.example")
                client.rcpt(bench.sandbox.recipient)
            assert client.data(b"Subject: real\r\n\r\n")[0] == 250

    await asyncio.to_thread(ask)
    await bench.settled()
    assert await bench.subjects() == ["real"]
    mail = (await bench.mailbox())[0]
    assert b"from x?Subject:?forged??by?mx9? ([127.0.0.1])" in mail
    assert b"\r" not in mail.replace(b"\r\n", b"")


async def test_mail_that_cannot_be_spooled_is_not_accepted(bench: Any, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "spool")

    def ask() -> tuple[int, bytes]:
        with smtplib.SMTP(bench.sandbox.intakes[0].address, bench.sandbox.intakes[0].port) as client:
            client.ehlo()
            client.mail("a@b.example")
            client.rcpt(bench.sandbox.recipient)
            return client.data(b"Subject: x\r\n\r\n")

    assert await asyncio.to_thread(ask) == (451, b"4.3.0 Queue file write error")
    state = bench.sandbox.snapshot()
    assert (state.queue, state.intakes[0].accepted) == (0, 0)


async def test_a_store_that_cannot_be_written_keeps_the_mail_in_the_spool(bench: Any, tmp_path: Path) -> None:
    (tmp_path / "backup").rmdir()
    await bench.send(1)
    await bench.until(lambda: bench.clock._sleepers)
    assert bench.sandbox.snapshot().queue == 1
    assert await bench.mailbox() == []

    (tmp_path / "backup").mkdir()
    bench.clock.advance(timedelta(seconds=1))
    await bench.settled()
    assert await bench.subjects() == ["message 0"]


async def test_what_ends_the_worker_is_raised_to_the_supervisor(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(self: ImapServer, message: StoredMessage, folder: str) -> None:
        raise RuntimeError("broken")

    bench.sandbox._worker._deliver = broken.__get__(bench.sandbox._imap)
    watch = asyncio.create_task(bench.sandbox.supervise())
    await bench.send(1)
    with pytest.raises(RuntimeError, match="broken"):
        await watch


def _message(clock: Any, queue_id: str) -> StoredMessage:
    return StoredMessage(queue_id, "mx1.sandbox.test", "a@b.example", ("c@d.example",), clock.now(), b"x\r\n\n\r\n")


async def test_a_full_spool_takes_no_more(bench: Any, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "small", clock=bench.clock, most=2)
    spool.put(_message(bench.clock, "A"))
    spool.put(_message(bench.clock, "B"))
    with pytest.raises(SpoolFull):
        spool.put(_message(bench.clock, "C"))
    assert (await spool.next()).queue_id == "A"
    assert spool.waiting == 2  # taken, and not yet done
    spool.done("A")
    spool.put(_message(bench.clock, "C"))
    assert spool.waiting == 2


async def test_a_store_gives_back_what_it_was_given_and_keeps_a_bounded_number(bench: Any, tmp_path: Path) -> None:
    store = MessageStore(tmp_path / "store", keep=2)
    for queue_id in "ABCD":
        store.write(_message(bench.clock, queue_id))
    assert store.read("A") == _message(bench.clock, "A")
    for queue_id in "BCD":
        store.settle(queue_id)
    assert store.names() == {"A", "C", "D"}  # A is not settled: it stays


async def test_stop_ends_every_task_and_connection(make_bench: Any) -> None:
    before = asyncio.all_tasks()
    threads = {thread.name for thread in threading.enumerate()}
    async with make_bench() as bench:
        intake = bench.sandbox.intakes[0]
        _, smtp = await asyncio.open_connection(intake.address, intake.port)
        imap_reader, imap = await asyncio.open_connection(*bench.sandbox.imap_address)
        bench.sandbox.set_fault("delay", seconds=60)
        await bench.send(1)
        login = f"1 LOGIN {bench.sandbox.user} {bench.sandbox.password}\r\n2 SELECT INBOX\r\n3 IDLE\r\n"
        imap.write(login.encode())
        await imap_reader.readuntil(b"+ Idling.")
        await bench.until(lambda: bench.clock._sleepers)
        assert asyncio.all_tasks() > before
    for writer in (smtp, imap):
        writer.close()
    await bench.until(lambda: asyncio.all_tasks() == before)
    new = {thread.name for thread in threading.enumerate()} - threads
    assert {name for name in new if not name.startswith("asyncio_")} == set()  # the loop's own pool ends with the loop
    with pytest.raises(OSError, match=r"\[Errno 111\]"):
        await asyncio.open_connection(intake.address, intake.port)
    assert bench.sandbox.snapshot().queue == 1  # the figures stay readable
    await bench.sandbox.stop()


async def test_the_temporary_folder_goes_with_the_sandbox(bench: Any) -> None:
    own = Sandbox(clock=bench.clock)
    await own.start()
    folder = own._folder
    assert folder is not None
    assert folder.is_dir()
    await own.stop()
    assert not folder.exists()
