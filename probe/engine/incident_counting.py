"""An incident's numbers, made afresh from the ledger's rows: when, and how far back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from probe.canary.record import Canary
from probe.clock import Clock
from probe.config.model import Config
from probe.engine.books import Books
from probe.engine.incident_work import Tracked
from probe.ledger.queries import Filter

COUNTED_APART = timedelta(seconds=10)
ROWS_A_SECOND = 100  # counting a long incident takes its time, so that is done less often
COUNTED_AFTER = timedelta(minutes=5)  # once it is over
MOST_ROWS = 100_000
HISTORY = 20_000  # canaries of a leg, before the incident, to look for the window's start in
FOLLOWED_FOR = timedelta(hours=24)  # after the all-clear: what drains and what recovers is still counted


class Counting:
    """Counts an incident's canaries and finds its windows."""

    def __init__(self, books: Books, clock: Clock, config: Callable[[], Config], *, inline: bool) -> None:
        self._books = books
        self._clock = clock
        self._config = config
        self._inline = inline

    def due(self, tracked: Tracked) -> bool:
        """Whether it is time to count again."""
        incident, now = tracked.incident, self._clock.now()
        over = not incident.state.active
        if over and (incident.closed_at is None or now.utc - incident.closed_at > FOLLOWED_FOR):
            return False
        if tracked.counted_at is None:
            return True
        apart = COUNTED_APART + timedelta(seconds=tracked.rows / ROWS_A_SECOND)
        return now.since(tracked.counted_at) >= (max(apart, COUNTED_AFTER) if over else apart)

    async def count(self, tracked: Tracked) -> None:
        """Its counts and its windows as the ledger has them now. Raises LedgerError."""
        incident = tracked.incident
        tracked.counted_at = self._clock.now()
        rows = await self._ask(Filter(route=incident.route, since=incident.first_bad, limit=MOST_ROWS))
        tracked.count(rows, self._clock.now().utc)
        smallest = float(self._config().detection.smallest_loss)
        for mx in incident.affected:
            # All of the incident, however long, and as much again of what was before.
            reach = min(MOST_ROWS, HISTORY + sum(row.leg.mx == mx for row in rows))
            history = await self._ask(Filter(route=incident.route, mx=mx, limit=reach))
            tracked.rows = len(rows) + len(history)
            tracked.place(mx, list(reversed(history)), self._clock.now().utc, smallest)

    async def _ask(self, wanted: Filter) -> list[Canary]:
        queries = self._books.ledger.queries
        return queries.canaries(wanted) if self._inline else await asyncio.to_thread(queries.canaries, wanted)
