"""Tracing: one canary sent by an operator's word, and followed live.

Sending is the schedule's own way (sending.py): the same books, limits and pauses, one attempt after the other, never a
second canary. Following only looks: a request is answered as soon as something changed, a second later at the latest,
and as long as somebody asks, the canary's mailbox is searched in every folder (searching.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from probe.canary.life import Move
from probe.canary.record import Canary, State
from probe.clock import NANOSECONDS, Clock, Instant, wait_for_event
from probe.config.model import Config
from probe.engine.books import Books
from probe.engine.control import Handler
from probe.engine.generation import Generation
from probe.engine.pauses import EVERY, Pauses
from probe.engine.sending import LegSender
from probe.engine.watching import Watcher
from probe.errors import LedgerUnwritable, MailCanaryError, UsageError
from probe.exposition.present import canary_json, life_json
from probe.senders.base import SoFar

LONGEST_LOOK = timedelta(seconds=1)
TALKING_LOOK = timedelta(milliseconds=250)  # the phases of an attempt follow each other faster
MOST = 8  # followed at a time: each holds one of the control socket's places
GONE_AFTER = timedelta(minutes=1)  # a follower that has not asked for so long
_BESIDES = ("smtp", "received", "hops")  # what a trace shows of a life beside the canary itself

_PHASES = {
    State.INTENT: "smtp",
    State.DATA_STARTED: "content",
    State.DEFERRED: "retry",
    State.ACCEPTED: "arrival",
    State.UNSURE: "arrival",
}


@dataclass(slots=True)
class _Followed:
    asked: Instant
    version: int = 1
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Tracing:
    """The commands ``trace`` and ``follow``. ``generation``: the present one."""

    def __init__(
        self,
        books: Books,
        pauses: Pauses,
        clock: Clock,
        *,
        generation: Callable[[], Generation],
        dots: Callable[[Canary], Instant | None],
        so_far: Callable[[Canary], SoFar | None],
        stopping: asyncio.Event,
    ) -> None:
        self._books = books
        self._pauses = pauses
        self._clock = clock
        self._generation = generation
        self._dots = dots
        self._so_far = so_far
        self._stopping = stopping
        self._followed: dict[str, _Followed] = {}
        self.handlers: Mapping[str, Handler] = {"trace": self._trace, "follow": self._follow}
        books.listeners.append(self._heard)

    # Sending.

    async def _trace(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """``route``, ``mx`` (null: the first). Sends one canary; answers when its intent is durable."""
        leg = self._leg(request.get("route"), request.get("mx"))
        config = self._generation().config
        watchers = self._watchers(leg)
        now = self._clock.now()
        self._permit(leg, watchers, now)
        self._room(now)
        sent = leg.send_now(now)
        if isinstance(sent, str):
            raise MailCanaryError(_capped(sent, config, leg))
        canary_id, attempts = sent
        followed = self._followed[canary_id] = _Followed(now)
        await _either(attempts, followed.changed)
        if self._books.find(canary_id) is None:
            del self._followed[canary_id]
            raise LedgerUnwritable("the ledger cannot be written, so nothing was sent; see the daemon's journal")
        return {
            "id": canary_id,
            "mx": leg.leg.mx,
            "mailbox": leg.leg.mailbox,
            "overdue_after": leg.route.overdue_after.total_seconds(),
        }

    def _leg(self, route: object, mx: object) -> LegSender:
        legs = [one for one in self._generation().legs if one.gone_since is None]
        of_route = [one for one in legs if one.route.name == route]
        if not of_route:
            known = ", ".join(sorted(self._generation().config.routes))
            raise UsageError(f"there is no route {route!r}; there is {known or 'none'}")
        if mx is None:
            return of_route[0]
        for one in of_route:
            if one.leg.mx == (mx.lower().rstrip(".") if isinstance(mx, str) else mx):
                return one
        known = ", ".join(one.leg.mx for one in of_route)
        raise UsageError(f"mx: route {route} does not go to {mx!r}; it goes to {known}")

    def _watchers(self, leg: LegSender) -> list[Watcher]:
        names = dict.fromkeys(filter(None, (leg.route.mailbox, leg.route.bounces)))
        return [self._generation().watchers[name] for name in names]

    def _permit(self, leg: LegSender, watchers: list[Watcher], now: Instant) -> None:
        """Raises MailCanaryError where no canary may be sent, with the cause and what to do."""
        if self._stopping.is_set():
            raise MailCanaryError("the daemon is stopping; try again once it runs")
        pause = self._pauses.of(leg.leg.route, now)
        if pause is not None:
            end = "--all" if pause.route == EVERY else pause.route
            raise MailCanaryError(f"nothing was sent: {pause.sentence()}; `mailcanary resume {end}` ends the pause")
        for watcher in watchers:
            if not watcher.seen_once.is_set():
                raise MailCanaryError(
                    f"nothing was sent: mailbox {watcher.name} was not read yet ({watcher.problem}), and a route sends "
                    "nothing before; `mailcanary check --connect` tries every server"
                )

    # Following.

    async def _follow(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """``id``, ``seen`` (the version known, 0 at first): what there is, once that is more than ``seen``."""
        canary_id = request.get("id")
        canary = self._books.find(canary_id) if isinstance(canary_id, str) else None
        if canary is None:
            raise UsageError(f"there is no canary {canary_id!r} in the ledger")
        now = self._clock.now()
        if canary.id not in self._followed:
            self._room(now)
        followed = self._followed.setdefault(canary.id, _Followed(now))
        followed.asked = now
        watcher = self._generation().watchers.get(canary.leg.mailbox)
        if watcher is not None:
            watcher.searches.follow(canary.id)
        if followed.version == request.get("seen") and not canary.state.terminal:
            longest = LONGEST_LOOK if self._so_far(canary) is None else TALKING_LOOK
            await wait_for_event(self._clock, followed.changed, longest)
        return self._answer(canary.id, followed, watcher)

    def _answer(self, canary_id: str, followed: _Followed, watcher: Watcher | None) -> Mapping[str, Any]:
        version = followed.version
        life = self._books.ledger.queries.life(canary_id)
        if life is None:
            raise MailCanaryError(f"canary {canary_id} is no longer in the ledger")
        if life.canary.state.terminal:
            self._followed.pop(canary_id, None)
        facts = life_json(life)
        phase, seconds = self._phase(life.canary, life.attempts)
        mailbox: dict[str, Any] = {"name": life.canary.leg.mailbox, "blind": "", "searches": 0, "problem": ""}
        if watcher is not None:
            searches = watcher.searches
            blind = watcher.problem if watcher.blind_since is not None else ""
            mailbox |= {"blind": blind, "searches": searches.done, "problem": searches.problem}
        return {
            "version": version,
            "phase": phase,
            "seconds": seconds,
            "attempt": self._under_way(life.canary),
            "overdue": life.canary.overdue,
            "mailbox": mailbox,
            "canary": {**canary_json(life.canary), **{key: facts[key] for key in _BESIDES}},
        }

    def _phase(self, canary: Canary, attempts: Sequence[Mapping[str, Any]]) -> tuple[str, float | None]:
        """What it is at, and the seconds since that began; of ``retry`` the seconds until the next try."""
        now = self._clock.now()
        phase = _PHASES.get(canary.state, "ended")
        if phase == "content" and (dot := self._dots(canary)) is not None:
            return "answer", now.since(dot).total_seconds()
        if phase == "arrival":
            return phase, now.since(canary.last_dot or canary.zero).total_seconds()
        if phase == "retry" and canary.retry_at is not None:
            return phase, max(0.0, canary.retry_at.since(now).total_seconds())
        if phase in ("smtp", "content") and attempts:
            return phase, max(0.0, (now.wall - int(attempts[-1]["started_at"])) / NANOSECONDS)
        return phase, None

    def _under_way(self, canary: Canary) -> dict[str, Any] | None:
        """The attempt under way, as far as the sender shows it."""
        so_far = self._so_far(canary)
        if so_far is None:
            return None
        phases = {stage.value: seconds for stage, seconds in so_far.phases.items()}
        return {"stage": so_far.stage.value, "phases": phases, "address": so_far.address}

    def _room(self, now: Instant) -> None:
        for canary_id in [name for name, one in self._followed.items() if now.since(one.asked) > GONE_AFTER]:
            del self._followed[canary_id]
        if len(self._followed) >= MOST:
            raise MailCanaryError(f"{MOST} canaries are followed already; wait until one of those traces has ended")

    def _heard(self, _: Canary, move: Move) -> None:
        """A listener of the books."""
        followed = self._followed.get(move.canary.id)
        if followed is not None:
            followed.version += 1
            followed.changed.set()
            followed.changed = asyncio.Event()


def _capped(limit: str, config: Config, leg: LegSender) -> str:
    if limit == "under_way":
        return f"nothing was sent: too many attempts of route {leg.leg.route} are under way; try again when some ended"
    rates = ", ".join(str(rate) for rate in getattr(config.limits, limit))
    return (
        f"nothing was sent: the limit {limit} ({rates}) has no room for one more canary now; "
        f"try again later, or raise limits.{limit}"
    )


async def _either(task: asyncio.Task[None], event: asyncio.Event) -> None:
    """Until the task has ended or the event is set; the task goes on whatever happens."""
    waiter = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiter.cancel()
