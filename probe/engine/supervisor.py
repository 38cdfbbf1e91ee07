"""Loops that must not end: each is restarted with back-off when it crashes, counted, and watched for progress.

A loop promises by ``Pulse.beat(within)`` when it will be back. A promise that is broken shows in ``stalled``: then
/healthz says so and systemd's watchdog is not fed. This is progress, not life: a side thread could always say
"alive".
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from probe.clock import Clock, Instant, wait_for_event
from probe.exposition.journal import Journal

FIRST_WAIT = timedelta(seconds=1)
LONGEST_WAIT = timedelta(minutes=1)
STEADY_AFTER = timedelta(minutes=10)
CRASHES_TOO_MANY = 30  # in a row, none of them after a steady time: about half an hour of trying
GRACE = timedelta(seconds=20)


class Pulse:
    """One loop's promises."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: Instant | None = None

    def beat(self, within: timedelta) -> None:
        """Progress was made; the next comes within this time (a grace is added)."""
        self._due = self._clock.now() + within + GRACE

    def rest(self) -> None:
        """No promise: the loop is not running."""
        self._due = None

    def broken(self, now: Instant) -> bool:
        return self._due is not None and now.since(self._due) > timedelta(0)


class TooManyCrashes(RuntimeError):
    """A loop crashed again and again: the daemon ends, so that its manager starts it anew."""


class Supervisor:
    """Runs loops in the caller's task group."""

    def __init__(self, clock: Clock, journal: Journal, on_crash: Callable[[str], None]) -> None:
        self._clock = clock
        self._journal = journal
        self._on_crash = on_crash
        self._pulses: dict[str, Pulse] = {}

    @property
    def names(self) -> list[str]:
        """Kinds of loops, for the metric: the part of the name before the colon."""
        return sorted({kind(name) for name in self._pulses})

    def stalled(self) -> list[str]:
        """Loops that have broken their promise."""
        now = self._clock.now()
        return [name for name, pulse in self._pulses.items() if pulse.broken(now)]

    async def run(self, name: str, loop: Callable[[Pulse], Awaitable[None]]) -> None:
        """Run ``loop`` until it returns or is cancelled; start it again whenever it raises."""
        pulse = self._pulses[name] = Pulse(self._clock)
        wait = FIRST_WAIT
        crashes = 0
        try:
            while True:
                started = self._clock.now()
                try:
                    await loop(pulse)
                    return
                except Exception as cause:  # supervision: whatever it was, it is counted, said, and begun again
                    if self._clock.now().since(started) > STEADY_AFTER:
                        wait, crashes = FIRST_WAIT, 0
                    crashes += 1
                    self._on_crash(kind(name))
                    self._journal.crashed(name, _describe(cause), wait.total_seconds())
                    if crashes >= CRASHES_TOO_MANY:
                        raise TooManyCrashes(f"{name} crashed {crashes} times in a row: {_describe(cause)}") from cause
                    pulse.beat(wait)
                    await self._clock.sleep(wait)
                    wait = min(LONGEST_WAIT, wait * 2)
        finally:
            pulse.rest()


def kind(name: str) -> str:
    """``watch:support`` is of the kind ``watch``: label values stay few."""
    return name.partition(":")[0]


def _describe(cause: BaseException) -> str:
    trace = cause.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" at {trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace is not None else ""
    return f"{type(cause).__name__}: {cause}{where}"


async def wait_until(clock: Clock, moment: Instant, wake: asyncio.Event, pulse: Pulse) -> None:
    """Sleep until ``moment`` or until ``wake`` is set, in slices: a suspend stops the loop's timers, not BOOTTIME."""
    slice_ = timedelta(seconds=30)
    while not wake.is_set():
        left = moment.since(clock.now())
        if left <= timedelta(0):
            return
        pulse.beat(slice_)
        await wait_for_event(clock, wake, min(left, slice_))
