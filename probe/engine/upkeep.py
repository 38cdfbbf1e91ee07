"""The small loops: pruning, the clocks, the watchdog, and counts that wait for a commit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

from probe.canary import counters
from probe.clock import Clock, Instant
from probe.engine.books import Books
from probe.engine.notify import Notifier
from probe.engine.supervisor import Pulse, Supervisor, wait_until
from probe.errors import LedgerUnwritable
from probe.exposition.journal import Journal
from probe.ledger.batch import Batch

TICK = timedelta(seconds=5)
PRUNE_EVERY = timedelta(hours=1)
STEP = timedelta(seconds=1)
DECODE_EVERY = timedelta(milliseconds=20)
DECODED_AT_ONCE = 100  # a millisecond, or two

Loop = Callable[[Pulse], Awaitable[None]]


class Upkeep:
    """Loops that no canary passes through."""

    def __init__(
        self,
        keep: timedelta,
        books: Books,
        clock: Clock,
        journal: Journal,
        notifier: Notifier,
        supervisor: Supervisor,
    ) -> None:
        self.keep = keep
        self._books = books
        self._clock = clock
        self._journal = journal
        self._notifier = notifier
        self._supervisor = supervisor

    def loops(self, stopping: asyncio.Event) -> list[tuple[str, Loop]]:
        """By name."""
        loops: list[tuple[str, Loop]] = [
            ("prune", lambda pulse: self._prune(stopping, pulse)),
            ("clock", lambda pulse: self._tick(stopping, pulse)),
            ("decode", lambda pulse: self._decode(stopping, pulse)),
        ]
        if self._notifier.watchdog is not None:
            third = self._notifier.watchdog / 3
            loops.append(("watchdog", lambda pulse: self._watchdog(stopping, pulse, third)))
        return loops

    async def _prune(self, stopping: asyncio.Event, pulse: Pulse) -> None:
        while not stopping.is_set():
            await wait_until(self._clock, self._clock.now() + PRUNE_EVERY, stopping, pulse)
            if stopping.is_set():
                return
            try:
                await self._books.ledger.prune(self.keep)
            except LedgerUnwritable as problem:
                self._journal.ledger_unwritable(str(problem))

    async def _decode(self, stopping: asyncio.Event, pulse: Pulse) -> None:
        """Bit by bit what a start left undecoded, so that no scrape has to wait for all of it."""
        while self._books.in_flight.decode(DECODED_AT_ONCE) and not stopping.is_set():
            await wait_until(self._clock, self._clock.now() + DECODE_EVERY, stopping, pulse)

    async def _tick(self, stopping: asyncio.Event, pulse: Pulse) -> None:
        """Notice steps of the wall clock, and write counts that nobody else's commit took along."""
        last = self._clock.now()
        while not stopping.is_set():
            await wait_until(self._clock, last + TICK, stopping, pulse)
            now = self._clock.now()
            await self._notice_step(last, now)
            with suppress(LedgerUnwritable):  # the books said so, and still owe it
                await self._books.settle_debts()
            last = now

    async def _notice_step(self, last: Instant, now: Instant) -> None:
        step = timedelta(microseconds=((now.wall - last.wall) - (now.boot - last.boot)) / 1000)
        if abs(step) <= STEP:
            return
        self._journal.clock_stepped(step.total_seconds())
        batch = Batch()
        batch.count(counters.CLOCK_STEPS)
        batch.event(now, "clock_step", f"the wall clock moved by {step.total_seconds():+.3f} s")
        try:
            await self._books.commit(batch)
        except LedgerUnwritable:
            return

    async def _watchdog(self, stopping: asyncio.Event, pulse: Pulse, every: timedelta) -> None:
        """Feed systemd's watchdog as long as every loop keeps its promises (and this one runs at all)."""
        while not stopping.is_set():
            if not self._supervisor.stalled():
                self._notifier.alive()
            await wait_until(self._clock, self._clock.now() + every, stopping, pulse)
