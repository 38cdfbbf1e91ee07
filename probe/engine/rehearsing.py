"""Dry runs: each leg's own past is played through its rule before its share may page, and once a day from then on.

Pages that the rule would have made for nothing are pages to come: where there are two in the window, one point more is
asked for, and a ticket says so. One leg at a time and a slice of its past at a time, in a thread, with pauses that
leave the processor to the canaries.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from probe.canary.record import State
from probe.clock import NANOSECONDS, Clock
from probe.detection.calibration import DAY, DAYS
from probe.detection.dry_run import DryRun, Past
from probe.engine.books import Books
from probe.engine.detecting import Detecting
from probe.engine.supervisor import Pulse, wait_until
from probe.engine.watched import WatchedLeg
from probe.errors import LedgerError
from probe.exposition.journal import Journal, Level
from probe.ledger.pasts import Pasts, Sent

APART = timedelta(seconds=5)  # between looks whether one is due
SLICE = 1_000  # canaries played at once: some 30 ms
REST = timedelta(milliseconds=300)  # after each slice
MOST = 300_000  # canaries of a leg: fourteen days at 14 a minute; of more, the newest part of the window is played


class Rehearsals:
    """The loop that plays them."""

    def __init__(
        self, detecting: Detecting, books: Books, clock: Clock, journal: Journal, *, inline: bool = False
    ) -> None:
        self._detecting = detecting
        self._pasts = Pasts.beside(books.ledger.queries)
        self._clock = clock
        self._journal = journal
        self._inline = inline

    async def run(self, stopping: asyncio.Event, pulse: Pulse) -> None:
        """Until ``stopping``."""
        while not stopping.is_set():
            await wait_until(self._clock, self._clock.now() + APART, stopping, pulse)
            now = self._detecting.now()
            due = [one for one in self._detecting.legs.values() if one.rehearsal_due(now)]
            if due and not stopping.is_set():
                # Those that wait for it before they may page go first.
                await self._rehearse(min(due, key=lambda one: (one.armed, one.rehearsed or 0.0)), stopping, pulse)

    async def _rehearse(self, one: WatchedLeg, stopping: asyncio.Event, pulse: Pulse) -> None:
        try:
            pages = await self._pages(one, stopping, pulse)
        except LedgerError as problem:
            self._journal.warning(f"{one.leg.route}/{one.leg.mx}: its past could not be rehearsed: {problem}")
            pages = None
        if stopping.is_set():
            return
        if one.was_rehearsed(pages, self._detecting.now()) and pages is not None:
            said = f"its rule would have paged {pages} times for nothing in {DAYS} days: a point more is asked for"
            self._journal.say(
                "rule_too_sharp", Level.WARNING, route=one.leg.route, mx=one.leg.mx, pages=pages, reason=said
            )

    async def _pages(self, one: WatchedLeg, stopping: asyncio.Event, pulse: Pulse) -> int:
        """How often the rule would have paged beside the incidents, without the point of an earlier dry run."""
        tuning = one.calibrated.tuning
        run = DryRun(replace(tuning, score=tuning.score - one.calibration.score_to_try), one.calibration.incidents)
        month = one.aim.canaries_a_month
        reach = min(DAYS * DAY, MOST / month * 30 * DAY) if month > 0 else DAYS * DAY
        since = math.floor((self._detecting.now() - reach) * NANOSECONDS)
        while not stopping.is_set():
            if self._inline:
                since = self._play(one, run, since)
            else:
                since = await asyncio.to_thread(self._play, one, run, since)
            if since < 0:
                break
            await wait_until(self._clock, self._clock.now() + REST, stopping, pulse)
        return len(run.pages())

    def _play(self, one: WatchedLeg, run: DryRun, since: int) -> int:
        """One slice; where the next begins, -1 after the last."""
        rows = self._pasts.judged(one.leg.route, one.leg.mx, since, SLICE)
        run.feed(_past(rows))
        return rows[-1].sent if len(rows) == SLICE else -1


def _past(rows: Sequence[Sent]) -> list[Past]:
    """Without those of which nobody can tell whether they came in time."""
    return [
        Past(row.sent / NANOSECONDS, None if row.latency is None else row.latency / 1e6)
        for row in rows
        if row.latency is not None or row.state is State.LOST
    ]
