"""The daemon under the knife: a server that has imported everything and forks a fresh daemon for each life.

    python -m tests.kill.driver      one request a line on standard input, events as lines of JSON on standard output

A request names a folder (with its config.yaml), the act (``life`` or ``restart``), the origin of the clock, and the
threads that must wait at their beginning until a tracer is attached. The child is the daemon that ``mailcanary run``
is, but for its clock, which runs twenty times as fast: the configuration's shortest deadlines pass in a tenth of a
second. A tracer counts calls a thread, so each thread is a place of its own: ``main#1``, ``writer#1``, ``mailbox#2``.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from probe.clock import Instant, boot_id
from probe.config.load import load
from probe.config.model import Config, Listen
from probe.engine.daemon import Daemon
from probe.engine.pacing import Pace
from probe.errors import MailCanaryError
from probe.exposition.journal import Journal

SPEED = 20
PACE = Pace(
    other_folders=timedelta(milliseconds=500),
    deadline_reads_apart=timedelta(milliseconds=200),
    sweeps_apart=timedelta(milliseconds=400),
    reconnect_first=timedelta(milliseconds=200),
    reconnect_most=timedelta(seconds=1),
)
STARTED_IN = 5.0  # real seconds, on a machine that does much else
SETTLED_IN = {"life": 2.0, "restart": 12.0}  # a life that cannot go on is left to the restart
UNSETTLED, REFUSED, CRASHED = 3, 4, 70


class FastClock:
    """The machine's clocks, ``SPEED`` times as fast since ``origin`` (wall ns)."""

    def __init__(self, origin: int) -> None:
        self._origin = origin

    def now(self) -> Instant:
        passed = (time.time_ns() - self._origin) * SPEED
        return Instant(self._origin + passed, passed, boot_id())

    async def sleep(self, duration: timedelta) -> None:
        await asyncio.sleep(max(0.0, duration.total_seconds() / SPEED))


def say(**what: Any) -> None:
    """One event, in one write. Not by a thread that is traced: it would be counted."""
    os.write(1, json.dumps(what).encode() + b"\n")


class Gates:
    """Threads that wait until somebody opens their pipe for writing: by then a tracer is attached."""

    def __init__(self, folder: Path, gated: list[str]) -> None:
        self._folder = folder
        self._gated = gated
        self._count: Counter[str] = Counter()
        self._run = threading.Thread.run

    def install(self) -> None:
        def run(thread: threading.Thread) -> None:
            self.pass_by(thread.name)
            self._run(thread)

        threading.Thread.run = run  # type: ignore[assignment, method-assign]

    def pass_by(self, thread_name: str) -> None:
        """Called in the thread itself, before it does anything."""
        role = {"MainThread": "main", "ledger-writer": "writer"}.get(thread_name, thread_name.partition("-")[0])
        self._count[role] += 1
        name = f"{role}#{self._count[role]}"
        gated = name in self._gated
        say(thread=name, tid=threading.get_native_id(), waits=gated)
        if gated:
            os.open(self._folder / f"gate-{name}", os.O_RDONLY)  # left open: a close would be counted


def configured(path: Path) -> Config:
    """The configuration, with whatever port is free for the web side."""
    return replace(load(path), listen=Listen("127.0.0.1", 0))


async def until(what: Callable[[], bool], seconds: float) -> bool:
    """Whether it became true in time."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.002)
    return True


class Life:
    """What a daemon is put through: canaries of every route, a reload between, and a stop in two steps."""

    def __init__(self, folder: Path, act: str, origin: int) -> None:
        self.config = folder / "config.yaml"
        self.act = act
        self.clock = FastClock(origin)
        self.journal = Journal(sys.stderr, self.clock, terminal=False)
        self.daemon = Daemon(configured(self.config), self.clock, journal=self.journal, pace=PACE)
        self.stop = asyncio.Event()

    async def run(self) -> bool:
        """Whether everything was settled at the end. Raises what ends the daemon."""
        running = asyncio.ensure_future(self.daemon.run(self.stop))
        story = asyncio.ensure_future(self._story())
        await asyncio.wait({running, story}, return_when=asyncio.FIRST_COMPLETED)
        try:
            return not running.done() and story.result()
        finally:
            story.cancel()
            self.stop.set()
            await running
            self.journal.close()

    async def _story(self) -> bool:
        if not await until(self.daemon.started.is_set, STARTED_IN):
            return False
        if self.act == "restart":
            await self._send("good")
            return await self._settled()
        await self._send("good")
        await self._send("hole", "grey")
        await self._settled()
        await self.daemon.reload(lambda: configured(self.config))
        await self._send("good")
        return await self._settled()

    async def _send(self, *routes: str) -> None:
        watchers = list(self.daemon.watchers.values())
        await until(lambda: all(each.seen_once.is_set() for each in watchers), SETTLED_IN[self.act])
        for leg in self.daemon.legs:
            if leg.route.name in routes and leg.ready():
                leg._launch(self.clock.now())
        await asyncio.sleep(0.02)

    async def _settled(self) -> bool:
        def done() -> bool:
            return not self.daemon.books.in_flight and not any(leg._under_way for leg in self.daemon.legs)

        return await until(done, SETTLED_IN[self.act])


def live(folder: Path, act: str, origin: int, gated: list[str]) -> int:
    """One daemon, from its start to its end. Exit codes: 0; ``UNSETTLED`` where a canary was still in flight;
    ``REFUSED`` for an error with a sentence, as ``mailcanary`` shows it; ``CRASHED`` for a bug."""
    gates = Gates(folder, gated)
    gates.install()
    gates.pass_by("MainThread")

    async def begin() -> bool:
        return await Life(folder, act, origin).run()

    try:
        return 0 if asyncio.run(begin()) else UNSETTLED
    except MailCanaryError as problem:
        print(f"{type(problem).__name__}: {problem}", file=sys.stderr)
        return REFUSED
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return CRASHED


def child(request: dict[str, Any]) -> int:
    folder = Path(request["folder"])
    log = os.open(folder / f"{request['act']}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    return live(folder, request["act"], request["origin"], request["gated"])


def serve() -> None:
    """Fork a daemon for each request, one after the other."""
    for line in sys.stdin:
        request = json.loads(line)
        configured(Path(request["folder"]) / "config.yaml")  # imports the kinds, once for all children
        pid = os.fork()
        if pid == 0:
            code = CRASHED
            try:
                code = child(request)
            finally:
                os._exit(code)
        say(pid=pid)
        _, status = os.waitpid(pid, 0)
        say(ended=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    serve()
