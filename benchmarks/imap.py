"""IMAP commands and bytes per canary at one a minute: an empty mailbox, and one with 100,000 messages of others.

Two routes, each with a mailbox of its own, the defaults of a configuration (``idle_poll: 30s``, folders INBOX and
junk), immediate delivery, really at one a minute. Counted are all commands and bytes (both ways, inside any TLS) on
the mailbox's connection from just after one canary's arrival to just after that of a later one: whole periods, idle
reads included. Connecting, and the first look at the folders, come once in a daemon's life and are shown apart.
"""

from __future__ import annotations

import asyncio
import io
import time
from typing import Any

from benchmarks.setup import PASSWORD, BenchmarkError, Site
from benchmarks.worlds import real_servers
from probe.clock import SystemClock
from probe.config.load import load
from probe.engine.daemon import Daemon
from probe.exposition.journal import Journal
from tests.worlds.dovecot import Account, Dovecot
from tests.worlds.postfix import Postfix

BAR_COMMANDS = 12
BAR_BYTES = 2048
SETTLE = 1.0  # seconds after an arrival: the polls that it caused have ended
_FOREIGN = b"From: someone@example.net\r\nTo: team@lab.test\r\nSubject: Foreign %d\r\n\r\nNot a canary.\r\n"

Counts = tuple[int, int, int]


def measure(*, quick: bool = False, tiny: bool = False) -> dict[str, Any]:
    """Five whole minutes between arrivals; ``quick``: one a 6 s, and 5,000 foreign messages."""
    every, canaries, foreign = (2, 1, 50) if tiny else (6, 1, 5_000) if quick else (60, 5, 100_000)
    with real_servers() as (dovecot, postfix):
        accounts = {"empty": dovecot.new_account(), "full": dovecot.new_account()}
        _fill(dovecot, accounts["full"], foreign)
        site = _site(dovecot, postfix, accounts, every)
        try:
            found = asyncio.run(_count(site, canaries, every))
        finally:
            site.close()
    return {
        "every_seconds": every,
        "foreign_messages": foreign,
        "bar_commands": BAR_COMMANDS,
        "bar_bytes": BAR_BYTES,
        **found,
    }


def _fill(dovecot: Dovecot, account: Account, count: int) -> None:
    """Foreign mail, found and indexed by the server before the measurement begins."""
    dovecot.deliver_many(account.address, [_FOREIGN % number for number in range(count)])
    with dovecot.imap(account) as client:
        client._imap.sock.settimeout(300)
        there = int(client.select_folder("INBOX")[b"EXISTS"])
    if there != count:
        raise BenchmarkError(f"the mailbox shows {there} of {count} foreign messages")


def _site(dovecot: Dovecot, postfix: Postfix, accounts: dict[str, Account], every: int) -> Site:
    return Site(
        senders={"relay": {"kind": "smtp", "host": "127.0.0.1", "port": postfix.port, "tls": "none"}},
        mailboxes={
            name: {
                "kind": "imap",
                "host": "127.0.0.1",
                "port": dovecot.imap_port,
                "tls": "none",
                "username": account.address,
                "password": PASSWORD,
                "folders": "[INBOX, junk]",
            }
            for name, account in accounts.items()
        },
        routes={
            name: {
                "sender": "relay",
                "mail_from": "canary-probe@example.net",
                "rcpt_to": account.address,
                "mailbox": name,
                "every": f"{every}s",
            }
            for name, account in accounts.items()
        },
    )


async def _count(site: Site, canaries: int, every: int) -> dict[str, Any]:
    clock = SystemClock()
    daemon = Daemon(load(site.config), clock, journal=Journal(io.StringIO(), clock))
    stop = asyncio.Event()
    running = asyncio.ensure_future(daemon.run(stop))
    try:
        await asyncio.wait_for(daemon.started.wait(), 60)
        deadline = time.monotonic() + (canaries + 2) * every + 60
        counted = [_one(site, daemon, name, canaries, deadline) for name in ("empty", "full")]
        results = await asyncio.gather(*counted)
    finally:
        stop.set()
        await running
    return dict(zip(("empty", "full"), results, strict=True))


async def _one(site: Site, daemon: Daemon, name: str, canaries: int, deadline: float) -> dict[str, Any]:
    def read() -> Counts:
        mailbox: Any = daemon.watchers[name].mailbox
        return mailbox.commands, mailbox.bytes_out, mailbox.bytes_in

    async def arrived(count: int) -> None:
        while _delivered(site, name) < count:
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{name}: only {_delivered(site, name)} of {count} canaries arrived")
            await asyncio.sleep(0.1)
        await asyncio.sleep(SETTLE)

    await daemon.watchers[name].seen_once.wait()
    start = read()
    await arrived(1)
    first, before = _delivered(site, name), read()
    await arrived(first + canaries)
    after, passed = read(), _delivered(site, name) - first
    commands, sent, received = ((new - old) / passed for new, old in zip(after, before, strict=True))
    return {
        "canaries": passed,
        "commands_per_canary": round(commands, 1),
        "bytes_per_canary": round(sent + received),
        "bytes_sent_per_canary": round(sent),
        "bytes_received_per_canary": round(received),
        "start_commands": start[0],
        "start_bytes": start[1] + start[2],
    }


def _delivered(site: Site, route: str) -> int:
    rows = site.ask("SELECT count(*) FROM canaries WHERE route = ? AND state IN ('delivered', 'late')", route)
    return int(rows[0][0]) if rows else 0
