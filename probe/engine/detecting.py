"""The detectors of all legs: fed by the books and by complete reads, asked for what they found and what they want.

They outlive generations, as the books do. What they know goes to the ledger every few seconds and with each page; a
start takes it over, looks up how what was waiting has ended, and counts the time between as blind.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Protocol

from probe.canary.life import Effect, Move
from probe.canary.record import Canary, Leg, State
from probe.clock import Clock, Instant
from probe.config.model import Config
from probe.detection.calibration import Aim, Calibration
from probe.detection.detector_findings import Finding
from probe.detection.detector_time import Timeline
from probe.detection.threshold import stall_limit
from probe.engine.books import Books
from probe.engine.watched import WatchedLeg
from probe.ledger.batch import Batch

MONTH = 30 * 86_400.0
RESTFUL_SAVED = 600.0  # seconds: a leg on which all is well
LEARNED_SAVED = 1800.0  # what it has learned: a day of it is little, and it is long to write
AT_ONCE = 4  # legs that are calibrated, or written while all is well, by one call, and one more for every hundred
REMEMBERED_FOR = 60.0  # seconds that what is kept is not looked up again for the next new leg

Told = Callable[[Leg, Finding], None]


class Seer(Protocol):
    """A watcher, as far as it is needed here."""

    name: str

    def covered_since(self) -> Instant | None: ...


class Detecting:
    """Detectors by leg. ``told`` is called for each finding; ``rouse`` whenever an extra canary may have become due."""

    def __init__(self, books: Books, clock: Clock, config: Callable[[], Config]) -> None:
        self._books = books
        self._clock = clock
        self._config = config
        self._count = 1
        self.told: Told = lambda _leg, _finding: None
        self.rouse: Callable[[], None] = lambda: None
        self.timeline = Timeline(clock.now())
        self.legs: dict[tuple[str, str], WatchedLeg] = {}
        self.restless: dict[tuple[str, str], WatchedLeg] = {}  # those of which something may come: nearly always few
        self.open_routes: Callable[[], set[str]] = set
        self._loaded = False
        self._kept: tuple[float, Mapping[str, tuple[int, str]]] | None = None
        self._paging_of: tuple[Config, frozenset[str]] | None = None
        books.listeners.append(self._follow)

    def now(self) -> float:
        """The present moment on the detectors' line of time."""
        return self.timeline.seconds(self._clock.now())

    # The legs.

    def keep(self, legs: Iterable[Leg]) -> None:
        """The legs that there are now share the budget of false pages; those that are gone are kept, and rest."""
        there = [leg for leg in legs if self._paging(leg.route)]
        self._count = max(1, len(there))
        for leg in there:
            self._leg(leg).leg = leg  # a reload may have moved it to another mailbox
        self._kept = None
        self.rest()
        left, now = AT_ONCE + len(there) // 100, self.now()
        for one in self.legs.values():
            if left and not one.resting and one.wants_figures(now, aim := self._aim(one.leg.route)):
                one.calibrate(now, aim)
                left -= 1

    def rest(self) -> None:
        """Legs whose route is gone or pages no more rest: nobody tells them what becomes of their canaries."""
        for key, one in self.legs.items():
            if self._paging(one.leg.route):
                one.resting = False
            elif not one.resting:
                one.rest()
                self.restless.pop(key, None)

    def _paging(self, route: str) -> bool:
        """Whether this route is there and may page; of the others nothing is concluded (``paging: false``)."""
        config = self._config()
        if self._paging_of is None or self._paging_of[0] is not config:
            self._paging_of = config, frozenset(name for name, one in config.routes.items() if one.paging)
        return route in self._paging_of[1]

    def _leg(self, leg: Leg) -> WatchedLeg:
        one = self.legs.get((leg.route, leg.mx))
        if one is None:
            one = self.legs[(leg.route, leg.mx)] = WatchedLeg(leg, self.now(), self._aim(leg.route))
            if self._loaded:
                self._take_over(one, self._remembered(), self._flying())
                if one.detector.open is not None and leg.route not in self.open_routes():
                    one.detector.closed()  # its incident ended without it
        return one

    def _remembered(self) -> Mapping[str, tuple[int, str]]:
        """What the ledger keeps of legs, for one that DNS or a reload brings back."""
        now = self.now()
        if self._kept is None or now - self._kept[0] > REMEMBERED_FOR:
            self._kept = now, self._books.ledger.queries.detectors()
        return self._kept[1]

    def _aim(self, route: str) -> Aim:
        config = self._config()
        one, aims = config.routes[route], config.detection
        overdue = one.overdue_after.total_seconds()
        stall = stall_limit(overdue) if aims.stall_limit is None else aims.stall_limit.total_seconds()
        month = MONTH / one.every.total_seconds()
        return Aim(overdue, stall, float(aims.smallest_loss), month, aims.false_pages_per_month / self._count)

    # What happens.

    def _follow(self, before: Canary, move: Move) -> None:
        after = move.canary
        if before.state is State.INTENT and after.state is State.DATA_STARTED:
            return  # of all steps the one that tells nothing
        if not self._paging(after.leg.route):
            return
        one = self._leg(after.leg)
        one.dirty, one.resting = True, False
        if after.judged and not before.judged:
            one.recent.append(after.overdue)
        detector = one.detector
        if before.state is State.PLANNED:
            detector.attempted(self.timeline.seconds(after.sent))
        elif after.attempts == 1 and before.state is State.DATA_STARTED and _taken(after):
            self._sent(one, after)
        if Effect.ARRIVAL in move.effects and one.waiting.pop(after.id, None) is not None:
            self._arrived(one, after, self.now())
        elif after.state.terminal and not before.state.terminal:
            told = one.waiting.pop(after.id, None) is not None
            if told and after.state is not State.LOST:  # which was judged overdue long before
                detector.left_out(after.id)
        self._look(one)
        if one.troubled:
            self.rouse()

    def _look(self, one: WatchedLeg) -> None:
        """Keep up the list of those of which something may come."""
        key = (one.leg.route, one.leg.mx)
        if one.detector.idle:
            self.restless.pop(key, None)
        else:
            self.restless[key] = one

    def _sent(self, one: WatchedLeg, canary: Canary) -> None:
        at = self.timeline.seconds(canary.zero)
        one.waiting[canary.id] = at
        one.detector.sent(canary.id, at)

    def _arrived(self, one: WatchedLeg, canary: Canary, now: float) -> None:
        age = None if canary.latency is None else canary.latency.total_seconds()
        one.detector.arrived(canary.id, age, now)
        if age is not None and one.detector.open is None:
            one.calibration.latency(now, age)

    def read(self, seer: Seer, blind_since: Instant | None) -> None:
        """Every folder of this mailbox was read. ``blind_since``: until this read it was blind, from then on."""
        began = seer.covered_since()
        if began is None:
            return
        some = list((self.restless if blind_since is None else self.legs).values())
        if not some:
            return
        start, now = self.timeline.seconds(began), self.now()
        for one in some:
            if one.leg.mailbox != seer.name or one.resting or (blind_since is None and one.detector.quiet(now)):
                continue
            if blind_since is not None:
                one.detector.went_blind(self.timeline.seconds(blind_since))
            one.dirty = True
            finding = one.detector.complete_read(start, now)
            self._look(one)
            if finding is not None:
                self.told(one.leg, finding)
        if any(one.troubled for one in self.restless.values()):
            self.rouse()

    def next_check(self, mailbox: str) -> Instant | None:
        """When a complete read of this mailbox could find something new."""
        moments = [
            moment
            for one in self.restless.values()
            if one.leg.mailbox == mailbox and (moment := one.detector.next_check()) is not None
        ]
        return self.timeline.instant(min(moments)) if moments else None

    # What is kept.

    def save(self, batch: Batch, *, everything: bool = False) -> None:
        """What has changed: at once where something is wrong, else a few now and then; with ``everything`` all."""
        instant, now = self._clock.now(), self.now()
        left = len(self.legs) * 2 if everything else AT_ONCE + len(self.legs) // 100
        for key, one in self.legs.items():
            urgent = everything or one.troubled
            if one.dirty and (urgent or (left > 0 and now - one.saved >= RESTFUL_SAVED)):
                batch.detector(name_of("leg", *key), instant, _json(one.state()))
                one.dirty, one.saved = False, now
                left -= not urgent
            if everything or (left > 0 and now - one.learned_saved >= LEARNED_SAVED):
                batch.detector(name_of("learned", *key), instant, _json(one.calibration.state()))
                one.learned_saved = now
                left -= 1

    def load(self, legs: Iterable[Leg]) -> None:
        """Take over what the last run knew. What has ended meanwhile is looked up; the time since then was blind."""
        kept, flying = self._books.ledger.queries.detectors(), self._flying()
        for leg in legs:
            if self._paging(leg.route):
                self._take_over(self._leg(leg), kept, flying)
        self._loaded = True

    def _flying(self) -> Mapping[tuple[str, str], list[Canary]]:
        """By leg, the canaries that a detector should wait for."""
        flying: dict[tuple[str, str], list[Canary]] = {}
        for one in list(self._books.in_flight.outlines()):
            if one.state is State.ACCEPTED and one.attempts == 1 and not one.judged:
                flying.setdefault((one.leg.route, one.leg.mx), []).append(self._books.in_flight[one.id])
        return flying

    def _take_over(
        self,
        one: WatchedLeg,
        kept: Mapping[str, tuple[int, str]],
        flying: Mapping[tuple[str, str], list[Canary]],
    ) -> None:
        key = (one.leg.route, one.leg.mx)
        at, text = kept.get(name_of("leg", *key), (0, ""))
        _, learned = kept.get(name_of("learned", *key), (0, ""))
        # What another version wrote is passed over: this leg begins anew.
        with suppress(ValueError, KeyError, TypeError, IndexError):
            one.calibration = Calibration.restore(json.loads(learned))
            one.stale = True
        with suppress(ValueError, KeyError, TypeError, IndexError):
            one.restore(json.loads(text), self.now())
            one.detector.down(at / 1e9, self.now())
            self._catch_up(one, flying.get(key, ()))
            self._look(one)

    def _catch_up(self, one: WatchedLeg, flying: Iterable[Canary]) -> None:
        """Canaries that ended while their end was not written here, and those that were taken meanwhile."""
        for canary_id in list(one.waiting):
            canary = self._books.find(canary_id)
            if canary is not None and canary.state is State.ACCEPTED:
                continue
            del one.waiting[canary_id]
            if canary is not None and canary.state in (State.DELIVERED, State.LATE):
                self._arrived(one, canary, self.now())
            else:
                one.detector.left_out(canary_id)
        for canary in sorted(flying, key=lambda each: each.zero.wall):
            if canary.id not in one.waiting:
                self._sent(one, canary)


def _taken(canary: Canary) -> bool:
    """Accepted; or it has arrived before the server's answer did."""
    return canary.state in (State.ACCEPTED, State.DELIVERED, State.LATE)


def name_of(what: str, route: str, mx: str) -> str:
    """The name of a leg's detector in the ledger: no part holds a blank."""
    return f"{what} {route} {mx}"


def _json(state: object) -> str:
    return json.dumps(state, separators=(",", ":"))
