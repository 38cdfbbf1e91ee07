"""A ledger with 10 million canaries: how long do ``canaries`` and ``explain`` take, and the daemon's start?

Each question is a process of its own, from its start to its end, asked once with nothing of the ledger in the machine's
page cache and once again. Modules are compiled already, as an installed package has them. The moves, attempts and
copies of the newest tenth are there too; the ledger is made as multiplied.py says.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import fleet
from benchmarks.multiplied import fill
from benchmarks.setup import DaemonProcess, Site, asked
from benchmarks.throughput import Scripted
from probe.clock import SystemClock

BAR_SECONDS = 1.0
MAILBOXES = 20


def questions(path: Path) -> list[tuple[str, ...]]:
    """What is asked: every option, and values of it that many canaries, few or none have."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        newest, route = connection.execute("SELECT n, route FROM canaries ORDER BY n DESC LIMIT 1").fetchone()
        # The template's order repeats, so one of any outcome is among the newest minute.
        ids = [
            connection.execute("SELECT id FROM canaries WHERE n = ?", (number,)).fetchone()[0]
            for number in (max(1, newest - 50), 1)
        ]
    finally:
        connection.close()
    return [
        ("canaries",),
        ("canaries", "--json"),
        ("canaries", "--limit", "1000"),
        ("canaries", "--route", route),
        ("canaries", "--route", "nowhere"),
        ("canaries", "--mx", "any"),
        ("canaries", "--mx", "mx1.example.net"),
        ("canaries", "--outcome", "delivered"),
        ("canaries", "--outcome", "lost"),
        ("canaries", "--outcome", "bounced"),
        ("canaries", "--since", "3d"),
        ("canaries", "--since", "1s"),
        ("canaries", "--outcome", "refused", "--since", "1d", "--json"),
        ("canaries", "--route", route, "--mx", "any", "--outcome", "lost", "--since", "3d"),
        ("explain", ids[0]),
        ("explain", ids[0], "--json"),
        ("explain", ids[0][:12]),
        ("explain", ids[1]),
    ]


def forget(path: Path) -> None:
    """Take the ledger out of the page cache."""
    for suffix in ("", "-wal"):
        if (side := path.with_name(path.name + suffix)).exists():
            descriptor = os.open(side, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def answers(site: Site) -> list[dict[str, Any]]:
    """Seconds of each question, cold and warm, its CPU when cold, and how many lines it was answered with."""
    found = []
    asked(site, ("canaries", "--help"))
    for question in questions(site.ledger):
        forget(site.ledger)
        cold, cpu, _ = asked(site, question)
        warm, _, lines = asked(site, question)
        shown = " ".join((question[0], "ID", *question[2:]) if question[0] == "explain" else question)
        found.append(
            {"question": shown, "cold_seconds": cold, "warm_seconds": warm, "cpu_seconds": cpu, "lines": lines}
        )
    return found


def started(site: Site) -> dict[str, Any]:
    """The daemon on this ledger: its start and a scrape, which must not read it all."""
    forget(site.ledger)
    begin = time.monotonic()
    with DaemonProcess(site) as daemon:
        daemon.ready(120)
        ready = time.monotonic() - begin
        scraper = fleet.Scraper(daemon, site.port, fleet.FORMATS["openmetrics"])
        try:
            scraper.scrape()
            scraper.scrape()
        finally:
            scraper.close()
    return {"ready_seconds": round(ready, 2), "scrape_seconds": [round(each, 3) for each in scraper.seconds]}


def measure(*, quick: bool = False, tiny: bool = False) -> dict[str, Any]:
    """Fill, ask, start. Needs 14 GB of disk for its time."""
    routes, mailboxes, minutes = (10, 2, 20) if tiny else (1000, MAILBOXES, 1_000 if quick else 10_000)
    with tempfile.TemporaryDirectory(prefix="mailcanary-rows-", dir="/var/tmp") as folder:
        ledger = Path(folder) / "ledger.sqlite"
        begin = time.monotonic()
        fill(ledger, SystemClock(), routes=routes, mailboxes=mailboxes, minutes=minutes, whole=minutes // 10)
        filled = time.monotonic() - begin
        servers = Scripted()
        small, large = (fleet.site_for(servers, count, mailboxes, "60s", ledger=ledger) for count in (20, routes))
        try:
            asked_for = answers(small)
            of_all = asked(large, ("canaries",))[0]
            size = ledger.stat().st_size
            start = started(large)
        finally:
            servers.close()
            small.close()
            large.close()
    return {
        "canaries": routes * minutes,
        "fill_seconds": round(filled, 1),
        "ledger_gb": round(size / 1e9, 2),
        "bar_seconds": BAR_SECONDS,
        "answers": asked_for,
        "slowest_seconds": max(max(each["cold_seconds"], each["warm_seconds"]) for each in asked_for),
        "routes": routes,
        "routes_configured": 20,
        "all_routes_configured_seconds": of_all,
        "daemon": start,
    }
