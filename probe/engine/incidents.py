"""Incidents: opened by a detector's page, followed to the all-clear and beyond, durable at every step.

The record and its moves are pure (detection/incident.py); what feeds them is in incident_work.py. Here they meet the
books, the detectors and the ledger. At most one incident of a route is not over.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from probe.canary.life import Move
from probe.canary.record import Canary, Leg, State
from probe.clock import Clock, Instant
from probe.config.model import Config
from probe.detection import incident as life
from probe.detection.detector_findings import Extra, Finding, Grade, Kind
from probe.detection.incident_observations import MarkedFalse, Paged
from probe.detection.naming import DEAD, Sweep
from probe.detection.pace import Cap
from probe.detection.record import Incident
from probe.detection.recovery import Recovery, Tally
from probe.engine.books import Books
from probe.engine.detecting import Detecting
from probe.engine.extras import Extras, recovery_extra
from probe.engine.incident_work import Tracked, caps_of, ns_of
from probe.engine.supervisor import Pulse, wait_until
from probe.errors import IllegalMove, LedgerUnwritable, UsageError
from probe.exposition.journal import Journal
from probe.ledger.batch import Batch, IncidentRow
from probe.ledger.queries import Filter

STEP = timedelta(seconds=5)
KEPT_APART = 30.0  # seconds between looks at which legs there are, and whose figures are due
COUNTED_APART = timedelta(seconds=10)
ROWS_A_SECOND = 100  # counting a long incident takes its time, so that is done less often
COUNTED_AFTER = timedelta(minutes=5)  # once it is over
MOST_ROWS = 100_000
HISTORY = 20_000  # canaries of a leg to look for the window's start in
FOLLOWED_FOR = timedelta(hours=24)  # after the all-clear: what drains and what recovers is still counted


class Incidents:
    """The incidents of all routes. ``legs``: those that there are now."""

    def __init__(
        self,
        detecting: Detecting,
        books: Books,
        clock: Clock,
        journal: Journal,
        config: Callable[[], Config],
        legs: Callable[[], Sequence[Leg]],
        *,
        inline: bool = False,
    ) -> None:
        self._detecting = detecting
        self._books = books
        self._clock = clock
        self._journal = journal
        self._config = config
        self._all_legs = legs
        self._inline = inline
        self._roused = asyncio.Event()
        self.extras: Extras | None = None
        self.tracked: dict[str, Tracked] = {}  # by route: the last one, over or not
        detecting.told = self.found
        books.listeners.append(self._follow)

    # What happens.

    def found(self, leg: Leg, finding: Finding) -> None:
        """A detector found something."""
        if finding.grade is Grade.TICKET:
            self._journal.share_suspected(leg.route, leg.mx, finding.score, finding.threshold)
            return
        at = self._clock.now().utc
        first = self._books.find(finding.first_id)
        first_bad = first.sent.utc if first is not None else self._detecting.timeline.instant(finding.first_sent).utc
        tracked = self._tracked(leg, first_bad, at)
        tracked.apply(Paged(at, leg.mx, finding.kind.value, finding.score, finding.threshold, first_bad))
        watched = self._detecting.legs[(leg.route, leg.mx)]
        if leg.mx not in tracked.recoveries:
            tracked.recoveries[leg.mx] = Recovery(watched.calibrated.noise, self._before(leg, first_bad))
        self._sweep(tracked, leg, finding)
        watched.calibration.exclude(tracked.incident.id, self._detecting.timeline.seconds(self._of(first_bad)))
        tracked.progress(leg.mx, self._caps(leg.route), at)
        self._journal.incident_paged(leg.route, leg.mx, tracked.incident.id, tracked.incident.reasons[-1][1])
        self._roused.set()
        self._detecting.rouse()

    def _tracked(self, leg: Leg, first_bad: datetime, at: datetime) -> Tracked:
        known = self.tracked.get(leg.route)
        if known is not None and life.takes_page(known.incident, at):
            if not known.incident.state.active:
                known.recoveries, known.sweep, known.told = {}, None, {}
            return known
        number = 1 + sum(row.id.startswith(f"{at:%Y-%m-%d}-{leg.route}-") for row in self._rows())
        name = life.name_incident(leg.route, at, number)
        hosts = [one.mx for one in self._all_legs() if one.route == leg.route]
        made = Tracked(life.suspect(name, leg.route, tuple(dict.fromkeys([*hosts, leg.mx])), leg.mx, first_bad, at))
        self.tracked[leg.route] = made
        return made

    def _rows(self) -> list[IncidentRow]:
        return self._books.ledger.queries.incidents(limit=1000)

    def _sweep(self, tracked: Tracked, leg: Leg, finding: Finding) -> None:
        if leg.mx not in tracked.incident.legs:
            return
        share = DEAD if finding.kind is Kind.BLACKOUT else float(self._config().detection.smallest_loss)
        if tracked.sweep is None:
            noise = {mx: self._noise(leg.route, mx) for mx in tracked.incident.legs}
            tracked.sweep = Sweep(noise, leg.mx, share)
        else:
            tracked.sweep.paged(leg.mx)
            tracked.sweep.share = max(share, tracked.sweep.share)

    def _noise(self, route: str, mx: str) -> float:
        watched = self._detecting.legs.get((route, mx))
        return 0.002 if watched is None else watched.calibrated.noise

    def _before(self, leg: Leg, first_bad: datetime) -> Tally:
        """What was judged from the first overdue canary to the page."""
        wanted = Filter(route=leg.route, mx=leg.mx, since=first_bad, limit=HISTORY)
        rows = self._books.ledger.queries.canaries(wanted)
        return Tally(sum(row.overdue for row in rows), sum(row.judged for row in rows))

    def _follow(self, before: Canary, move: Move) -> None:
        leg = move.canary.leg
        tracked = self.tracked.get(leg.route)
        if tracked is None or not tracked.incident.state.active:
            return
        if before.state is State.PLANNED:
            tracked.last_sent[leg.mx] = self._detecting.now()
        state = tracked.incident.state
        tracked.follow(before, move, self._caps(leg.route), self._clock.now().utc)
        if tracked.incident.state is not state:
            self._changed(tracked)

    def _changed(self, tracked: Tracked) -> None:
        incident = tracked.incident
        self._journal.incident_changed(incident.route, incident.id, incident.state.value, incident.reasons[-1][1])
        if not incident.state.active:
            self._over(tracked)
        self._roused.set()

    def _over(self, tracked: Tracked) -> None:
        incident, now = tracked.incident, self._detecting.now()
        for (route, mx), watched in self._detecting.legs.items():
            if route == incident.route and mx in incident.legs:
                watched.detector.closed()
                watched.calibration.closed(incident.id, now)
                watched.dirty = True

    def open_routes(self) -> set[str]:
        """Those with an incident that is not over."""
        return {route for route, tracked in self.tracked.items() if tracked.incident.state.active}

    def also(self, leg: Leg) -> Extra | None:
        """What the proof and the sweep ask of a leg, for extras.py."""
        tracked = self.tracked.get(leg.route)
        due = None if tracked is None else tracked.due(leg.mx, self._detecting.now())
        return None if due is None else recovery_extra(due)

    async def mark_false(self, incident_id: str, by: str) -> None:
        """An operator says that it was none. Raises UsageError, LedgerUnwritable."""
        tracked = next((one for one in self.tracked.values() if one.incident.id == incident_id), None)
        if tracked is None:
            row = self._books.ledger.queries.incident(incident_id)
            if row is None:
                raise UsageError(f"incident: there is no incident {incident_id!r}")
            tracked = Tracked.restore(json.loads(row.record), json.loads(row.work))
        try:
            tracked.apply(MarkedFalse(self._clock.now().utc, by))
        except IllegalMove as cause:
            raise UsageError(f"incident: {cause}") from cause
        for (route, mx), watched in self._detecting.legs.items():
            if route == tracked.incident.route and mx in tracked.incident.legs:
                watched.called_false(incident_id, self._detecting.now())
        self._changed(tracked)
        await self._write([tracked])

    # The loop.

    async def run(self, stopping: asyncio.Event, pulse: Pulse) -> None:
        """Count, find the windows, and write what has changed; until ``stopping``."""
        kept = self._detecting.now()
        told = asyncio.ensure_future(stopping.wait())
        told.add_done_callback(lambda _: self._roused.set())
        try:
            while not stopping.is_set():
                await wait_until(self._clock, self._clock.now() + STEP, self._roused, pulse)
                self._roused.clear()
                if self._detecting.now() >= kept + KEPT_APART:
                    kept = self._detecting.now()
                    self._detecting.keep(self._all_legs())
                for tracked in list(self.tracked.values()):
                    if self._countable(tracked):
                        await self._count(tracked)
                with suppress(LedgerUnwritable):  # the books said so; it is all written at the next step
                    await self._write(list(self.tracked.values()))
            with suppress(LedgerUnwritable):
                await self._write(list(self.tracked.values()), everything=True)
        finally:
            told.cancel()

    def _countable(self, tracked: Tracked) -> bool:
        incident, now = tracked.incident, self._clock.now()
        over = not incident.state.active
        if over and (incident.closed_at is None or now.utc - incident.closed_at > FOLLOWED_FOR):
            return False
        if tracked.counted_at is None:
            return True
        apart = COUNTED_APART + timedelta(seconds=tracked.rows / ROWS_A_SECOND)
        if not incident.state.active:
            apart = max(apart, COUNTED_AFTER)
        return now.since(tracked.counted_at) >= apart

    async def _count(self, tracked: Tracked) -> None:
        incident = tracked.incident
        tracked.counted_at = self._clock.now()
        rows = await self._ask(Filter(route=incident.route, since=incident.first_bad, limit=MOST_ROWS))
        state, at = tracked.incident.state, self._clock.now().utc
        tracked.count(rows, at)
        smallest = float(self._config().detection.smallest_loss)
        for mx in incident.affected:
            history = await self._ask(Filter(route=incident.route, mx=mx, limit=HISTORY))
            tracked.rows = len(rows) + len(history)
            tracked.place(mx, list(reversed(history)), self._clock.now().utc, smallest)
        if tracked.incident.state is not state:
            self._changed(tracked)

    async def _ask(self, wanted: Filter) -> list[Canary]:
        queries = self._books.ledger.queries
        return queries.canaries(wanted) if self._inline else await asyncio.to_thread(queries.canaries, wanted)

    async def _write(self, some: Sequence[Tracked], *, everything: bool = False) -> None:
        batch = Batch()
        for tracked in some:
            if tracked.dirty:
                batch.incident(tracked.row(self._clock.now()))
                tracked.dirty = False
        self._detecting.save(batch, everything=everything)
        if self.extras is not None:
            self.extras.save(batch)
        try:
            await self._books.commit(batch)
        except LedgerUnwritable:
            for tracked in some:
                tracked.dirty = True
            raise

    # A start.

    def load(self) -> None:
        """Take over the incidents that are not over, and the last one of each route that may be opened again."""
        for row in self._books.ledger.queries.incidents(active=True, limit=1000):
            if row.route in self.tracked or row.route not in self._config().routes:
                continue
            with suppress(ValueError, KeyError, TypeError, IndexError):
                tracked = Tracked.restore(json.loads(row.record), json.loads(row.work))
                self.tracked[row.route] = tracked
                for canary_id in list(tracked.told):
                    tracked.catch_up(canary_id, self._books.find(canary_id))
                if tracked.incident.state.active:
                    self._hold(tracked.incident)
        self._let_go()

    def _hold(self, incident: Incident) -> None:
        """Its detectors page no second time, also where what they knew was lost."""
        for page in incident.pages:
            watched = self._detecting.legs.get((incident.route, page.mx))
            if watched is not None and watched.detector.open is None:
                first = self._detecting.timeline.seconds(self._of(page.first_bad))
                at = self._detecting.timeline.seconds(self._of(page.at))
                kind = Kind(page.rule)
                watched.detector.opened(Finding(kind, Grade.PAGE, at, page.score, page.threshold, "", first, None))

    def _let_go(self) -> None:
        """Detectors whose incident ended without them: an operator called it false while no daemon ran."""
        latest = {row.route: row for row in reversed(self._rows())}
        for (route, _), watched in self._detecting.legs.items():
            if watched.detector.open is None or route in self.open_routes():
                continue
            row, now = latest.get(route), self._detecting.now()
            if row is not None and row.state == "false":
                watched.called_false(row.id, now)
            elif row is not None:
                watched.calibration.closed(row.id, now)
            watched.detector.closed()

    def _of(self, moment: datetime) -> Instant:
        return Instant(ns_of(moment), 0, "")

    def _caps(self, route: str) -> list[Cap]:
        return caps_of(self._config(), route)


def order(request: Mapping[str, Any]) -> tuple[str, str]:
    """``incident`` and ``reason`` of the control socket's mark_false. Raises UsageError."""
    incident, reason = request.get("incident"), request.get("reason", "")
    if not isinstance(incident, str) or not isinstance(reason, str) or len(reason) > 500 or len(incident) > 200:
        raise UsageError("mark_false: incident must be an id, reason a text of at most 500 characters")
    return incident, reason
