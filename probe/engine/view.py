"""The engine as the exposition sees it: one consistent picture of now, and the ledger's books."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from probe.canary.counters import LEDGER_RESETS
from probe.canary.record import Canary, Leg
from probe.clock import Clock, Instant
from probe.config.model import Route
from probe.engine.books import Books
from probe.engine.drills import Drill
from probe.engine.flying import Outline
from probe.engine.generation import Generation
from probe.engine.pauses import Pauses
from probe.engine.sending import LegSender
from probe.engine.supervisor import Supervisor
from probe.engine.watching import Watcher
from probe.exposition.live import DetectorView, Exemplars, LegView, MailboxView, Peer, Snapshot, WindowView
from probe.ledger.queries import Queries
from probe.ledger.totals import Totals


class View:
    """Implements exposition.live.Live."""

    def __init__(
        self,
        *,
        generation: Generation,
        clock: Clock,
        books: Books,
        pauses: Pauses,
        supervisor: Supervisor,
        stopping: asyncio.Event,
    ) -> None:
        self.generation = generation
        self.reload_ok = True
        self.heartbeat_at: Callable[[], float] = lambda: 0.0
        self.detected: Callable[[Leg, bool, bool], DetectorView | None] = lambda _leg, _blind, _paused: None
        self.windows: Callable[[Leg, Instant], tuple[WindowView, ...]] = lambda _leg, _now: ()
        self.drill: Callable[[Instant], Drill | None] = lambda _now: None
        self._clock = clock
        self._books = books
        self._pauses = pauses
        self._supervisor = supervisor
        self._stopping = stopping
        self._started = clock.now()

    @property
    def queries(self) -> Queries:
        return self._books.ledger.queries

    @property
    def totals(self) -> Totals:
        return self._books.ledger.totals

    @property
    def created_at(self) -> int:
        return self._books.ledger.created_at

    def in_flight(self) -> Sequence[Canary]:
        return list(self._books.in_flight.values())

    def exemplars(self) -> Exemplars:
        return dict(self._books.exemplars)

    def snapshot(self) -> Snapshot:
        now = self._clock.now()
        flying = self._books.in_flight
        by_leg: dict[Leg, list[Outline]] = {}
        for one in flying.outlines():
            by_leg.setdefault(one.leg, []).append(one)
        legs = self.generation.legs
        here = [self._leg_view(one, by_leg.get(one.leg, []), now) for one in legs if one.gone_since is None]
        gone = [self._leg_view(one, by_leg.get(one.leg, []), now) for one in legs if one.gone_since is not None]
        configured = {one.leg for one in legs}
        drill = self.drill(now)
        retired = [
            _retired(leg, [flying[one.id] for one in some], now)
            for leg, some in by_leg.items()
            if leg not in configured
        ]
        return Snapshot(
            taken=now,
            started=self._started,
            prober=self.generation.config.prober,
            legs=here,
            mailboxes=[self._mailbox_view(one) for one in self.generation.watchers.values()],
            peers=self._peers(),
            not_ready=self._not_ready(),
            stalled=self._supervisor.stalled(),
            ledger_writable=self._books.ledger.writable,
            scheduler_lag=max((leg.lag for leg in self.generation.legs), default=0.0),
            clock_offset=((now.wall - self._started.wall) - (now.boot - self._started.boot)) / 1e9,
            stopping=self._stopping.is_set(),
            notes=self._notes(now),
            heartbeat_at=self.heartbeat_at(),
            ledger_reset_at=self.created_at / 1e9 if self.totals.get(LEDGER_RESETS) else 0.0,
            paused=[leg.route.name for leg in legs if self._pauses.of(leg.route.name, now) is not None],
            drilled=drill.route if drill else "",
            retired=[*gone, *retired],
            tasks=self._supervisor.names,
            reload_ok=self.reload_ok,
        )

    def _leg_view(self, one: LegSender, canaries: list[Outline], now: Instant) -> LegView:
        return _view(
            one.leg,
            one.route,
            canaries,
            now,
            last_sent=self._books.last_sent.get(one.leg, 0.0),
            last_delivery=self._books.last_arrival.get(one.leg, 0.0),
            last_slot=one.last_slot,
            latency_uncertainty=self._books.last_uncertainty.get(one.leg, 0.0),
            detector=self.detected(one.leg, *self._hindered(one, now)),
            windows=self.windows(one.leg, now),
        )

    def _hindered(self, one: LegSender, now: Instant) -> tuple[bool, bool]:
        """Whether the leg's mailbox is blind, and whether its route is paused."""
        watcher = self.generation.watchers.get(one.leg.mailbox)
        blind = watcher is None or watcher.blind_since is not None
        return blind, self._pauses.of(one.route.name, now) is not None

    def _mailbox_view(self, one: Watcher) -> MailboxView:
        since, control = one.blind_since or one.control.missed_since, one.control
        seen = max(control.shown, self._started.wall / 1e9) if control.wanted else None
        return MailboxView(
            name=one.name,
            folders=tuple(one.folders),
            blind=since is not None,
            blind_since=0.0 if since is None else since.wall / 1e9,
            problem=one.problem or control.problem or one.cleaner.problem,
            control_seen=seen,
            last_read=one.last_complete,
            messages=sum(state.total for state in one.folders.values()),
        )

    def _peers(self) -> list[Peer]:
        expiry: dict[tuple[str, str], float] = {}
        for leg in self.generation.legs:
            key = (leg.route.sender, leg.leg.mx)
            expiry[key] = max(expiry.get(key, 0.0), leg.attempts.certificate_expires)
        peers = [Peer(name, mx, self.generation.senders[name].insecure, at) for (name, mx), at in expiry.items()]
        return peers + [Peer(name, "", one.options.insecure, 0.0) for name, one in self.generation.watchers.items()]

    def _not_ready(self) -> list[str]:
        reasons = [
            f"mailbox {name} was not read yet: {one.problem}"
            for name, one in self.generation.watchers.items()
            if not one.seen_once.is_set()
        ]
        if not self._books.ledger.writable:
            reasons.append("the ledger cannot be written, so nothing is sent")
        if self._stopping.is_set():
            reasons.append("stopping")
        return reasons

    def _notes(self, now: Instant) -> list[str]:
        ledger = self._books.ledger
        paused = [pause.sentence() for pause in self._pauses.all(now)]
        if drill := self.drill(now):
            paused.append(f"There is {drill.sentence()}")
        if not ledger.set_aside:
            return paused
        return [*paused, f"the ledger was damaged ({ledger.damage}) and set aside as {ledger.set_aside}"]

    def summary(self) -> dict[str, Any]:
        """For the control socket."""
        snapshot = self.snapshot()
        return {
            "prober": snapshot.prober,
            "started": snapshot.started.isoformat(),
            "ready": not snapshot.not_ready,
            "not_ready": list(snapshot.not_ready),
            "stalled": list(snapshot.stalled),
            "paused": [pause.sentence() for pause in self._pauses.all(snapshot.taken)],
            "in_flight": sum(leg.in_flight for leg in snapshot.legs),
            "mailboxes": {one.name: "blind" if one.blind else "seeing" for one in snapshot.mailboxes},
        }


