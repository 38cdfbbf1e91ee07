"""One life at a time: a folder and an account of its own; the daemon forked, traced, killed or failed, restarted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.kill.driver import SPEED
from tests.kill.points import FAIL_AT, KILL_AT, OTHERS, Point, counted
from tests.kill.receiving import Account, Servers

ROOT = Path(__file__).parents[2]
LONGEST = 40.0  # real seconds of one run of the daemon
SECRET = "k" * 48


class Hung(Exception):
    """A daemon did not come to its end in time."""


@dataclass(slots=True)
class Run:
    """One run of the daemon, from fork to end. ``code``: its exit code, negative for a signal."""

    code: int = 0
    threads: list[str] = field(default_factory=list)
    traces: dict[str, Path] = field(default_factory=dict)


@dataclass(slots=True)
class World:
    """What is kept of a life: its folder, its account, and the origin of its clock."""

    folder: Path
    name: str
    account: Account
    origin: int


class Rig:
    """A server of forks and the tracers of its children. Not for two threads at once."""

    def __init__(self, servers: Servers, folder: Path) -> None:
        self._servers = servers
        self._folder = folder
        self._lives = 0
        self._pid = 0
        self._tracers: list[subprocess.Popen[str]] = []
        self._forks = subprocess.Popen(
            [sys.executable, "-m", "tests.kill.driver"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._forks.stdin
        assert self._forks.stdout
        self._end_child()
        self._forks.stdin.close()
        self._forks.wait(30)
        self._forks.stdout.close()

    # A world.

    def world(self) -> World:
        """A fresh one: configuration, empty folder, empty account."""
        self._lives += 1
        folder = self._folder / f"life-{self._lives}"
        folder.mkdir(parents=True)
        name = f"{self._folder.name}-{self._lives}"
        origin = time.time_ns()
        account = self._servers.open(name, lambda: origin + (time.time_ns() - origin) * SPEED)
        self._write_config(folder, name)
        return World(folder, name, account, origin)

    def forget(self, world: World) -> None:
        """Remove the folder and the account."""
        self._servers.forget(world.name)
        shutil.rmtree(world.folder)

    def _write_config(self, folder: Path, name: str) -> None:
        for secret, value in (("signing", SECRET), ("password", "open sesame")):
            path = folder / secret
            path.touch(mode=0o600)
            path.write_text(value)
        (folder / "config.yaml").write_text(json.dumps(self._config(folder, name)))

    def _config(self, folder: Path, name: str) -> dict[str, Any]:
        route = {"sender": "relay", "mail_from": "prober@kill.test", "mailbox": "inbox", "paging": False}
        route |= {"every": "30d", "overdue_after": "2s", "lost_after": "4s", "watch_for": "60s"}
        rates = ("per_recipient", "per_route", "per_domain", "total")
        return {
            "ledger": str(folder / "ledger.sqlite"),
            "control": str(folder / "c.sock"),
            "listen": "127.0.0.1:9925",
            "prober": "kill",
            "keys": [{"id": "k1", "secret": {"file": str(folder / "signing")}}],
            "limits": {rate: ["1000/min"] for rate in rates},
            "senders": {
                "relay": {
                    "kind": "smtp",
                    "host": "127.0.0.1",
                    "port": self._servers.smtp_port,
                    "tls": "none",
                    "helo": "prober.kill.test",
                    "retry": ["1s", "1s"],
                }
            },
            "mailboxes": {
                "inbox": {
                    "kind": "imap",
                    "host": "127.0.0.1",
                    "port": self._servers.imap_port,
                    "tls": "none",
                    "username": name,
                    "password": {"file": str(folder / "password")},
                    "cleanup": {"mode": "off"},
                    "exclusive": True,
                    "idle_poll": "1s",
                }
            },
            "routes": {each: {**route, "rcpt_to": f"{name}+{each}@kill.test"} for each in ("good", "hole", "grey")},
        }

    # Runs.

    def trace(self, world: World, threads: Sequence[str]) -> tuple[Run, dict[str, Counter[str]], Counter[str]]:
        """A life whose calls are counted: those that can be points, by thread, and the others."""
        calls = sorted({*KILL_AT, *FAIL_AT})
        run = self._run(world, "life", {name: ["-e", "trace=" + ",".join((*calls, *OTHERS))] for name in threads})
        counts = {name: counted(path) for name, path in run.traces.items()}
        others: Counter[str] = Counter()
        for count in counts.values():
            others.update({call: number for call, number in count.items() if call in OTHERS})
        return run, counts, others

    def strike(self, world: World, point: Point) -> tuple[Run, bool]:
        """A life with the point's injection, and whether it came to it."""
        wanted = ["-e", f"trace={point.call}", "-e", point.injection]
        run = self._run(world, "life", {point.thread: wanted})
        trace = run.traces.get(point.thread)
        text = trace.read_text(errors="replace") if trace else ""
        return run, "killed by SIGKILL" in text or "(INJECTED)" in text

    def restart(self, world: World) -> Run:
        """The daemon again on the same ledger, untouched, until all is settled."""
        return self._run(world, "restart", {})

    def _run(self, world: World, act: str, tracing: dict[str, list[str]]) -> Run:
        run = Run()
        for name in tracing:
            os.mkfifo(world.folder / f"gate-{name}")
        request = {"folder": str(world.folder), "act": act, "origin": world.origin, "gated": list(tracing)}
        assert self._forks.stdin
        self._forks.stdin.write(json.dumps(request).encode() + b"\n")
        self._forks.stdin.flush()
        gates: list[int] = []
        try:
            self._follow(run, world, tracing, gates)
        except Hung:
            self._end_child()
            raise
        finally:
            self._end_tracers()
            for gate in gates:
                os.close(gate)
        if not self._servers.quiet(world.account, 10):
            raise Hung("connections of a daemon that is gone stay open")
        return run

    def _follow(self, run: Run, world: World, tracing: dict[str, list[str]], gates: list[int]) -> None:
        end = time.monotonic() + LONGEST
        while True:
            event = self._event(end)
            if "pid" in event:
                self._pid = event["pid"]
            elif "thread" in event:
                run.threads.append(event["thread"])
                if event["waits"]:
                    path = world.folder / f"trace-{event['thread']}"
                    run.traces[event["thread"]] = path
                    self._attach(event["tid"], path, tracing[event["thread"]])
                    gates.append(os.open(world.folder / f"gate-{event['thread']}", os.O_WRONLY))
            elif "ended" in event:
                run.code, self._pid = event["ended"], 0
                return

    def _event(self, end: float) -> dict[str, Any]:
        stream = self._forks.stdout
        assert stream
        if not stream.peek(1):  # type: ignore[attr-defined]
            raise Hung("the server of forks is gone")
        event: dict[str, Any] = json.loads(stream.readline())
        return event

    def _attach(self, tid: int, path: Path, options: Sequence[str]) -> None:
        tracer = subprocess.Popen(
            ["strace", "-p", str(tid), "-o", str(path), *options], stderr=subprocess.PIPE, text=True
        )
        self._tracers.append(tracer)
        assert tracer.stderr
        line = tracer.stderr.readline()
        if "attached" not in line:
            raise RuntimeError(f"strace could not attach: {line}{tracer.stderr.read()}")

    def _end_tracers(self) -> None:
        for tracer in self._tracers:
            try:
                tracer.wait(10)
            except subprocess.TimeoutExpired:
                tracer.kill()
                tracer.wait()
            assert tracer.stderr
            tracer.stderr.close()
        self._tracers.clear()

    def _end_child(self) -> None:
        if self._pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            self._pid = 0
