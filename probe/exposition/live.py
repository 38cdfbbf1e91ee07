"""What the engine shows of its present state. Plain data, taken at one instant; totals come from the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple, Protocol

from probe.canary.record import Canary, Leg
from probe.clock import Instant
from probe.ledger.queries import Queries
from probe.ledger.totals import Totals


@dataclass(frozen=True, slots=True)
class DetectorView:
    """What the detector of a leg says, and the incident of its route as far as it is this leg's. Times are unix
    seconds, 0.0 for none; shares from 0 to 1. ``share`` and ``blackout``: (score, threshold), latched while what they
    found is open. ``recent``: overdue ones among the last so many judged canaries. ``state``: 0 ok, 1 suspected,
    2 open, 3 recovering, 4 unknown (blind), 5 paused. ``kind``: of the open incident, or ""."""

    share: tuple[float, float]
    blackout: tuple[float, float]
    suspicion: float
    noise: float
    smallest_loss: float
    false_pages: float
    hunting: bool
    recent: tuple[tuple[int, int], ...]
    state: int = 0
    kind: str = ""
    needed: int = 0
    incident_start: float = 0.0
    affected: int = 0
    requeue_start: float = 0.0
    requeue_end: float = 0.0


class WindowView(NamedTuple):
    """What became of a leg's canaries in a window (canary/windows.py): sent, found overdue, proven lost, ended as
    unknown in it. ``judged``: the outcomes delivered, late and lost. ``lower``, ``upper``: 95 % bounds of the loss."""

    name: str
    sent: int
    overdue: int
    lost: int
    unknown: int
    judged: int
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class LegView:
    """One configured leg, now. Times are unix seconds, 0.0 for "none" or "never"."""

    leg: Leg
    variants: tuple[str, ...]
    every: timedelta
    overdue_after: timedelta
    lost_after: timedelta
    in_flight: int
    overdue_now: int
    oldest_outstanding: float
    last_sent: float
    last_delivery: float
    last_slot: float
    latency_uncertainty: float
    paging: bool = True
    detector: DetectorView | None = None  # None: the route is only measured
    windows: tuple[WindowView, ...] = ()  # those that are known in full


@dataclass(frozen=True, slots=True)
class MailboxView:
    """One mailbox, now. ``blind_since`` unix seconds or 0.0; ``problem`` says why in one sentence.
    ``control_seen``: when its control canary was seen last, at first since when there is one; None: it has none."""

    name: str
    folders: tuple[str, ...]
    blind: bool
    blind_since: float
    problem: str
    last_read: float
    messages: int
    next_read: float = 0.0
    control_seen: float | None = None


@dataclass(frozen=True, slots=True)
class Peer:
    """A server we talk to: ``insecure`` where verify: false or tls: none is written out; expiry unix seconds or 0.0."""

    name: str
    mx: str
    insecure: bool
    certificate_expires: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The daemon, now. ``not_ready``: why, in sentences; empty when ready. ``stalled``: loops without progress.

    ``retired``: legs no longer configured that still have canaries in flight. ``tasks``: names of the supervised loops.
    ``reload_ok``: whether the last reload of the configuration worked (True where there was none).
    """

    taken: Instant
    started: Instant
    prober: str
    legs: Sequence[LegView]
    mailboxes: Sequence[MailboxView]
    peers: Sequence[Peer]
    not_ready: Sequence[str]
    stalled: Sequence[str]
    ledger_writable: bool
    scheduler_lag: float
    clock_offset: float
    stopping: bool = False
    notes: Sequence[str] = ()  # e.g. that a damaged ledger was set aside
    retired: Sequence[LegView] = ()
    tasks: Sequence[str] = ()
    reload_ok: bool = True
    heartbeat_at: float = 0.0  # when the last one was taken, unix seconds; 0.0: not since the start
    paused: Sequence[str] = ()  # routes that send nothing by an operator's word
    drilled: str = ""  # the route whose alert path is being drilled
    ledger_reset_at: float = 0.0  # when this ledger was begun in the place of a damaged one; 0.0: it was not


@dataclass(frozen=True, slots=True)
class Exemplar:
    """A canary that stands for a series: its id, and for a histogram's bucket what was observed (s)."""

    canary: str
    value: float = 1.0


Exemplars = Mapping[tuple[str, ...], str | Exemplar]


class Live(Protocol):
    """The engine as the exposition sees it."""

    @property
    def queries(self) -> Queries:
        """Questions to the ledger (from any thread)."""
        ...

    @property
    def totals(self) -> Totals:
        """Running totals as committed (from any thread)."""
        ...

    @property
    def created_at(self) -> int:
        """When the ledger was made, ns: the ``created`` of every counter."""
        ...

    def snapshot(self) -> Snapshot:
        """Now; call it on the loop."""
        ...

    def in_flight(self) -> Sequence[Canary]:
        """Canaries without an outcome; call it on the loop."""
        ...

    def exemplars(self) -> Exemplars:
        """(name of counters.py, label values…) → the last canary counted there; call it on the loop. A plain id will
        do; for a bucket it then stands at the bucket's bound."""
        ...
