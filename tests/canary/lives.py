"""Canaries and observations for tests: one moment zero, seconds from it, and the shortest way to each."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from probe.canary import observations as seen
from probe.canary.record import Canary, Deadlines, Leg, State
from probe.clock import NANOSECONDS, Instant

ZERO = Instant(1_800_000_000 * NANOSECONDS, 5_000 * NANOSECONDS, "boot-1")
OVERDUE_AFTER, LOST_AFTER, WATCH_FOR = 900.0, 7_200.0, 86_400.0
DEADLINES = Deadlines(*(timedelta(seconds=s) for s in (OVERDUE_AFTER, LOST_AFTER, WATCH_FOR)))
LEG = Leg("support", "mx1.example.net", "inbox-a")


def at(seconds: float) -> Instant:
    """``seconds`` after zero, on both clocks."""
    return ZERO + timedelta(seconds=seconds)


def wall(seconds: float) -> datetime:
    """The same as the mailbox's clock shows it, when it is right."""
    return at(seconds).utc


def canary(state: State = State.PLANNED, **facts: Any) -> Canary:
    """A canary in ``state`` with the facts such a canary has."""
    base = Canary("abcdefghijklm", LEG, "prober-1", "plain", DEADLINES, ZERO, state)
    if state in (State.DEFERRED, State.ACCEPTED, State.UNSURE):
        base = replace(base, clock_started=ZERO)
    if state in (State.ACCEPTED, State.UNSURE):
        base = replace(base, last_dot=ZERO)
    if state is State.DEFERRED:
        base = replace(base, retry_at=at(60), reason="deferred: 451 4.7.1 greylisted")
    if state.terminal:
        base = replace(base, clock_started=ZERO, settled=at(100), reason="the reason of its outcome")
    if state in (State.DELIVERED, State.LATE):
        base = replace(base, arrived=at(100), folder="INBOX")
    return replace(base, **facts)


OBSERVED: dict[str, seen.Observation] = {
    "Intended": seen.Intended(at(0)),
    "AttemptStarted": seen.AttemptStarted(at(60), 2),
    "DataStarted": seen.DataStarted(at(1)),
    "SendAccepted": seen.SendAccepted(at(3), at(2), at(2), "Q1", "250 2.0.0 queued as Q1"),
    "SendDeferred": seen.SendDeferred(at(3), at(2), at(63), "451 4.7.1 greylisted"),
    "SendDeferred:last": seen.SendDeferred(at(3), at(2), None, "451 4.7.1 greylisted"),
    "SendRefused": seen.SendRefused(at(3), "550 5.1.1 no such user"),
    "SendFailed": seen.SendFailed(at(3), "tcp", "connection refused"),
    "SendFailed:next": seen.SendFailed(at(3), "tcp", "connection refused", at(63)),
    "SendBroke": seen.SendBroke(at(3), at(2), at(2), "connection reset"),
    "Arrived:punctual": seen.Arrived(at(10), at(12), "INBOX"),
    "Arrived:late": seen.Arrived(at(950), at(960), "INBOX"),
    "Arrived:straddling": seen.Arrived(at(10), at(5_000), "INBOX"),
    "CopySeen:duplicate": seen.CopySeen(at(200), "INBOX", "duplicate"),
    "CopySeen:moved": seen.CopySeen(at(200), "Archive", "moved"),
    "CopySeen:copied": seen.CopySeen(at(200), "Archive", "copied"),
    "CopySeen:reread": seen.CopySeen(at(200), "INBOX", "reread"),
    "Bounced": seen.Bounced(at(30), "5.2.2", "its mailbox is full"),
    "DelayReported": seen.DelayReported(at(30), "4.4.1"),
    "WentOverdue": seen.WentOverdue(at(905)),
    "ProvenAbsent": seen.ProvenAbsent(at(7_210), "INBOX: every number from 5 to 8 of 1 accounted for"),
    "AbsenceUnproven": seen.AbsenceUnproven(at(7_210), "uid_gap", "INBOX: 1 number was never seen"),
    "WatchEnded": seen.WatchEnded(at(86_401), "no read since 08:00"),
    "Restarted": seen.Restarted(at(20)),
    "SenderRemoved": seen.SenderRemoved(at(20)),
    "MailboxRemoved": seen.MailboxRemoved(at(20)),
}
