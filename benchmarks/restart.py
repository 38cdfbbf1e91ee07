"""A start with 100,000 canaries in flight: how long from the start of the process to the first read of a mailbox?

The ledger is what a fleet leaves whose mail stood still for 100 minutes at 1,000 canaries a minute: all accepted by
the server, those older than a quarter of an hour found overdue (lives.py). It is measured from the moment before the
process is made to the moment when the scripted IMAP server is asked to SELECT a mailbox for the first time, both by
CLOCK_MONOTONIC. Modules are compiled already, as an installed package has them.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks import fleet
from benchmarks.lives import Author, leg_of
from benchmarks.setup import DaemonProcess, Site, asked, compiled
from benchmarks.throughput import Scripted
from probe.clock import SystemClock
from probe.ledger.store import Ledger

BAR_SECONDS = 2.0
STOOD_STILL = timedelta(minutes=100)
TIMES = 3
_A_COMMIT = 5_000


def fill(path: Path, count: int, routes: int, mailboxes: int) -> None:
    """``count`` canaries in flight, the oldest first."""
    clock = SystemClock()
    begin = clock.now() + -STOOD_STILL
    author = Author(random.Random(1))

    async def write(ledger: Ledger) -> None:
        for number in range(count):
            sent = begin + STOOD_STILL * (number / count)
            canary = author.accepted(leg_of(number % routes, mailboxes), sent)
            if clock.now().since(canary.overdue_at) > timedelta(0):
                author.overdue(canary)
            if number % _A_COMMIT == _A_COMMIT - 1 or number == count - 1:
                await ledger.commit(author.take())

    ledger = Ledger(path, clock)
    try:
        asyncio.run(write(ledger))
    finally:
        ledger.close()


def started(servers: Scripted, site: Site) -> dict[str, Any]:
    """One start, to the first read of each mailbox; then it is killed, so that the next start finds the same."""
    begin = time.monotonic()
    with DaemonProcess(site) as daemon:
        first = servers.selected()
        cpu = daemon.cpu_seconds()
        daemon.ready(60)
        ready, rss = time.monotonic() - begin, daemon.rss_mb()
        daemon.kill()
    return {
        "first_read_seconds": round(first - begin, 3),
        "first_read_cpu_seconds": round(cpu, 3),
        "ready_seconds": round(ready, 3),
        "rss_mb": round(rss, 1),
    }


def imports() -> float:
    """Seconds of a process that only imports what the daemon's process imports."""
    begin = time.monotonic()
    subprocess.run([sys.executable, "-c", "import benchmarks.hosted"], check=True, env=compiled())
    return time.monotonic() - begin


def measured(count: int, routes: int, mailboxes: int) -> dict[str, Any]:
    """Fill a ledger, and start some times: the median one."""
    runs: list[dict[str, Any]] = []
    for _ in range(TIMES):
        servers = Scripted()
        site = fleet.site_for(servers, routes, mailboxes, "60s")
        try:
            if not runs:
                fill(site.ledger, count, routes, mailboxes)
                kept = site.ledger.read_bytes()
                asked(site, ("canaries",))
            else:
                site.ledger.write_bytes(kept)
            size = site.ledger.stat().st_size
            runs.append(started(servers, site))
        finally:
            servers.close()
            site.close()
    median = sorted(runs, key=lambda run: run["first_read_seconds"])[len(runs) // 2]
    return {"mailboxes": mailboxes, "routes": routes, "ledger_mb": round(size / 1e6, 1), **median, "runs": runs}


def measure(*, quick: bool = False, tiny: bool = False) -> dict[str, Any]:
    """In one mailbox, and spread over 20."""
    count = 200 if tiny else 10_000 if quick else 100_000
    spread = [(4, 1), (4, 2)] if tiny else [(20, 1), (1000, 20)]
    asked_for = [measured(count, routes, mailboxes) for routes, mailboxes in spread]
    alone = sorted(imports() for _ in range(TIMES))[TIMES // 2]
    return {"canaries": count, "bar_seconds": BAR_SECONDS, "imports_seconds": round(alone, 3), "starts": asked_for}
