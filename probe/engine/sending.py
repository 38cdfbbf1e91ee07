"""Sending: each leg's schedule, and how many of its canaries may be under way at once. One canary's attempts are in
attempts.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from probe.canary import counters
from probe.canary.record import Canary, Leg
from probe.clock import Clock, Instant
from probe.config.model import Route
from probe.engine.attempts import Attempts, Floors, Prober
from probe.engine.books import Books
from probe.engine.caps import Caps
from probe.engine.pauses import Pauses
from probe.engine.schedule import first_slot, jittered, next_slot, phase
from probe.engine.supervisor import Pulse, wait_until
from probe.exposition.journal import Journal
from probe.senders.base import Sender

# Attempts of a leg under way: a relay that holds its answer for ten minutes must not pile up sockets.
MOST_AT_ONCE = 100


class LegSender:
    """One leg of a route: its slots and its attempts."""

    def __init__(
        self,
        route: Route,
        leg: Leg,
        sender: Sender,
        *,
        books: Books,
        caps: Caps,
        pauses: Pauses,
        clock: Clock,
        journal: Journal,
        prober: Prober,
        floors: Floors,
        ready: Callable[[], bool],
        stopping: asyncio.Event,
    ) -> None:
        self.route = route
        self.leg = leg
        self.attempts = Attempts(
            route,
            leg,
            sender,
            books=books,
            caps=caps,
            pauses=pauses,
            clock=clock,
            prober=prober,
            floors=floors,
            stopping=stopping,
        )
        self._books = books
        self._caps = caps
        self._pauses = pauses
        self._clock = clock
        self._journal = journal
        self._chance = prober.chance
        self.ready = ready
        self._retired = asyncio.Event()
        self.gone_since: Instant | None = None  # its host has left DNS
        self._under_way: set[asyncio.Task[None]] = set()
        self._capped = False
        self.last_slot: float = clock.now().wall / 1e9
        self.lag = 0.0

    # The schedule.

    async def run(self, pulse: Pulse) -> None:
        """Send at every slot until ``retire``; attempts under way are left to ``drain``."""
        while not self.ready() and not self._retired.is_set():
            # A route sends nothing before its mailbox was read once (rule 3), and the one of its bounces.
            await wait_until(self._clock, self._clock.now() + timedelta(milliseconds=200), self._retired, pulse)
        name = (self.leg.route, self.leg.mx)
        last, _ = self._books.ledger.queries.last_of([name])[name]
        slot = first_slot(self._clock.now(), last, self.route.every, phase(self.leg))
        while not self._retired.is_set():
            due = jittered(slot, self.route.every, self._chance.random())
            await wait_until(self._clock, due, self._retired, pulse)
            if self._retired.is_set():
                break
            now = self._clock.now()
            self.lag = max(0.0, now.since(due).total_seconds())
            self.last_slot = now.wall / 1e9
            self._launch(now)
            slot = next_slot(slot, self._clock.now(), self.route.every)
        pulse.rest()

    def retire(self) -> None:
        """No further canary; attempts under way and tries that are due go on."""
        self._retired.set()

    def revive(self) -> None:
        """Back after ``retire``: ``run`` may be run again."""
        self._retired.clear()
        self.gone_since = None

    def _launch(self, now: Instant) -> None:
        if self._pauses.of(self.leg.route, now) is not None:
            return
        limit = self._refused_by(now)
        if limit:
            self._books.owe(counters.CAP_HITS, (limit,))
            if not self._capped:
                self._journal.capped(self.leg.route, self.leg.mx, limit)
            self._capped = True
            return
        self._capped = False
        self._caps.record(now, self.leg.route, self.route.rcpt_to)
        self._start(self.attempts.first(now))

    def send_now(self, now: Instant) -> tuple[str, asyncio.Task[None]] | str:
        """A canary beside the schedule, counted and capped like any other: its id and its attempts, or the name of the
        limit that forbids it. The caller asks for pauses, and whether the mailbox was read."""
        limit = self._refused_by(now)
        if limit:
            self._books.owe(counters.CAP_HITS, (limit,))
            return limit
        self._caps.record(now, self.leg.route, self.route.rcpt_to)
        canary_id = self.attempts.new_id()
        return canary_id, self._start(self.attempts.first(now, canary_id))

    def _refused_by(self, now: Instant) -> str | None:
        if len(self._under_way) >= MOST_AT_ONCE:
            return "under_way"
        return self._caps.refuses(now, self.leg.route, self.route.rcpt_to)

    def _start(self, attempt: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(attempt)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and task.exception() is not None:
            cause = task.exception()
            self._books.owe(counters.TASK_CRASHES, ("send",))
            self._journal.crashed(f"send:{self.leg.route}", f"{type(cause).__name__}: {cause}", 0.0)

    async def drain(self, patience: timedelta) -> None:
        """Wait for attempts under way, at most ``patience``; those cut then are unsure or unsent by the next start."""
        waiting = [task for task in self._under_way if not task.done()]
        if waiting:
            await asyncio.wait(waiting, timeout=patience.total_seconds())
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def resume(self, canary: Canary) -> None:
        """Go on with a deferred canary of an earlier run or generation."""
        if canary.id not in self.attempts.in_hand:
            self._start(self.attempts.go_on(canary.id))
