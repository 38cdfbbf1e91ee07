"""A month of a fleet in the ledger: its size with pruning, the longest commit, memory.

The real ledger with its writer's thread, in a file and with ``synchronous=FULL``, gets whole lives (lives.py) at 1,000
canaries a minute for 30 virtual days; a clock that is set tells it the time. Of each day only some minutes are written,
each at its full 1,000 canaries (43 million canaries would take some five hours): what is held at any moment is that
much smaller, everything else is as at full size. ``keep`` is short against the month, so that the ledger reaches its
steady size early and is seen to keep it. After each written minute the ledger is pruned, while small commits go on as
those of canaries under way do: how long each of them waits is measured. Sizes at the full rate follow from the bytes a
canary.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.lives import Author, leg_of
from benchmarks.setup import percentile
from probe.clock import Clock, Instant, SystemClock
from probe.ledger.batch import Batch, Read
from probe.ledger.store import Ledger

ROUTES = 1000
MAILBOXES = 20
_A_COMMIT = 50  # canaries: a group of the writer under load


class Virtual(Clock):
    """Shows the time it is set to."""

    def __init__(self, time: Instant) -> None:
        self.time = time

    def now(self) -> Instant:
        return self.time

    async def sleep(self, duration: timedelta) -> None:
        self.time = self.time + duration


class Month:
    """The ledger, fed and pruned in virtual time."""

    def __init__(self, path: Path, keep: timedelta, routes: int) -> None:
        self.clock = Virtual(SystemClock().now())
        self.path = path
        self.ledger = Ledger(path, self.clock)
        self._keep = keep
        self._routes = routes
        self._author = Author(random.Random(3))
        self.written = self.pruned = 0
        self.commits: list[float] = []  # seconds each
        self.beside: list[float] = []  # of those, while pruning
        self.prunings: list[float] = []
        self.prune_cpu = 0.0

    async def minute(self) -> None:
        """One minute's canaries, in commits of some each."""
        begin = self.clock.now()
        for number in range(self._routes):
            sent = begin + timedelta(seconds=60 * number / self._routes)
            self._author.any_end()(leg_of(number, MAILBOXES), sent)
            if number % _A_COMMIT == _A_COMMIT - 1:
                self._author.batch.read(
                    Read(f"box{number % MAILBOXES}", "INBOX", sent, sent, False, True, None, _A_COMMIT)
                )
                await self._commit(self._author.take(), self.commits)
        self.written += self._routes

    async def _commit(self, batch: Batch, waits: list[float]) -> None:
        begin = time.monotonic()
        await self.ledger.commit(batch)
        waits.append(time.monotonic() - begin)

    async def prune(self) -> None:
        """Prune while small commits go on, as those of canaries under way do."""
        begin = time.monotonic()
        pruning = asyncio.ensure_future(self.ledger.prune(self._keep))
        while not pruning.done():
            batch = Batch()
            batch.count("clock_steps")
            await self._commit(batch, self.beside)
            await asyncio.sleep(0.005)
        self.pruned += await pruning
        self.prunings.append(time.monotonic() - begin)

    def state(self, day: int) -> dict[str, Any]:
        """Sizes and memory at the end of a day."""
        connection = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
        try:
            pages, free, size = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
            held = connection.execute("SELECT count(*) FROM canaries").fetchone()[0]
        finally:
            connection.close()
        wal = self.path.with_name(self.path.name + "-wal")
        return {
            "day": day,
            "canaries_held": held,
            "file_mb": round(pages * size / 1e6, 1),
            "free_percent": round(100 * free / pages, 1),
            "wal_mb": round(wal.stat().st_size / 1e6, 1) if wal.exists() else 0.0,
            "rss_mb": round(_rss(), 1),
        }


def _rss() -> float:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) * 1024 / 1e6


async def _run(month: Month, days: int, minutes_a_day: int, every: int) -> list[dict[str, Any]]:
    """``minutes_a_day`` of each day are written, evenly, and pruned after each. A state each ``every`` days."""
    found = []
    step = timedelta(days=1) / minutes_a_day
    for day in range(1, days + 1):
        for _ in range(minutes_a_day):
            await month.minute()
            month.clock.time = month.clock.time + step
            await month.prune()
        if day % every == 0:
            found.append(month.state(day))
    return found


def measure(*, quick: bool = False, tiny: bool = False) -> dict[str, Any]:
    """30 virtual days, kept 5; 12 minutes of each day (tiny: 6 days kept 2, and less of everything)."""
    routes, days, keep, minutes_a_day = (50, 6, 2, 2) if tiny else (ROUTES, 30, 5, 4 if quick else 12)
    with tempfile.TemporaryDirectory(prefix="mailcanary-month-", dir="/var/tmp") as folder:
        month = Month(Path(folder) / "ledger.sqlite", timedelta(days=keep), routes)
        try:
            states = asyncio.run(_run(month, days, minutes_a_day, 2 if tiny else 5))
            balance = month.ledger.queries.balance()
            counted = month.ledger.totals.sum("sent")
        finally:
            month.ledger.close()
    last = states[-1]
    full = last["file_mb"] * 1e6 / max(1, last["canaries_held"])
    return {
        "days": days,
        "keep_days": keep,
        "routes": routes,
        "compressed": round(1440 / minutes_a_day),
        "canaries": month.written,
        "pruned": month.pruned,
        "counted": counted,
        "balance": balance,
        "states": states,
        "growth_percent": round(100 * (last["file_mb"] / states[len(states) // 2]["file_mb"] - 1), 2),
        "memory_growth_percent": round(100 * (last["rss_mb"] / states[len(states) // 2]["rss_mb"] - 1), 2),
        "bytes_a_canary": round(full),
        "full_size_gb_a_kept_day": round(full * ROUTES * 1440 / 1e9, 2),
        "commit_ms_p50": round(1000 * percentile(month.commits, 0.5), 2),
        "commit_ms_max": round(1000 * max(month.commits), 1),
        "commit_beside_pruning_ms_p50": round(1000 * percentile(month.beside, 0.5), 2),
        "commit_beside_pruning_ms_max": round(1000 * max(month.beside), 1),
        "prune_us_a_canary": round(1e6 * sum(month.prunings) / max(1, month.pruned), 1),
    }
