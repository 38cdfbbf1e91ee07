"""Canaries that somebody follows live are looked for in every folder of the account, soon and then ever more rarely.

A verdict's sweep (judging.py) comes after ``lost_after``; whoever traces a canary wants to know within seconds that it
was filed where nobody watches. These searches have a budget of their own, so that they never hold up a verdict: the
first some seconds after the dot, each distance twice the one before up to ``Pace.sweeps_apart``, and never more than a
fifth of the mailbox's time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from probe.canary.record import Canary
from probe.clock import Clock, Instant
from probe.engine.judging import MOST_SWEPT, Sweep
from probe.engine.waiting import Waiting
from probe.errors import MailboxError

FIRST = timedelta(seconds=3)
KEPT = timedelta(minutes=1)  # a follower that has not asked for so long is gone
SHARE = 4  # a search that took a second is followed by four seconds without one


@dataclass(slots=True)
class _Wanted:
    until: Instant
    due: Instant | None = None  # None: not looked for yet
    apart: timedelta = FIRST


class Searches:
    """The searches of one mailbox. ``done``: how many came to an end; ``problem``: what ended the last one, or ""."""

    def __init__(self, waiting: Waiting, clock: Clock, most_apart: timedelta) -> None:
        self._waiting = waiting
        self._clock = clock
        self._most_apart = most_apart
        self._wanted: dict[str, _Wanted] = {}
        self._earliest = clock.now()
        self.done = 0
        self.problem = ""

    def follow(self, canary_id: str) -> None:
        """Look for it during the next minute; to be called again as long as somebody waits for it."""
        until = self._clock.now() + KEPT
        self._wanted.setdefault(canary_id, _Wanted(until)).until = until

    def due(self) -> Iterator[Instant]:
        """When the next search may begin, if any is wanted."""
        now = self._clock.now()
        dues = [one.due or _first(canary, now) for canary, one in self._sought()]
        if dues:
            yield max(self._earliest, min(dues, key=_boot), key=_boot)

    async def run(self, sweep: Sweep) -> None:
        """One search for all that are followed. The watched folders were just read. Raises MailboxError."""
        sought = self._sought()[:MOST_SWEPT]
        began = self._clock.now()
        self.problem = "it failed"
        try:
            await sweep([canary for canary, _ in sought])
            self.done += 1
            self.problem = ""
        except MailboxError as problem:
            self.problem = str(problem)
            raise
        finally:
            # After a failure the connection has to be made anew: not for the same at once.
            self._space(sought, began, longest=bool(self.problem))

    def _space(self, sought: list[tuple[Canary, _Wanted]], began: Instant, *, longest: bool) -> None:
        now = self._clock.now()
        self._earliest = now + now.since(began) * SHARE
        for _, one in sought:
            one.due = now + (self._most_apart if longest else min(one.apart, self._most_apart))
            one.apart = one.apart * 2

    def _sought(self) -> list[tuple[Canary, _Wanted]]:
        """Those that are waited for in this mailbox and whose followers are still there."""
        now = self._clock.now()
        for canary_id in [name for name, one in self._wanted.items() if now.since(one.until) > timedelta(0)]:
            del self._wanted[canary_id]
        there = self._waiting.canaries
        return [(there[canary_id], one) for canary_id, one in self._wanted.items() if canary_id in there]


def _first(canary: Canary, now: Instant) -> Instant:
    dot = canary.last_dot or canary.zero
    return dot + FIRST if dot.boot_id == now.boot_id else now


def _boot(moment: Instant) -> int:
    return moment.boot
