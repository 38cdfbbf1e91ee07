"""The error of the latency by what a server makes of IDLE: one that tells at once, Dovecot (0.5 s later), one without.

Every mail is held by its recipient's time after the final dot and then handed over: to a scripted server that pushes,
to a Dovecot, and to a Dovecot whose capabilities lack IDLE. True arrival is the server's own record, as in latency.py.
Each held canary is alone in its mailbox. IMAP commands are counted over whole periods, from just after one arrival to
just after a later one. One daemon watches all three, so that each is measured on the same machine under the same load.
"""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.latency import _nanoseconds, _summary
from benchmarks.setup import PASSWORD, SECRET, BenchmarkError, Site
from probe.canary.identity import Identity, Keyring, SigningKey
from probe.clock import SystemClock
from probe.config.load import load
from probe.engine.daemon import Daemon
from probe.exposition.journal import Journal
from tests.worlds.dovecot import Dovecot

SERVERS = {"pushes": "a server that pushes", "dovecot": "Dovecot", "without": "Dovecot without IDLE"}
SOON = 0.05  # seconds from the dot; less than the first wait in which it listens
ASK_EVERY = 0.5
_WITHOUT_IDLE = "imap_capability = IMAP4rev1 LITERAL+ ENABLE UIDPLUS MOVE SPECIAL-USE NAMESPACE UNSELECT CHILDREN\n"
_ROOT = Path(__file__).parent.parent


@dataclass
class System:
    """One mail system: its intake's port, its mailboxes' port, and when each Message-ID arrived (wall clock, ns)."""

    name: str
    arrivals: Path
    dovecot: Dovecot | None
    smtp: int = 0
    imap: int = 0

    def arrived(self) -> Iterator[tuple[str, int]]:
        if self.dovecot is not None:
            yield from ((one.message_id, _nanoseconds(one.at)) for one in self.dovecot.saved())
        elif self.arrivals.exists():
            for line in self.arrivals.read_text().splitlines():
                message_id, at = line.split()
                yield message_id, int(at)


@dataclass
class Box:
    """One mailbox with its route. ``seen``: (canaries delivered, IMAP commands) after each arrival."""

    name: str
    system: System
    hold: float
    account: str
    every: float
    seen: list[tuple[int, int]] = field(default_factory=list)


def measure(*, quick: bool = False, tiny: bool = False) -> dict[str, Any]:
    """Held for 0.05 s in one mailbox, for 10 s and 40 s in six each; until a canary has followed the first in every
    one, and 60 where they come soon. ``quick``: 6 s in place of both, two mailboxes. ``tiny``: 0.6 s, one."""
    holds, boxes, soon = ((0.6,), 1, 1) if tiny else ((6.0,), 2, 10) if quick else ((10.0, 40.0), 6, 60)
    with ExitStack() as stack:
        made = [box for name in SERVERS for box in stack.enter_context(_system(name, holds, boxes))]
        site = _site(made)
        stack.callback(site.close)
        asyncio.run(_watch(site, made, soon, 60 + 4 * max(holds) + 2 * soon))
        return {
            "bar": "max(20 ms, 10 %)",
            "holds_seconds": [SOON, *holds],
            "servers": {
                name: {"title": title, "held": _figures(site, [box for box in made if box.system.name == name])}
                for name, title in SERVERS.items()
            },
        }


@contextmanager
def _system(name: str, holds: tuple[float, ...], boxes: int) -> Iterator[list[Box]]:
    """A mail system with its mailboxes, running."""
    with ExitStack() as stack:
        dovecot = None
        if name != "pushes":
            dovecot = Dovecot(extra=_WITHOUT_IDLE if name == "without" else "")
            stack.callback(dovecot.close)
            dovecot.start()
        folder = Site(senders={}, mailboxes={}, routes={})  # for its folder alone
        stack.callback(folder.close)
        system = System(name, folder.folder / "arrivals", dovecot)
        made = []
        for hold in (SOON, *holds):
            for number in range(1 if hold == SOON else boxes):
                title = f"{name}-{hold:g}".replace(".", "-") + f"-{number}"
                account = dovecot.new_account().address if dovecot else f"{title}@lab.test"
                made.append(Box(title, system, hold, account, 2.0 if hold == SOON else max(2.0, 1.5 * hold)))
        words = [json.dumps({box.account: box.hold for box in made}), str(system.arrivals)]
        words += [str(dovecot.lmtp_port)] if dovecot else []
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.pushing", *words], stdout=subprocess.PIPE, cwd=_ROOT, text=True
        )
        stack.callback(_end, process)
        assert process.stdout is not None
        system.smtp, system.imap = map(int, process.stdout.readline().split())
        if dovecot is not None:
            system.imap = dovecot.imap_port
        yield made


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait(10)
    if process.stdout is not None:
        process.stdout.close()


