"""When the mailbox was not seen. A gap counts from 5 s; it postpones judgement and clears nothing."""

from __future__ import annotations

from collections import deque
from typing import Any

BLIND_FROM = 5.0  # seconds: a shorter gap is none


class Gaps:
    """The blindness of now (``since``) and the past gaps that touch a canary which still waits."""

    __slots__ = ("_past", "since")

    def __init__(self) -> None:
        self.since: float | None = None
        self._past: deque[tuple[float, float]] = deque()

    @property
    def any(self) -> bool:
        """Whether it is blind now, or a past gap is still kept."""
        return self.since is not None or bool(self._past)

    def add(self, begin: float, end: float) -> bool:
        """A gap is over; False where it was too short to count."""
        if end - begin < BLIND_FROM:
            return False
        self._past.append((begin, end))
        return True

    def touch(self, begin: float, end: float) -> bool:
        """Whether a gap lies, in part, between ``begin`` and ``end``. O(gaps that a waiting canary lived to see)."""
        if self.since is not None and self.since <= end:
            return True
        return any(first <= end and last >= begin for first, last in self._past)

    def blind_at(self, now: float) -> bool:
        """Whether it counts as blind now."""
        return self.since is not None and now - self.since >= BLIND_FROM

    def forget(self, before: float) -> None:
        """No canary waits that was sent before that."""
        while self._past and self._past[0][1] < before:
            self._past.popleft()

    def state(self) -> dict[str, Any]:
        return {"since": self.since, "past": [list(gap) for gap in self._past]}

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Gaps:
        gaps = cls()
        gaps.since = state["since"]
        gaps._past = deque((begin, end) for begin, end in state["past"])
        return gaps
