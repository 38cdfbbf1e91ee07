"""What became of each leg's canaries in the last hour, six hours, day and month: the gauges of windows.

From the start on it is counted as it happens, by the books' steps. What was before is looked up in the ledger after the
start, newest first, in pieces that leave the processor to others; a window is shown once it is whole. A scrape asks
the ledger nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import lru_cache

from probe.canary.life import Effect, Move
from probe.canary.record import Canary, Leg
from probe.canary.windows import OF_AN_OUTCOME, SPANS, What, Windows
from probe.clock import NANOSECONDS, Clock, Instant
from probe.detection.bounds import Interval, clopper_pearson
from probe.engine.books import Books
from probe.engine.supervisor import Pulse, wait_until
from probe.exposition.live import WindowView
from probe.ledger.history import Happened

AFTER_START = timedelta(seconds=5)  # the first reads come first
LONGEST_PIECE = 6 * 3600  # seconds of the past in one question
MOST_AT_ONCE = 500  # groups of canaries that are taken over before others have their turn
REST = 4  # times as long as a piece took
STILL_FOR = 120  # seconds: a leg without anything new is looked at again after so long
TIDY_EVERY = timedelta(hours=1)


class _OfLeg:
    """A leg's windows, what was shown of them last, and whether something has happened since."""

    __slots__ = ("looked_at", "shown", "touched", "windows")

    def __init__(self) -> None:
        self.windows = Windows()
        self.shown: tuple[WindowView, ...] = ()
        self.touched = True
        self.looked_at = 0


