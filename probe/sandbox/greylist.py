"""Greylisting: who comes for the first time is told to come again (RFC 6647).

What "the same mail" is differs from real ones in one thing. They know a sender by host, sender and recipient, and let
it pass for weeks once it came again; here ENVID counts too where the sender gives one (RFC 3461 section 4.4), and each
canary has its own: so each is put off, as long as the fault is on.
"""

from __future__ import annotations

from collections.abc import Callable

MOST_REMEMBERED = 50_000

Triplet = tuple[str, ...]


class Greylist:
    """Remembers the newest 50,000 whom it put off; ``put_off`` counts how often it did."""

    def __init__(self) -> None:
        self._seen: dict[Triplet, None] = {}
        self.put_off = 0

    def holds(self, who: Triplet, hit: Callable[[], bool]) -> bool:
        """Whether this attempt is put off. ``hit`` is only asked about somebody who was never put off."""
        if who in self._seen or not hit():
            return False
        if len(self._seen) >= MOST_REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._seen[who] = None
        self.put_off += 1
        return True

    def forget(self) -> None:
        """Everybody is new again."""
        self._seen.clear()
