"""``mailcanary run`` for a measurement: the same daemon, that can also tell the CPU of each thread, or profile itself.

    python -m benchmarks.hosted CONFIG THREADS [PROFILE]

On SIGUSR1 it writes THREADS: CPU seconds by thread name, as JSON. With PROFILE every thread runs under cProfile
(the loop's from the first such signal to the end, so that starting is not in it), and at the end the statistics of
each go to PROFILE.<thread>; that doubles the cost of a call, so figures of such a run are shares.
"""

from __future__ import annotations

import asyncio
import cProfile
import json
import signal
import sys
import threading
import time
from pathlib import Path

from probe.clock import SystemClock
from probe.config.load import load
from probe.engine.daemon import Daemon
from probe.exposition.journal import Journal


def tell_threads(path: Path) -> None:
    """CPU seconds of each living thread, written in one step."""
    seconds: dict[str, float] = {}
    for thread in threading.enumerate():
        if thread.ident is not None:
            clock = time.pthread_getcpuclockid(thread.ident)
            seconds[thread.name] = seconds.get(thread.name, 0.0) + time.clock_gettime(clock)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(seconds))
    new.rename(path)


class Profiles:
    """Profiles of every thread that starts from here on and, from ``begin`` to ``end``, of the one that calls them.

    From Python 3.12 on only one profiler may be active in a process: then it is the caller's alone.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._own = cProfile.Profile()
        self._begun = False
        if sys.version_info < (3, 12):
            self._every_thread()

    def _every_thread(self) -> None:
        bare, prefix = threading.Thread.run, self._prefix

        def run(thread: threading.Thread) -> None:
            profile = cProfile.Profile(time.thread_time)  # they wait for disks and servers, and that is no CPU
            try:
                profile.runcall(bare, thread)
            finally:
                profile.dump_stats(f"{prefix}.{thread.name}")

        threading.Thread.run = run  # type: ignore[assignment,method-assign]

    def begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._own.enable()

    def end(self) -> None:
        self._own.disable()
        self._own.dump_stats(f"{self._prefix}.MainThread")


async def run(config: Path, threads: Path, profiles: Profiles | None) -> None:
    clock = SystemClock()
    journal = Journal(sys.stderr, clock)
    daemon = Daemon(load(config), clock, journal=journal)
    stop = asyncio.Event()

    def tell() -> None:
        tell_threads(threads)
        if profiles is not None:
            profiles.begin()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, tell)
    try:
        await daemon.run(stop)
    finally:
        if profiles is not None:
            profiles.end()
        journal.close()


def main(arguments: list[str]) -> None:
    profiles = Profiles(arguments[2]) if len(arguments) > 2 else None
    asyncio.run(run(Path(arguments[0]), Path(arguments[1]), profiles))


if __name__ == "__main__":
    main(sys.argv[1:])
