"""One history: the faults of a plan strike the prober and its world in virtual time; then all is calm."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path as File
from typing import Any

from probe.clock import Instant
from probe.engine.pacing import Pace
from probe.errors import LedgerError, MailCanaryError
from tests.engine.fakes import FakeSender
from tests.jumping import JumpingClock, JumpingLoop
from tests.nemesis.driving import Prober
from tests.nemesis.evidence import TRAIL
from tests.nemesis.faults import Fault, Plan
from tests.nemesis.history import History, Recorder
from tests.nemesis.mail import Box
from tests.nemesis.path import Path
from tests.nemesis.setup import Spec, changed, configure, recipient
from tests.nemesis.striking import Striking

AFTER = 90.0  # seconds after the last watch has ended
LONGEST = timedelta(hours=12)
SPIN = 5000  # looks at the clock
Patch = Callable[[Prober], None]


@dataclass(frozen=True)
class Run:
    """What a history leaves behind. ``problem``: why the prober ended by itself, or ""."""

    plan: Plan
    history: History
    ledger: File
    metrics: str
    said: str
    problem: str = ""


def run(plan: Plan, folder: File, patch: Patch | None = None) -> Run:
    """Live through a plan. ``patch`` breaks a prober on purpose, after each of its starts."""

    async def main(clock: JumpingClock) -> Run:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, JumpingLoop)
        return await World(plan, folder, clock, loop, patch).live()

    loop = JumpingLoop(LONGEST)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main(Clock(loop)))


class Clock(JumpingClock):
    """Who looks at it again and again sees a microsecond pass, as anywhere: some waits are shorter than a timer's.

    ``spins``: how often that was needed."""

    def __init__(self, loop: JumpingLoop) -> None:
        super().__init__(loop)
        self._looks = 0
        self._stood_at = -1.0
        self.spins = 0

    def now(self) -> Instant:
        loop = self._loop
        self._looks = self._looks + 1 if loop._virtual == self._stood_at else 0
        self._stood_at = loop._virtual
        if self._looks > SPIN:
            self.spins, self._looks = self.spins + 1, 0
            loop._virtual += 1e-6
        return super().now()


class World:
    """The prober, its mailboxes and paths, and the timeline of a plan."""

    def __init__(
        self, plan: Plan, folder: File, clock: JumpingClock, loop: JumpingLoop, patch: Patch | None = None
    ) -> None:
        self.plan = plan
        self.folder = folder
        self.clock = clock
        self.loop = loop
        self.record = Recorder(clock, loop)
        self.spec: Spec = dict(plan.setup)
        self.boxes = {
            name: Box(name, self.record, one["folders"], plan.seed) for name, one in plan.setup["mailboxes"].items()
        }
        for name, one in plan.setup["mailboxes"].items():
            self.boxes[name].latency = one["latency"]
        self.paths: dict[str, Path] = {}
        self.senders: dict[str, FakeSender] = {}
        for route in plan.setup["routes"]:
            self._sender(route)
        pace = {name: timedelta(seconds=value) for name, value in plan.setup["pace"].items()}
        fast = {"login_first": timedelta(seconds=5), "login_most": timedelta(seconds=60)}
        self.prober = Prober(clock, random.Random(f"{plan.seed} prober"), Pace(**pace, **fast))
        self.patch = patch
        self.problem = ""
        self.striking = Striking(self)

    def _sender(self, route: dict[str, Any]) -> None:
        name, mxs = route["name"], tuple(route["mxs"])
        path = self.paths[name] = Path(name, self.plan.seed, self.record, mxs)
        path.dead = lambda: self.prober.dead
        for box in self.boxes:
            reports = self.boxes[route["bounces"]] if route["bounces"] else None
            path.boxes[recipient({"name": name, "mailbox": box})] = (self.boxes[box], reports)
        retry = [timedelta(seconds=wait) for wait in self.plan.setup["retry"]]
        self.senders[name] = FakeSender(self.clock, next(iter(self.boxes.values())), path.way, retry, mxs)

    # Its life.

    async def live(self) -> Run:
        """From the start to the last outcome."""
        try:
            await self._start()
            await self._faults()
            await self._end()
        except Exception as problem:
            self.problem = self.problem or f"{type(problem).__name__}: {problem}"
        metrics = ""
        if not self.problem and not self.prober.dead:
            metrics = await self.prober.metrics()
            await self.prober.stop()
        elif not self.prober.dead:
            await self.prober.kill()
        self.record("end")
        return Run(
            self.plan,
            self.record.history,
            self.folder / "ledger.sqlite",
            metrics,
            self.prober.said.getvalue(),
            self.problem,
        )

    async def _faults(self) -> None:
        timeline: list[tuple[float, int, bool, Fault]] = []
        for number, fault in enumerate(self.plan.faults):
            timeline.append((fault.at, number, True, fault))
            if fault.lasts:
                timeline.append((min(fault.at + fault.lasts, self.plan.horizon), number, False, fault))
        for at, _, begins, fault in sorted(timeline, key=lambda entry: entry[:2]):
            await self._until(at)
            if begins:
                self.record("fault", what=fault.kind, lasts=fault.lasts)
                await self.striking.begin(fault)
            else:
                await self.striking.end(fault)
        await self._until(self.plan.horizon)

    async def _until(self, at: float) -> None:
        """Let time pass; a process that dies meanwhile is started again a moment later."""
        while True:
            left = at - self.loop.time()
            died = asyncio.ensure_future(self.prober.life.died.wait())
            try:
                await asyncio.wait({died}, timeout=max(0.0, left))
            finally:
                died.cancel()
            if self.prober.dead:
                await self.restart(crash=True)
            elif (cause := self.prober.crashed()) is not None:
                self.problem = f"the prober ended by itself: {type(cause).__name__}: {cause}"
                raise cause
            elif left <= 1e-6:  # the loop takes a timer that is due within its resolution
                return

    async def _end(self) -> None:
        """Calm; no more sending; every watch ends."""
        self.striking.heal()
        await self.striking.order("resume", route="*")
        while self._handed() < self.plan.canaries and self.loop.time() < 2.5 * self.plan.horizon + 600:
            await self._until(self.loop.time() + 10)
        self.record("calm")
        await self._until(self.loop.time() + self.plan.calm)
        await self.striking.order("pause", route="*", seconds=None, reason="the end")
        self.record("quiet")
        longest = max(route["watch_for"] for route in self.plan.setup["routes"]) + 30
        await self._until(self.loop.time() + longest + AFTER)

    def _handed(self) -> int:
        return sum(len(sender.handed) for sender in self.senders.values())

    # Its starts.

    def config(self) -> Any:
        return configure(self.spec, self.folder, self.boxes, self.senders, lambda: self.prober.dead)

    def tell_config(self, when: str) -> None:
        """What is configured, for the checker."""
        boxes = {
            name: {"folders": one["folders"], "exclusive": one["exclusive"]}
            for name, one in self.spec["mailboxes"].items()
        }
        routes = {route["name"]: {**route, "rcpt": recipient(route)} for route in self.spec["routes"]}
        self.record("config", when=when, limits=self.spec["limits"], routes=routes, boxes=boxes)

    async def _start(self) -> None:
        for _ in range(20):
            life = self.prober.life
            self.tell_config("asked")
            try:
                await self.prober.start(self.config())
            except LedgerError:
                await self.clock.sleep(timedelta(seconds=1))
                continue
            assert self.prober.life is not life
            with closing(sqlite3.connect(self.folder / "ledger.sqlite")) as file:
                file.executescript(TRAIL)
            self.tell_config("now")
            self.record("started")
            if self.patch is not None:
                self.patch(self.prober)
            self.striking.started()
            return
        raise RuntimeError("it would not start")

    async def restart(self, *, crash: bool, down: float = 0.5) -> None:
        """Stop or kill it, audit its ledger, and start it again ``down`` seconds later."""
        if crash:
            await self.prober.kill()
        else:
            crash = not await self.prober.stop()
        self.record("down", crash=crash, **self._audit())
        await self.clock.sleep(timedelta(seconds=down))
        await self._start()

    def _audit(self) -> dict[str, Any]:
        """The conservation law as the file has it just now."""
        with closing(sqlite3.connect(self.folder / "ledger.sqlite")) as file:
            totals = dict(file.execute("SELECT name, SUM(value) FROM totals GROUP BY name").fetchall())
            states = dict(file.execute("SELECT state, COUNT(*) FROM canaries GROUP BY state").fetchall())
        return {"sent": totals.get("sent", 0.0), "outcomes": totals.get("outcomes", 0.0), "states": states}

    async def reload(self, draw: float) -> None:
        """Another configuration while it runs."""
        before = self.spec
        what, self.spec = changed(self.spec, dict(self.plan.setup), draw)
        self.tell_config("asked")
        daemon = self.prober.daemon
        assert daemon is not None
        try:
            taken = await daemon.reload(self.config)
        except MailCanaryError:
            taken = False
        if not taken:
            self.spec = before
        elif self.patch is not None:
            self.patch(self.prober)
        self.tell_config("now")
        self.record("reloaded", what=what, taken=taken)
