"""The canaries that a mailbox is watched for: which, how young the youngest is, and whose deadline is due next."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from datetime import timedelta
from enum import IntEnum
from functools import lru_cache

from probe.canary.life import Move
from probe.canary.record import Canary, State
from probe.clock import Clock, Instant
from probe.engine.flying import Flying, Outline
from probe.ledger.stored import StoredCanary

WAITED_FOR = frozenset({State.ACCEPTED, State.UNSURE})
_DECODE = -1  # in place of a deadline: no deadline of this stored canary is earlier


class Deadline(IntEnum):
    """What is due."""

    OVERDUE = 0
    LOST = 1
    WATCH = 2


class Waiting:
    """Outstanding canaries of one mailbox. Every question is O(1) or O(log n)."""

    def __init__(self, mailbox: str, clock: Clock) -> None:
        self.mailbox = mailbox
        self._clock = clock
        self.canaries = Flying()
        self._heap: list[tuple[int, int, str]] = []
        self.due: dict[Deadline, set[str]] = {kind: set() for kind in Deadline}

    def follow(self, _: Canary, move: Move) -> None:
        """A listener of the books."""
        canary = move.canary
        if canary.leg.mailbox != self.mailbox:
            return
        if canary.state in WAITED_FOR:
            known = canary.id in self.canaries
            self.canaries.put(canary)
            if not known:
                self._enter(canary)
        elif self.canaries.drop(canary.id):
            for ids in self.due.values():
                ids.discard(canary.id)

    def enter(self, canaries: Iterable[Outline]) -> None:
        """Canaries of an earlier run, the oldest first."""
        now = self._clock.now()
        for canary in canaries:
            if canary.leg.mailbox == self.mailbox and canary.state in WAITED_FOR:
                self.canaries.put(canary)
                self._heap += _first_due(canary, now) if isinstance(canary, StoredCanary) else _dues(canary, now)
        heapq.heapify(self._heap)

    def _enter(self, canary: Canary) -> None:
        for due in _dues(canary, self._clock.now()):
            heapq.heappush(self._heap, due)

    @property
    def youngest_dot(self) -> Instant | None:
        """The last dot of the youngest canary waited for: what its transit, and so its polls, count from."""
        youngest = self.canaries.youngest
        return None if youngest is None else youngest.last_dot or youngest.zero

    def pass_deadlines(self, now: Instant) -> None:
        """Move what has become due into ``due``."""
        while self._heap and self._heap[0][0] < now.boot:
            self._pop(now)

    def _pop(self, now: Instant) -> None:
        _, kind, canary_id = heapq.heappop(self._heap)
        if canary_id not in self.canaries:
            return
        if kind == _DECODE:
            for due in _dues(self.canaries[canary_id], now):
                heapq.heappush(self._heap, due)
        else:
            self.due[Deadline(kind)].add(canary_id)

    def next_deadline(self, now: Instant) -> Instant | None:
        """When a read is due for a deadline: now where ``overdue`` has passed already. Verdicts that are due wait in
        ``due`` for their sweep, and must not hold up the next canary's deadline."""
        self.pass_deadlines(now)
        if self.due[Deadline.OVERDUE]:
            return now
        while self._heap and (self._heap[0][1] == _DECODE or self._heap[0][2] not in self.canaries):
            self._pop(now)
        if not self._heap:
            return None
        # A read must begin after the deadline to say anything about it.
        return now + timedelta(microseconds=max(0, self._heap[0][0] - now.boot) / 1000 + 1000)

    def floors(self, folder: str, epoch: int) -> int | None:
        """The lowest position from which a folder must be listed again for the canaries whose verdict is due."""
        positions = [
            cursor.position
            for canary_id in self.due[Deadline.LOST]
            if (cursor := self.canaries[canary_id].floors.get(folder)) is not None and cursor.epoch == epoch
        ]
        return min(positions, default=None)


def _first_due(canary: StoredCanary, now: Instant) -> list[tuple[int, int, str]]:
    """Its clock began at the intent or later: before this, nothing of it is due."""
    deadlines = canary.deadlines
    overdue_is_next = canary.state is State.ACCEPTED and not canary.overdue
    after = deadlines.overdue_after if overdue_is_next else deadlines.lost_after
    return [(_boot(canary.sent, now) + _nanoseconds(after), _DECODE, canary.id)]


def _dues(canary: Canary, now: Instant) -> list[tuple[int, int, str]]:
    """(ns of this boot's BOOTTIME, kind, id) of each deadline that is watched for."""
    zero, deadlines, name = canary.zero, canary.deadlines, canary.id
    boot = _boot(zero, now)
    dues = [
        (boot + _nanoseconds(deadlines.lost_after), int(Deadline.LOST), name),
        (boot + _nanoseconds(deadlines.watch_for), int(Deadline.WATCH), name),
    ]
    if canary.state is State.ACCEPTED and not canary.overdue:
        dues.append((boot + _nanoseconds(deadlines.overdue_after), int(Deadline.OVERDUE), name))
    return dues


def _boot(then: Instant, now: Instant) -> int:
    """An instant by this boot's clock."""
    return then.boot if then.boot_id == now.boot_id else now.boot + then.wall - now.wall


@lru_cache(maxsize=1024)
def _nanoseconds(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1) * 1000
