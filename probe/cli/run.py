"""``mailcanary run``: the daemon, in the foreground."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import click

from probe.cli.output import config_option
from probe.clock import SystemClock
from probe.config.load import load
from probe.config.model import Config
from probe.engine.daemon import Daemon
from probe.exposition.journal import Journal


@click.command(
    epilog="""\b
Examples:
  mailcanary run -c config.yaml
  mailcanary run            # /etc/mailcanary/config.yaml, as the systemd unit does

Reloads its configuration on SIGHUP: a bad one is refused and the old one stays in force.
Stops on SIGTERM or SIGINT: no new canaries at once, then whatever is under way is ended properly. A second signal
stops at once; nothing is lost by it, and nothing is sent twice afterwards."""
)
@config_option
def run(config: Path) -> None:
    """Run the daemon in the foreground: send, watch, judge, and serve metrics and the status page.

    The journal goes to standard error: plain on a terminal, logfmt otherwise.
    """
    asyncio.run(_run(load(config), config))


async def _run(config: Config, path: Path) -> None:
    clock = SystemClock()
    journal = Journal(sys.stderr, clock)
    daemon = Daemon(config, clock, journal=journal)
    stop = asyncio.Event()
    running = asyncio.ensure_future(daemon.run(stop))
    loop = asyncio.get_running_loop()

    def told() -> None:
        if stop.is_set():
            running.cancel()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    reloads: set[asyncio.Task[bool]] = set()

    def reload() -> None:
        if daemon.started.is_set():
            task = loop.create_task(daemon.reload(lambda: load(path)))
            reloads.add(task)
            task.add_done_callback(reloads.discard)
        else:
            journal.reload_refused("still starting: send SIGHUP again once it is ready")

    # Without a handler SIGHUP would end the daemon, which is the last thing its sender meant.
    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        await running
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
    finally:
        journal.close()
