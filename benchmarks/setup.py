"""A daemon's configuration and its process, for a measurement: written, started, asked for its CPU, stopped.

The process is asked from outside, by the kernel's clock of its CPU (user and system, all threads, dead ones included),
so that measuring costs the measured nothing. Counts come from the ledger's file, opened read-only by this process.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from tests.worlds.ports import LOOPBACK, free_ports

SECRET = b"benchmark-key-0123456789-abcdefghijk"
PASSWORD = "{env: MAILCANARY_BENCH_PASSWORD}"  # every account's, as a configuration value
HUGE = "60000/min"
OTHER_OUTCOMES = frozenset({"late", "lost", "bounced", "refused", "unsent", "unknown"})

os.environ["MAILCANARY_BENCH_PASSWORD"] = "secret"


class BenchmarkError(RuntimeError):
    """A measurement could not be made; the message says why."""


def until(condition: Callable[[], Any], seconds: float, what: str, every: float = 0.05) -> None:
    """Poll ``condition``; BenchmarkError when it stays false for ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{what}: not within {seconds:g} s")
        time.sleep(every)


class Site:
    """A folder with a configuration, its secrets and its ledger. ``port`` is the web side's; ``ledger``: one that lies
    elsewhere and stays."""

    def __init__(
        self,
        *,
        senders: Mapping[str, Mapping[str, Any]],
        mailboxes: Mapping[str, Mapping[str, Any]],
        routes: Mapping[str, Mapping[str, Any]],
        limits: str = f"{{per_recipient: [{HUGE}], per_route: [1200/min], per_domain: [{HUGE}], total: [{HUGE}]}}",
        ledger: Path | None = None,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mailcanary-bench-"))
        self.port = free_ports(1)[0]
        self.ledger = ledger or self.folder / "ledger.sqlite"
        self._limits = limits
        self.config = self.folder / "config.yaml"
        key = self.folder / "key"
        key.write_bytes(SECRET)
        key.chmod(0o600)
        self.config.write_text(self._yaml(senders, mailboxes, routes))

    def _yaml(self, *sections: Mapping[str, Mapping[str, Any]]) -> str:
        lines = [
            "prober: bench",
            f"ledger: {self.ledger}",
            f"listen: 127.0.0.1:{self.port}",
            f"control: {self.folder}/control.sock",
            f"keys: [{{id: k1, secret: {{file: {self.folder}/key}}}}]",
            f"limits: {self._limits}",
        ]
        for title, section in zip(("senders", "mailboxes", "routes"), sections, strict=True):
            lines.append(f"{title}:")
            for name, options in section.items():
                lines.append(f"  {name}:")
                lines += [f"    {key}: {value}" for key, value in options.items()]
        return "\n".join(lines) + "\n"

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    # The ledger, read from outside.

    def ask(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of the ledger's file; none while it is not there yet."""
        if not self.ledger.exists():
            return []
        connection = sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True, timeout=5)
        try:
            return connection.execute(query, values).fetchall()
        except sqlite3.OperationalError as problem:
            if "no such table" in str(problem):
                return []
            raise
        finally:
            connection.close()

    def states(self) -> dict[str, int]:
        """Canaries by state."""
        return dict(self.ask("SELECT state, count(*) FROM canaries GROUP BY state"))

    def delivered(self) -> int:
        return self.states().get("delivered", 0)


class DaemonProcess:
    """``mailcanary run`` in a process of its own; with ``cpu``, pinned to that CPU. A context manager."""

    def __init__(self, site: Site, *, cpu: int | None = None, profile: Path | None = None) -> None:
        self.site = site
        self.threads_file = site.folder / "threads.json"
        self._journal = (site.folder / "journal.log").open("wb")
        command = [sys.executable, "-m", "benchmarks.hosted", str(site.config), str(self.threads_file)]
        if profile is not None:
            command.append(str(profile))
        if cpu is not None:
            command = ["taskset", "--cpu-list", str(cpu), *command]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._journal,
            cwd=_root(),
            env=compiled(),
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> DaemonProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def ready(self, seconds: float = 20) -> None:
        """Wait until the daemon says that it is ready: every mailbox was read."""

        def asked() -> bool:
            if self._process.poll() is not None:
                raise BenchmarkError("the daemon ended: " + (self.site.folder / "journal.log").read_text()[-2000:])
            try:
                return scrape(self.site.port, "/readyz")[0] == 200
            except OSError:
                return False

        until(asked, seconds, "the daemon is ready")

    def cpu_seconds(self) -> float:
        """User and system time of the whole process until now, to the microsecond."""
        return time.clock_gettime(((~self.pid) << 3) | 2)  # CPUCLOCK_SCHED of the process: clock_getcpuclockid(3)

    def thread_seconds(self) -> dict[str, float]:
        """CPU by thread's name until now, as the process itself says."""
        self.threads_file.unlink(missing_ok=True)
        os.kill(self.pid, signal.SIGUSR1)
        until(self.threads_file.exists, 30, "the daemon tells its threads' CPU")
        return {str(name): float(value) for name, value in json.loads(self.threads_file.read_text()).items()}

    def rss_mb(self, *, most: bool = False) -> float:
        """Resident memory in MB; ``most``: the highest it ever was."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        name = "VmHWM:" if most else "VmRSS:"
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name)) * 1024 / 1e6

    def kill(self) -> None:
        """As a crash."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """SIGTERM, and wait; a second one after 30 s, then SIGKILL."""
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is None:
                self._process.send_signal(number)
                try:
                    self._process.wait(30)
                except subprocess.TimeoutExpired:
                    continue
        self._journal.close()


def asked(site: Site, question: Sequence[str]) -> tuple[float, float, int]:
    """Ask ``mailcanary`` a question in a process of its own: seconds, CPU seconds, and the lines of its answer."""
    command = [sys.executable, "-m", "probe.cli.main", question[0], "--config", str(site.config), *question[1:]]
    begin, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, cwd=_root(), env=compiled())
    passed, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if process.returncode:
        raise BenchmarkError(f"{' '.join(question)}: {process.stderr.decode(errors='replace')[-500:]}")
    return round(passed, 3), round(cpu, 3), len(process.stdout.splitlines())


@lru_cache(maxsize=1)
def _bytecode() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="mailcanary-bytecode-")


def compiled() -> dict[str, str]:
    """An environment in which modules are compiled once, as those of an installed package are; here even where the
    source tree is not written to."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": _bytecode().name}


def scrape(port: int, path: str = "/metrics") -> tuple[int, bytes]:
    """GET over a connection of its own, as a scraper without keep-alive does: (status, body)."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def per_canary(after: Mapping[str, float], before: Mapping[str, float], canaries: int) -> dict[str, float]:
    """Milliseconds of CPU a canary by thread, the dearest first, from seconds at two moments."""
    found: dict[str, float] = {}
    for name, value in after.items():
        group = thread_group(name)
        found[group] = found.get(group, 0.0) + 1000 * (value - before.get(name, 0.0)) / max(1, canaries)
    return {name: round(value, 3) for name, value in sorted(found.items(), key=lambda item: -item[1])}


def thread_group(thread: str) -> str:
    """A thread's name without what numbers it."""
    return "event loop" if thread == "MainThread" else thread.rpartition("_")[0] or thread


def percentile(values: list[float], share: float) -> float:
    """Nearest rank; NaN for none."""
    if not values:
        return float("nan")
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, max(0, math.ceil(share * len(ranked)) - 1))]


def _root() -> Path:
    return Path(__file__).parent.parent
