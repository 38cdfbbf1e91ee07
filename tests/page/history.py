"""A past for a ledger that the daemon has not opened yet: punctual canaries, and what their leg has learned of them.

Written by the ledger itself, with lives made by the code that makes them in the daemon. The detector does not read old
canaries at a start; it takes over what it had learned while it judged them. So both are written: the canaries, and the
calibration after these very canaries, as the daemon would have saved it.
"""

from __future__ import annotations

import asyncio
import json
import random
from datetime import timedelta
from pathlib import Path

from benchmarks.lives import Author
from probe.canary.record import Leg
from probe.clock import NANOSECONDS, Clock
from probe.detection.calibration import Calibration
from probe.engine.detecting import name_of
from probe.ledger.store import Ledger

_A_COMMIT = 100
_BEFORE = timedelta(minutes=10)  # between the last of them and now: the prober was not running


def write_past(path: Path, clock: Clock, legs: list[Leg], count: int, every: timedelta, seed: int) -> None:
    """``count`` canaries of each leg, each ``every`` after the one before, all in time; latencies lognormal around
    0.3 s. Blocks; call it outside of a loop or in a thread."""
    asyncio.run(_write(path, clock, legs, count, every, random.Random(seed)))


async def _write(
    path: Path, clock: Clock, legs: list[Leg], count: int, every: timedelta, chance: random.Random
) -> None:
    ledger = Ledger(path, clock)
    try:
        author = Author(chance)
        first = clock.now() + -(_BEFORE + count * every)
        for leg in legs:
            calibration = Calibration()
            for number in range(count):
                sent = first + number * every
                latency = min(5.0, chance.lognormvariate(-1.2, 0.5))
                author.delivered(leg, sent, timedelta(seconds=latency))
                judged = (sent.wall / NANOSECONDS) + latency
                calibration.follow(judged, number + 1, 0)
                calibration.latency(judged, latency)
                if number % _A_COMMIT == _A_COMMIT - 1:
                    await ledger.commit(author.take())
            state = json.dumps(calibration.state(), separators=(",", ":"))
            author.batch.detector(name_of("learned", leg.route, leg.mx), clock.now(), state)
            await ledger.commit(author.take())
    finally:
        ledger.close()
