"""A prober in virtual time: the daemon's own assembly and loops, without its web side and its sockets.

The ledger is a real file, written inline; ``unwritable`` makes its commits fail. ``kill`` leaves everything as a crash
would; ``start`` after it is a restart on the same ledger.
"""

from __future__ import annotations

import asyncio
import io
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from probe.canary import counters
from probe.canary.identity import SigningKey
from probe.canary.record import Canary, State
from probe.config.model import Config, Limits, Route
from probe.engine.daemon import Daemon
from probe.engine.pacing import Pace
from probe.errors import LedgerUnwritable
from probe.exposition.journal import Journal
from probe.ledger.batch import Batch
from probe.ledger.queries import Filter
from probe.ledger.store import Ledger
from probe.mailboxes.imap import Cleanup
from probe.options import Rate
from tests.engine.fakes import Account, FakeSender, Folder, MailboxOptions, Way, delivers
from tests.jumping import JumpingClock

KEY = SigningKey("k1", b"k" * 32)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
WIDE = Limits(per_recipient=(Rate(1000, MINUTE),), per_route=(Rate(1000, MINUTE),))


class FaultyLedger(Ledger):
    """A ledger whose commits fail on demand."""

    refuses: Callable[[Batch], bool] | None = None

    async def commit(self, batch: Batch, on_durable: Callable[[], None] | None = None) -> None:
        if self.refuses is not None and self.refuses(batch):
            raise LedgerUnwritable("the ledger could not be written: disk full")
        await super().commit(batch, on_durable)


class World:
    """One prober, one account, one sender; more routes by ``routes``."""

    def __init__(
        self,
        clock: JumpingClock,
        folder: Path,
        way: Way | None = None,
        *,
        folders: tuple[str, ...] = ("INBOX",),
        exclusive: bool = True,
        retry: tuple[timedelta, ...] = (),
        mxs: tuple[str, ...] = ("any",),
        limits: Limits = WIDE,
        cleanup: Cleanup | None = None,
        control: timedelta | None = None,
        pace: Pace | None = None,
        **route: Any,
    ) -> None:
        self.clock = clock
        self.folder = folder
        self.pace = pace or Pace(sweeps_apart=SECOND)
        self.account = Account(clock, {name: Folder() for name in folders})
        self.sender = FakeSender(clock, self.account, way or delivers(), retry, mxs)
        options = MailboxOptions(self.account, folders, exclusive)
        if cleanup is not None:
            options = replace(options, cleanup=cleanup)
        if control is not None:
            options = replace(options, cleanup=cleanup or Cleanup(), control_canary=control)
        times = {"every": MINUTE, "overdue_after": 30 * SECOND, "lost_after": 5 * MINUTE, "watch_for": HOUR}
        # Without detection, unless a test is about it: it would send canaries of its own.
        knobs = {"paging": False, **times, **route}
        one = Route("in", "relay", "probe@example.org", "canary@example.net", "inbox", **knobs)
        self.config = Config(
            keys=(KEY,),
            senders={"relay": self.sender},
            mailboxes={"inbox": options},
            routes={"in": one},
            prober="p1",
            ledger=folder / "ledger.sqlite",
            control=folder / "control.sock",
            limits=limits,
        )
        self.refuses: Callable[[Batch], bool] | None = None
        self.chance = random.Random(1)
        self.said = io.StringIO()
        self._journal: Journal | None = None
        self._loops: asyncio.Task[None] | None = None

    # Its life.

    def receive_bounces(self, folder: str | None = None) -> Account:
        """The route's bounces come to the account itself (``folder``: one of its), or to one of their own."""
        own = self.config.mailboxes
        account = self.account if folder else Account(self.clock, {"INBOX": Folder()})
        mailboxes = own if folder else {**own, "reports": MailboxOptions(account, ("INBOX",))}
        routes = {
            name: replace(one, bounces="inbox" if folder else "reports") for name, one in self.config.routes.items()
        }
        self.config = replace(self.config, mailboxes=mailboxes, routes=routes)
        return account

    async def start(self) -> None:
        self._journal = Journal(self.said, self.clock)
        self.ledger = FaultyLedger(self.config.ledger, self.clock, inline=True)
        self.ledger.refuses = lambda batch: self.refuses is not None and self.refuses(batch)
        self.daemon = Daemon(
            self.config, self.clock, journal=self._journal, pace=self.pace, chance=self.chance, inline=True
        )
        await self.daemon._assemble(self.ledger)
        self._stop = asyncio.Event()
        self._loops = asyncio.ensure_future(self.daemon._loops(self._stop))

    async def stop(self) -> None:
        """The two-step stop."""
        assert self._loops is not None
        self._stop.set()
        try:
            await self._loops
        finally:
            self._close()

    async def kill(self) -> None:
        """At once, as a crash: nothing more is written."""
        if self._loops is None:
            return
        self.refuses = lambda _: True
        tasks = [self._loops, *(task for leg in self.daemon.legs for task in leg._under_way)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._close()
        self.refuses = None

    def _close(self) -> None:
        self.ledger.close()
        assert self._journal is not None
        self._journal.close()
        self._loops = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[World]:
        await self.start()
        try:
            yield self
        finally:
            await self.kill()

    async def restart(self, after: timedelta = timedelta()) -> None:
        await self.kill()
        await self.clock.sleep(after)
        await self.start()

    def reroute(self, **changes: Any) -> None:
        """Change the route for the next start."""
        self.config = replace(self.config, routes={"in": replace(self.config.routes["in"], **changes)})

    async def until(self, condition: Callable[[], Any], within: timedelta = 2 * HOUR) -> None:
        """Let time pass until it holds, in small steps for a minute, then in larger ones."""
        began = self.clock.now()
        while (passed := self.clock.now().since(began)) < within:
            if condition():
                return
            await self.clock.sleep(SECOND / 5 if passed < MINUTE else 2 * SECOND)
        raise AssertionError(f"never within {within}; {self.states()}; {self.said.getvalue()[-2000:]}")

    # What it knows.

    def canaries(self) -> list[Canary]:
        """Oldest first."""
        return list(reversed(self.ledger.queries.canaries(Filter(limit=100_000))))

    def states(self) -> Counter[str]:
        return Counter(self.ledger.queries.state_counts())

    def settled(self, count: int = 1) -> Callable[[], bool]:
        return lambda: self.total(counters.OUTCOMES) >= count

    def total(self, name: str, *labels: str) -> float:
        """Sum of a running total over all series that hold these label values."""
        return sum(
            value
            for (key, has), value in self.ledger.totals.snapshot().items()
            if key == name and set(labels) <= set(has)
        )

    def moves(self, canary: Canary) -> list[str]:
        life = self.ledger.queries.life(canary.id)
        assert life is not None
        return [move["after"] for move in life.moves]

    def check_books(self) -> None:
        """The conservation law, and memory says what the ledger says."""
        assert self.ledger.queries.balance() == 0
        in_flight = {canary.id for canary in self.canaries() if canary.state.in_flight}
        assert set(self.daemon.books.in_flight) == in_flight
        assert self.total(counters.SENT) == len(self.canaries())
        assert self.total(counters.OUTCOMES) == sum(1 for canary in self.canaries() if canary.state.terminal)
        assert self.total(counters.OVERDUE) <= self.total(counters.JUDGED)

    def no_loss(self) -> bool:
        return self.total(counters.OUTCOMES, State.LOST.value) == 0
