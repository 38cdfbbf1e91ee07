"""What the world saw: one list of events in the order they happened, each with the virtual second it happened at.

The world writes it (mail that came and went, what the sender was handed and answered, reads, the accidents of clocks),
the checker reads it. Nothing of the prober's own opinion stands here.
"""

from __future__ import annotations

import base64
import bisect
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.jumping import JumpingClock, JumpingLoop

_TOKEN = re.compile(rb"[a-z2-7]{63}")
NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class Event:
    """``at``: virtual seconds since the history began; ``facts``: plain values, by name."""

    at: float
    kind: str
    facts: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.facts[name]

    def line(self) -> str:
        """For people."""
        said = " ".join(f"{name}={value}" for name, value in self.facts.items())
        return f"{self.at:10.3f} {self.kind:9} {said}"


@dataclass
class History:
    """Events, oldest first."""

    events: list[Event] = field(default_factory=list)

    def of(self, *kinds: str) -> Iterator[Event]:
        return (event for event in self.events if event.kind in kinds)

    def write(self, path: Path) -> None:
        """One JSON line an event."""
        with path.open("w", encoding="utf-8") as file:
            for event in self.events:
                file.write(json.dumps([event.at, event.kind, event.facts]) + "\n")


class Recorder:
    """Adds events as they happen."""

    def __init__(self, clock: JumpingClock, loop: JumpingLoop) -> None:
        self.history = History()
        self.clock = clock
        self._loop = loop
        self.clocks()

    def __call__(self, kind: str, **facts: Any) -> None:
        self.history.events.append(Event(self._loop.time(), kind, facts))

    def clocks(self) -> None:
        """Where the clocks stand: to be called at the start and after each of their accidents."""
        now = self.clock.now()
        self("clocks", wall=now.wall, boot=now.boot, boot_id=now.boot_id)


class Times:
    """From the prober's instants (BOOTTIME of a boot) to virtual seconds, by the ``clocks`` events."""

    def __init__(self, history: History) -> None:
        self._boots: dict[str, list[tuple[int, float]]] = {}
        for event in history.of("clocks"):
            self._boots.setdefault(event["boot_id"], []).append((event["boot"], event.at))
        self._moments: list[float] = [event.at for event in history.of("clocks")]
        self._boot_at: list[float] = [event["boot"] / NANOSECONDS for event in history.of("clocks")]

    def of(self, instant: list[Any]) -> float:
        """Of ``[wall ns, boot ns, boot id]``, as the ledger keeps it; what was before a jump of BOOTTIME (a suspend)
        stays before it."""
        _, boot, boot_id = instant
        known = self._boots[boot_id]
        index = max(0, bisect.bisect_right(known, (boot, float("inf"))) - 1)
        began, at = known[index]
        reached: float = at + (boot - began) / NANOSECONDS
        return min(reached, known[index + 1][1]) if index + 1 < len(known) else reached

    def boot(self, at: float) -> float:
        """BOOTTIME in seconds at a virtual second: it counts what was slept."""
        index = max(0, bisect.bisect_right(self._moments, at) - 1)
        return self._boot_at[index] + at - self._moments[index]

    def between(self, earlier: float, later: float) -> float:
        """Seconds of BOOTTIME between two virtual seconds."""
        return self.boot(later) - self.boot(earlier)


def identity(raw: bytes) -> tuple[str, int] | None:
    """The canary and the attempt that the first token in these bytes names, signed or not: bytes 15 to 22 and 14 of
    what its base32 stands for. None where there is no token."""
    found = _TOKEN.search(raw)
    if found is None:
        return None
    plain = base64.b32decode(found[0].upper() + b"=")
    return base64.b32encode(plain[15:23]).rstrip(b"=").lower().decode(), plain[14]
