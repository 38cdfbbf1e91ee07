"""The heartbeat: a call of a dead man's switch, made only while the prober sees what it has to see.

So silence there means that the prober, its network or a path under test is dead, even where Prometheus is dead too. A
call is made while every route that pages and is not paused had a canary delivered in time, and every mailbox that has
control canaries has shown one in time (docs/configure.md). Two in a row may be missing: one lost canary is the
detector's business, not the switch's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Protocol

from probe.canary import counters
from probe.canary.life import Effect, Move
from probe.canary.record import Canary, State
from probe.clock import NANOSECONDS, Clock, Instant
from probe.config.model import Config, Heartbeat, Route
from probe.engine.books import Books
from probe.engine.controlling import MISSED_AFTER
from probe.engine.pauses import Pauses
from probe.engine.supervisor import Pulse, wait_until
from probe.engine.watching import Watcher
from probe.exposition import heartbeat
from probe.exposition.heartbeat import Failure
from probe.exposition.journal import Journal
from probe.ledger.queries import Filter

MAY_MISS = 2  # in a row
SLACK = timedelta(minutes=1)

Call = Callable[[str, timedelta], Awaitable[Failure | None]]


class Watched(Protocol):
    """What is to be seen: the generation that is in force."""

    @property
    def config(self) -> Config: ...
    @property
    def watchers(self) -> Mapping[str, Watcher]: ...


def route_allowance(route: Route) -> timedelta:
    """How old the newest canary that was delivered in time may be, by its arrival."""
    return route.every * (1 + MAY_MISS) + route.overdue_after + SLACK


def control_allowance(every: timedelta, idle_poll: timedelta) -> timedelta:
    """How old the last sight of a control canary may be."""
    return every * MAY_MISS + idle_poll + MISSED_AFTER


class Heart:
    """The loop that calls, and its judgement."""

    def __init__(
        self,
        watched: Callable[[], Watched],
        books: Books,
        pauses: Pauses,
        clock: Clock,
        journal: Journal,
        *,
        call: Call = heartbeat.call,
    ) -> None:
        self.last_success = 0.0  # unix seconds; 0.0: not since the start
        self.call = call
        self._watched = watched
        self._books = books
        self._pauses = pauses
        self._clock = clock
        self._journal = journal
        self._delivered: dict[str, Instant | None] = {}  # by route: when the newest came that was in time
        self._known: set[str] | None = None  # what was to be seen at the last beat
        self._excused: dict[str, Instant] = {}  # what was paused or not there yet, and until when that excuses it
        self._said = ""
        books.listeners.append(self._follow)

    def _follow(self, before: Canary, move: Move) -> None:
        after = move.canary
        if Effect.OUTCOME in move.effects and after.state is State.DELIVERED and after.arrived is not None:
            self._delivered[after.leg.route] = after.arrived

    async def run(self, stopping: asyncio.Event, pulse: Pulse) -> None:
        """Until ``stopping``."""
        while not stopping.is_set():
            began, options = self._clock.now(), self._watched().config.heartbeat
            if options.url is not None:
                pulse.beat(options.timeout)
                await self._beat(options, options.url.text(), stopping)
            await wait_until(self._clock, began + options.every, stopping, pulse)

    async def _beat(self, options: Heartbeat, url: str, stopping: asyncio.Event) -> None:
        silent = self.silent_because()
        if silent:
            self._say("silent", silent)
            return
        call = asyncio.ensure_future(self.call(url, options.timeout))
        stop = asyncio.ensure_future(stopping.wait())
        try:
            await asyncio.wait({call, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not call.done():
                return
        finally:
            call.cancel()
            stop.cancel()
        failure = call.result()
        if failure is None:
            self.last_success = self._clock.now().wall / NANOSECONDS
            self._say("sent", "")
            return
        self._books.owe(counters.PROBE_ERRORS, ("heartbeat", failure.reason))
        self._say("failed", failure.sentence)

    def _say(self, what: str, why: str) -> None:
        """Only where it changes."""
        if what != self._said:
            self._said = what
            self._journal.heartbeat(what, why)

    # What has to be seen.

    def silent_because(self) -> str:
        """Why no call may be made now, in a sentence; "" where it may."""
        now, watched = self._clock.now(), self._watched()
        routes = [route for route in watched.config.routes.values() if route.paging]
        controls = [one for one in watched.watchers.values() if one.control.wanted]
        allowed = {f"route {route.name}": route_allowance(route) for route in routes}
        allowed |= {f"mailbox {one.name}": _allowance(one) for one in controls}
        self._excuse(allowed, routes, now)
        for route in routes:
            name = f"route {route.name}"
            if not self._in_time(self._last_delivered(route.name), name, allowed[name], now):
                return f"{name}: no canary was delivered in time within the last {_minutes(allowed[name])}"
        for one in controls:
            name, wall = f"mailbox {one.name}", int(one.control.last_success * NANOSECONDS)
            if not self._in_time(Instant(wall, 0, "") if wall else None, name, allowed[name], now):
                return f"{name}: no control canary was seen within the last {_minutes(allowed[name])}"
        return ""

    def _excuse(self, allowed: Mapping[str, timedelta], routes: list[Route], now: Instant) -> None:
        """A pause, and what a reload brought, excuse for as long as the first canary may take. A start excuses nothing:
        a prober that is started again and again sees nothing."""
        new = allowed.keys() - self._known if self._known is not None else set()
        paused = {f"route {one.name}" for one in routes if self._pauses.of(one.name, now) is not None}
        for name in {*new, *paused}:
            self._excused[name] = now + allowed[name]
        self._known = set(allowed)

    def _in_time(self, last: Instant | None, name: str, allowed: timedelta, now: Instant) -> bool:
        if last is not None and now.since(last) <= allowed:
            return True
        excused = self._excused.get(name)
        return excused is not None and now.since(excused) <= timedelta(0)

    def _last_delivered(self, route: str) -> Instant | None:
        if route not in self._delivered:
            found = self._books.ledger.queries.canaries(Filter(route, outcome=State.DELIVERED.value, limit=1))
            self._delivered[route] = found[0].arrived if found else None
        return self._delivered[route]


def _allowance(watcher: Watcher) -> timedelta:
    every = watcher.control.scheme.every
    assert every is not None, "wanted"
    return control_allowance(every, watcher.options.idle_poll)


def _minutes(duration: timedelta) -> str:
    return f"{duration / timedelta(minutes=1):.3g} min"
