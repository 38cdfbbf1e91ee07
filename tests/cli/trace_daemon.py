"""A daemon that answers ``trace`` and ``follow`` as a test wants, on a real control socket, and what it may answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

from probe.engine.control import ControlSocket
from tests.exposition.exposition_fakes import EVIL, TOKEN

ID = "aaaaaaaaaaaa2"
BEGUN = {"id": ID, "mx": "mx1.example.org", "mailbox": "support", "overdue_after": 45.0}


_LATER = (
    *("outcome", "arrived_at", "recovered_at", "latency_seconds", "latency_uncertainty_seconds", "transit_seconds"),
    "folder",
)


def attempt(number: int = 1, result: str = "accepted", **more: Any) -> dict[str, Any]:
    return {
        "attempt": number,
        "started_at": "2026-01-05T08:00:00.000000Z",
        "result": result,
        "stage": "dot",
        "reason": "",
        "code": 250,
        "enhanced": "2.0.0",
        "detail": "",
        "address": "192.0.2.1",
        "tls": "TLSv1.3",
        "phases": {"dot": 0.2, "connect": 0.01, "mail": 0.003},
        "dialogue": [
            {"stage": "connect", "sent": "connect 192.0.2.1:25", "code": None, "reply": "connected"},
            {"stage": "mail", "sent": f"MAIL FROM:<c+{TOKEN}@example.org>", "code": 250, "reply": f"{EVIL} {TOKEN}"},
            {"stage": "dot", "sent": ".", "code": 250, "reply": "queued as 4XYZ"},
        ],
        **more,
    }


def answer(phase: str, *smtp: dict[str, Any], version: int = 1, **canary: Any) -> dict[str, Any]:
    """As the engine gives it (tests/engine/test_tracing.py holds the engine to it)."""
    facts: dict[str, Any] = dict.fromkeys(_LATER)
    facts |= {"id": ID, "route": "inbound", "mx": "mx1.example.org", "variant": "plain", "prober": "prober-1"}
    facts |= {"state": "accepted", "sent_at": "2026-01-05T08:00:00.000000Z", "attempts": max(1, len(smtp))}
    facts |= {"duplicates": 0, "queued_as": "4XYZ", "reason": f"so it is {EVIL}", **canary}
    facts |= {"smtp": list(smtp), "received": canary.get("received", []), "hops": []}
    mailbox = {"name": "support", "blind": "", "searches": 0, "problem": ""}
    return {
        "version": version,
        "phase": phase,
        "seconds": 2.5,
        "attempt": None,
        "overdue": False,
        "mailbox": mailbox,
        "canary": facts,
    }


def ended(state: str = "delivered") -> dict[str, Any]:
    return answer(
        "ended",
        attempt(),
        version=3,
        state=state,
        outcome=state,
        arrived_at="2026-01-05T08:00:03.000000Z",
        latency_seconds=3.1,
        latency_uncertainty_seconds=0.31,
        transit_seconds=3.0,
        folder="INBOX",
        received=[f"from a by mx1.example.org for <c+{TOKEN}@example.org>{EVIL}", "from b by a"],
    )


class FakeDaemon:
    """Answers ``follow`` by ``script``, the last for ever; ``trace`` by ``begins``."""

    def __init__(self) -> None:
        self.script: list[Mapping[str, Any] | Exception] = [ended()]
        self.begins: Mapping[str, Any] | Exception = BEGUN
        self.asked: list[dict[str, Any]] = []
        self.before_answers: Callable[[], object] = bool

    async def status(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        return {}

    async def trace(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append(dict(request))
        if isinstance(self.begins, Exception):
            raise self.begins
        return self.begins

    async def follow(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append(dict(request))
        self.before_answers()
        says = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(says, Exception):
            raise says
        return deepcopy(dict(says))

    @property
    def orders(self) -> list[str]:
        return [str(request["command"]) for request in self.asked]


@contextmanager
def serving(path: Path) -> Iterator[FakeDaemon]:
    """In a thread of its own: the command has the main thread, for its signals."""
    fake = FakeDaemon()
    ready, stop = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        handlers = {"status": fake.status, "trace": fake.trace, "follow": fake.follow}
        control = ControlSocket(path, handlers)
        await control.start()
        loops.append(asyncio.get_running_loop())
        ready.set()
        await stop.wait()
        await control.stop()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(30)
    yield fake
    loops[0].call_soon_threadsafe(stop.set)
    thread.join(30)
