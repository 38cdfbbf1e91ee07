"""The prober as a world: one real daemon in this process, between a real Postfix and a real Dovecot.

Not a mock of anything: the configuration is written as a file and loaded like a user's, the ledger is a file, results
are asked of the ledger and of the HTTP side. Only the waits that no configuration names are shortened (``Pace``).

    prober.mailbox("support", account)
    prober.route("inbound", "support", account.address)
    await prober.start()
    canary = await prober.send("inbound")
    await prober.settled(canary)

Routes send by their schedule only where ``every`` is given; the default is so long that ``send`` is the only source.
``check`` says what must be true after every story; the fixture calls it at the end of each test.
"""

from __future__ import annotations

import asyncio
import io
import json
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from probe.canary.record import Canary
from probe.clock import SystemClock
from probe.config.load import load
from probe.engine.daemon import Daemon
from probe.engine.pacing import Pace
from probe.exposition.journal import Journal
from tests.proofs.asking import Asking, until
from tests.worlds.dovecot import Account, Dovecot
from tests.worlds.ports import LOOPBACK, free_ports
from tests.worlds.postfix import Postfix

T = TypeVar("T")
__all__ = ["MAIL_FROM", "PACE", "Prober", "away", "until"]

MAIL_FROM = "prober@probes.example.net"

PACE = Pace(
    other_folders=timedelta(milliseconds=500),
    deadline_reads_apart=timedelta(milliseconds=100),
    sweeps_apart=timedelta(milliseconds=300),
    cleanups_apart=timedelta(milliseconds=500),
    blind_from=timedelta(milliseconds=100),
    reconnect_first=timedelta(milliseconds=100),
    reconnect_most=timedelta(milliseconds=300),
    login_first=timedelta(milliseconds=500),
    login_most=timedelta(seconds=1),
    hosts_apart=timedelta(milliseconds=500),
)


