"""``mailcanary drill FAULT``: a fault of the sandbox is switched on, the monitor followed to its page, the fault taken
away. Only a demo can be asked: no real route has such a switch."""

from __future__ import annotations

import asyncio
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from probe.cli.demo_client import ask
from probe.cli.drill_steps import Outcome, Steps
from probe.clock import Clock
from probe.errors import MailCanaryError, UnreachableError

STEP = timedelta(milliseconds=200)
STARTS_WITHIN = 60.0  # seconds
STOPS_WITHIN = 30.0
OVER = ("closed", "false", "dismissed")


@dataclass(frozen=True, slots=True)
class FaultDrill:
    """``wanted``: what the demo is asked for. ``seconds``: how long the fault stays on at the most."""

    wanted: Mapping[str, Any]
    seconds: float

    @property
    def name(self) -> str:
        return str(self.wanted["fault"])


async def run_fault(drill: FaultDrill, url: str, clock: Clock, steps: Steps) -> Outcome:
    """On the demo at ``url``. The fault is off when this returns, however it does.

    Raises UnreachableError where no demo answers, MailCanaryError where it has a fault or an incident already.
    """
    demo = _Demo(url, drill, steps)
    await demo.well(clock)
    try:
        # Its answer may be lost, so whatever happens from here on the fault is taken away.
        await demo.post(dict(drill.wanted))
        steps.begin()
        steps.take("fault_on", f"{drill.name} is on: {demo.fault}")
        while steps.seconds < drill.seconds and not await demo.look():
            await clock.sleep(STEP)
    finally:
        with suppress(UnreachableError):
            await demo.post({"fault": "off"})
            if "fault_on" in steps.times:
                steps.take("fault_off", "all faults are off")
    return demo.outcome()


class _Demo:
    def __init__(self, url: str, drill: FaultDrill, steps: Steps) -> None:
        self._url = url
        self._drill = drill
        self._steps = steps
        self._before: dict[str, int] = {}  # overdue canaries by leg
        self._old: set[str] = set()
        self._incident: Mapping[str, Any] | None = None
        self.fault = ""

    async def post(self, wanted: dict[str, Any]) -> None:
        state = await asyncio.to_thread(ask, self._url, "/api/sandbox/faults", wanted)
        self.fault = "; ".join(_fault_text(one) for one in state.get("faults", ()))

    async def _get(self, path: str) -> dict[str, Any]:
        return await asyncio.to_thread(ask, self._url, path)

    async def well(self, clock: Clock) -> None:
        """Wait until every leg delivers. What is wrong already would be taken for the drill's."""
        end = clock.now() + timedelta(seconds=STARTS_WITHIN)
        if (await self._get("/api/sandbox")).get("faults"):
            raise MailCanaryError("the demo has a fault on already; `mailcanary demo fault off` ends it")
        if any(one["state"] not in OVER for one in await self._incidents()):
            raise MailCanaryError("the demo has an incident that is not over; try again when it is")
        while not (legs := (await self._get("/api/status"))["legs"]) or not all(
            leg["last_delivery_at"] for leg in legs
        ):
            if clock.now().since(end) >= timedelta(0):
                raise MailCanaryError(f"no canary was delivered on every leg within {STARTS_WITHIN:g} s")
            await clock.sleep(STEP)
        self._before = {leg["mx"]: leg["overdue"] for leg in legs}
        self._old = {one["id"] for one in await self._incidents()}

    async def _incidents(self) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = (await self._get("/api/incidents?passed=true&limit=100"))["incidents"]
        return found

    async def look(self) -> bool:
        """Whether it paged and named the legs."""
        if "overdue" not in self._steps.times:
            legs = (await self._get("/api/status"))["legs"]
            bad = [leg["mx"] for leg in legs if leg["overdue"] > self._before.get(leg["mx"], 0)]
            if bad:
                self._steps.take("overdue", f"the first canary is overdue, through {', '.join(bad)}")
        for one in await self._incidents():
            if one["id"] not in self._old:
                self._take(one)
        return "named" in self._steps.times

    def _take(self, one: Mapping[str, Any]) -> None:
        self._steps.take("suspected", "the monitor suspects a fault")
        if not one["detected_at"]:
            return
        self._incident = one
        kind = str(one["kind"] or "overdue: lost or late, not yet known").replace("_", " ")
        self._steps.take("paged", f"page: incident {one['id']}, {kind}")
        naming = one["naming"]
        if naming and not naming["untold"]:
            self._steps.take("named", f"named: {naming['sentence']}")

    def outcome(self) -> Outcome:
        took, found = self._steps.times, self._incident
        if found is None:
            far = "no canary became overdue" if "overdue" not in took else "canaries became overdue"
            sentence = f"not paged in {self._drill.seconds:g} s: {far}"
        else:
            named = f"the legs were named after {took['named']:.1f} s" if "named" in took else "no leg was told apart"
            sentence = f"paged {took['paged']:.1f} s after the fault; {named}"
        legs = found and found["affected"]["legs"]
        facts = {"fault": dict(self._drill.wanted), "incident": found and found["id"], "legs": legs or []}
        return Outcome(self._drill.name, found is not None, sentence, took, facts)


def _fault_text(one: Mapping[str, Any]) -> str:
    through = f", through {one['intake']}" if one.get("intake") else ""
    return f"{one['share']:.4%}".replace(".0000%", "%") + f" of the mail{through}"


@asynccontextmanager
async def own_demo(clock: Clock, seconds: float) -> AsyncIterator[str]:
    """A demo of one's own, in a process and a temporary folder; its URL once it answers. It ends by itself even where
    this process is killed. Raises MailCanaryError where it does not start."""
    with tempfile.TemporaryDirectory(prefix="mailcanary-drill-") as folder:
        listen = f"127.0.0.1:{_free_port()}"
        words = ["demo", "--listen", listen, "--state-dir", folder, "--run-for", f"{int(seconds + 2 * STARTS_WITHIN)}s"]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "probe.cli.main", *words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the drill, which then ends the demo
        )
        said: asyncio.Task[bytes] | None = None
        try:
            if process.stderr is not None:
                said = asyncio.create_task(process.stderr.read())
            yield await _answering(f"http://{listen}", process, said, clock)
        finally:
            await _ended(process)
            if said is not None:
                await said


async def _answering(
    url: str, process: asyncio.subprocess.Process, said: asyncio.Task[bytes] | None, clock: Clock
) -> str:
    end = clock.now() + timedelta(seconds=STARTS_WITHIN)
    while clock.now().since(end) < timedelta(0):
        if process.returncode is not None:
            last = (await said if said else b"").decode("utf-8", "replace").strip().splitlines()[-1:]
            raise MailCanaryError(
                f"the sandbox did not start: {''.join(last) or f'it ended with {process.returncode}'}"
            )
        with suppress(UnreachableError):
            await asyncio.to_thread(ask, url, "/api/sandbox")
            return url
        await clock.sleep(STEP)
    raise MailCanaryError(f"the sandbox did not start within {STARTS_WITHIN:g} s")


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOPS_WITHIN):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
