"""The spool between the intakes and the worker, with its own honest queue figure."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from datetime import timedelta
from pathlib import Path

from probe.clock import Clock, Instant, wait_for_event
from probe.sandbox.stores import MessageStore, StoredMessage


class SpoolFull(Exception):
    """So many messages wait that the intake must answer 452."""


class Spool:
    """Messages accepted and not yet dealt with, in order of acceptance, the held ones by the time they are due.

    ``waiting`` counts a message until ``done`` was called for it: also while it is held, and while it is worked on.
    """

    def __init__(self, folder: Path, *, clock: Clock, most: int = 10_000) -> None:
        self._store = MessageStore(folder)
        self._clock = clock
        self._most = most
        self._ready: deque[str] = deque()
        self._held: list[tuple[int, int, str]] = []  # (due on CLOCK_BOOTTIME in ns, tie-breaker, queue id)
        self._holds = 0
        self._waiting: set[str] = set()
        self._changed = asyncio.Event()

    @property
    def waiting(self) -> int:
        """The queue figure."""
        return len(self._waiting)

    def put(self, message: StoredMessage) -> None:
        """Take a message in. Raises SpoolFull, or OSError where it cannot be written: then it was not taken."""
        if len(self._waiting) >= self._most:
            raise SpoolFull(f"{self._most} messages wait")
        self._store.write(message)
        self._waiting.add(message.queue_id)
        self._ready.append(message.queue_id)
        self._changed.set()

    async def next(self) -> StoredMessage:
        """Wait for the next message that is due, and read it. It stays counted until ``done``."""
        while True:
            self._changed.clear()
            now = self._clock.now()
            while self._held and self._held[0][0] <= now.boot:
                self._ready.append(heapq.heappop(self._held)[2])
            if self._ready:
                return self._store.read(self._ready.popleft())
            if self._held:
                wait = timedelta(microseconds=(self._held[0][0] - now.boot) / 1000)
                # One microsecond at least: the division may round a wait down to nothing and spin.
                await wait_for_event(self._clock, self._changed, max(wait, timedelta(microseconds=1)))
            else:
                await self._changed.wait()

    def hold(self, queue_id: str, until: Instant) -> None:
        """Put a message that ``next`` gave back until ``until``; one that lies in the past is due at once."""
        self._holds += 1
        heapq.heappush(self._held, (until.boot, self._holds, queue_id))

    def release(self) -> None:
        """Every held message is due now, in the order in which they would have been."""
        while self._held:
            self._ready.append(heapq.heappop(self._held)[2])
        self._changed.set()

    def done(self, queue_id: str) -> None:
        """The worker is through with it: it is no longer counted."""
        self._waiting.discard(queue_id)
        self._store.remove(queue_id)
