"""The canaries of a leg that are not judged yet, in send order, and how the one before each of them ended.

Every operation is O(1), amortised, whatever the number that waits. A canary that is settled leaves at once; what stays
of it is its verdict, with the one sent right after it.
"""

from __future__ import annotations

from collections import deque
from typing import Any


class Waiting:
    """One unjudged canary. ``before``: the one sent right before it, while that is unjudged too; else
    ``before_bad`` says how that one ended. Times are seconds on the detector's time line."""

    __slots__ = ("after", "before", "before_bad", "id", "out", "sent")

    def __init__(self, canary_id: str, sent: float) -> None:
        self.id = canary_id
        self.sent = sent
        self.before: Waiting | None = None
        self.after: Waiting | None = None
        self.before_bad = False
        self.out = False  # judged or left out: no longer waiting, to be dropped from its queue


class Pending:
    """In send order: ``held`` (past their deadline, not to be judged yet), then ``queue``."""

    __slots__ = ("_by_id", "_last", "_last_bad", "held", "queue")

    def __init__(self) -> None:
        self.held: deque[Waiting] = deque()
        self.queue: deque[Waiting] = deque()
        self._by_id: dict[str, Waiting] = {}
        self._last: Waiting | None = None  # the one sent last, while it waits; else _last_bad is how it ended
        self._last_bad = False

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, canary_id: str) -> Waiting | None:
        """The canary, while it waits."""
        return self._by_id.get(canary_id)

    def add(self, canary_id: str, sent: float) -> None:
        """One more was sent. Nearly always the newest; where answers came out of order it takes its place."""
        one = Waiting(canary_id, sent)
        self._by_id[canary_id] = one
        newest = self._last
        if newest is None or newest.sent <= sent:
            self._link(newest, one)
            self._last = one
            self.queue.append(one)
            return
        self._insert(one)

    def settle(self, one: Waiting, bad: bool) -> None:
        """It was judged."""
        self._forget(one)
        before, after = one.before, one.after
        if before is not None:
            before.after = None
        if after is not None:
            after.before, after.before_bad = None, bad
        elif self._last is one:
            self._last, self._last_bad = None, bad

    def leave_out(self, one: Waiting) -> None:
        """Nothing will be known of it: the one after it follows the one before it."""
        self._forget(one)
        before, after = one.before, one.after
        if after is not None:
            after.before, after.before_bad = before, one.before_bad
        if before is not None:
            before.after = after
        if self._last is one:
            self._last, self._last_bad = before, one.before_bad

    def oldest(self) -> Waiting | None:
        """The one that has waited longest."""
        return head(self.held) or head(self.queue)

    def state(self) -> dict[str, Any]:
        """All of it as plain data; ``restore`` takes it back."""
        waiting = [(one, held) for queue, held in ((self.held, True), (self.queue, False)) for one in queue]
        return {
            "waiting": [
                [one.id, one.sent, held, one.before.id if one.before else one.before_bad]
                for one, held in waiting
                if not one.out
            ],
            "last": self._last.id if self._last else self._last_bad,
        }

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Pending:
        pending = cls()
        for canary_id, sent, held, _ in state["waiting"]:
            one = pending._by_id[canary_id] = Waiting(canary_id, sent)
            (pending.held if held else pending.queue).append(one)
        for canary_id, _, _, before in state["waiting"]:
            one = pending._by_id[canary_id]
            if isinstance(before, str):
                pending._link(pending._by_id[before], one)
            else:
                one.before_bad = before
        last = state["last"]
        if isinstance(last, str):
            pending._last = pending._by_id[last]
        else:
            pending._last_bad = last
        return pending

    def _link(self, before: Waiting | None, one: Waiting) -> None:
        one.before = before
        if before is None:
            one.before_bad = self._last_bad
        else:
            before.after = one

    def _insert(self, one: Waiting) -> None:
        """Behind the last that was sent before it. As many steps as canaries overtook it: those under way at once."""
        place = len(self.queue)
        while place and self.queue[place - 1].sent > one.sent:
            place -= 1
        later = next((each for each in list(self.queue)[place:] if not each.out), None)
        self.queue.insert(place, one)
        if later is None:
            return
        one.before, one.before_bad, one.after = later.before, later.before_bad, later
        if later.before is not None:
            later.before.after = one
        later.before, later.before_bad = one, False

    def _forget(self, one: Waiting) -> None:
        one.out = True
        del self._by_id[one.id]


def head(queue: deque[Waiting]) -> Waiting | None:
    """The first that still waits; those in front of it that do not are dropped."""
    while queue and queue[0].out:
        queue.popleft()
    return queue[0] if queue else None
