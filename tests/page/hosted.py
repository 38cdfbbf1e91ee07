"""``mailcanary run`` with the two times that no configuration names made shorter, for proofs with scaled times.

    python -m tests.page.hosted CONFIG SECONDS

SECONDS: the hold of an all-clear (5 minutes). Before a loss is called proven other folders are searched, every 2 s as
in the demo, and not once a minute. At full scale ``mailcanary run`` itself runs.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from datetime import timedelta
from pathlib import Path

from probe.clock import SystemClock
from probe.config.load import load
from probe.detection import recovery
from probe.engine.daemon import Daemon
from probe.engine.pacing import Pace
from probe.exposition.journal import Journal


async def run(config: Path) -> None:
    """Until SIGTERM."""
    clock = SystemClock()
    journal = Journal(sys.stderr, clock)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    try:
        await Daemon(load(config), clock, journal=journal, pace=Pace(sweeps_apart=timedelta(seconds=2))).run(stop)
    finally:
        journal.close()


if __name__ == "__main__":
    recovery.HOLD = timedelta(seconds=float(sys.argv[2]))
    asyncio.run(run(Path(sys.argv[1])))
