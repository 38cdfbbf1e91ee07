"""Drills of the alert path: for a bounded time a gauge asks for a page that is marked as a drill. Nothing else happens.

No canary is sent, judged or counted otherwise, and no detector, incident or calibration hears of it. It is kept in
memory only: a restart ends a drill.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from probe.clock import Clock, Instant
from probe.engine.control import Handler
from probe.errors import MailCanaryError, UsageError
from probe.exposition.journal import Journal

LONGEST_DRILL = 3600  # seconds


@dataclass(frozen=True, slots=True)
class Drill:
    """``number``: counts the drills of this daemon, so that one's end does not end another."""

    number: int
    route: str
    until: Instant

    def sentence(self) -> str:
        """For people."""
        return f"a drill of the alert path of route {self.route}, until {self.until.isoformat()}: nothing is wrong"


class Drills:
    """At most one at a time. ``routes``: those that there are now."""

    def __init__(self, clock: Clock, journal: Journal, routes: Callable[[], Collection[str]]) -> None:
        self._clock = clock
        self._journal = journal
        self._routes = routes
        self._last: Drill | None = None
        self._count = 0
        self.handlers: Mapping[str, Handler] = {
            "drill": self._begin,
            "drill_state": self._state,
            "drill_end": self._end,
        }

    def now(self, now: Instant) -> Drill | None:
        """The drill that is on, if its route is still there."""
        drill = self._last
        if drill is None or now.since(drill.until) >= timedelta(0) or drill.route not in self._routes():
            return None
        return drill

    async def _begin(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """``route`` and ``seconds``. Raises UsageError, MailCanaryError where one is on."""
        route, seconds = request.get("route"), request.get("seconds")
        known = self._routes()
        if not isinstance(route, str) or route not in known:
            raise UsageError(f"route: there is no route {route!r}; there is {', '.join(sorted(known)) or 'none'}")
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 1 <= seconds <= LONGEST_DRILL:
            raise UsageError(f"seconds: must be from 1 to {LONGEST_DRILL}")
        now = self._clock.now()
        on = self.now(now)
        if on is not None:
            raise MailCanaryError(f"there is {on.sentence()}")
        self._count += 1
        self._last = Drill(self._count, route, now + timedelta(seconds=seconds))
        self._journal.drill(self._last.sentence())
        return {"drill": self._count, "says": self._last.sentence()}

    async def _state(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"on": self._is_on(request)}

    async def _end(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Of the drill with this number only. No error where it is over already."""
        ended = self._is_on(request)
        if ended:
            self._last = None
            self._journal.drill("the drill was ended")
        return {"ended": ended}

    def _is_on(self, request: Mapping[str, Any]) -> bool:
        number, on = request.get("drill"), self.now(self._clock.now())
        if isinstance(number, bool) or not isinstance(number, int):
            raise UsageError("drill: must be the number of a drill")
        return on is not None and on.number == number
