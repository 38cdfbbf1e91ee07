"""The daemon on a mailbox that hints: reads come when told; nothing that is due waits for an idle to end."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from probe.canary import counters
from tests.mailboxes.imap_help import mail
from tests.proofs.rig import PACE, Prober, away
from tests.worlds.dovecot import Account, Dovecot
from tests.worlds.postfix import Postfix
from tests.worlds.proxy import Direction, Proxy


class Listening:
    """A prober that lets an hour pass between two reads, so that only a hint makes one earlier; seen by a proxy.

    It listens while something is on its way: a canary of the route ``slow``, whose answer to the dot is held back.
    """

    def __init__(self, prober: Prober, proxy: Proxy, slow: Proxy, account: Account) -> None:
        self.prober, self.proxy, self.slow, self.account = prober, proxy, slow, account
        slow.rewrite = self._hold_from_data
        prober.sender("slow", port=slow.port)
        prober.route("slow", "inbox", account.address, sender="slow", overdue_after="30s", lost_after="50s")
        self.knobs = {"port": proxy.port, "idle_poll": "1h", "control_canary": "off"}
        self.broken = 0
        prober.mailbox("inbox", account, **self.knobs)
        prober.route("inbound", "inbox", account.address)

    def _hold_from_data(self, direction: Direction, data: bytes) -> bytes:
        if direction is Direction.UP and data == b"DATA\r\n":
            self.slow.stall()
        return data

    async def start(self) -> None:
        """Start, and send the slow one."""
        await self.prober.start()
        self.canary = await self.prober.send("slow")
        await self.prober.state(self.canary, "data_started")

    async def settle(self) -> None:
        """Let the slow one through."""
        self.slow.flow()
        assert (await self.prober.settled(self.canary)).state.value == "delivered"

    def idles(self) -> int:
        """How many IDLEs were begun."""
        return self.proxy.sent.count(b" IDLE\r\n")

    async def until_idle(self) -> None:
        """Until it is idling: begun, acknowledged, not ended."""

        def idling() -> bool:
            begun, ended = self.proxy.received.count(b"+ idling"), self.proxy.sent.count(b"DONE\r\n")
            return begun == self.idles() == ended + self.broken + 1

        await self.prober.until(idling, "it idles")

    def cut(self) -> None:
        """Break the connection that idles."""
        self.broken += 1
        self.proxy.cut()

    async def until_read(self, position: int) -> None:
        """Until the watcher's cursor in INBOX is there."""
        await self.prober.until(lambda: self.position() == position, f"all below {position} was read")

    async def until_said(self, text: str, times: int = 1) -> None:
        """Until the journal says it that often."""
        await self.prober.until(lambda: self.prober.stream.getvalue().count(text) == times, f"{text} is said")

    def position(self) -> int:
        """Where the watcher's cursor in INBOX is."""
        cursor = self.prober.running.watchers["inbox"].folders["INBOX"].cursor
        assert cursor is not None
        return cursor.position


@pytest.fixture
async def listening(
    tmp_path: Path,
    short_tmp: Path,
    postfix: Postfix,
    dovecot: Dovecot,
    fresh_user: Callable[[], Account],
    proxy_to: Callable[..., Proxy],
) -> AsyncIterator[Listening]:
    """Not started yet; what must hold of any prober is checked after the test."""
    pace = replace(PACE, other_folders=timedelta(hours=1))
    prober = Prober(tmp_path, short_tmp, postfix, dovecot, pace=pace)
    try:
        yield Listening(prober, proxy_to(dovecot.imap_port, record=True), proxy_to(postfix.port), fresh_user())
        await prober.check()
    finally:
        await prober.close()


async def test_a_hint_makes_a_read(listening: Listening, dovecot: Dovecot) -> None:
    await listening.start()
    for position in (2, 3):
        await listening.until_idle()
        assert listening.position() == position - 1
        await away(dovecot.deliver, listening.account.address, mail(f"foreign {position}"))
        await listening.until_read(position)
    await listening.settle()


async def test_a_canary_that_is_sent_ends_the_idle(listening: Listening) -> None:
    await listening.start()
    for _ in range(2):
        await listening.until_idle()
        canary = await listening.prober.settled(await listening.prober.send("inbound"))
        assert canary.state.value == "delivered"
    await listening.settle()


async def test_a_late_canary_is_told(listening: Listening, postfix: Postfix) -> None:
    held = await away(postfix.hold, listening.account.address)
    listening.prober.route("inbound", "inbox", listening.account.address, overdue_after="30s", lost_after="1m")
    await listening.prober.start()
    canary = await listening.prober.send("inbound")
    await listening.prober.state(canary, "accepted")
    before = listening.idles()
    await listening.prober.until(lambda: listening.idles() > before + 1, "polls are rare enough to listen in between")
    await away(postfix.lift, held)
    await away(postfix.release_held)
    assert (await listening.prober.settled(canary)).state.value == "delivered"
    told = rb"\+ idling(?:(?!Idle completed).)*EXISTS"
    assert re.search(told, listening.proxy.received, re.DOTALL)


async def test_a_stop_does_not_wait_for_an_idle(listening: Listening) -> None:
    await listening.start()
    await listening.until_idle()
    listening.slow.flow()
    await asyncio.wait_for(listening.prober.stop(), 15)
    assert listening.proxy.sent.count(b"DONE\r\n") == listening.idles() >= 1


async def test_what_breaks_twice_is_left_alone_and_that_is_said_once(listening: Listening) -> None:
    await listening.start()
    for times in (1, 2):
        await listening.until_idle()
        listening.cut()
        await listening.until_said("event=seeing_again", times)
    await listening.until_said("the connection broke in IDLE 2 times in a row; reads go on without hints")
    canary = await listening.prober.settled(await listening.prober.send("inbound"))
    assert canary.state.value == "delivered"
    await listening.until_said("reads go on without hints")
    assert listening.idles() == 2
    assert listening.prober.total(counters.PROBE_ERRORS, "mailbox", "other") == 1
    await listening.settle()


@pytest.mark.parametrize("idle", ["auto", "off"])
async def test_nothing_idles_where_it_is_off_or_nothing_is_on_its_way(listening: Listening, idle: str) -> None:
    listening.prober.mailbox("inbox", listening.account, **{**listening.knobs, "idle": idle, "idle_poll": "1s"})
    if idle == "off":
        await listening.start()
    else:
        await listening.prober.start()
    assert (await listening.prober.settled(await listening.prober.send("inbound"))).state.value == "delivered"
    polls = listening.proxy.sent.count(b" NOOP\r\n")
    await listening.prober.until(lambda: listening.proxy.sent.count(b" NOOP\r\n") > polls + 1, "it polls on")
    if idle == "off":
        await listening.settle()
    assert listening.idles() == 0
