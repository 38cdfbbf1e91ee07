"""What the control socket answers: the commands that act on the running daemon."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from probe.clock import Clock
from probe.engine.control import Handler
from probe.engine.pauses import EVERY, Pause, Pauses
from probe.errors import UsageError
from probe.exposition.journal import Journal

LONGEST_REASON = 500
LONGEST_PAUSE = 3650 * 86_400  # seconds


class Orders:
    """Handlers by the command's name. Each raises MailCanaryError for what cannot be done."""

    def __init__(
        self,
        pauses: Pauses,
        clock: Clock,
        journal: Journal,
        *,
        routes: Callable[[], Collection[str]],
        status: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._routes = routes
        self._state = status
        self._pauses = pauses
        self._clock = clock
        self._journal = journal
        self.handlers: Mapping[str, Handler] = {"status": self._status, "pause": self._pause, "resume": self._resume}

    async def _status(self, _: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._state()

    async def _pause(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """``route`` (or ``*``), ``seconds`` (null: until it is resumed), ``reason``."""
        seconds, reason = request.get("seconds"), request.get("reason")
        if seconds is not None and not (isinstance(seconds, (int, float)) and 0 < seconds <= LONGEST_PAUSE):
            raise UsageError(f"seconds: must be more than 0 and at most {LONGEST_PAUSE}")
        if not isinstance(reason, str) or len(reason) > LONGEST_REASON:
            raise UsageError(f"reason: must be a text of at most {LONGEST_REASON} characters")
        now = self._clock.now().wall
        until = None if seconds is None else now + int(seconds * 1e9)
        pause = Pause(self._route(request), now, until, reason)
        await self._pauses.begin(pause)
        self._journal.paused(pause.sentence())
        return {"paused": pause.sentence()}

    async def _resume(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """``route``, or ``*`` for every pause there is."""
        route = self._route(request)
        ended = await self._pauses.end(route, self._clock.now())
        if ended:
            self._journal.resumed(route)
        return {"resumed": ended, "still": [pause.sentence() for pause in self._pauses.all(self._clock.now())]}

    def _route(self, request: Mapping[str, Any]) -> str:
        route = request.get("route")
        known = self._routes()
        if route == EVERY or (isinstance(route, str) and route in known):
            return str(route)
        raise UsageError(f"route: there is no route {route!r}; there is {', '.join(sorted(known)) or 'none'}")