def _site(boxes: list[Box]) -> Site:
    systems = {box.system.name: box.system for box in boxes}
    return Site(
        senders={
            name: {"kind": "smtp", "host": "127.0.0.1", "port": system.smtp, "tls": "none"}
            for name, system in systems.items()
        },
        mailboxes={
            box.name: {
                "kind": "imap",
                "host": "127.0.0.1",
                "port": box.system.imap,
                "tls": "none",
                "username": box.account,
                "password": PASSWORD,
                "cleanup": "{mode: 'off'}",
            }
            for box in boxes
        },
        routes={
            box.name: {
                "sender": box.system.name,
                "mail_from": "canary-probe@example.net",
                "rcpt_to": box.account,
                "mailbox": box.name,
                "every": f"{round(1000 * box.every)}ms",
                "overdue_after": "3m",
            }
            for box in boxes
        },
    )


async def _watch(site: Site, boxes: list[Box], soon: int, patience: float) -> None:
    """Run the daemon until every mailbox has had its canaries, and note its commands after each arrival."""
    clock = SystemClock()
    daemon = Daemon(load(site.config), clock, journal=Journal(io.StringIO(), clock))
    stop = asyncio.Event()
    running = asyncio.ensure_future(daemon.run(stop))
    try:
        await asyncio.wait_for(daemon.started.wait(), 60)
        deadline = time.monotonic() + patience
        while missing := [box.name for box in boxes if _after_first(box) < (soon if box.hold == SOON else 1)]:
            if time.monotonic() > deadline:
                raise BenchmarkError(f"too few canaries arrived at {', '.join(missing)}")
            await asyncio.sleep(ASK_EVERY)
            _note(site, boxes, daemon)
    finally:
        stop.set()
        await running


def _note(site: Site, boxes: list[Box], daemon: Daemon) -> None:
    counts = dict(site.ask("SELECT route, count(*) FROM canaries WHERE state = 'delivered' GROUP BY route"))
    for box in boxes:
        if counts.get(box.name, 0) > _delivered(box):
            mailbox: Any = daemon.watchers[box.name].mailbox
            box.seen.append((counts[box.name], mailbox.commands))


def _delivered(box: Box) -> int:
    return box.seen[-1][0] if box.seen else 0


def _after_first(box: Box) -> int:
    """Canaries since the first arrival that was noted: whole periods, of which commands are counted."""
    return _delivered(box) - box.seen[0][0] if box.seen else 0


def _figures(site: Site, boxes: list[Box]) -> dict[str, Any]:
    """By the time of holding: errors as latency.py sums them up, and IMAP commands per canary."""
    keyring = Keyring([SigningKey("k1", SECRET)])
    arrived: dict[str, int] = {}
    for message_id, at in boxes[0].system.arrived():
        identity = keyring.verify_token(message_id.strip("<>").partition("@")[0])
        if isinstance(identity, Identity):
            arrived.setdefault(identity.canary_id, at)
    found = {}
    for hold in dict.fromkeys(box.hold for box in boxes):
        some = [box for box in boxes if box.hold == hold]
        pairs = [pair for box in some for pair in _pairs(site, box, arrived)]
        if not pairs:
            raise BenchmarkError(f"{some[0].name}: the server's record names no canary that arrived")
        found[f"{hold:g}"] = {**_summary(pairs), "commands_per_canary": _commands(some)}
    return found


def _pairs(site: Site, box: Box, arrived: Mapping[str, int]) -> Iterator[tuple[float, float]]:
    """(reported, true) latencies in seconds."""
    query = "SELECT id, latency_us, facts FROM canaries WHERE route = ? AND latency_us IS NOT NULL"
    for canary, latency_us, facts in site.ask(query, box.name):
        if canary in arrived:
            started = int(json.loads(facts)["clock_started"][0])  # the final dot, wall clock in ns
            yield latency_us / 1e6, (arrived[canary] - started) / 1e9


def _commands(boxes: list[Box]) -> float:
    periods = [(box.seen[0], box.seen[-1]) for box in boxes]
    canaries = sum(_after_first(box) for box in boxes)
    commands = sum(last[1] - first[1] for first, last in periods)
    return round(commands / canaries, 1)
