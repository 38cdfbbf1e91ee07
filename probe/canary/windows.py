"""How many canaries of a leg in the last hour, six hours, day and month: sliding windows, counted as it happens.

A canary counts as sent when it was sent, as overdue when it was found overdue, and by its outcome when that was known.
A window is a ring of buckets: whole ones, and the one that is being filled, so it covers its span and at most one
bucket more. What a step of the wall clock puts out of reach is forgotten.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from probe.canary.record import State


class What(IntEnum):
    """What is counted. ``ARRIVED``: the outcomes delivered and late."""

    SENT = 0
    OVERDUE = 1
    LOST = 2
    UNKNOWN = 3
    ARRIVED = 4


OF_AN_OUTCOME: Mapping[State, What] = {
    State.DELIVERED: What.ARRIVED,
    State.LATE: What.ARRIVED,
    State.LOST: What.LOST,
    State.UNKNOWN: What.UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class Span:
    """One window: its name in the metrics, its length and that of its buckets, in seconds."""

    name: str
    seconds: int
    bucket: int


# Each bucket is a whole number of those before, and at most a sixtieth of its window.
SPANS = (Span("1h", 3600, 60), Span("6h", 21_600, 300), Span("1d", 86_400, 900), Span("30d", 2_592_000, 21_600))
_KINDS = len(What)


class Ring:
    """The counts of one window, and ``sums`` of all its buckets by ``What``. Times are whole unix seconds."""

    __slots__ = ("_bucket", "_cells", "_count", "_newest", "sums")

    def __init__(self, span: Span) -> None:
        self._bucket = span.bucket
        self._count = span.seconds // span.bucket + 1
        self._cells = array("I", bytes(4 * _KINDS * self._count))
        self._newest = 0
        self.sums = [0] * _KINDS

    def forward(self, at: int) -> None:
        """It is ``at`` now: let go what is too old."""
        newest = at // self._bucket
        passed = newest - self._newest
        if 0 <= passed < self._count:
            for number in range(self._newest + 1, newest + 1):
                self._clear(number % self._count)
        elif passed > 0 or passed <= -self._count:  # nothing is left, or the clock was set back beyond all of it
            self._cells = array("I", bytes(4 * _KINDS * self._count))
            self.sums = [0] * _KINDS
        else:
            return  # the clock was set back a little: what it goes through again is counted where it falls
        self._newest = newest

    def add(self, at: int, what: What, count: int) -> None:
        """``count`` of them happened ``at``; what is older than the window is left out."""
        number = at // self._bucket
        if number > self._newest:
            self.forward(at)
        elif number <= self._newest - self._count:
            return
        self._cells[number % self._count * _KINDS + what] += count
        self.sums[what] += count

    def _clear(self, place: int) -> None:
        first = place * _KINDS
        for what in range(_KINDS):
            gone = self._cells[first + what]
            if gone:
                self.sums[what] -= gone
                self._cells[first + what] = 0


class Windows:
    """The windows of one leg, in the order of ``SPANS``."""

    __slots__ = ("rings",)

    def __init__(self) -> None:
        self.rings = tuple(Ring(span) for span in SPANS)

    def add(self, at: int, what: What, count: int = 1) -> None:
        """Into every window that reaches back so far."""
        for ring in self.rings:
            ring.add(at, what, count)

    def forward(self, at: int) -> None:
        """It is ``at`` now."""
        for ring in self.rings:
            ring.forward(at)

    @property
    def empty(self) -> bool:
        """Whether nothing is left in any of them."""
        return not any(any(ring.sums) for ring in self.rings)
