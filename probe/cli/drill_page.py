"""``mailcanary drill page``: the daemon raises the drill, Prometheus and Alertmanager are asked how far it has come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from probe.cli import drill_web
from probe.cli.drill_steps import Outcome, Steps
from probe.clock import Clock
from probe.engine.control import ask
from probe.errors import MailCanaryError

STEP = timedelta(seconds=1)
KEPT = "two minutes"  # keep_firing_for of the alert

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class PageDrill:
    """``prometheus``, ``alertmanager``: URLs to ask, or None. ``seconds``: the drill's time at the most."""

    control: Path
    route: str
    seconds: float
    prometheus: str | None
    alertmanager: str | None


async def run_page(drill: PageDrill, clock: Clock, steps: Steps) -> Outcome:
    """Until the last that was named has it, or the time is over; the drill is over when this returns, however it does.

    Raises UnreachableError where the daemon, or at the start one of those to ask, does not answer; UsageError;
    MailCanaryError where another drill is on or still fires.
    """
    await _nothing_left(drill)
    answer = await ask(drill.control, {"command": "drill", "route": drill.route, "seconds": drill.seconds})
    number = answer["drill"]
    steps.begin()
    follower = _Follower(drill, number, steps)
    try:
        steps.take("asked", f"the daemon shows mailcanary_drill = 1 for route {drill.route}")
        while steps.seconds < drill.seconds and not await follower.look():
            await clock.sleep(STEP)
    finally:
        # Also on Ctrl-C. Where it fails the daemon ends it by itself.
        with suppress(MailCanaryError):
            await ask(drill.control, {"command": "drill_end", "drill": number})
        steps.take("ended", f"the drill is over; its alert is kept for {KEPT}")
    return follower.outcome()


async def _nothing_left(drill: PageDrill) -> None:
    """An alert of an earlier drill would be taken for this one's."""
    left = False
    if drill.prometheus is not None:
        left = await asyncio.to_thread(drill_web.fires, drill.prometheus, drill.route)
    if drill.alertmanager is not None and not left:
        left = await asyncio.to_thread(drill_web.received, drill.alertmanager, drill.route) is not None
    if left:
        raise MailCanaryError(f"the alert of an earlier drill of this route still fires; it ends after {KEPT}")


class _Follower:
    def __init__(self, drill: PageDrill, number: Any, steps: Steps) -> None:
        self._drill = drill
        self._number = number
        self._steps = steps
        self._trouble = ""
        self._receivers: tuple[str, ...] = ()

    async def look(self) -> bool:
        """Whether there is nothing more to wait for."""
        state = await ask(self._drill.control, {"command": "drill_state", "drill": self._number})
        if not state["on"]:
            if self._steps.seconds < self._drill.seconds - 1:
                self._trouble = "the drill was ended by somebody else"
            return True
        done = [await look() for look in self._looks()]
        return bool(done) and all(done)

    def _looks(self) -> list[Callable[[], Awaitable[bool]]]:
        named = [(self._drill.prometheus, self._prometheus), (self._drill.alertmanager, self._alertmanager)]
        return [look for url, look in named if url]

    async def _prometheus(self) -> bool:
        url, took = self._drill.prometheus or "", self._steps.times
        if "scraped" not in took and await self._asked(drill_web.scraped, url):
            self._steps.take("scraped", "Prometheus has the metric")
        if "firing" not in took and await self._asked(drill_web.fires, url):
            self._steps.take("firing", f"the alert {drill_web.ALERT} fires in Prometheus")
        return "firing" in took

    async def _alertmanager(self) -> bool:
        if "received" in self._steps.times:
            return True
        found = await self._asked(drill_web.received, self._drill.alertmanager or "")
        if found is None:
            return False
        if found.held:
            self._trouble = f"Alertmanager has it and holds it back, {found.held}"
            return False
        self._receivers, self._trouble = found.receivers, ""
        self._steps.take("received", f"Alertmanager has it, for {', '.join(found.receivers) or 'no receiver'}")
        return True

    async def _asked(self, question: Callable[[str, str], _Answer], url: str) -> _Answer | None:
        """None where it does not answer just now: a restart of Prometheus must not end the drill."""
        try:
            return await asyncio.to_thread(question, url, self._drill.route)
        except MailCanaryError as problem:
            self._trouble = str(problem)
            return None

    def outcome(self) -> Outcome:
        took, drill = self._steps.times, self._drill
        paged = "received" in took and bool(self._receivers)
        if paged:
            sentence = f"paged: Alertmanager sends it to {', '.join(self._receivers)}; see that it arrives there"
        elif not drill.alertmanager:
            far = "the alert fires in Prometheus" if "firing" in took else "the daemon raised it"
            if drill.prometheus and "firing" not in took:
                far = "the alert does not fire in Prometheus"
            sentence = f"not proven: {far}; name --alertmanager to follow it further, or ask whoever is on call"
        else:
            got = "fires in Prometheus and " if "firing" in took else ""
            sentence = f"not paged: the alert {got}has not reached Alertmanager in {drill.seconds:g} s"
        if self._trouble:
            sentence += f" ({self._trouble})"
        facts = {"route": drill.route, "receivers": list(self._receivers)}
        return Outcome("page", paged, sentence, took, facts)
