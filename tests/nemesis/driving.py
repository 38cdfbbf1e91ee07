"""The prober of a history: the daemon's own assembly and loops over a real ledger file, and the ways to end it.

Beside the engine's own tests: a commit or a command may take its time, so that other tasks run in between, and the
process may die at any commit, before or after it is durable. What is dead touches nothing any more.
"""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from probe.config.model import Config
from probe.engine.daemon import Daemon
from probe.engine.generation import Generation
from probe.engine.pacing import Pace
from probe.errors import LedgerUnwritable
from probe.exposition.journal import Journal
from probe.exposition.metrics import render
from probe.ledger.batch import Batch
from probe.ledger.store import Ledger
from tests.jumping import JumpingClock
from tests.nemesis.mail import Box, Reading


class SlowLedger(Ledger):
    """A ledger whose commits fail, take their time, or are the last one, on demand."""

    life: Life  # given before the first commit
    _turn: asyncio.Lock | None = None

    async def commit(self, batch: Batch, on_durable: Callable[[], None] | None = None) -> None:
        life = self.life
        if life.dead:
            await asyncio.Future()
        if life.slow:
            self._turn = self._turn or asyncio.Lock()
            # Once queued it is written, whatever becomes of the waiter, as by the writer's thread.
            await asyncio.shield(asyncio.ensure_future(self._queued(batch, on_durable)))
            return
        await self._commit(batch, on_durable)

    async def _queued(self, batch: Batch, on_durable: Callable[[], None] | None) -> None:
        assert self._turn is not None
        async with self._turn:
            await self.life.clock.sleep(timedelta(seconds=self.life.chance.random() * self.life.slow))
            await self._commit(batch, on_durable)

    async def _commit(self, batch: Batch, on_durable: Callable[[], None] | None) -> None:
        life = self.life
        if life.dead:
            await asyncio.Future()
        if life.fails > 0 and life.chance.random() < life.fails:
            raise LedgerUnwritable("the ledger could not be written: disk full")
        if life.fsync:
            # The first is on disk and said not to be; nothing is written after it.
            if life.fsync == 1:
                await super().commit(batch)
            life.fsync = 2
            raise LedgerUnwritable("the ledger could not be written: I/O error")
        life.countdown -= 1
        if life.countdown == 0:
            if life.chance.random() < 0.5:
                await super().commit(batch, on_durable)
            life.die()
            await asyncio.Future()
        await super().commit(batch, on_durable)


class Life:
    """One process. ``fails``: share of commits that fail; ``slow``: most seconds a commit takes; ``countdown``: the
    commit at which it dies; ``dead``: it does nothing more."""

    def __init__(self, clock: JumpingClock, chance: random.Random) -> None:
        self.clock = clock
        self.chance = chance
        self.fails = 0.0
        self.slow = 0.0
        self.fsync = 0
        self.countdown = -1
        self.dead = False
        self.died = asyncio.Event()

    def die(self) -> None:
        self.dead = True
        self.died.set()


class SlowGeneration(Generation):
    """Its mailboxes' commands take their time, and come one after the other."""

    def _caller(self, name: str) -> Callable[..., Awaitable[Any]]:
        turn, clock, box = asyncio.Lock(), self._means.clock, _box_of(self.config, name)

        async def call(function: Callable[..., Any], *arguments: Any) -> Any:
            mailbox = next(
                (one for one in (getattr(function, "__self__", None), *arguments) if isinstance(one, Reading)), None
            )
            if mailbox is not None and function == mailbox.wait:
                return await mailbox.listen(*arguments)
            if not box.latency:
                return function(*arguments)
            async with turn:
                lag = box.chance.random() * box.latency
                await clock.sleep(timedelta(seconds=lag))
                if mailbox is not None:
                    mailbox.lag = lag
                try:
                    answer = function(*arguments)
                finally:
                    if mailbox is not None:
                        mailbox.lag = 0.0
                await clock.sleep(timedelta(seconds=box.chance.random() * box.latency))
                return answer

        return call


def _box_of(config: Config, name: str) -> Box:
    box: Box = config.mailboxes[name].box
    return box


class SlowDaemon(Daemon):
    """The daemon, with such generations."""

    def _open(self, config: Config) -> Generation:
        return SlowGeneration(config, self._means, self._dot_of)


class Prober:
    """Starts, stops and kills it."""

    def __init__(self, clock: JumpingClock, chance: random.Random, pace: Pace) -> None:
        self.clock = clock
        self.chance = chance
        self.pace = pace
        self.said = io.StringIO()
        self.life = Life(clock, chance)
        self.life.dead = True
        self.daemon: SlowDaemon | None = None
        self._outside: set[asyncio.Task[Any]] = set()
        self._run: asyncio.Task[None] | None = None

    @property
    def dead(self) -> bool:
        return self.life.dead

    async def start(self, config: Config) -> None:
        """Raises what prevents a start; nothing is held then."""
        self._outside = asyncio.all_tasks()
        self.life = Life(self.clock, self.chance)
        self._journal = Journal(self.said, self.clock)
        self.ledger = SlowLedger(config.ledger, self.clock, inline=True)
        self.ledger.life = self.life
        daemon = SlowDaemon(config, self.clock, journal=self._journal, pace=self.pace, chance=self.chance, inline=True)
        self.daemon = daemon
        try:
            await daemon._assemble(self.ledger)
        except BaseException:
            self._close()
            raise
        self._stop = asyncio.Event()
        self._run = asyncio.ensure_future(daemon._loops(self._stop))

    async def stop(self) -> bool:
        """The two-step stop; False where it died meanwhile."""
        assert self._run is not None
        self._stop.set()
        died = asyncio.ensure_future(self.life.died.wait())
        await asyncio.wait({self._run, died}, return_when=asyncio.FIRST_COMPLETED)
        died.cancel()
        if not self._run.done():
            await self.kill()
            return False
        self._run.result()
        await self._end()
        return True

    async def kill(self) -> None:
        """At once: every task of the process ends where it stands, and nothing more is written or sent."""
        self.life.die()
        await self._end()

    async def _end(self) -> None:
        self.life.die()
        for _ in range(5):
            ours = asyncio.all_tasks() - self._outside - {asyncio.current_task()}
            if not ours:
                break
            for task in ours:
                task.cancel()
            await asyncio.gather(*ours, return_exceptions=True)
        self._close()

    def _close(self) -> None:
        self.life.die()
        self.ledger.close()
        self._journal.close()
        self._run = None

    def crashed(self) -> BaseException | None:
        """What ended its loops by itself, if anything did."""
        if self._run is None or not self._run.done() or self._run.cancelled():
            return None
        return self._run.exception() or RuntimeError("the loops ended by themselves")

    async def metrics(self) -> str:
        """What a scrape would show now."""
        assert self.daemon is not None
        await self.daemon.books.settle_debts()
        body, _ = render(self.daemon.view.snapshot(), self.ledger.totals.snapshot(), {}, "")
        return body.decode()
