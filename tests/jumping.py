"""Virtual time for tests of logic: an event loop that never waits, and a clock that reads its time.

When nothing is ready to run, the loop's time jumps to the next timer, so a two-hour wait takes no real time and every
order of events is exact. Work in threads is waited for in real time, never jumped over: ``run_in_executor`` and
``asyncio.to_thread`` count by themselves; so does every future made by the loop for a thread that answers with
``call_soon_threadsafe`` while the test holds ``loop.busy()`` or has named that thread's state with ``loop.busy_while``.
Not for network I/O: bytes on their way through the kernel are invisible to the loop, and time would jump past them.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest

from probe.clock import NANOSECONDS, Clock, Instant

T = TypeVar("T")

START = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
DEFAULT_LIMIT = timedelta(days=60)
_REAL_SLICE = 0.002


class NothingLeftToHappen(RuntimeError):
    """Every task waits for something that can no longer come: a deadlock in the code under test."""


class TooMuchTime(RuntimeError):
    """The virtual time passed the limit; the message says where it stood."""


class _JumpingSelector(selectors.DefaultSelector):
    """A selector whose waits pass virtual time only."""

    loop: JumpingLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self.loop.is_busy():
            return super().select(_REAL_SLICE)
        # A thread may have finished, and called back, between the first look and the question whether any is busy.
        if ready := super().select(0):
            return ready
        if timeout is None:
            raise NothingLeftToHappen("no timer is set, nothing is ready and no thread is at work")
        self.loop.jump(timeout)
        return []


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop with ``time()`` starting at 0 and moving only by jumps."""

    def __init__(self, limit: timedelta = DEFAULT_LIMIT) -> None:
        self._virtual = 0.0
        self._limit = limit.total_seconds()
        self._busy = 0
        self._busy_lock = threading.Lock()
        self._conditions: list[Callable[[], bool]] = []
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self._virtual

    def jump(self, seconds: float) -> None:
        """Move the time; ``TooMuchTime`` past the limit."""
        self._virtual += seconds
        if self._virtual > self._limit:
            raise TooMuchTime(f"{timedelta(seconds=self._virtual)} of virtual time have passed")

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """No jump while inside: something outside the loop is at work. May be used from any thread."""
        with self._busy_lock:
            self._busy += 1
        try:
            yield
        finally:
            with self._busy_lock:
                self._busy -= 1

    def busy_while(self, condition: Callable[[], bool]) -> None:
        """No jump while ``condition()`` holds: the queue of a thread is not empty, say. Asked before every jump."""
        self._conditions.append(condition)

    def is_busy(self) -> bool:
        return self._busy > 0 or any(condition() for condition in self._conditions)

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """As ever, but the loop is busy until the result has reached it."""
        hold = contextlib.ExitStack()
        hold.enter_context(self.busy())
        future: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        future.add_done_callback(lambda _: hold.close())
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        with self.busy():
            await super().shutdown_default_executor(*args)


class JumpingClock(Clock):
    """``probe.clock.Clock`` in virtual time, with the accidents of real clocks on demand."""

    def __init__(self, loop: JumpingLoop, start: datetime = START) -> None:
        self._loop = loop
        self._wall = int(start.timestamp()) * NANOSECONDS + start.microsecond * 1000
        self._boot = 1000 * NANOSECONDS
        self._boots = 1

    def now(self) -> Instant:
        passed = round(self._loop.time() * NANOSECONDS)
        return Instant(self._wall + passed, self._boot + passed, f"boot-{self._boots}")

    async def sleep(self, duration: timedelta) -> None:
        await asyncio.sleep(max(0.0, duration.total_seconds()))

    def step(self, by: timedelta) -> None:
        """Someone sets the wall clock; BOOTTIME and every timer go on as before."""
        self._wall += round(by / timedelta(microseconds=1)) * 1000

    def suspend(self, duration: timedelta) -> None:
        """The machine slept: both clocks are ahead, no timer has moved (timers count CLOCK_MONOTONIC)."""
        self.step(duration)
        self._boot += round(duration / timedelta(microseconds=1)) * 1000

    def reboot(self, down: timedelta = timedelta()) -> None:
        """A new boot: BOOTTIME starts again near 0 under a new id; the wall clock has moved by ``down``."""
        self._boots += 1
        self._boot = NANOSECONDS - round(self._loop.time() * NANOSECONDS)
        self.step(down)


def run_virtual(main: Callable[[JumpingClock], Coroutine[Any, Any, T]], *, limit: timedelta = DEFAULT_LIMIT) -> T:
    """Run ``main(clock)`` in virtual time and return its result; tasks left over are cancelled and awaited."""
    loop = JumpingLoop(limit)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main(JumpingClock(loop)))


class Virtual:
    """What the fixture ``virtual`` gives: ``virtual.run(main)``, or ``await``-free helpers for one-liners."""

    start = START

    def run(self, main: Callable[[JumpingClock], Coroutine[Any, Any, T]], *, limit: timedelta = DEFAULT_LIMIT) -> T:
        """See ``run_virtual``."""
        return run_virtual(main, limit=limit)


@pytest.fixture
def virtual() -> Virtual:
    """Runs coroutines in virtual time; for synchronous tests, as each run has its own loop."""
    return Virtual()


async def settle(turns: int = 20) -> None:
    """Let every task that can run do so, without any time passing."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def at(clock: JumpingClock, after: timedelta, action: Callable[[], Awaitable[None] | None]) -> None:
    """Do ``action`` when ``after`` has passed: a script of accidents beside the code under test."""
    await clock.sleep(after)
    if (outcome := action()) is not None:
        await outcome