class Windowing:
    """The windows of all legs. ``keep``: how long the ledger remembers; no longer window is shown. Make it once the
    last run's canaries are taken over: what is in the ledger by then is looked up, all else is heard of."""

    def __init__(self, books: Books, clock: Clock, keep: Callable[[], timedelta], *, inline: bool = False) -> None:
        self._history = books.ledger.history
        self._clock = clock
        self._keep = keep
        self._inline = inline
        self._legs: dict[Leg, _OfLeg] = {}
        self._since = clock.now().wall  # up to here the ledger is asked
        self._whole = 0  # windows that are known in full
        self._open_asked = False
        self._pieces = deque(_pieces(self._since // NANOSECONDS))
        books.listeners.append(self._follow)

    def view(self, leg: Leg, now: Instant) -> tuple[WindowView, ...]:
        """The windows that are known in full: the same object as long as nothing has changed. A leg's windows move on
        with its canaries, so that what is shown of a route is not written anew for each minute that passes."""
        if not self._whole:
            return ()
        one, at = self._of(leg), now.wall // NANOSECONDS
        if one.touched or at - one.looked_at >= STILL_FOR or at < one.looked_at:
            one.touched, one.looked_at = False, at
            one.windows.forward(at)
            shown = tuple([_shown(place, one.windows) for place in range(self._whole) if self._kept(place)])
            if shown != one.shown:
                one.shown = shown
        return one.shown

    async def run(self, stopping: asyncio.Event, pulse: Pulse) -> None:
        """Look up what was before the start, piece by piece; then forget legs of which nothing is left."""
        await wait_until(self._clock, self._clock.now() + AFTER_START, stopping, pulse)
        while (self._pieces or not self._open_asked) and not stopping.is_set():
            began = self._clock.now()
            await self._look_up(pulse)
            rest = self._clock.now().since(began) * REST
            await wait_until(self._clock, self._clock.now() + rest, stopping, pulse)
        while not stopping.is_set():
            await wait_until(self._clock, self._clock.now() + TIDY_EVERY, stopping, pulse)
            self._tidy(self._clock.now().wall // NANOSECONDS)

    def _of(self, leg: Leg) -> _OfLeg:
        one = self._legs.get(leg)
        if one is None:
            one = self._legs[leg] = _OfLeg()
        return one

    def _kept(self, place: int) -> bool:
        return timedelta(seconds=SPANS[place].seconds) <= self._keep()

    # What happens.

    def _follow(self, _: Canary, move: Move) -> None:
        after = move.canary
        settled = after.settled
        for effect in move.effects:
            if effect is Effect.SENT:
                self._heard(after.leg, after.sent.wall, What.SENT)
            elif effect is Effect.OVERDUE:
                self._heard(after.leg, (settled or self._clock.now()).wall, What.OVERDUE)
            elif effect is Effect.OUTCOME and settled is not None and after.state in OF_AN_OUTCOME:
                self._heard(after.leg, settled.wall, OF_AN_OUTCOME[after.state])

    def _heard(self, leg: Leg, wall: int, what: What) -> None:
        if self._pieces and wall <= self._since:
            return  # the ledger will tell
        one = self._of(leg)
        one.windows.add(wall // NANOSECONDS, what)
        one.touched = True

    # What was before.

    async def _look_up(self, pulse: Pulse) -> None:
        """One question, and what it found."""
        pulse.beat(timedelta(minutes=5))
        if not self._open_asked:
            found = await self._ask(self._history.open_before, self._since + 1, SPANS[0].bucket)
            await self._take_over(found)
            self._open_asked = True
            return
        begin, end, bucket, whole = self._pieces[0]
        if timedelta(seconds=SPANS[whole - 1].seconds) > self._keep():
            self._pieces.popleft()
            return
        upto = self._since + 1 if end is None else end * NANOSECONDS
        await self._take_over(await self._ask(self._history.settled, begin * NANOSECONDS, upto, bucket))
        self._pieces.popleft()
        if not self._pieces or self._pieces[0][3] != whole:
            self._whole = whole
            for one in self._legs.values():
                one.touched = True

    async def _ask(self, question: Callable[..., list[Happened]], *arguments: int) -> list[Happened]:
        if self._inline:
            return question(*arguments)
        return await asyncio.to_thread(question, *arguments)

    async def _take_over(self, found: list[Happened]) -> None:
        for start in range(0, len(found), MOST_AT_ONCE):
            for each in found[start : start + MOST_AT_ONCE]:
                self._count(each)
            await self._clock.sleep(timedelta(0))

    def _count(self, each: Happened) -> None:
        windows = self._of(each.leg).windows
        windows.add(each.sent, What.SENT, each.canaries)
        if each.overdue is not None:
            windows.add(each.overdue, What.OVERDUE, each.canaries)
        if each.settled is not None and each.state in OF_AN_OUTCOME:
            windows.add(each.settled, OF_AN_OUTCOME[each.state], each.canaries)

    def _tidy(self, now: int) -> None:
        for leg, one in list(self._legs.items()):
            one.windows.forward(now)
            one.touched = True
            if one.windows.empty:
                del self._legs[leg]


def _pieces(now: int) -> Iterable[tuple[int, int | None, int, int]]:
    """Begin and end (None: now), length of the buckets, all in seconds, and how many windows are whole once the last
    piece with that number is known. They reach back from ``now`` to the oldest bucket of the longest window."""
    end: int | None = None
    for whole, span in enumerate(SPANS, 1):
        oldest = (now // span.bucket - span.seconds // span.bucket) * span.bucket
        # A piece begins where a bucket of the next, coarser window does.
        coarser = SPANS[min(whole, len(SPANS) - 1)].bucket
        oldest = oldest // coarser * coarser
        while end is None or end > oldest:
            begin = max(oldest, (now if end is None else end) - LONGEST_PIECE)
            begin = max(oldest, begin // coarser * coarser)
            yield begin, end, span.bucket, whole
            end = begin


def _shown(place: int, windows: Windows) -> WindowView:
    sent, overdue, lost, unknown, arrived = windows.rings[place].sums
    bounds = _bounds(lost, lost + arrived)
    return WindowView(SPANS[place].name, sent, overdue, lost, unknown, lost + arrived, bounds.lower, bounds.upper)


@lru_cache(maxsize=4096)
def _bounds(lost: int, judged: int) -> Interval:
    """Many legs have the same counts, and lose nothing or the same."""
    return clopper_pearson(lost, judged)
