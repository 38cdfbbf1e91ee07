"""Blackout: nothing sent since the first overdue canary has arrived.

The first overdue canary since the newest punctual one is *dark*. A punctual canary sent with or after it ends the dark
and nothing else does. It is a page when four things have come together:

* seven canaries were sent since, itself included, each older than the leg's p98 latency;
* the first one sent after it is older than the stall limit, so no harmless restart explains both;
* three witnesses: canaries sent at least the stall limit after it, older than the leg's p80 latency and not seen, so
  the restart has not ended with its backlog deferred;
* where a gap longer than the stall limit began before the dark, one canary sent after that gap, older than the p98
  latency and not seen: else the mailbox was away, and its mail is on the way.

No more is kept than these few canaries, so each event costs O(1); only the moment of going dark looks at those that
wait, as far as the stall limit reaches. Where one kept here is seen or left out, the next one sent takes its place.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from probe.detection.detector_pending import Waiting
from probe.detection.threshold import Tuning

RUN = 7
WITNESSES = 3

Kept = tuple[float, str]  # sent, canary id


class Blackout:
    """The dark of one leg. ``dark``: (sent, id) of the first overdue canary, None while mail arrives."""

    __slots__ = ("_after_gap", "_first", "_gap_end", "_witnesses", "dark")

    def __init__(self) -> None:
        self.dark: Kept | None = None
        self._first: list[Kept] = []  # the dark one and those sent after it, at most RUN
        self._witnesses: list[Kept] = []
        self._gap_end: float | None = None  # of the last long gap that began in the light
        self._after_gap: Kept | None = None

    @property
    def run(self) -> int:
        """Canaries sent since it went dark, none of which has arrived in time, as far as they count (7)."""
        return len(self._first)

    def begin(self, one: Waiting, later: Iterable[Waiting], tuning: Tuning) -> None:
        """``one`` is overdue and nothing sent since has arrived; ``later``: those that wait, in send order."""
        self.dark = (one.sent, one.id)
        self._first = [self.dark]
        self._witnesses = []
        for other in later:
            if len(self._first) == RUN and len(self._witnesses) == WITNESSES:
                break
            if not other.out:
                self._keep((other.sent, other.id), tuning)

    def sent(self, canary_id: str, sent: float, tuning: Tuning) -> None:
        """One more canary."""
        if self.dark is not None and sent > self.dark[0]:
            self._keep((sent, canary_id), tuning)
        if self._gap_end is not None and self._after_gap is None and sent >= self._gap_end:
            self._after_gap = (sent, canary_id)

    def punctual(self, canary_id: str, newest: float) -> None:
        """One arrived in time; ``newest``: when the newest such was sent."""
        if self.dark is not None and newest >= self.dark[0]:
            self.dark = None
            self._first, self._witnesses = [], []
        if self._gap_end is not None and newest >= self._gap_end:
            self._gap_end = self._after_gap = None  # what goes dark from now on was sent after that gap
        self.seen(canary_id)

    def seen(self, canary_id: str) -> None:
        """It was seen, in time or not: no longer one that proves the dark."""
        if self._witnesses:
            self._witnesses = [one for one in self._witnesses if one[1] != canary_id]
        if self._after_gap is not None and self._after_gap[1] == canary_id:
            self._after_gap = None

    def left_out(self, canary_id: str) -> None:
        """Nothing is known of it. The dark itself stays, whatever becomes of the canary that began it."""
        self.seen(canary_id)
        if self._first:
            self._first = [one for one in self._first if one[1] != canary_id or one == self.dark]

    def gap(self, begin: float, end: float, tuning: Tuning) -> None:
        """The mailbox was not seen from ``begin`` to ``end``."""
        if end - begin > tuning.stall_limit and self.dark is None:
            self._gap_end, self._after_gap = end, None

    def due(self, tuning: Tuning) -> float | None:
        """From when on it is a page, with what was sent so far; None: more must be sent first, or it is not dark."""
        if self.dark is None or len(self._first) < RUN or len(self._witnesses) < WITNESSES:
            return None
        moments = [
            self._first[-1][0] + tuning.suspect_after,
            self._first[1][0] + tuning.stall_limit,
            self._witnesses[-1][0] + tuning.usual,
        ]
        if self._gap_end is not None and self.dark[0] < self._gap_end:
            if self._after_gap is None:
                return None
            moments.append(self._after_gap[0] + tuning.suspect_after)
        return max(moments)

    def state(self) -> dict[str, Any]:
        """All of it as plain data; ``restore`` takes it back."""
        return {
            "dark": _plain(self.dark),
            "first": [list(one) for one in self._first],
            "witnesses": [list(one) for one in self._witnesses],
            "gap_end": self._gap_end,
            "after_gap": _plain(self._after_gap),
        }

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Blackout:
        blackout = cls()
        blackout.dark = _kept(state["dark"])
        blackout._first = [(sent, canary_id) for sent, canary_id in state["first"]]
        blackout._witnesses = [(sent, canary_id) for sent, canary_id in state["witnesses"]]
        blackout._gap_end = state["gap_end"]
        blackout._after_gap = _kept(state["after_gap"])
        return blackout

    def _keep(self, one: Kept, tuning: Tuning) -> None:
        assert self.dark is not None
        if len(self._first) < RUN:
            self._first.append(one)
        if len(self._witnesses) < WITNESSES and one[0] >= self.dark[0] + tuning.stall_limit:
            self._witnesses.append(one)


def _plain(one: Kept | None) -> list[Any] | None:
    return None if one is None else list(one)


def _kept(one: list[Any] | None) -> Kept | None:
    return None if one is None else (one[0], one[1])
