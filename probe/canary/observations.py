"""What can happen to a canary. Each observation is a fact, stamped by who saw it; ``life`` decides what it means."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from probe.clock import Instant


@dataclass(frozen=True, slots=True)
class Intended:
    """The intent is about to be made durable; nothing was sent."""

    at: Instant


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """A further attempt of a deferred canary begins."""

    at: Instant
    attempt: int


@dataclass(frozen=True, slots=True)
class DataStarted:
    """The envelope was accepted; content is about to be sent."""

    at: Instant


@dataclass(frozen=True, slots=True)
class SendAccepted:
    """2xx to the final dot. ``clock_started``: rule 10's zero of this attempt; ``dot_at``: its final dot."""

    at: Instant
    clock_started: Instant
    dot_at: Instant
    queued_as: str
    detail: str


@dataclass(frozen=True, slots=True)
class SendDeferred:
    """4xx. ``retry_at`` is None when no try is left (or the sender is gone): then it is refused."""

    at: Instant
    clock_started: Instant | None
    retry_at: Instant | None
    detail: str


@dataclass(frozen=True, slots=True)
class SendRefused:
    """5xx."""

    at: Instant
    detail: str


@dataclass(frozen=True, slots=True)
class SendFailed:
    """This attempt failed before any byte of content left us. After an earlier 4xx it is one more try that failed:
    ``retry_at`` then names the next one, or is None when none is left."""

    at: Instant
    reason: str
    detail: str
    retry_at: Instant | None = None


@dataclass(frozen=True, slots=True)
class SendBroke:
    """Broke after content was sent: nobody can say whether it was taken."""

    at: Instant
    clock_started: Instant
    dot_at: Instant | None
    detail: str


@dataclass(frozen=True, slots=True)
class Arrived:
    """A copy was seen. It arrived after ``after`` (the last look without it) and not after ``seen``.

    ``mailbox_time``: the mailbox's own time of arrival; ``offset_low``/``offset_high`` bound, in seconds, what its
    clock is ahead of ours (learned from earlier arrivals; a second of rounding is added by ``life``). ``watched``: the
    folder is one of the mailbox's configured ones.
    """

    after: Instant | None
    seen: Instant
    folder: str
    mailbox_time: datetime | None = None
    offset_low: float = 0.0
    offset_high: float = 0.0
    watched: bool = True


@dataclass(frozen=True, slots=True)
class CopySeen:
    """A further copy: ``kind`` is duplicate, moved, copied or reread (docs/how-it-decides.md)."""

    at: Instant
    folder: str
    kind: str


@dataclass(frozen=True, slots=True)
class Bounced:
    """A delivery status notification (RFC 3464) says that it failed. ``status``: its enhanced code (RFC 3463) or ""."""

    at: Instant
    status: str
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class DelayReported:
    """A delivery status notification says that it is late and still tried (Action: delayed)."""

    at: Instant
    status: str
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class WentOverdue:
    """The first complete read begun after ``sent + overdue_after`` did not show it."""

    at: Instant


@dataclass(frozen=True, slots=True)
class ProvenAbsent:
    """The deadline has passed and absence is proven (coverage.py); ``sentence`` is the proof."""

    at: Instant
    sentence: str


@dataclass(frozen=True, slots=True)
class AbsenceUnproven:
    """The deadline has passed, a read was had, and absence cannot be proven; ``doubt`` is the label."""

    at: Instant
    doubt: str
    sentence: str


@dataclass(frozen=True, slots=True)
class WatchEnded:
    """``watch_for`` has passed without a read that could decide (blind all along)."""

    at: Instant
    sentence: str


@dataclass(frozen=True, slots=True)
class Restarted:
    """The daemon started and found it in flight."""

    at: Instant


@dataclass(frozen=True, slots=True)
class SenderRemoved:
    """Its sender is no longer configured."""

    at: Instant


@dataclass(frozen=True, slots=True)
class MailboxRemoved:
    """Its mailbox is no longer configured."""

    at: Instant


Observation = (
    Intended
    | AttemptStarted
    | DataStarted
    | SendAccepted
    | SendDeferred
    | SendRefused
    | SendFailed
    | SendBroke
    | Arrived
    | CopySeen
    | Bounced
    | DelayReported
    | WentOverdue
    | ProvenAbsent
    | AbsenceUnproven
    | WatchEnded
    | Restarted
    | SenderRemoved
    | MailboxRemoved
)

OBSERVATIONS: tuple[type[Observation], ...] = (
    Intended,
    AttemptStarted,
    DataStarted,
    SendAccepted,
    SendDeferred,
    SendRefused,
    SendFailed,
    SendBroke,
    Arrived,
    CopySeen,
    Bounced,
    DelayReported,
    WentOverdue,
    ProvenAbsent,
    AbsenceUnproven,
    WatchEnded,
    Restarted,
    SenderRemoved,
    MailboxRemoved,
)
