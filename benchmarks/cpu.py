"""CPU per canary over its whole life, on Postfix and Dovecot over loopback with a durable ledger.

The daemon runs as users run it, in a process of its own; what is counted is its user and system time between two
moments, start-up excluded and everything else included: schedule, sending over a connection of its own, ledger,
polls, verdict, journal, a scrape of /metrics every 10 s, and clean-up (canaries are removed from the mailbox after
8 s instead of 24 h, so that as many are removed as arrive). Pruning comes 90 days later and is measured apart, then
added.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks import profiles
from benchmarks.setup import OTHER_OUTCOMES, PASSWORD, DaemonProcess, Site, per_canary, scrape, until
from benchmarks.worlds import real_servers
from probe.clock import SystemClock
from probe.ledger.store import Ledger
from tests.worlds.dovecot import Account, Dovecot
from tests.worlds.postfix import Postfix

BARS = {"plain": 2.0, "tls": 4.0}
SCRAPE_EVERY = 10.0
CLEAN_AFTER = 8.0


def site_for(dovecot: Dovecot, postfix: Postfix, account: Account, *, tls: bool, per_second: float) -> Site:
    """One mailbox; at most ten canaries a second a route, so as many routes as that takes."""
    count = max(1, round(per_second / 10))
    every = round(1000 * count / per_second) if per_second else 0
    ca_file = dovecot.certificates.ca_file
    sender: dict[str, Any] = {"kind": "smtp", "host": "127.0.0.1", "port": postfix.port}
    mailbox: dict[str, Any] = {
        "kind": "imap",
        "host": "127.0.0.1",
        "port": dovecot.imaps_port if tls else dovecot.imap_port,
        "username": account.address,
        "password": PASSWORD,
        "cleanup": f"{{after: {CLEAN_AFTER:g}s}}",
    }
    sender |= {"tls": "starttls", "ca_file": ca_file} if tls else {"tls": "none"}
    mailbox |= {"tls": "implicit", "ca_file": ca_file} if tls else {"tls": "none"}
    routes = {
        f"r{n}": {
            "sender": "relay",
            "mail_from": "canary-probe@example.net",
            "rcpt_to": account.address,
            "mailbox": "box",
            "every": f"{every}ms" if every else "1h",
        }
        for n in range(count)
    }
    return Site(senders={"relay": sender}, mailboxes={"box": mailbox}, routes=routes)


def measured(
    dovecot: Dovecot,
    postfix: Postfix,
    *,
    tls: bool,
    per_second: float,
    seconds: float,
    profile: Path | None = None,
) -> dict[str, Any]:
    """One rate over one window, after as long a warm-up as the first clean-ups need. Rate 0: idle."""
    site = site_for(dovecot, postfix, dovecot.new_account(), tls=tls, per_second=per_second)
    try:
        with DaemonProcess(site, profile=profile) as daemon:
            daemon.ready()
            if per_second:
                until(lambda: site.delivered() > 0, 60, "the first canary is delivered")
                time.sleep(min(CLEAN_AFTER + 4, seconds))
            else:
                time.sleep(1)
            threads, before = daemon.thread_seconds(), site.states()
            cpu, begin = daemon.cpu_seconds(), time.monotonic()
            scrapes = 0
            step = min(SCRAPE_EVERY, seconds)
            while (left := begin + seconds - time.monotonic()) > 0:
                time.sleep(max(0.0, min(left, begin + (scrapes + 0.5) * step - time.monotonic())))
                if time.monotonic() < begin + seconds:
                    scrape(site.port)
                    scrapes += 1
            used, passed, after = daemon.cpu_seconds() - cpu, time.monotonic() - begin, site.states()
            by_thread = daemon.thread_seconds()
        found = _result(per_second, used, passed, before, after)
        found["scrapes"] = scrapes
        if per_second:
            found["by_thread"] = per_canary(by_thread, threads, found["canaries"])
            found["prune_ms_per_canary"] = round(pruning(site), 3)
            found["whole_life_ms_per_canary"] = round(found["cpu_ms_per_canary"] + found["prune_ms_per_canary"], 3)
        return found
    finally:
        site.close()


def _result(
    per_second: float, used: float, passed: float, before: dict[str, int], after: dict[str, int]
) -> dict[str, Any]:
    delivered = after.get("delivered", 0) - before.get("delivered", 0)
    found: dict[str, Any] = {"offered_per_second": per_second, "core_percent": round(100 * used / passed, 3)}
    if per_second:
        found["canaries"] = delivered
        found["cpu_ms_per_canary"] = round(1000 * used / max(1, delivered), 3)
        found["other_outcomes"] = {state: count for state, count in after.items() if state in OTHER_OUTCOMES}
    return found


def pruning(site: Site) -> float:
    """CPU in ms that the removal from the ledger of all canaries takes, per canary; the daemon must have ended."""
    ledger = Ledger(site.ledger, SystemClock())
    try:
        begin = time.process_time()
        pruned = asyncio.run(ledger.prune(timedelta(0)))
        return 1000 * (time.process_time() - begin) / max(1, pruned)
    finally:
        ledger.close()


def measure(*, quick: bool = False, tiny: bool = False) -> dict[str, Any]:
    """Idle, then 5, 20 and 100 canaries a second, in clear and by TLS."""
    seconds = 1.0 if tiny else 5.0 if quick else 20.0
    rates = [5.0] if tiny else [10.0] if quick else [5.0, 20.0, 100.0]
    found: dict[str, Any] = {"window_seconds": seconds, "bars_ms": BARS, "scrape_every_seconds": SCRAPE_EVERY}
    with real_servers() as (dovecot, postfix):
        for name in BARS:
            tls = name == "tls"
            runs = [measured(dovecot, postfix, tls=tls, per_second=rate, seconds=seconds) for rate in rates]
            found[name] = {"runs": runs}
            if not quick:
                found[name]["profile"] = profiled(dovecot, postfix, runs[-1], tls=tls, seconds=seconds / 2)
        idle = measured(dovecot, postfix, tls=False, per_second=0.0, seconds=min(seconds, 15.0))
        found["idle_core_percent"] = idle["core_percent"]
    return found


def profiled(dovecot: Dovecot, postfix: Postfix, plain: dict[str, Any], *, tls: bool, seconds: float) -> dict[str, Any]:
    """Where the time of the run ``plain`` went, by a second run under cProfile."""
    rate = plain["offered_per_second"]
    with profiles.folder() as folder:
        measured(dovecot, postfix, tls=tls, per_second=rate, seconds=seconds, profile=folder / "profile")
        found = profiles.explained(folder, plain["by_thread"])
    return {"offered_per_second": rate, **found}
