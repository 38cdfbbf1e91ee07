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

WAITED_FOR = frozenset({State.ACCEPTED, State.UNSURE})


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
        self.canaries: dict[str, Canary] = {}
        self._heap: list[tuple[int, int, str]] = []
        self.due: dict[Deadline, set[str]] = {kind: set() for kind in Deadline}

    def follow(self, _: Canary, move: Move) -> None:
        """A listener of the books."""
        canary = move.canary
        if canary.leg.mailbox != self.mailbox:
            return
        if canary.state in WAITED_FOR:
            known = canary.id in self.canaries
            self.canaries[canary.id] = canary
            if not known:
                self._enter(canary)
        elif self.canaries.pop(canary.id, None) is not None:
            for ids in self.due.values():
                ids.discard(canary.id)

    def enter(self, canaries: Iterable[Canary]) -> None:
        """Canaries of an earlier run, the oldest first."""
        now = self._clock.now()
        for canary in canaries:
            if canary.leg.mailbox == self.mailbox and canary.state in WAITED_FOR:
                self.canaries[canary.id] = canary
                self._heap += _dues(canary, now)
        heapq.heapify(self._heap)

    def _enter(self, canary: Canary) -> None:
        for due in _dues(canary, self._clock.now()):
            heapq.heappush(self._heap, due)

    @property
    def youngest_dot(self) -> Instant | None:
        """The last dot of the youngest canary waited for: what its transit, and so its polls, count from."""
        if not self.canaries:
            return None
        youngest = next(reversed(self.canaries.values()))
        return youngest.last_dot or youngest.zero

    @property
    def oldest(self) -> Canary | None:
        """The canary waited for the longest."""
        return next(iter(self.canaries.values()), None)

    def pass_deadlines(self, now: Instant) -> None:
        """Move what has become due into ``due``."""
        while self._heap and self._heap[0][0] < now.boot:
            _, kind, canary_id = heapq.heappop(self._heap)
            if canary_id in self.canaries:
                self.due[Deadline(kind)].add(canary_id)

    def next_deadline(self, now: Instant) -> Instant | None:
        """When a read is due for a deadline: now where ``overdue`` has passed already. Verdicts that are due wait in
        ``due`` for their sweep, and must not hold up the next canary's deadline."""
        self.pass_deadlines(now)
        if self.due[Deadline.OVERDUE]:
            return now
        while self._heap and self._heap[0][2] not in self.canaries:
            heapq.heappop(self._heap)
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


def _dues(canary: Canary, now: Instant) -> list[tuple[int, int, str]]:
    """(ns of this boot's BOOTTIME, kind, id) of each deadline that is watched for."""
    zero, deadlines, name = canary.zero, canary.deadlines, canary.id
    boot = zero.boot if zero.boot_id == now.boot_id else now.boot + zero.wall - now.wall
    dues = [
        (boot + _nanoseconds(deadlines.lost_after), int(Deadline.LOST), name),
        (boot + _nanoseconds(deadlines.watch_for), int(Deadline.WATCH), name),
    ]
    if canary.state is State.ACCEPTED and not canary.overdue:
        dues.append((boot + _nanoseconds(deadlines.overdue_after), int(Deadline.OVERDUE), name))
    return dues


@lru_cache(maxsize=1024)
def _nanoseconds(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1) * 1000
