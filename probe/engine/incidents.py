"""Incidents: opened by a detector's page, followed to the all-clear and beyond, durable at every step.

The record and its moves are pure (detection/incident.py); what feeds them is in incident_work.py. Here they meet the
books, the detectors and the ledger. At most one incident of a route is not over.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from probe.canary.life import Move
from probe.canary.record import Canary, Leg, State
from probe.clock import Clock
from probe.config.model import Config
from probe.detection import incident as life
from probe.detection.detector_findings import Extra, Finding, Grade, Kind
from probe.detection.incident_observations import LegsGone, MarkedFalse, Paged, RouteGone, Worsened
from probe.detection.naming import DEAD, Sweep
from probe.detection.pace import Cap
from probe.detection.recovery import NOISIEST, Recovery, Tally
from probe.engine.books import Books
from probe.engine.detecting import Detecting
from probe.engine.extras import Extras, recovery_extra
from probe.engine.incident_counting import HISTORY, Counting
from probe.engine.incident_start import hold, let_go, seconds_of
from probe.engine.incident_work import Tracked, caps_of
from probe.engine.supervisor import Pulse, wait_until
from probe.errors import IllegalMove, LedgerUnwritable, MailCanaryError
from probe.exposition.journal import Journal
from probe.ledger.batch import Batch, IncidentRow
from probe.ledger.queries import Filter

STEP = timedelta(seconds=5)
KEPT_APART = 30.0  # seconds between looks at which legs there are, and whose figures are due


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
        self._counting = Counting(books, clock, config, inline=inline)
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
        why = tracked.incident.reasons[-1][1]
        watched = self._detecting.legs[(leg.route, leg.mx)]
        if leg.mx not in tracked.recoveries:
            noise, tries = min(NOISIEST, watched.calibrated.noise), tracked.tries.get(leg.mx, 0)
            tracked.recoveries[leg.mx] = Recovery(noise, self._before(leg, first_bad), tries=tries)
        self._sweep(tracked, leg, finding)
        watched.calibration.exclude(tracked.incident.id, seconds_of(self._detecting, first_bad))
        tracked.progress(leg.mx, self._caps(leg.route), at)
        self._journal.incident_paged(leg.route, leg.mx, tracked.incident.id, why)
        self._roused.set()
        self._detecting.rouse()

    def _tracked(self, leg: Leg, first_bad: datetime, at: datetime) -> Tracked:
        known = self.tracked.get(leg.route)
        if known is not None and life.takes_page(known.incident, at):
            if not known.incident.state.active:
                known.begin_again()
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
        share = DEAD if finding.kind is Kind.BLACKOUT else float(self._config().detection.smallest_loss)
        if tracked.sweep is None:
            noise = {mx: self._noise(leg.route, mx) for mx in tracked.incident.legs}
            tracked.sweep = Sweep(noise, leg.mx, share)
        else:
            tracked.sweep.add(leg.mx, self._noise(leg.route, leg.mx))
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
            tracked.counted_at = None  # its window has an end now
            self._over(tracked)
        self._roused.set()

    def _over(self, tracked: Tracked) -> None:
        """The detectors begin anew. Not where another incident of the route is open: an old one was called false. A
        leg that had no part in it keeps its points."""
        incident, now = tracked.incident, self._detecting.now()
        others = incident.route in self.open_routes()
        for (route, mx), watched in self._detecting.legs.items():
            if route == incident.route and mx in incident.legs:
                if not others and (watched.detector.open is not None or mx in incident.affected):
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
        """An operator says that it was none. Raises MailCanaryError (there is none, or it never paged),
        LedgerUnwritable."""
        tracked = next((one for one in self.tracked.values() if one.incident.id == incident_id), None)
        if tracked is None:
            row = self._books.ledger.queries.incident(incident_id)
            if row is None:
                raise MailCanaryError(f"no incident {incident_id!r} in the ledger; `mailcanary incidents` lists them")
            tracked = Tracked.restore(json.loads(row.record), json.loads(row.work))
        try:
            tracked.apply(MarkedFalse(self._clock.now().utc, by))
        except IllegalMove as cause:
            raise MailCanaryError(f"{cause}; only one that paged can be marked false") from cause
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
                    self.follow_legs()
                for tracked in list(self.tracked.values()):
                    await self._look_at(tracked)
                with suppress(LedgerUnwritable):  # the books said so; it is all written at the next step
                    await self._write(list(self.tracked.values()))
            with suppress(LedgerUnwritable):
                await self._write(list(self.tracked.values()), everything=True)
        finally:
            told.cancel()

    async def _look_at(self, tracked: Tracked) -> None:
        """Count it where that is due, and see whether a leg has become far worse."""
        self._compare(tracked)
        if self._counting.due(tracked):
            state = tracked.incident.state
            await self._counting.count(tracked)
            if tracked.incident.state is not state:
                self._changed(tracked)

    def _compare(self, tracked: Tracked) -> None:
        """A leg that loses ten times the share that was told of it is news, though it pages no second time."""
        incident = tracked.incident
        for mx in tuple(tracked.recoveries) if incident.state.active else ():
            watched = self._detecting.legs.get((incident.route, mx))
            if watched is not None and (worse := tracked.worse(mx, watched)) is not None:
                tracked.apply(Worsened(self._clock.now().utc, mx, *worse))
                self._changed(tracked)

    def follow_legs(self) -> None:
        """Legs and routes that are gone can prove nothing any more: their incidents end, and say so."""
        active = [one for one in self.tracked.values() if one.incident.state.active]
        if not active:
            return
        routes, now, at = self._config().routes, self._detecting.now(), self._clock.now().utc
        here, flying = self._all_legs(), {canary.leg for canary in self._books.in_flight.values()}
        for tracked in active:
            route = tracked.incident.route
            if route not in routes:
                tracked.apply(RouteGone(at))
                self._changed(tracked)
                continue
            hosts = {leg.mx for leg in here if leg.route == route}
            gone = tracked.legs_gone(hosts, {leg.mx for leg in flying if leg.route == route}, now)
            if gone != tracked.incident.gone:
                tracked.apply(LegsGone(at, gone))
                self._changed(tracked)

    async def _write(self, some: Sequence[Tracked], *, everything: bool = False) -> None:
        batch = Batch()
        for tracked in some:
            if tracked.dirty:
                batch.incident(tracked.row(self._clock.now()))
                tracked.dirty = False
        self._detecting.save(batch, everything=everything)
        if self.extras is not None:
            self.extras.save(batch, everything=everything)
        if not batch:
            return
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
            if row.route in self.tracked:
                continue  # of a route that is gone too: it is to be ended
            with suppress(ValueError, KeyError, TypeError, IndexError):
                tracked = Tracked.restore(json.loads(row.record), json.loads(row.work))
                self.tracked[row.route] = tracked
                for canary_id in list(tracked.told):
                    tracked.catch_up(canary_id, self._books.find(canary_id))
                if tracked.incident.state.active:
                    hold(self._detecting, tracked.incident)
        let_go(self._detecting, self._rows(), self.open_routes())

    def _caps(self, route: str) -> list[Cap]:
        return caps_of(self._config(), route)