def _view(
    leg: Leg,
    route: Route,
    canaries: list[Outline],
    now: Instant,
    *,
    detector: DetectorView | None,
    windows: tuple[WindowView, ...],
    **times: float,
) -> LegView:
    overdue = sum(1 for canary in canaries if now.since(canary.overdue_at).total_seconds() > 0)
    return LegView(
        leg=leg,
        variants=route.variants,
        every=route.every,
        overdue_after=route.overdue_after,
        lost_after=route.lost_after,
        in_flight=len(canaries),
        overdue_now=overdue,
        oldest_outstanding=min((canary.sent.wall for canary in canaries), default=0) / 1e9,
        paging=route.paging,
        detector=detector,
        windows=windows,
        **times,
    )


def _retired(leg: Leg, canaries: list[Canary], now: Instant) -> LegView:
    """A leg that is no longer configured and still has canaries in flight."""
    deadlines = canaries[0].deadlines
    return LegView(
        leg=leg,
        variants=tuple(sorted({canary.variant for canary in canaries})),
        every=deadlines.overdue_after,
        overdue_after=deadlines.overdue_after,
        lost_after=deadlines.lost_after,
        in_flight=len(canaries),
        overdue_now=sum(1 for canary in canaries if now.since(canary.overdue_at).total_seconds() > 0),
        oldest_outstanding=min(canary.sent.wall for canary in canaries) / 1e9,
        last_sent=0.0,
        last_delivery=0.0,
        last_slot=0.0,
        latency_uncertainty=0.0,
        paging=False,
    )
