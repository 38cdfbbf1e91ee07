"""How many canaries a second one core carries, and where the time goes.

The daemon is pinned to CPU 0; scripted SMTP and IMAP servers, which answer at once, run on CPU 1. Routes send ten
canaries a second each (``every: 100ms``, the shortest); there are as many as the rate offered needs. A rate is
sustained where at least 98 % of what was offered in the window was delivered in it, and what was in flight at
its end is less than a second's worth. A second run under cProfile says where the time goes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import profiles
from benchmarks.setup import OTHER_OUTCOMES, PASSWORD, DaemonProcess, Site, per_canary, until

BAR = 300
PER_ROUTE = 10
SHARE = 0.98
_ROOT = Path(__file__).parent.parent


class Scripted:
    """The scripted servers in a process of their own, on the last CPU where there are two."""

    def __init__(self) -> None:
        cpus = sorted(os.sched_getaffinity(0))
        command = [sys.executable, "-m", "benchmarks.scripted"]
        self._process = subprocess.Popen(
            ["taskset", "--cpu-list", str(cpus[-1]), *command], stdout=subprocess.PIPE, cwd=_ROOT, text=True
        )
        assert self._process.stdout is not None
        self.smtp, self.imap = map(int, self._process.stdout.readline().split())

    def selected(self) -> float:
        """Wait until the next mailbox is selected for the first time; the moment, by CLOCK_MONOTONIC."""
        assert self._process.stdout is not None
        return float(self._process.stdout.readline())

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        if self._process.stdout is not None:
            self._process.stdout.close()


def site_for(servers: Scripted, rate: int) -> Site:
    routes = {
        f"r{n}": {
            "sender": "relay",
            "mail_from": "canary-probe@lab.test",
            "rcpt_to": f"canary+r{n}@lab.test",
            "mailbox": "box",
            "every": "100ms",
        }
        for n in range(max(1, rate // PER_ROUTE))
    }
    return Site(
        senders={"relay": {"kind": "smtp", "host": "127.0.0.1", "port": servers.smtp, "tls": "none"}},
        mailboxes={
            "box": {
                "kind": "imap",
                "host": "127.0.0.1",
                "port": servers.imap,
                "tls": "none",
                "username": "canary",
                "password": PASSWORD,
                "cleanup": "{mode: 'off'}",
            }
        },
        routes=routes,
    )


def at_rate(rate: int, seconds: float, profile: Path | None = None) -> dict[str, Any]:
    """Offer ``rate`` canaries a second for ``seconds`` after a warm-up, and say what came of it."""
    servers = Scripted()
    site = site_for(servers, rate)
    try:
        with DaemonProcess(site, cpu=min(os.sched_getaffinity(0)), profile=profile) as daemon:
            daemon.ready(60)
            until(lambda: site.delivered() > 0, 60, "the first canary arrives")
            time.sleep(min(3.0, seconds / 3))
            before_threads, before = daemon.thread_seconds(), site.states()
            cpu, begin = daemon.cpu_seconds(), time.monotonic()
            time.sleep(seconds)
            after, passed = site.states(), time.monotonic() - begin
            used = daemon.cpu_seconds() - cpu
            threads = daemon.thread_seconds()
            rss = daemon.rss_mb()
    finally:
        servers.close()
        site.close()
    delivered = after.get("delivered", 0) - before.get("delivered", 0)
    in_flight = sum(after.get(state, 0) for state in ("intent", "data_started", "deferred", "accepted", "unsure"))
    others = {state: count for state, count in after.items() if state in OTHER_OUTCOMES}
    achieved = delivered / passed
    return {
        "offered_per_second": rate,
        "delivered_per_second": round(achieved, 1),
        "in_flight_at_end": in_flight,
        "sustained": achieved >= SHARE * rate and in_flight <= rate and not others,
        "core_percent": round(100 * used / passed, 1),
        "cpu_ms_per_canary": round(1000 * used / max(1, delivered), 3),
        "other_outcomes": others,
        "rss_mb": round(rss, 1),
        "cpu_ms_per_canary_by_thread": per_canary(threads, before_threads, delivered),
    }


def measure(*, quick: bool = False, tiny: bool = False) -> dict[str, Any]:
    """Rising rates until one is not sustained; then the profile at a rate that is."""
    seconds = 1.0 if tiny else 4.0 if quick else 8.0
    rates = [20] if tiny else [100, 300] if quick else [100, 200, 300, 350, 400, 450, 500, 600]
    steps = []
    for rate in rates:
        steps.append(at_rate(rate, seconds))
        if not steps[-1]["sustained"]:
            break
    sustained = [step["offered_per_second"] for step in steps if step["sustained"]]
    best = max(sustained, default=0)
    return {
        "sustained_per_second": best,
        "bar_per_second": BAR,
        "most_delivered_per_second": max(step["delivered_per_second"] for step in steps),
        "window_seconds": seconds,
        "steps": steps,
        "profile": profiled(steps[0], seconds),
    }


def profiled(plain: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Where the time of the step ``plain`` went: parts of the program and single functions, in ms of CPU a canary."""
    rate = plain["offered_per_second"]
    with profiles.folder() as folder:
        at_rate(rate, seconds, folder / "profile")
        found = profiles.explained(folder, plain["cpu_ms_per_canary_by_thread"])
    return {"offered_per_second": rate, **found}
