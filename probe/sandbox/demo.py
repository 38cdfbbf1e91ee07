"""The demo: the sandbox and the daemon in one process, until told to stop.

It runs the daemon that ``mailcanary run`` runs, on a configuration file like any other; only the mail system is made
here, and the status page gets the sandbox's switches.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from probe.clock import Clock, wait_for_event
from probe.config.load import load
from probe.config.model import Config
from probe.engine.daemon import Daemon
from probe.engine.pacing import Pace
from probe.errors import MailCanaryError
from probe.exposition.journal import Journal
from probe.sandbox.demo_config import write_config
from probe.sandbox.panel import mount, panel
from probe.sandbox.state import SandboxState
from probe.sandbox.system import Sandbox

# A real account is searched once a minute at most; a demo wants its verdicts sooner.
SWEEPS_APART = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the user may choose. ``run_for`` None: until a signal. ``state_dir`` None: a temporary folder."""

    listen: str
    every: timedelta
    overdue_after: timedelta
    lost_after: timedelta
    run_for: timedelta | None
    state_dir: Path | None


@dataclass(frozen=True, slots=True)
class DemoStarted:
    """What to tell the user at the start. ``resolver``: where the sandbox's zone is served."""

    config_file: Path
    config: Config
    resolver: str


@dataclass(frozen=True, slots=True)
class DemoEnded:
    """What to tell the user at the end."""

    config_file: Path
    ledger: Path
    sandbox: SandboxState


async def run_demo(
    options: DemoOptions, clock: Clock, journal: Journal, announce: Callable[[DemoStarted], None]
) -> DemoEnded:
    """Run until a SIGINT or SIGTERM, or ``run_for``; a second signal stops at once. Raises ConfigError for options that
    cannot work, and whatever ends the daemon."""
    folder = options.state_dir or Path(tempfile.mkdtemp(prefix="mailcanary-demo-"))
    sandbox = Sandbox(clock=clock)
    try:
        with _removed_if_unused(folder, ours=options.state_dir is None):
            await sandbox.start()
            config_file = _write(folder, sandbox, options)
            config = load(config_file)
        daemon = Daemon(
            config,
            clock,
            journal=journal,
            extensions=(partial(mount, sandbox=sandbox),),
            panels=(panel(sandbox),),
            pace=Pace(sweeps_apart=SWEEPS_APART),
        )
        announce(DemoStarted(config_file, config, sandbox.resolver))
        await _until_stopped(daemon, sandbox, clock, options.run_for)
    finally:
        await sandbox.stop()
    return DemoEnded(config_file, config.ledger, sandbox.snapshot())


def _write(folder: Path, sandbox: Sandbox, options: DemoOptions) -> Path:
    try:
        return write_config(
            folder,
            sandbox,
            listen=options.listen,
            every=options.every,
            overdue_after=options.overdue_after,
            lost_after=options.lost_after,
        )
    except OSError as error:
        raise MailCanaryError(f"{error.filename or folder}: {error.strerror}; name another --state-dir") from error


@contextmanager
def _removed_if_unused(folder: Path, *, ours: bool) -> Iterator[None]:
    try:
        yield
    except MailCanaryError:
        if ours:
            shutil.rmtree(folder, ignore_errors=True)
        raise


async def _until_stopped(daemon: Daemon, sandbox: Sandbox, clock: Clock, run_for: timedelta | None) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(daemon.run(stop), name="daemon")
    watching = asyncio.create_task(sandbox.supervise(), name="sandbox watch")
    helpers = {watching}
    if run_for is not None:
        helpers.add(asyncio.create_task(_stop_after(clock, stop, run_for), name="demo timer"))
    try:
        with _signals(stop, running):
            await asyncio.wait({running, watching}, return_when=asyncio.FIRST_COMPLETED)
            stop.set()  # whichever ended, the other has to
            await running
        if watching.done():
            await watching
    finally:
        for task in (running, *helpers):
            task.cancel()
        await asyncio.gather(running, *helpers, return_exceptions=True)


async def _stop_after(clock: Clock, stop: asyncio.Event, run_for: timedelta) -> None:
    await wait_for_event(clock, stop, run_for)
    stop.set()


@contextmanager
def _signals(stop: asyncio.Event, running: asyncio.Task[None]) -> Iterator[None]:
    """The first signal asks for a clean stop; the next one cuts it short."""
    loop = asyncio.get_running_loop()

    def received() -> None:
        if stop.is_set():
            running.cancel()
        stop.set()

    wanted = (signal.SIGINT, signal.SIGTERM)
    for number in wanted:
        loop.add_signal_handler(number, received)
    try:
        yield
    finally:
        for number in wanted:
            loop.remove_signal_handler(number)
