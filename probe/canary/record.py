"""A canary as data: its state and every fact that later decisions need. Immutable; ``life`` makes the next one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from probe.canary.coverage import Cursor
from probe.clock import Instant


class State(StrEnum):
    """Where a canary is in its life (docs/how-it-decides.md). The last seven are outcomes and never left."""

    PLANNED = "planned"
    INTENT = "intent"
    DATA_STARTED = "data_started"
    DEFERRED = "deferred"
    ACCEPTED = "accepted"
    UNSURE = "unsure"
    DELIVERED = "delivered"
    LATE = "late"
    LOST = "lost"
    BOUNCED = "bounced"
    REFUSED = "refused"
    UNSENT = "unsent"
    UNKNOWN = "unknown"

    @property
    def terminal(self) -> bool:
        return self in OUTCOMES

    @property
    def in_flight(self) -> bool:
        return self in IN_FLIGHT


OUTCOMES = frozenset(
    {
        State.DELIVERED,
        State.LATE,
        State.LOST,
        State.BOUNCED,
        State.REFUSED,
        State.UNSENT,
        State.UNKNOWN,
    }
)
IN_FLIGHT = frozenset({State.INTENT, State.DATA_STARTED, State.DEFERRED, State.ACCEPTED, State.UNSURE})


@dataclass(frozen=True, slots=True)
class Leg:
    """A route pinned to one MX host, and the mailbox where its canaries arrive: three metric labels."""

    route: str
    mx: str
    mailbox: str


@dataclass(frozen=True, slots=True)
class Deadlines:
    """The route's deadlines when the canary was planned; a reload does not move those of canaries in flight."""

    overdue_after: timedelta
    lost_after: timedelta
    watch_for: timedelta


@dataclass(frozen=True, slots=True)
class Canary:
    """One synthetic message and all that is known of it.

    ``sent``: the moment of intent. ``clock_started``: zero of the latency, overdue and lost clocks (rule 10), None
    until then. ``last_dot``: the last attempt's final dot. ``floors``: the cursor of each folder of its mailbox held at
    intent. ``latency``/``uncertainty``: None until arrived, or where rule 9 cannot tell. ``reason``: the last
    judgement's sentence; ``label``: the short reason of an unknown or unsent outcome.
    """

    id: str
    leg: Leg
    prober: str
    variant: str
    deadlines: Deadlines
    sent: Instant
    state: State = State.PLANNED
    attempts: int = 1
    clock_started: Instant | None = None
    last_dot: Instant | None = None
    retry_at: Instant | None = None
    floors: Mapping[str, Cursor] = field(default_factory=dict)
    overdue: bool = False
    judged: bool = False
    arrived: Instant | None = None
    recovered: Instant | None = None
    settled: Instant | None = None
    latency: timedelta | None = None
    uncertainty: timedelta | None = None
    transit: timedelta | None = None
    folder: str = ""
    duplicates: int = 0
    queued_as: str = ""
    key: str = ""  # id of the key that signed it: needed until it has ended
    mail_from: str = ""  # what it says it comes from, whatever the route says by now
    label: str = ""
    reason: str = ""

    @property
    def zero(self) -> Instant:
        """What its deadlines count from: rule 10's zero, or the intent as long as there is none."""
        return self.clock_started or self.sent

    @property
    def overdue_at(self) -> Instant:
        return self.zero + self.deadlines.overdue_after

    @property
    def lost_at(self) -> Instant:
        return self.zero + self.deadlines.lost_after

    @property
    def watched_until(self) -> Instant:
        """The end of the watch; also when its identity expires."""
        return self.zero + self.deadlines.watch_for
