"""``mailcanary drill``: prove that a fault pages, in a sandbox; and that a page reaches whoever is on call."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from probe.cli.demo import Duration
from probe.cli.drill_fault import FaultDrill, own_demo, run_fault
from probe.cli.drill_page import PageDrill, run_page
from probe.cli.drill_steps import Outcome, Steps
from probe.cli.output import config_option, json_option, print_json, say, warn
from probe.clock import Clock, SystemClock
from probe.config.load import load
from probe.engine.drills import LONGEST_DRILL
from probe.errors import UsageError
from probe.exposition.present import clean

# Those that page by themselves; what else the sandbox can do is a ticket.
FAULTS = {
    "backup-db": "The backup database refuses writes: mail is accepted and vanishes, and the queue shows 0.",
    "bad-host": "One server, mx2 where --intake names none, loses what it accepts.",
    "delay": "Mail waits in the queue for --hold.",
}
LONGEST_FAULT = timedelta(hours=6)


@click.group(
    epilog="""\b
Examples:
  mailcanary drill backup-db
  mailcanary drill bad-host --intake mx1.sandbox.test --json
  mailcanary drill page --alertmanager http://127.0.0.1:9093
Exit codes: 0 paged; 1 not, or not proven; else as everywhere.""",
    short_help="Prove that a fault pages, and that a page comes.",
)
def drill() -> None:
    """Prove that a fault pages, and that a page reaches whoever is on call.

    A fault is tried on the embedded mail system of `mailcanary demo`, never on a real route. `drill page` asks the
    running daemon to raise an alert that is marked as a drill; no mail is touched by it.
    """


@drill.command(
    epilog="""\b
Examples:
  mailcanary drill page --prometheus http://127.0.0.1:9090 --alertmanager http://127.0.0.1:9093
  mailcanary drill page --route support-inbound --for 10m
Exit codes: 0 paged: Alertmanager sends it to a receiver; 1 not, or not proven; else as everywhere.""",
    short_help="Raise a page that is marked as a drill, and follow it.",
)
@config_option
@click.option("--route", help="The route that the alert names; by default the first one.")
@click.option("--prometheus", metavar="URL", help="Follow it there: the metric, and the alert that fires.")
@click.option("--alertmanager", metavar="URL", help="Follow it there: received, for whom, or held back by what.")
@click.option("--for", "duration", type=Duration(), default="5m", show_default=True, help="At the most.")
@json_option
def page(
    config: Path,
    route: str | None,
    prometheus: str | None,
    alertmanager: str | None,
    duration: timedelta,
    as_json: bool,
) -> None:
    """Raise a page that is marked as a drill, and follow it to Alertmanager.

    The daemon sets the metric mailcanary_drill to 1; the alert MailCanaryDrill fires by it and goes where every page
    goes. No canary is sent for it, and no incident, outcome or calibration hears of it. It is over when the last that
    was named has it, at the end of --for, and on Ctrl-C; the alert is kept for two minutes more, so that it is told.

    With --json, one object at the end.
    """
    loaded = load(config, secrets=False)
    seconds = duration.total_seconds()
    if not 1 <= seconds <= LONGEST_DRILL:
        raise UsageError(f"--for must be from 1 s to {LONGEST_DRILL} s")
    if not loaded.routes:
        raise UsageError("there is no route, so there is no alert path to drill")
    name = route or next(iter(loaded.routes))
    wanted = PageDrill(loaded.control, name, seconds, prometheus, alertmanager)
    clock = SystemClock()
    _end(_run(run_page(wanted, clock, Steps(clock, as_json))), as_json)


def _fault_command(name: str, says: str) -> click.Command:
    def command(
        *,
        url: str | None,
        share: str,
        intake: str | None,
        duration: timedelta,
        as_json: bool,
        hold: timedelta | None = None,
    ) -> None:
        if not timedelta(seconds=1) <= duration <= LONGEST_FAULT:
            raise UsageError("--for must be from 1s to 6h")
        asked: dict[str, Any] = {"fault": name, "share": share, "intake": intake}
        if hold is not None:
            asked["seconds"] = hold.total_seconds()
        wanted = FaultDrill({key: value for key, value in asked.items() if value is not None}, duration.total_seconds())
        _end(_run(_on_a_demo(wanted, url, as_json)), as_json)

    command.__doc__ = f"""{says}

    Switches it on, follows the monitor - the first overdue canary, the suspicion, the page, the legs it names - and
    takes it away again: when the legs are named, at the end of --for, and on Ctrl-C. The times are those of the demo,
    whose deadlines are seconds.

    Without --url on a sandbox of its own, which ends with it. That one is new: it pages a total loss and a delay at
    once, and a share of the mail only after 2,000 canaries, so try a --share on a demo that runs for a while.
    """
    decorated: Any = json_option(command)
    if name == "delay":
        decorated = click.option(
            "--hold", type=Duration(), default="30s", show_default=True, help="How long a message waits."
        )(decorated)
    for option in (
        click.option("--for", "duration", type=Duration(), default="3m", show_default=True, help="At the most."),
        click.option("--intake", help="Only mail through this server: mx1.sandbox.test or mx2.sandbox.test."),
        click.option("--share", default="100%", show_default=True, help="Of how much of the mail."),
        click.option("--url", help="The page of a demo that runs already, such as http://127.0.0.1:9925."),
    ):
        decorated = option(decorated)
    epilog = f"Example: mailcanary drill {name}. Exit codes: 0 paged; 1 not; else as everywhere."
    made: click.Command = click.command(name, short_help=says, epilog=epilog)(decorated)
    return made


for _name, _says in FAULTS.items():
    drill.add_command(_fault_command(_name, _says))


async def _on_a_demo(wanted: FaultDrill, url: str | None, as_json: bool) -> Outcome:
    clock: Clock = SystemClock()
    steps = Steps(clock, as_json)
    if url is not None:
        return await run_fault(wanted, url, clock, steps)
    if not as_json:
        say("a sandbox is started for the drill")
    async with own_demo(clock, wanted.seconds) as own:
        return await run_fault(wanted, own, clock, steps)


def _run(drilled: Coroutine[Any, Any, Outcome]) -> Outcome | None:
    """None where it was stopped. SIGTERM ends a drill as Ctrl-C does: nothing may be left behind."""

    async def main() -> Outcome | None:
        loop, me = asyncio.get_running_loop(), asyncio.current_task()
        for number in (signal.SIGINT, signal.SIGTERM):
            if me is not None:
                loop.add_signal_handler(number, me.cancel)
        try:
            return await drilled
        except asyncio.CancelledError:
            return None

    return asyncio.run(main())


def _end(outcome: Outcome | None, as_json: bool) -> None:
    if outcome is None:
        warn("stopped; the drill is over")
        sys.exit(1)
    if as_json:
        print_json(outcome.to_json())
    else:
        say(clean(outcome.sentence, 500), bold=True, colour="green" if outcome.paged else "yellow")
    sys.exit(0 if outcome.paged else 1)
