"""Ledgers for tests: a clock that stands still until it is set, and lives that end at once."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from probe.canary import counters, life
from probe.canary import observations as seen
from probe.canary.coverage import Cursor
from probe.canary.record import Canary
from probe.clock import Instant
from probe.ledger.batch import Attempt, Batch, Copy
from probe.ledger.store import Ledger
from tests.canary.lives import ZERO, canary


class StillClock:
    """``probe.clock.Clock`` that shows ``time`` and never waits."""

    def __init__(self) -> None:
        self.time = ZERO

    def now(self) -> Instant:
        return self.time

    async def sleep(self, duration: timedelta) -> None:
        self.time = self.time + duration


def opened(path: Path, **options: Any) -> Ledger:
    """The ledger at ``path``, in the thread of the caller unless ``inline=False``."""
    return Ledger(path, StillClock(), **{"inline": True, **options})


def planned(number: int, seconds: float = 0, **facts: Any) -> Canary:
    """A planned canary numbered ``number``, to be sent ``seconds`` after zero."""
    sent = ZERO + timedelta(seconds=seconds)
    return replace(canary(), id=f"canary{number:07}", sent=sent, **facts)


def step(batch: Batch, before: Canary, observation: seen.Observation) -> Canary:
    """Apply and record, as the engine does."""
    move = life.apply(before, observation)
    batch.move(before, move, type(observation).__name__, before.sent)
    for name, labels, value in counters.counts_of(before, move):
        batch.count(name, labels, value)
    return move.canary


def intended(batch: Batch, number: int, seconds: float = 0, **facts: Any) -> Canary:
    """A canary whose intent is in ``batch``, with its first attempt."""
    fresh = planned(number, seconds, **facts)
    batch.attempt(Attempt(fresh.id, 1, fresh.sent, fresh.leg.route, fresh.leg.mx, "canary@example.org"))
    return step(batch, fresh, seen.Intended(fresh.sent))


def accepted(batch: Batch, number: int, seconds: float = 0, **facts: Any) -> Canary:
    """One that was taken by the server at once."""
    now = intended(batch, number, seconds, **facts)
    now = step(batch, now, seen.DataStarted(now.sent))
    return step(batch, now, seen.SendAccepted(now.sent, now.sent, now.sent, "Q", "250 ok"))


def delivered(batch: Batch, number: int, seconds: float = 0, **facts: Any) -> Canary:
    """One that arrived 5 s later, with its copy."""
    now = accepted(batch, number, seconds, **facts)
    when = now.sent + timedelta(seconds=5)
    batch.copy(copy_of(now, number + 1, when))
    return step(batch, now, seen.Arrived(now.sent, when, "INBOX"))


def copy_of(of: Canary, uid: int, when: Instant, **other: Any) -> Copy:
    """A copy in the inbox."""
    made = Copy(
        of.id, of.leg.mailbox, "INBOX", "INBOX", Cursor(1, uid), when, when.utc, "first", ("message_id",), ("a",)
    )
    return replace(made, **other)


def look(path: Path, question: str) -> list[tuple[Any, ...]]:
    """Ask the file itself, by none of the code under test."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return connection.execute(question).fetchall()
    finally:
        connection.close()


def counting(name: str, by: float = 1) -> Batch:
    """A batch that only counts."""
    batch = Batch()
    batch.count(name, by=by)
    return batch
