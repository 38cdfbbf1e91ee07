"""Hard caps on sending (rule 7): the program can never mail-bomb anyone.

Counted over attempts, retries included, from the ledger at the start and from memory since; sliding windows on the
clock that no step moves. After a ledger was lost the windows start full: nobody knows what was sent before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Protocol

from probe.clock import Instant
from probe.options import Rate


class Limits(Protocol):
    """The four limits of the configuration."""

    @property
    def per_recipient(self) -> Sequence[Rate]: ...
    @property
    def per_route(self) -> Sequence[Rate]: ...
    @property
    def per_domain(self) -> Sequence[Rate]: ...
    @property
    def total(self) -> Sequence[Rate]: ...


class Caps:
    """Sliding windows over attempts. O(number of limits) a question."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._attempts: dict[tuple[str, str], deque[int]] = {}

    def reach(self, now: Instant) -> int:
        """How far back the longest window goes, as wall ns: what the ledger must be asked for."""
        limits = self._limits
        every = (*limits.per_recipient, *limits.per_route, *limits.per_domain, *limits.total)
        return now.wall - max(_ns(rate.per) for rate in every)

    def load(self, now: Instant, attempts: Iterable[tuple[int, str, str]]) -> None:
        """Take over the ledger's attempts: (started_at wall ns, route, recipient), oldest first."""
        for wall, route, recipient in attempts:
            self._count(now.boot - max(0, now.wall - wall), route, recipient)

    def start_full(self, now: Instant, routes: Iterable[tuple[str, str]]) -> None:
        """As if every window of these (route, recipient) were used up at this instant."""
        for route, recipient in routes:
            for key, rates in self._keys(route, recipient):
                used = self._attempts.setdefault(key, deque())
                used.extend([now.boot] * (max(rate.count for rate in rates) - len(used)))

    def change(self, limits: Limits, now: Instant, since: Callable[[int], Iterable[tuple[int, str, str]]]) -> None:
        """Other limits from here on; ``since`` asks the ledger for the attempts after a wall ns. Windows that were
        fuller before (the ledger had been lost) stay as full as they were."""
        before, self._attempts, self._limits = self._attempts, {}, limits
        self.load(now, since(self.reach(now)))
        for key, used in before.items():
            if len(used) > len(self._attempts.get(key, ())):
                self._attempts[key] = used

    def refuses(self, now: Instant, route: str, recipient: str) -> str | None:
        """The name of a limit that one more attempt would exceed, or None."""
        for key, rates in self._keys(route, recipient):
            used = self._attempts.get(key)
            if not used:
                continue
            for rate in rates:
                if len(used) >= rate.count and now.boot - used[-rate.count] < _ns(rate.per):
                    return key[0]
        return None

    def record(self, now: Instant, route: str, recipient: str) -> None:
        """An attempt is about to be made."""
        self._count(now.boot, route, recipient)

    def _count(self, boot: int, route: str, recipient: str) -> None:
        for key, rates in self._keys(route, recipient):
            used = self._attempts.setdefault(key, deque())
            used.append(boot)
            most = max(rate.count for rate in rates)
            while len(used) > most:
                used.popleft()

    def _keys(self, route: str, recipient: str) -> tuple[tuple[tuple[str, str], Sequence[Rate]], ...]:
        address = recipient.casefold()
        limits = self._limits
        return (
            (("per_recipient", address), limits.per_recipient),
            (("per_route", route), limits.per_route),
            (("per_domain", address.rpartition("@")[2]), limits.per_domain),
            (("total", ""), limits.total),
        )


def _ns(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1_000_000_000)
