"""Detection as the daemon has it: detectors, the extra canaries they ask for, and the incidents they open.

All three outlive generations; a generation's watchers are connected when it starts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from probe.canary.record import Leg
from probe.clock import Clock
from probe.config.model import Config
from probe.engine.books import Books
from probe.engine.detecting import Detecting
from probe.engine.detection_view import detector_view
from probe.engine.extras import Extras
from probe.engine.generation import Generation
from probe.engine.incident_start import order
from probe.engine.incidents import Incidents
from probe.engine.pauses import Pauses
from probe.engine.rehearsing import Rehearsals
from probe.engine.supervisor import Pulse
from probe.exposition.journal import Journal
from probe.exposition.live import DetectorView

Loop = Callable[[Pulse], Awaitable[None]]


class Detection:
    """``generation``: the present one."""

    def __init__(
        self,
        generation: Callable[[], Generation],
        books: Books,
        clock: Clock,
        journal: Journal,
        pauses: Pauses,
        *,
        inline: bool = False,
    ) -> None:
        self._generation = generation
        self._queries = books.ledger.queries
        self.detecting = Detecting(books, clock, self._config)
        self.incidents = Incidents(self.detecting, books, clock, journal, self._config, self.legs, inline=inline)
        self.extras = Extras(
            self.detecting, pauses, clock, generation, self.incidents.also, self.incidents.open_routes, journal
        )
        self.detecting.open_routes = self.incidents.open_routes
        self.incidents.extras = self.extras
        self.rehearsals = Rehearsals(self.detecting, books, clock, journal, inline=inline)

    def _config(self) -> Config:
        return self._generation().config

    def legs(self) -> list[Leg]:
        """The legs that there are now."""
        return [one.leg for one in self._generation().legs if one.gone_since is None]

    def load(self) -> None:
        """What the last run knew."""
        self.detecting.keep(self.legs())
        self.detecting.load(self.legs())
        self.extras.load(self._queries)
        self.incidents.load()

    def connect(self, generation: Generation) -> None:
        """Detectors hear of this generation's reads, and have its mailboxes read when they need to know."""
        self.detecting.rest()
        self.incidents.follow_legs()
        for name, watcher in generation.watchers.items():
            watcher.readers.append(partial(self.detecting.read, watcher))
            watcher.check = partial(self.detecting.next_check, name)

    def view(self, leg: Leg, blind: bool, paused: bool) -> DetectorView | None:
        """The gauges of a leg; None where its route is only measured."""
        watched = self.detecting.legs.get((leg.route, leg.mx))
        route = self._config().routes.get(leg.route)
        if watched is None or route is None or not route.paging:
            return None
        return detector_view(watched, self.incidents.tracked.get(leg.route), blind=blind, paused=paused)

    async def mark_false(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """The order of that name: ``incident`` and ``reason``."""
        incident, reason = order(request)
        await self.incidents.mark_false(incident, f"an operator: {reason}" if reason else "an operator")
        return {"marked": incident}

    def loops(self, stopping: asyncio.Event) -> list[tuple[str, Loop]]:
        """By name."""
        return [
            ("incidents", partial(self.incidents.run, stopping)),
            ("extras", partial(self.extras.run, stopping)),
            ("rehearsals", partial(self.rehearsals.run, stopping)),
        ]
