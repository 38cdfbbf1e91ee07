"""Extra canaries: what detectors ask for when something may be wrong, within the allowance, the caps and each turn.

The caps are those of every canary; what the schedule will need of them is kept free, so that an extra one never makes a
canary of the schedule wait. While its mailbox is blind, or its route paused, a leg gets none.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

from probe.canary.record import Leg
from probe.clock import Clock
from probe.config.model import Config
from probe.detection.allowance import Allowance, Room, Turns
from probe.detection.detector_findings import Extra, Why
from probe.engine.detecting import Detecting
from probe.engine.generation import Generation
from probe.engine.pauses import Pauses
from probe.engine.sending import LegSender
from probe.engine.submissions import says_too_much
from probe.engine.supervisor import Pulse, wait_until
from probe.exposition.journal import Journal, Level
from probe.ledger.batch import Batch
from probe.ledger.queries import Queries
from probe.options import Rate
from probe.senders.base import Submission

DAY = 86_400.0
SHORTEST_WAIT = 0.001  # s
LONGEST_WAIT = timedelta(seconds=30)
CALM_WAIT = 1.0  # while canaries are on their way: a suspicion may be a second late
AFTER_REFUSAL = 1.0
RENEWED_APART = 5.0
SAVED_APART = 60.0  # seconds between two writings of the savings

Asked = Callable[[Leg], Extra | None]


class RoutePurse:
    """What the legs of one route share."""

    def __init__(self, config: Config, route: str, legs: int) -> None:
        one = config.routes[route]
        rate = legs / one.every.total_seconds()
        self.allowance = Allowance(float(config.detection.extra_canaries), rate * DAY)
        self.rooms = [Room([_cap(config.detection.max_rate)], rate)]
        self.rooms.append(Room([_cap(cap) for cap in config.limits.per_route], rate))
        self.turns = Turns()

    def free_at(self, now: float, extra: Extra) -> float:
        return max(room.free_at(now, extra) for room in self.rooms)

    def go_on(self, before: RoutePurse) -> None:
        """What the purse before this one held: a reload earns nothing and forgets nothing."""
        self.allowance.saved = min(self.allowance.saved, before.allowance.saved)
        for room, old in zip(self.rooms, before.rooms, strict=True):
            room.go_on(old)

    def spend(self, at: float) -> None:
        self.allowance.spend()
        for room in self.rooms:
            room.spend(at)


class Extras:
    """The loop that sends them. ``also``: what incidents ask for beside the detectors (None: nothing of a leg)."""

    def __init__(
        self,
        detecting: Detecting,
        pauses: Pauses,
        clock: Clock,
        generation: Callable[[], Generation],
        also: Asked,
        open_routes: Callable[[], set[str]],
        journal: Journal | None = None,
    ) -> None:
        self._detecting = detecting
        self._pauses = pauses
        self._clock = clock
        self._generation = generation
        self._also = also
        self._open = open_routes
        self._journal = journal
        self._roused = asyncio.Event()
        self._purses: dict[str, RoutePurse] = {}
        self._recipients: dict[str, Room] = {}
        self._made_for: Generation | None = None
        self._renewed = -math.inf
        self._legs: list[LegSender] = []
        self._saved = -math.inf
        self._senders: dict[str, dict[str, LegSender]] = {}
        self._held_until: dict[tuple[str, str], float] = {}
        self._counted: dict[tuple[str, str], float] = {}
        detecting.rouse = self._roused.set

    async def run(self, stopping: asyncio.Event, pulse: Pulse) -> None:
        """Until ``stopping``."""
        told = asyncio.ensure_future(stopping.wait())
        told.add_done_callback(lambda _: self._roused.set())
        try:
            while not stopping.is_set():
                self._roused.clear()
                left = self._step()
                await wait_until(self._clock, self._clock.now() + left, self._roused, pulse)
        finally:
            told.cancel()

    def _step(self) -> timedelta:
        """Send what is due; how long until the next one can be."""
        generation = self._generation()
        self._renew(generation)
        soonest = CALM_WAIT if self._detecting.restless else LONGEST_WAIT.total_seconds()
        for route, senders in self._restless().items():
            soonest = min(soonest, self._route(route, senders))
        # Below a microsecond a wait is none, and would be asked for again and again. 0 has sent, and looks again.
        return timedelta(seconds=max(SHORTEST_WAIT, soonest) if soonest > 0 else 0.0)

    def _restless(self) -> dict[str, dict[str, LegSender]]:
        """The legs that may want something, by route: where a detector is awake, or an incident is open."""
        routes = {route for route, _ in self._detecting.restless} | self._open()
        return {route: self._senders[route] for route in routes if route in self._senders}

    def _route(self, route: str, senders: Mapping[str, LegSender]) -> float:
        """Seconds until this route has something to send; 0 where it has sent just now."""
        now = self._detecting.now()
        wanted = {mx: extra for mx, one in senders.items() if (extra := self._wants(one, now)) is not None}
        if not wanted:
            return math.inf
        purse = self._purses[route]
        mx = purse.turns.next(now, wanted, purse.allowance)
        if mx is None:
            later = [extra.due - now for extra in wanted.values() if extra.due > now]
            return min(later, default=math.inf)
        one, extra = senders[mx], wanted[mx]
        recipient = self._recipients[one.route.rcpt_to.casefold()]
        free = max(purse.free_at(now, extra), recipient.free_at(now, extra))
        if free > now:
            self._held_until[(route, mx)] = min(free, now + LONGEST_WAIT.total_seconds())
            return 0.0
        sent = one.send_now(self._clock.now())
        if isinstance(sent, str):
            self._held_until[(route, mx)] = now + AFTER_REFUSAL
            return 0.0
        purse.spend(now)
        recipient.spend(now)
        self._detecting.legs[(route, mx)].detector.attempted(now)
        return 0.0

    def _wants(self, one: LegSender, now: float) -> Extra | None:
        key = (one.route.name, one.leg.mx)
        watched = self._detecting.legs.get(key)
        if watched is None or watched.resting or one.gone_since is not None or not one.ready():
            return None
        if self._generation().watchers[one.route.mailbox].blind_since is not None:
            return None
        if self._pauses.of(one.route.name, self._clock.now()) is not None:
            return None
        wishes = [extra for extra in (watched.detector.next_extra(now), self._also(one.leg)) if extra is not None]
        if not wishes:
            return None
        extra = min(wishes, key=lambda wish: wish.due)
        held = self._held_until.get(key, -math.inf)
        return extra if held <= extra.due else Extra(held, extra.why, extra.exempt)

    # What the schedule earns, and what it needs.

    def _renew(self, generation: Generation) -> None:
        """Now and then: what the schedule has earned meanwhile, and the legs that there are."""
        now = self._detecting.now()
        if generation is self._made_for and now < self._renewed + RENEWED_APART:
            return
        self._renewed = now
        if generation is self._made_for and generation.legs == self._legs:
            self._earn(generation)
            return
        self._made_for, self._legs = generation, list(generation.legs)
        config = generation.config
        self._senders = {}
        for one in generation.legs:
            self._senders.setdefault(one.route.name, {})[one.leg.mx] = one
        before, self._purses = self._purses, {}
        for route, senders in self._senders.items():
            self._purses[route] = RoutePurse(config, route, len(senders))
            if route in before:
                self._purses[route].go_on(before[route])
        rates: dict[str, float] = {}
        for one in generation.legs:
            recipient = one.route.rcpt_to.casefold()
            rates[recipient] = rates.get(recipient, 0.0) + 1 / one.route.every.total_seconds()
        caps = [_cap(cap) for cap in config.limits.per_recipient]
        known, self._recipients = self._recipients, {name: Room(caps, rate) for name, rate in rates.items()}
        for name, room in self._recipients.items():
            if name in known:
                room.go_on(known[name])
        for one in generation.legs:
            one.attempts.answered = partial(self._answered, one.leg, one.route.rcpt_to.casefold())

    def _answered(self, leg: Leg, recipient: str, submission: Submission) -> None:
        """A server that says that it is too much gets half of the extras for an hour."""
        room = self._recipients.get(recipient)
        if room is None or not says_too_much(submission) or not room.halve(self._detecting.now()):
            return
        if self._journal is not None:
            said = f"{submission.code} {submission.enhanced} {submission.reply}"
            self._journal.say("extras_halved", Level.WARNING, route=leg.route, mx=leg.mx, reason=said)

    def _earn(self, generation: Generation) -> None:
        """Each slot of the schedule that has passed earns its part of an extra canary."""
        for one in generation.legs:
            key = (one.route.name, one.leg.mx)
            before = self._counted.get(key)
            if before is not None and one.last_slot > before:
                slots = (one.last_slot - before) / one.route.every.total_seconds()
                self._purses[one.route.name].allowance.earn(slots)
            self._counted[key] = one.last_slot

    def save(self, batch: Batch, *, everything: bool = False) -> None:
        """The savings of each route, and what was sent of late: at once while something is wrong."""
        now = self._detecting.now()
        wrong = bool(self._open()) or any(one.troubled for one in self._detecting.restless.values())
        if not (everything or wrong or now - self._saved >= SAVED_APART):
            return
        self._saved = now
        saved = {route: purse.allowance.saved for route, purse in self._purses.items()}
        batch.detector("savings", self._clock.now(), json.dumps(saved))
        rooms = {name: room.state() for name, room in self._rooms() if room.used}
        batch.detector("rooms", self._clock.now(), json.dumps(rooms))

    def _rooms(self) -> list[tuple[str, Room]]:
        """Every room by a name of its own."""
        rooms = [(f"recipient {name}", room) for name, room in self._recipients.items()]
        for route, purse in self._purses.items():
            rooms += [(f"route {route} {number}", room) for number, room in enumerate(purse.rooms)]
        return rooms

    def load(self, queries: Queries) -> None:
        """Take them over."""
        self._renew(self._generation())
        kept = queries.detectors()
        with suppress(ValueError, TypeError, AttributeError):
            for route, saved in json.loads(kept.get("savings", (0, "{}"))[1]).items():
                if route in self._purses:
                    self._purses[route].allowance.saved = float(saved)
        with suppress(ValueError, TypeError, AttributeError, KeyError):
            states: dict[str, Any] = json.loads(kept.get("rooms", (0, "{}"))[1])
            for name, room in self._rooms():
                if name in states:
                    room.resume(states[name])


def recovery_extra(due: float) -> Extra:
    """What an open incident asks for: it proves when the fault is over, so no allowance holds it back."""
    return Extra(due, Why.HUNT, exempt=True)


def _cap(rate: Rate) -> tuple[int, float]:
    return rate.count, rate.per.total_seconds()
