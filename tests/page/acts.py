"""The acts by name, and how one is played: a function that a process of its own can be told to run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tests.page import acts_kills, acts_loss
from tests.page.outcome import Row, check
from tests.page.scale import Scale

Act = Callable[[Scale, int], Awaitable[list[Row]]]

ACTS: dict[str, Act] = {
    "share": acts_loss.share,
    "kill-mailbox": acts_kills.mailbox,
    "kill-mx": acts_kills.mx,
    "kill-prometheus": acts_kills.prometheus,
    "kill-alertmanager": acts_kills.alertmanager,
    "kill-prober": acts_kills.prober,
    "stall": acts_loss.stall,
    "bad-host": acts_loss.bad_host,
    "total-loss": acts_loss.total_loss,
    "requeue": acts_loss.requeue,
}
SHORT_ONLY = ("requeue",)
RUNS = 5


def play(name: str, run: int, scale: Scale) -> list[Row]:
    """One act on its stage; an act that cannot be played is a miss and no crash of the others."""
    try:
        return asyncio.run(_played(name, run, scale))
    except Exception as problem:
        return [check(name, f"run {run} could be played", f"{type(problem).__name__}: {problem}", "yes", False)]


async def _played(name: str, run: int, scale: Scale) -> list[Row]:
    return await ACTS[name](scale, run)
