"""The one line of time that detectors count on: seconds as a float, cheap to feed, the same after a restart."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from probe.clock import NANOSECONDS, Instant


@dataclass(frozen=True, slots=True)
class Timeline:
    """Seconds since the epoch by the wall clock at ``anchor`` (an instant of this start of the program), and from
    there on by the clock that no step moves. Instants of another boot are placed by their wall clock.

    A double holds such seconds to less than a microsecond.
    """

    anchor: Instant

    def seconds(self, instant: Instant) -> float:
        """Where ``instant`` lies."""
        if instant.boot_id == self.anchor.boot_id:
            return (self.anchor.wall + instant.boot - self.anchor.boot) / NANOSECONDS
        return instant.wall / NANOSECONDS

    def instant(self, seconds: float) -> Instant:
        """The instant at ``seconds``, to the microsecond."""
        return self.anchor + timedelta(seconds=seconds - self.anchor.wall / NANOSECONDS)
