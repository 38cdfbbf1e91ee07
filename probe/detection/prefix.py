"""Verdicts in send order: what is settled of a leg's canaries, whatever order the verdicts come in.

Punctual canaries are judged when they arrive, the others only when they are overdue. Who counts verdicts as they come
therefore sees the good ones first, and would call a fault over that still runs. So a verdict counts only when every
canary sent before it has its own.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from probe.clock import Instant


class Verdict(StrEnum):
    """What became of a canary. ``LEFT_OUT``: nobody can tell (blind, refused, unsure): it is no evidence."""

    GOOD = "good"
    BAD = "bad"
    LEFT_OUT = "left_out"


@dataclass(frozen=True, slots=True)
class Settled:
    """A canary whose turn has come: it and all before it are judged."""

    canary: str
    sent: Instant
    verdict: Verdict


class SettledPrefix:
    """One leg's canaries from the first on that was told of. O(1) amortised a call; holds only what is not settled."""

    def __init__(self) -> None:
        self._order: deque[tuple[str, Instant]] = deque()
        self._verdicts: dict[str, Verdict | None] = {}
        self.good_waiting = 0

    def __len__(self) -> int:
        """Canaries that are not settled."""
        return len(self._order)

    @property
    def oldest(self) -> tuple[str, Instant] | None:
        """The first canary that is not settled, which all others wait for: its id and when it was sent."""
        return self._order[0] if self._order else None

    def sent(self, canary: str, at: Instant) -> None:
        """It was sent, after all that were told of before. Telling it twice changes nothing."""
        if canary not in self._verdicts:
            self._verdicts[canary] = None
            self._order.append((canary, at))

    def knows(self, canary: str) -> bool:
        """Whether it was sent and has no verdict yet."""
        return canary in self._verdicts and self._verdicts[canary] is None

    def judge(self, canary: str, verdict: Verdict) -> list[Settled]:
        """The canaries that this verdict settles, in send order. One that is not known, or judged, changes nothing."""
        if not self.knows(canary):
            return []
        self._verdicts[canary] = verdict
        self.good_waiting += verdict is Verdict.GOOD
        settled = []
        while self._order and (first := self._verdicts[self._order[0][0]]) is not None:
            done, at = self._order.popleft()
            del self._verdicts[done]
            self.good_waiting -= first is Verdict.GOOD
            settled.append(Settled(done, at, first))
        return settled

    def to_json(self) -> list[list[Any]]:
        """What is not settled, in send order: id, instant, verdict or None."""
        return [[canary, instant_to_json(at), self._verdicts[canary]] for canary, at in self._order]

    @classmethod
    def from_json(cls, rows: list[list[Any]]) -> SettledPrefix:
        """The inverse of ``to_json``. Raises ValueError, KeyError or TypeError on anything else."""
        made = cls()
        for canary, at, verdict in rows:
            made._order.append((str(canary), instant_from_json(at)))
            made._verdicts[str(canary)] = None if verdict is None else Verdict(verdict)
            made.good_waiting += verdict == Verdict.GOOD
        return made


def instant_to_json(at: Instant) -> list[Any]:
    """Wall ns, boot ns and the boot's id."""
    return [at.wall, at.boot, at.boot_id]


def instant_from_json(row: list[Any]) -> Instant:
    """The inverse of ``instant_to_json``."""
    wall, boot, boot_id = row
    return Instant(int(wall), int(boot), str(boot_id))
