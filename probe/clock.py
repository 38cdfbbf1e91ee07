"""Time. The only module of the project that reads a clock or waits.

An instant carries the wall clock (for people and for other hosts) and CLOCK_BOOTTIME (for differences: it counts
suspend and no clock step moves it). Two instants of one boot are compared by BOOTTIME, all others by the wall
clock, and ``Elapsed.clock`` says which.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Protocol

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Elapsed:
    """The time between two instants, and the clock it was taken from: ``boottime`` or ``wall``."""

    time: timedelta
    clock: str


@dataclass(frozen=True, slots=True)
class Instant:
    """A moment: ``wall`` in ns since the epoch (UTC), ``boot`` in ns of CLOCK_BOOTTIME on boot ``boot_id``."""

    wall: int
    boot: int
    boot_id: str

    def elapsed_since(self, earlier: Instant) -> Elapsed:
        """Time from ``earlier`` to this instant; negative when ``earlier`` is later."""
        if self.boot_id == earlier.boot_id:
            return Elapsed(timedelta(microseconds=(self.boot - earlier.boot) / 1000), "boottime")
        return Elapsed(timedelta(microseconds=(self.wall - earlier.wall) / 1000), "wall")

    def since(self, earlier: Instant) -> timedelta:
        """``elapsed_since`` without the name of the clock."""
        return self.elapsed_since(earlier).time

    def __add__(self, after: timedelta) -> Instant:
        delta = _nanoseconds(after)
        return Instant(self.wall + delta, self.boot + delta, self.boot_id)

    @property
    def utc(self) -> datetime:
        """The wall clock as an aware datetime with microseconds."""
        return datetime.fromtimestamp(self.wall // NANOSECONDS, UTC).replace(
            microsecond=self.wall % NANOSECONDS // 1000
        )

    def isoformat(self) -> str:
        """RFC 3339 in UTC with microseconds: ``2026-11-24T05:52:28.000123Z``."""
        return self.utc.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _nanoseconds(duration: timedelta) -> int:
    return (duration.days * 86400 + duration.seconds) * NANOSECONDS + duration.microseconds * 1000


class Clock(Protocol):
    """What the program may ask of time. Tests pass a jumping one."""

    def now(self) -> Instant:
        """The present instant."""
        ...

    async def sleep(self, duration: timedelta) -> None:
        """Wait; ends early only by cancellation. Long waits are taken in slices by the caller (suspend)."""
        ...


@lru_cache(maxsize=1)
def boot_id() -> str:
    """The kernel's id of this boot; where /proc does not tell, one that no other process shares."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return f"unknown-{uuid.uuid4()}"


class SystemClock:
    """The machine's clocks."""

    def now(self) -> Instant:
        return Instant(time.time_ns(), time.clock_gettime_ns(time.CLOCK_BOOTTIME), boot_id())

    async def sleep(self, duration: timedelta) -> None:
        await asyncio.sleep(max(0.0, duration.total_seconds()))


async def wait_for_event(clock: Clock, event: asyncio.Event, duration: timedelta) -> bool:
    """Wait until ``event`` is set or ``duration`` has passed; True when the event ended the wait."""
    if event.is_set():
        return True
    if isinstance(clock, SystemClock):
        # Its sleep is the loop's own timer, so a time-out does the same without two tasks a wait.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, duration.total_seconds())):
                await event.wait()
        return event.is_set()
    waiter = asyncio.ensure_future(event.wait())
    sleeper = asyncio.ensure_future(clock.sleep(duration))
    try:
        await asyncio.wait({waiter, sleeper}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiter.cancel()
        sleeper.cancel()
    return event.is_set()
