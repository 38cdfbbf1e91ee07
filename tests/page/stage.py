"""A stage for one act: the sandbox, a daemon, a real Prometheus, a real Alertmanager and a webhook, on loopback.

The sandbox runs in this process's loop; the daemon is ``mailcanary run`` in a process of its own. Everything is ended
by its own id, and dies with this process. Times are the loop's (monotonic); only windows of mail are told in UTC.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from probe.canary.record import Leg
from probe.clock import SystemClock
from probe.sandbox.system import INTAKE_HOSTS, Sandbox
from tests.page.history import write_past
from tests.page.outcome import Told, progress
from tests.page.scale import Scale, labels_text, routing, rule_files
from tests.page.site import ROUTE, Plan, write_config
from tests.worlds.alertmanager import Alertmanager, Daemon, Desk
from tests.worlds.ports import LOOPBACK, free_ports, tail
from tests.worlds.prometheus import Prometheus

MX1, MX2 = INTAKE_HOSTS
WATCHDOG = "MailCanaryWatchdog"
_ROOT = Path(__file__).parents[2]
_TRIES, _TAKEN = 3, "the address is in use"


class StageError(RuntimeError):
    """The stage itself does not stand; the message ends with a log."""


class Stage:
    """An async context manager; inside of it everything runs and a canary of each leg has arrived."""

    def __init__(self, plan: Plan, scale: Scale) -> None:
        self.plan, self.scale = plan, scale
        self.clock = SystemClock()
        self.sandbox = Sandbox(clock=self.clock, chance=random.Random(plan.seed))
        self.folder = Path(tempfile.mkdtemp(prefix="mailcanary-page-"))
        self.desk = Desk()
        self.told: list[Told] = []
        self.queue: list[int] = []  # the queue figure, as a monitor samples it
        self.port = 0
        self.prometheus: Prometheus
        self.alertmanager: Alertmanager
        self.process: subprocess.Popen[bytes]
        self._began = 0.0
        self._seen = 0
        self._tasks: list[asyncio.Task[None]] = []

    # Its life.

    async def __aenter__(self) -> Stage:
        self._began = asyncio.get_running_loop().time()
        try:
            await self._start()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    async def _start(self) -> None:
        await self.sandbox.start()
        if self.plan.past:
            legs = [Leg(ROUTE, mx, "canaries") for mx in self.hosts]
            every = timedelta(seconds=self.plan.every)
            past = (self.folder / "ledger.sqlite", self.clock, legs, self.plan.past, every, self.plan.seed)
            await asyncio.to_thread(write_past, *past)
        await self._start_prober()
        # In this thread, for they die with the one that started them: the sandbox waits for a second.
        self.alertmanager = Alertmanager(routing(self.desk.port, self.scale))
        self.alertmanager.start()
        targets = {"mailcanary": self.port, "alertmanager": self.alertmanager.port}
        rules = rule_files(self.folder, self.scale)
        self.prometheus = Prometheus(targets, rules, self.alertmanager.port, f"{self.scale.scrape:g}s")
        self.prometheus.start()
        self._tasks = [asyncio.create_task(self._collect()), asyncio.create_task(self._sample())]
        await self._need(self._arrived, 90 + 2 * self.plan.every, "a canary of each leg has arrived")
        await self._need(lambda: bool(self.notices(WATCHDOG)), 90, "the watchdog reaches the webhook")
        await self._need(self._scraped, 60, "Prometheus has scraped the daemon")
        self.say("the stage stands: canaries arrive, the watchdog is heard")

    async def _start_prober(self) -> None:
        """A port that was free may be taken by the time the daemon listens, on a machine where others start servers."""
        for left in reversed(range(_TRIES)):
            self.port = free_ports(1)[0]
            write_config(self.folder, self.port, self.plan, self.scale, self.sandbox)
            self._run_prober()
            try:
                await self._need(lambda: self.asked_ok("/readyz"), 60, "the daemon is ready")
            except StageError as problem:
                if left == 0 or _TAKEN not in str(problem):
                    raise
            else:
                return

    def _run_prober(self) -> None:
        config = str(self.folder / "config.yaml")
        words = ["probe.cli.main", "run", "--config", config]
        if not self.scale.full:
            words = ["tests.page.hosted", config, f"{self.scale.of(300):g}"]
        with (self.folder / "journal.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=_ROOT,
            )

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        process = getattr(self, "process", None)
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                await asyncio.to_thread(process.wait, 15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for part in ("prometheus", "alertmanager"):
            if (server := getattr(self, part, None)) is not None:
                await asyncio.to_thread(server.close)
        self.desk.close()
        await self.sandbox.stop()
        if (kept := os.environ.get("MAILCANARY_PAGE_KEEP")) and self.folder.exists():
            to = Path(kept) / f"{self.plan.act}-{self.plan.seed}"
            shutil.copytree(self.folder, to, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.sock"))
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def hosts(self) -> Sequence[str]:
        """The ``mx`` of each leg."""
        return INTAKE_HOSTS if self.plan.hosts else ("any",)

    # Time.

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def say(self, text: str) -> None:
        progress(self.plan.act, self.now() - self._began, text)

    async def rest(self, seconds: float) -> None:
        await self.clock.sleep(timedelta(seconds=seconds))

    async def within(self, condition: Callable[[], Any], seconds: float) -> float | None:
        """Seconds until ``condition`` (looked at ten times a second) holds; None when it does not in that time."""
        began = self.now()
        while not await _answer(condition):
            if self.now() - began > seconds:
                return None
            await self.rest(0.1)
        return self.now() - began

    async def _need(self, condition: Callable[[], Any], seconds: float, what: str) -> None:
        if await self.within(condition, seconds) is None:
            raise StageError(f"{self.plan.act}: {what}: not within {seconds:g} s{tail(self.folder / 'journal.log')}")

    # What it shows.

    def notices(self, name: str, since: float = 0.0) -> list[Told]:
        """What was told of an alert that fires, oldest first."""
        return [each for each in self.told if each.name == name and each.at >= since and each.status == "firing"]

    def pages(self, since: float = 0.0) -> list[Told]:
        """The critical alerts that came to a receiver that pages. At a smaller scale without the backstop's: its hour
        is minutes then, while the detectors' gaps between canaries are what they are."""
        return [
            each
            for each in self.told
            if each.at >= since
            and each.labels.get("severity") == "critical"
            and each.status == "firing"
            and (self.scale.full or each.name != "MailCanaryErrorBudgetBurn")
        ]

    def paged(self, since: float = 0.0) -> list[str]:
        """Each of them once, in words, in the order of their coming."""
        return list(dict.fromkeys(labels_text(each.labels) for each in self.pages(since)))

    async def metric(self, expr: str) -> float:
        """The sum of an instant query at Prometheus; 0.0 where there is no series."""
        return sum(value for _, value in await asyncio.to_thread(self.prometheus.query, expr))

    async def asked(self, path: str) -> Any:
        """JSON of the daemon's web side."""
        return json.loads(await asyncio.to_thread(_get, f"http://{LOOPBACK}:{self.port}{path}"))

    async def asked_ok(self, path: str) -> bool:
        try:
            await asyncio.to_thread(_get, f"http://{LOOPBACK}:{self.port}{path}")
        except OSError:
            if self.process.poll() is not None:
                raise StageError(f"the daemon ended{tail(self.folder / 'journal.log')}") from None
            return False
        return True

    async def incident(self) -> dict[str, Any] | None:
        """The newest one that paged, or None."""
        found = (await self.asked("/api/incidents"))["incidents"]
        return found[0] if found else None

    async def command(self, *words: str) -> str:
        """What ``mailcanary`` prints; StageError where it fails."""
        command = [sys.executable, "-m", "probe.cli.main", words[0], "-c", str(self.folder / "config.yaml"), *words[1:]]
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=120, cwd=_ROOT, check=False
        )
        if done.returncode:
            raise StageError(f"mailcanary {' '.join(words)}: exit {done.returncode}\n{done.stderr}")
        return str(done.stdout)

    async def _arrived(self) -> bool:
        found = await self.asked("/api/canaries?outcome=delivered&limit=100")
        ours = {one["mx"] for one in found["canaries"] if one["prober"] == "page"}
        return ours >= set(self.hosts)

    async def _scraped(self) -> bool:
        return await self.metric("count(mailcanary_sent_total)") >= len(self.hosts)

    async def _collect(self) -> None:
        """Give each notification the time of its coming."""
        while True:
            for each in self.desk.taken[self._seen :]:
                self._seen += 1
                for alert in each.body["alerts"]:
                    self.told.append(Told(self.now(), each.to, alert["status"], alert["labels"]))
            await self.rest(0.05)

    async def _sample(self) -> None:
        """A message that is being worked on this very moment is not one that waits: looked at twice."""
        while True:
            first = self.sandbox.snapshot().queue
            if first:
                await self.rest(0.05)
            self.queue.append(min(first, self.sandbox.snapshot().queue))
            await self.rest(0.5)

    # Faults.

    def fault(self, name: str, **how: Any) -> tuple[float, datetime]:
        """Switch one on: when, in loop time and in UTC."""
        self.sandbox.set_fault(name, **how)
        self.say(f"fault on: {name} {how or ''}")
        return self.now(), self.clock.now().utc

    def repair(self) -> tuple[float, datetime]:
        """Switch all off: when."""
        self.sandbox.clear_fault()
        self.say("fault off")
        return self.now(), self.clock.now().utc

    async def kill(self, what: str) -> float:
        """End ``prometheus``, ``alertmanager``, ``prober`` (each by SIGKILL), ``mailbox`` or ``mx`` (its second host)
        at once: when."""
        if what == "mailbox":
            await self.sandbox._imap.stop()  # not something a user can switch
        elif what == "mx":
            await self.sandbox.intakes[1].stop()
        else:
            server: Daemon | None = getattr(self, what, None)
            process = self.process if server is None else server._process
            assert process is not None
            process.kill()
            await asyncio.to_thread(process.wait)
        self.say(f"killed: {what}")
        return self.now()


async def _answer(condition: Callable[[], Any]) -> bool:
    found = condition()
    return bool(await found if asyncio.iscoroutine(found) else found)


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
    return text