async def away(function: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """A world's blocking call in a thread, so that the daemon lives on meanwhile."""
    return await asyncio.to_thread(function, *arguments, **options)


class Prober(Asking):
    """One prober with one ledger; ``start`` and ``stop`` it as often as wanted. ``tree`` is the whole configuration."""

    def __init__(self, folder: Path, control: Path, postfix: Postfix, dovecot: Dovecot, *, pace: Pace = PACE) -> None:
        self.folder, self.postfix, self.dovecot, self.pace = folder, postfix, dovecot, pace
        self.clock = SystemClock()
        self.chance = random.Random(7)  # one for all starts: it draws the canaries' ids
        self.stream = io.StringIO()
        self.daemon: Daemon | None = None
        self.excused: set[str] = set()  # lost because somebody broke ``exclusive``'s promise
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._journal: Journal | None = None
        self._secret("signing", "k" * 48)
        self.tree: dict[str, Any] = {
            "ledger": str(folder / "ledger.sqlite"),
            "control": str(control / "c.sock"),
            "listen": f"{LOOPBACK}:{free_ports(1)[0]}",
            "prober": "proofs",
            "keys": [{"id": "k1", "secret": {"file": str(folder / "signing")}}],
            "limits": {name: ["1000/min"] for name in ("per_recipient", "per_route", "per_domain", "total")},
            "senders": {},
            "mailboxes": {},
            "routes": {},
        }
        self.sender("relay")

    # What to watch: each may be called again to change a knob before the next start.

    def sender(self, name: str, **knobs: Any) -> None:
        """A sender to the Postfix: any key of kind smtp may be given."""
        self.tree["senders"][name] = {
            "kind": "smtp",
            "host": LOOPBACK,
            "port": self.postfix.port,
            "tls": "none",
            "helo": "prober.example.net",
            "retry": ["1s", "1s", "1s"],
            **knobs,
        }

    def mailbox(self, name: str, account: Account, **knobs: Any) -> None:
        """An account of the Dovecot: any key of kind imap may be given (``port`` of a proxy, say)."""
        self._secret(name, account.password)
        self.tree["mailboxes"][name] = {
            "kind": "imap",
            "host": LOOPBACK,
            "port": self.dovecot.imap_port,
            "tls": "none",
            "username": account.address,
            "password": {"file": str(self.folder / name)},
            "folders": ["INBOX"],
            "cleanup": {"mode": "off"},
            "idle_poll": "1s",
            "poll_rate": "50/s",
            **knobs,
        }

    def route(self, name: str, mailbox: str, rcpt_to: str, **knobs: Any) -> None:
        """A route into a mailbox: any key of a route may be given."""
        self.tree["routes"][name] = {
            "sender": "relay",
            "mail_from": MAIL_FROM,
            "rcpt_to": rcpt_to,
            "mailbox": mailbox,
            "every": "30d",
            "overdue_after": "1s",
            "lost_after": "3s",
            "watch_for": "60s",
            "paging": False,  # detection would send canaries of its own
            **knobs,
        }

    def _secret(self, name: str, value: str) -> None:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(value + "\n")

    def write(self) -> Path:
        """The configuration as a file, as ``start`` and the commands read it. JSON is YAML."""
        path = self.folder / "config.yaml"
        path.touch(mode=0o600)
        path.write_text(json.dumps(self.tree, indent=1))
        return path

    # Its life.

    async def start(self, *, seeing: bool = True) -> Daemon:
        """Start; with ``seeing``, return when every mailbox was read once, so that routes may send."""
        self._stop = asyncio.Event()
        self._journal = Journal(self.stream, self.clock, terminal=False)
        self._close_queries()
        self.daemon = Daemon(load(self.write()), self.clock, journal=self._journal, pace=self.pace, chance=self.chance)
        self._task = asyncio.create_task(self.daemon.run(self._stop))
        started = asyncio.create_task(self.daemon.started.wait())
        await asyncio.wait({self._task, started}, return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        if self._task.done():
            self._task.result()
        if seeing:
            watchers = list(self.daemon.watchers.values())
            await self.until(lambda: all(watcher.seen_once.is_set() for watcher in watchers), "every mailbox was read")
        return self.daemon

    async def stop(self) -> None:
        """The two-step stop."""
        self._stop.set()
        await self._ended()

    async def _ended(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            await task
        self.daemon = None
        if self._journal is not None:
            self._journal.close()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    @property
    def running(self) -> Daemon:
        """The daemon, with the reason where it died."""
        assert self._task is not None
        assert self.daemon is not None, "not started"
        if self._task.done():
            self._task.result()
        return self.daemon

    # Canaries.

    async def send(self, route: str) -> str:
        """One canary of the route now, as if its slot had come; returns its id when its intent is durable."""
        leg = next(leg for leg in self.running.legs if leg.route.name == route)
        before = {canary.id for canary in self.canaries(route)}
        leg._launch(self.clock.now())
        return await self.until(lambda: self._new(route, before), f"{route}: an intent")

    def _new(self, route: str, before: set[str]) -> str | None:
        return next((canary.id for canary in self.canaries(route) if canary.id not in before), None)

    async def state(self, canary_id: str, *states: str) -> Canary:
        """Wait until the canary is in one of the states."""
        await self.until(lambda: self.canary(canary_id).state.value in states, f"{canary_id} becomes {states}")
        return self.canary(canary_id)

    async def settled(self, canary_id: str) -> Canary:
        """Wait for its outcome, whichever."""
        await self.until(lambda: self.canary(canary_id).state.terminal, f"{canary_id} has an outcome")
        return self.canary(canary_id)

    async def close(self) -> None:
        """End what runs, without asking."""
        task, self._task = self._task, None
        if task is not None:
            self._stop.set()
            await asyncio.wait([task])
        if self._journal is not None:
            self._journal.close()
        self._close_queries()
