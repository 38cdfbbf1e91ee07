"""The detectors of all legs: fed by the books and by complete reads, asked for what they found and what they want.

They outlive generations, as the books do. What they know goes to the ledger every few seconds and with each page; a
start takes it over, looks up how what was waiting has ended, and counts the time between as blind.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Protocol

from probe.canary.life import Effect, Move
from probe.canary.record import Canary, Leg, State
from probe.clock import Clock, Instant
from probe.config.model import Config
from probe.detection.calibration import Aim, Calibrated, Calibration
from probe.detection.detector import Detector
from probe.detection.detector_findings import Finding
from probe.detection.detector_time import Timeline
from probe.detection.threshold import stall_limit
from probe.engine.books import Books
from probe.exposition.live import DetectorView
from probe.ledger.batch import Batch

MONTH = 30 * 86_400.0
RESTFUL_SAVED = 600.0  # seconds: a leg on which all is well
LEARNED_SAVED = 600.0  # what it has learned
AT_ONCE = 4  # legs that are calibrated by one call, and one more for every hundred: each takes milliseconds
RECENT = 420

Told = Callable[[Leg, Finding], None]


class Seer(Protocol):
    """A watcher, as far as it is needed here."""

    name: str

    def covered_since(self) -> Instant | None: ...


class WatchedLeg:
    """One leg's detector with its calibration. ``waiting``: canaries it was told of and that are not judged yet."""

    def __init__(self, leg: Leg, at: float, aim: Aim) -> None:
        self.leg = leg
        self.aim = aim
        self.calibration = Calibration()
        self.calibrated: Calibrated = self.calibration.recalibrate(at, aim)
        self.detector = Detector(self.calibrated.tuning)
        self.waiting: dict[str, float] = {}
        self.recent: deque[bool] = deque(maxlen=RECENT)  # of the canaries judged last: whether it was overdue
        self.calm: tuple[object, DetectorView] | None = None  # what it shows while all is well (detection_view.py)
        self.dirty = True
        self.stale = False  # its figures are not those of its history
        self.saved = at
        self.learned_saved = at

    def recent_bad(self, lasts: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """(last, overdue ones among the last so many judged canaries)."""
        if True not in self.recent:
            return tuple((last, 0) for last in lasts)
        return tuple((last, sum(islice(reversed(self.recent), last))) for last in lasts)

    @property
    def troubled(self) -> bool:
        """Whether more than a canary on its way keeps it awake: then extras are due to the second."""
        detector = self.detector
        return detector.score > 0 or detector.dark_since is not None or detector.open is not None

    def wants_figures(self, at: float, aim: Aim) -> bool:
        """Once an hour, and whenever what is aimed at has changed."""
        self.calibration.follow(at, self.detector.judged, self.detector.runs)
        return self.stale or aim != self.aim or self.calibration.due(at)

    def calibrate(self, at: float, aim: Aim) -> None:
        """Figures from its history."""
        due = self.calibration.due(at)
        self.aim, self.dirty, self.stale = aim, True, False
        self.calibrated = (self.calibration.recalibrate if due else self.calibration.figures)(at, aim)
        self.detector.retune(self.calibrated.tuning)

    def called_false(self, incident: str, at: float) -> None:
        """It was no incident."""
        self.calibration.called_false(incident)
        self.calibrated = self.calibration.figures(at, self.aim)
        self.detector.retune(self.calibrated.tuning)

    def state(self) -> dict[str, Any]:
        return {
            "detector": self.detector.state(),
            "waiting": self.waiting,
            "recent": "".join("x" if bad else "." for bad in self.recent),
        }

    def restore(self, state: Mapping[str, Any], at: float) -> None:
        """Raises ValueError, KeyError or TypeError for what another version wrote. It goes on with the figures that it
        had; new ones are made by and by."""
        detector = Detector.restore(state["detector"])
        waiting = {str(name): float(sent) for name, sent in state["waiting"].items()}
        self.detector, self.waiting = detector, waiting
        self.recent.extend(each == "x" for each in state["recent"])
        self.stale, self.saved = True, at


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
        left, now = AT_ONCE + len(there) // 100, self.now()
        for one in self.legs.values():
            if left and self._paging(one.leg.route) and one.wants_figures(now, aim := self._aim(one.leg.route)):
                one.calibrate(now, aim)
                left -= 1

    def _paging(self, route: str) -> bool:
        """Whether this route is there and may page; of the others nothing is concluded (``paging: false``)."""
        one = self._config().routes.get(route)
        return one is not None and one.paging

    def _leg(self, leg: Leg) -> WatchedLeg:
        one = self.legs.get((leg.route, leg.mx))
        if one is None:
            one = self.legs[(leg.route, leg.mx)] = WatchedLeg(leg, self.now(), self._aim(leg.route))
        return one

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
        if not self._paging(after.leg.route):
            return
        one = self._leg(after.leg)
        one.dirty = True
        if after.judged and not before.judged:
            one.recent.append(after.overdue)
        detector, now = one.detector, self.now()
        if before.state is State.PLANNED:
            detector.attempted(self.timeline.seconds(after.sent))
        elif after.attempts == 1 and before.state is State.DATA_STARTED and _taken(after):
            self._sent(one, after)
        if Effect.ARRIVAL in move.effects and one.waiting.pop(after.id, None) is not None:
            self._arrived(one, after, now)
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
        start, now = self.timeline.seconds(began), self.now()
        for one in list((self.restless if blind_since is None else self.legs).values()):
            if one.leg.mailbox != seer.name:
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
        """What has changed: at once where something is wrong, else now and then; with ``everything`` all of it."""
        instant, now = self._clock.now(), self.now()
        for key, one in self.legs.items():
            restful = key not in self.restless and now - one.saved < RESTFUL_SAVED
            if one.dirty and (everything or not restful):
                batch.detector(name_of("leg", *key), instant, _json(one.state()))
                one.dirty, one.saved = False, now
            if everything or now - one.learned_saved >= LEARNED_SAVED:
                batch.detector(name_of("learned", *key), instant, _json(one.calibration.state()))
                one.learned_saved = now

    def load(self, legs: Iterable[Leg]) -> None:
        """Take over what the last run knew. What has ended meanwhile is looked up; the time since then was blind."""
        kept = self._books.ledger.queries.detectors()
        flying: dict[tuple[str, str], list[Canary]] = {}
        for canary in self._books.in_flight.values():
            if canary.state is State.ACCEPTED and canary.attempts == 1 and not canary.judged:
                flying.setdefault((canary.leg.route, canary.leg.mx), []).append(canary)
        for leg in legs:
            if not self._paging(leg.route):
                continue
            one = self._leg(leg)
            at, text = kept.get(name_of("leg", leg.route, leg.mx), (0, ""))
            _, learned = kept.get(name_of("learned", leg.route, leg.mx), (0, ""))
            # What another version wrote is passed over: this leg begins anew.
            with suppress(ValueError, KeyError, TypeError, IndexError):
                one.calibration = Calibration.restore(json.loads(learned))
                one.stale = True
            with suppress(ValueError, KeyError, TypeError, IndexError):
                one.restore(json.loads(text), self.now())
                one.detector.down(at / 1e9, self.now())
                self._catch_up(one, flying.get((leg.route, leg.mx), ()))
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
