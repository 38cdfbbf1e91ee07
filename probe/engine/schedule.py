"""When a leg sends. Pure arithmetic on instants.

Slots lie on a grid of width ``every``, shifted by a phase of the leg's own so that many legs never send together. The
grid starts from the last intent in the ledger; time that was missed (stopped, suspended, stalled) is skipped, never
made up for. A jitter of up to a tenth keeps canaries from beating with anything periodic on the path (a cron job, a
poll).
"""

from __future__ import annotations

import hashlib
from datetime import timedelta

from probe.canary.record import Leg
from probe.clock import Instant

JITTER = 0.1
BEAT = timedelta(milliseconds=500)
SELDOM = timedelta(seconds=10)


def phase(leg: Leg) -> float:
    """The leg's place in the grid, in [0, 1), the same at every start."""
    digest = hashlib.sha256(f"{leg.route}\0{leg.mx}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def first_slot(now: Instant, last_intent: int | None, every: timedelta, shift: float) -> Instant:
    """The first slot after a start. ``last_intent``: wall ns out of the ledger, None for a new leg.

    A leg that sent less than ``every`` ago goes on from there, so a restart loop sends nothing extra; any other waits
    for its next place in the grid, so that a thousand legs do not send at once.
    """
    width = _ns(every)
    if last_intent is not None and 0 <= now.wall - last_intent < width:
        return now + timedelta(microseconds=(last_intent + width - now.wall) / 1000)
    offset = (now.wall - int(shift * width)) % width
    return now + timedelta(microseconds=(width - offset) % width / 1000)


def next_slot(slot: Instant, now: Instant, every: timedelta) -> Instant:
    """The slot after ``slot`` that lies half an interval ahead at least; those before it are skipped.

    Half: a slot that went out late (suspended, stalled) must not have the next one at its heels, and one that was a
    little late by its jitter must not cost the next.
    """
    following = slot + every
    behind = (now + every / 2).since(following)
    if behind <= timedelta(0):
        return following
    skipped = behind // every + 1
    return following + every * skipped


def jittered(slot: Instant, every: timedelta, chance: float) -> Instant:
    """``slot`` moved by up to a tenth of ``every``; ``chance`` in [0, 1).

    Where ``every`` is long, it is moved to a beat that all legs share: of a thousand legs some send together, which
    costs a third less than one by one (warm caches, joined commits), and a single leg does not notice.
    """
    due = slot + every * (JITTER * chance)
    if every < SELDOM:
        return due
    on_beat = due + timedelta(microseconds=-(due.boot % _ns(BEAT)) / 1000)
    return on_beat if on_beat.boot >= slot.boot else due


def _ns(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1_000_000_000)
