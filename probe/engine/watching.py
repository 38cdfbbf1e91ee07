"""Watching one mailbox: when to look, what the look found, and what that means for the canaries waited for.

One loop owns the mailbox; the mailbox's own calls block and run in one thread of their own. The look itself is in
looking.py, the verdicts in judging.py, the ages and deadlines in pacing.py and waiting.py.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from probe.canary import counters
from probe.canary.coverage import Cursor
from probe.canary.identity import Keyring
from probe.canary.record import Canary, State
from probe.clock import Clock, Instant
from probe.engine.arrivals import Arrivals
from probe.engine.books import Books
from probe.engine.cleaning import Cleaner
from probe.engine.controlling import Control
from probe.engine.flying import Outline
from probe.engine.folders import FolderState
from probe.engine.judging import Judge
from probe.engine.listening import Waits
from probe.engine.looking import LONGEST_CALL, Call, Looker
from probe.engine.pacing import Backoff, Pace, TokenBucket, later, next_poll
from probe.engine.reports import BounceReads, Reports
from probe.engine.searching import Searches
from probe.engine.supervisor import Pulse, wait_until
from probe.engine.waiting import Deadline, Waiting
from probe.engine.watch_options import WatchOptions
from probe.errors import LedgerUnwritable, LoginRefused, MailboxError
from probe.exposition.journal import Journal
from probe.ledger.queries import Queries
from probe.mailboxes.base import Mailbox

AFTER = timedelta(milliseconds=1)  # a read must begin after a moment to say anything about it


@dataclass(frozen=True, slots=True)
class Job:
    """One look: at which folders, and whether as a proof."""

    at: Instant
    folders: tuple[str, ...]
    fresh: bool = False
    clean: bool = False
    search: bool = False  # of every other folder too, for canaries that are followed


class Watcher:
    """The loop of one mailbox."""

    def __init__(
        self,
        name: str,
        options: WatchOptions,
        *,
        books: Books,
        arrivals: Arrivals,
        reports: Reports | None,
        bounce_reads: BounceReads,
        clock: Clock,
        journal: Journal,
        call: Call,
        stopping: asyncio.Event,
        chance: random.Random,
        pace: Pace,
        keyring: Keyring,
        control: Control,
    ) -> None:
        self.name = name
        self.control = control
        self.options = options
        self._books = books
        self._clock = clock
        self._journal = journal
        self._call = call
        self._stopping = stopping
        self._chance = chance
        self._pace = pace
        self.mailbox: Mailbox = options.open(name, clock)
        self.folders = {folder: FolderState(folder) for folder in options.folders}
        self.waiting = Waiting(name, clock)
        self._looker = Looker(
            name=name,
            mailbox=self.mailbox,
            folders=self.folders,
            waiting=self.waiting,
            books=books,
            arrivals=arrivals,
            reports=reports,
            clock=clock,
            call=call,
            keyring=keyring,
        )
        self.judge = Judge(self.waiting, self.folders, books, clock, options.exclusive, bounce_reads, control.unseen)
        self.cleaner = Cleaner(name, options.cleanup, books, clock, pace, control)
        self.searches = Searches(self.waiting, clock, pace.sweeps_apart)
        now = clock.now()
        self._bucket = TokenBucket(options.poll_rate, now)
        self._network = Backoff(pace.reconnect_first, pace.reconnect_most)
        self._login = Backoff(pace.login_first, pace.login_most)
        self._waits = Waits(name, self.mailbox, books, clock, journal, call)
        self._under_way: set[str] = set()  # content handed over, maybe: may arrive before its answer does
        self._connected = False
        self._last_all = now
        self._last_first = now
        self._last_deadline: Instant | None = None
        self._last_sweep: Instant | None = None
        self._wanted = False  # a verdict of another mailbox waits for the reports that may lie here
        # Told after each complete read, with the beginning of the blindness that it ended.
        self.readers: list[Callable[[Instant | None], None]] = []
        self.check: Callable[[], Instant | None] = lambda: None  # when a complete read could tell a detector something
        self.seen_once = asyncio.Event()
        self.blind_since: Instant | None = now
        self.last_complete: float = now.wall / 1e9
        self.problem = "not read yet"
        self._said_blind = False

    def load(self, queries: Queries, canaries: Iterable[Outline]) -> None:
        """Take over what the ledger knows of the folders, and the canaries in flight; follow the books from here on."""
        self._books.watchers.setdefault(self.name, []).append(self._follow)
        self.control.load(queries)
        watermarks, unreadable = queries.watermarks(), queries.unreadable()
        for folder, state in self.folders.items():
            if (self.name, folder) in watermarks:
                state.unreadable = unreadable[(self.name, folder)]
                cursor, gaps, read_at = watermarks[(self.name, folder)]
                state.cursor, state.gaps = cursor, gaps
                state.last_look = Instant(read_at, 0, "")
        self.waiting.enter(canaries)

    def unfollow(self) -> None:
        """The end: what happens to canaries is no business of this watcher any more."""
        with suppress(ValueError):  # never loaded
            self._books.watchers.get(self.name, []).remove(self._follow)

    def rouse(self, *_: object) -> None:
        """What is due may have changed."""
        self._waits.rouse()

    def covered_since(self) -> Instant | None:
        """Every folder was read completely by reads begun at or after this instant; None: not yet."""
        return self.judge.covered_since()

    def want_read(self) -> None:
        """Somebody waits for the next complete read."""
        if not self._wanted:
            self._wanted = True
            self._waits.rouse()

    def floors(self) -> dict[str, Cursor]:
        """The cursor of each folder, for a canary that is about to be sent."""
        return {folder: state.cursor for folder, state in self.folders.items() if state.cursor is not None}

    def _follow(self, before: Canary, move: Any) -> None:
        count = len(self.waiting.canaries)
        self.waiting.follow(before, move)
        if len(self.waiting.canaries) > count:
            self._waits.rouse()
        if move.canary.state is State.DATA_STARTED and move.canary.leg.mailbox == self.name:
            self._under_way.add(move.canary.id)
            self._waits.hold()
        else:
            self._under_way.discard(move.canary.id)

    # The loop.

    async def run(self, pulse: Pulse) -> None:
        """Look whenever a look is due, until ``stopping``."""
        told = asyncio.ensure_future(self._stopping.wait())
        told.add_done_callback(lambda _: self._waits.rouse())
        try:
            while not self._stopping.is_set():
                try:
                    pulse.beat(LONGEST_CALL)
                    await self._look_when_due(pulse)
                except MailboxError as problem:
                    await self._went_blind(problem, pulse)
                except LedgerUnwritable:
                    # The books said so already; nothing was taken over, so the same look will find it all again.
                    again = self._clock.now() + timedelta(seconds=1)
                    await wait_until(self._clock, again, self._stopping, pulse)
        finally:
            told.cancel()
            self._connected = False
            self.mailbox.interrupt()
            await asyncio.shield(self._call(self.mailbox.close))

    async def _look_when_due(self, pulse: Pulse) -> None:
        if not self._connected:
            await self._call(self.mailbox.connect)
            self._connected = True
            job = Job(self._clock.now(), tuple(self.folders), fresh=True)
        else:
            self._waits.begin()
            job = self._next_job(self._clock.now())
            if job.at.since(self._clock.now()) > timedelta(0):
                # With nothing on its way, what a hint could tell of is not worth the commands.
                listen = bool(self.waiting.canaries or self._under_way)
                await self._waits.until(job.at, pulse, listen=listen)
                return  # what is due may have changed meanwhile
        await self._do(job, pulse)

    def _next_job(self, now: Instant) -> Job:
        every = tuple(self.folders)
        wait = self.options.idle_poll
        if self.waiting.canaries:
            wait = min(wait, self._pace.other_folders)
        jobs = [Job(self._last_all + wait, every)]
        first = now
        if not self._waits.hinted:
            first = next_poll(self._last_first, self.waiting.youngest_dot, self.options.idle_poll)
        jobs.append(Job(later(first, now + self._bucket.wait(now)), every[:1]))
        deadline = self.waiting.next_deadline(now)
        if deadline is not None:
            jobs.append(Job(self._deadline_read(deadline), every, fresh=True))
        if self._wanted:
            jobs.append(Job(self._deadline_read(now), every))
        if self.waiting.due[Deadline.LOST] and self.judge.wants_read():
            jobs.append(Job(self._verdict_read(now), every, fresh=True))
        jobs += [Job(at, every, search=True) for at in self.searches.due()]
        check = self.check()
        if check is not None:
            jobs.append(Job(self._deadline_read(check + AFTER), every))
        clean = self.cleaner.next_run()
        if clean is not None:
            jobs.append(Job(clean, (), clean=True))
        return min(jobs, key=lambda job: job.at.boot)  # not by wall: somebody may have set that clock meanwhile

    def _deadline_read(self, deadline: Instant) -> Instant:
        """When the read for a deadline may begin: looks of this kind keep a distance."""
        if self._last_deadline is None:
            return deadline
        return later(deadline, self._last_deadline + self._pace.deadline_reads_apart)

    def _verdict_read(self, now: Instant) -> Instant:
        """When the read for verdicts that are due may begin: sweeps keep a distance too."""
        earliest = self._deadline_read(now)
        if self._last_sweep is None:
            return earliest
        return later(earliest, self._last_sweep + self._pace.sweeps_apart)

    async def _do(self, job: Job, pulse: Pulse) -> None:
        if job.clean:
            await self.cleaner.run(self.mailbox, self._call)
            return
        now = self._clock.now()
        self._bucket.take(now)
        self._last_first, self._waits.hinted = now, False
        await self._looker.look(job.folders, fresh=job.fresh, pulse=pulse)
        if job.search:
            await self.searches.run(self._looker.sweep)
        if len(job.folders) == len(self.folders):
            self._last_all, self._wanted = now, False
            if job.fresh:
                self._last_deadline = now
            await self._sees(now)
        if job.fresh:
            await self._judge()

    async def _judge(self) -> None:
        await self.judge.overdue()
        await self.judge.give_up()
        ripe = self.judge.ripe()
        if not ripe or not self._may_sweep():
            return
        self._last_sweep = self._clock.now()
        await self._looker.sweep(ripe)
        await self.judge.verdicts(ripe)

    def _may_sweep(self) -> bool:
        if self._last_sweep is None:
            return True
        return self._clock.now().since(self._last_sweep) >= self._pace.sweeps_apart

    # Blindness.

    async def _sees(self, now: Instant) -> None:
        """Every folder was read: whatever was blind is over."""
        self.last_complete = self._clock.now().wall / 1e9
        self._network.reset()
        self._login.reset()
        since, self.blind_since, self.problem = self.blind_since, None, ""
        if since is not None and self.seen_once.is_set():
            gap = now.since(since)
            if gap >= self._pace.blind_from:
                self._books.owe(counters.BLIND_SECONDS, (self.name,), gap.total_seconds())
            if self._said_blind:
                self._journal.seeing_again(self.name, gap.total_seconds())
        self._said_blind = False
        if all(state.known for state in self.folders.values()):
            self.seen_once.set()
        for told in self.readers:
            told(since)

    async def _went_blind(self, problem: MailboxError, pulse: Pulse) -> None:
        """Close, say so, wait, try again."""
        now = self._clock.now()
        if self.blind_since is None:
            self.blind_since = now
        self.problem = str(problem)
        self._connected = False
        if not self._said_blind:
            self._said_blind = True
            self._journal.blind(self.name, self.problem)
        self._books.owe(counters.PROBE_ERRORS, ("mailbox", problem.reason))
        await self._call(self.mailbox.close)
        with suppress(LedgerUnwritable):  # they are still due at the next try
            await self.judge.end_watches(self.problem)
        backoff = self._login if isinstance(problem, LoginRefused) else self._network
        await wait_until(self._clock, now + backoff.next(self._chance.random()), self._stopping, pulse)
