"""``mailcanary trace``: one canary now, followed live; by the daemon, or by an engine of its own while none runs."""

from __future__ import annotations

import asyncio
import io
import signal
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from probe.cli.output import config_option, json_option, print_json, warn
from probe.cli.trace_text import Teller
from probe.clock import Clock, Instant, SystemClock
from probe.config.load import load
from probe.config.model import Config
from probe.config.text import RuleError
from probe.config.values import parse_duration
from probe.engine.control import ask
from probe.engine.lone import Ask, LoneEngine
from probe.errors import LedgerLocked, UnreachableError, UsageError
from probe.exposition.journal import Journal
from probe.exposition.present import clean, without_tokens
from probe.ledger.opening import open_for_reading

BEYOND_OVERDUE = timedelta(seconds=15)


def _duration(ctx: click.Context, param: click.Parameter, value: str | None) -> timedelta | None:
    try:
        duration = None if value is None else parse_duration(value)
    except RuleError as problem:
        raise click.BadParameter(f"{value!r} {problem}", ctx, param) from problem
    if duration is not None and duration <= timedelta(0):
        raise click.BadParameter("must be more than 0", ctx, param)
    return duration


@click.command(
    epilog="""\b
Examples:
  mailcanary trace support-inbound
  mailcanary trace support-inbound --mx mx2.example.com --timeout 10m
  mailcanary trace support-inbound --json | jq .latency_seconds

Exit codes: 0 delivered; 1 otherwise: late, lost, refused, not there yet, or nothing could be sent; 2 usage or
configuration; 3 a mailbox or the daemon cannot be reached; 4 the ledger is locked or damaged."""
)
@config_option
@click.argument("route")
@click.option("--mx", help="Only for routes that go to MX hosts: this host. Where left out, the first by preference.")
@click.option(
    "--timeout",
    callback=_duration,
    metavar="DURATION",
    help="How long to follow it, such as 30s or 10m. Where left out, the route's overdue_after and 15 s.",
)
@json_option
def trace(config: Path, route: str, mx: str | None, timeout: timedelta | None, as_json: bool) -> None:
    """Send one canary on ROUTE now and follow it live, like traceroute for mail.

    Shows each phase of each attempt with its time and the server's replies, then waits for the arrival, and at the end
    shows folder, latency and the raw Received lines. Every folder of the account is searched, not only the watched
    ones. The canary counts like any other: in the ledger, in the metrics and in the limits.

    The daemon sends and follows it; where none runs, the command does so itself, and every other route is silent.
    At the end of --timeout and on Ctrl-C only the following ends: what the canary becomes is in the ledger, see
    `mailcanary explain`. With --json, one object at the end: the canary with smtp, received and hops.
    """
    sys.exit(asyncio.run(_Trace(config, route, mx, timeout, as_json).run()))


class _Trace:
    """One call of the command."""

    def __init__(self, path: Path, route: str, mx: str | None, timeout: timedelta | None, as_json: bool) -> None:
        self._path = path
        self._config = load(path, secrets=False)
        self._route = route
        self._mx = mx
        self._timeout = timeout
        self._as_json = as_json
        self._clock: Clock = SystemClock()
        self._teller = Teller(quiet=as_json)
        self._told = asyncio.Event()

    async def run(self) -> int:
        """The exit code. Raises MailCanaryError."""
        loop, me = asyncio.get_running_loop(), asyncio.current_task()

        def told() -> None:
            if self._told.is_set() and me is not None:
                me.cancel()  # the second time: at once
            self._told.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, told)
        try:
            if await self._daemon_answers():
                return await self._by_daemon()
            return await self._alone(load(self._path))
        except asyncio.CancelledError:
            warn("stopped at once; nothing is sent twice by it")
            return 1

    async def _daemon_answers(self) -> bool:
        """Asked by a harmless question: the order to send must never be given twice."""
        try:
            await ask(self._config.control, {"command": "status"})
        except UnreachableError:
            return False
        return True

    async def _by_daemon(self) -> int:
        async def asked(request: Mapping[str, Any]) -> Mapping[str, Any]:
            return await ask(self._config.control, request)

        return await self._traced(asked, "the daemon goes on following it")

    async def _alone(self, config: Config) -> int:
        if self._route not in config.routes:
            known = ", ".join(sorted(config.routes))
            raise UsageError(f"there is no route {self._route!r}; there is {known or 'none'}")
        if config.ledger.exists():
            open_for_reading(config.ledger).dispose()  # a damaged one is for the daemon to set aside, not for a trace
        journal = Journal(io.StringIO(), self._clock)
        engine = LoneEngine(config, self._route, self._clock, journal)
        patience = self._timeout or config.routes[self._route].overdue_after + BEYOND_OVERDUE
        try:
            async with engine.running(self._told, patience) as asked:
                if engine.books.ledger.set_aside:
                    warn(clean(f"the ledger was damaged and set aside as {engine.books.ledger.set_aside}"))
                return await self._traced(asked, "no daemon runs, so it is followed once one is started")
        except LedgerLocked as locked:
            raise LedgerLocked(f"{locked}. No daemon answers on {config.control}") from locked
        finally:
            journal.close()

    async def _traced(self, asked: Ask, goes_on: str) -> int:
        begun = await asked({"command": "trace", "route": self._route, "mx": self._mx})
        self._teller.begin(self._route, begun)
        try:
            answer = await self._follow(asked, begun)
        except UnreachableError as gone:
            raise UnreachableError(f"{gone} `mailcanary explain {begun['id']}` tells what becomes of it") from gone
        self._teller.end(answer)
        if self._as_json:
            print_json(_masked(answer["canary"]))
        outcome = answer["canary"]["outcome"]
        if outcome is None:
            why = "stopped" if self._told.is_set() else "the time to follow it is over"
            warn(f"{why}; {goes_on}: `mailcanary explain {begun['id']}`")
        return 0 if outcome == "delivered" else 1

    async def _follow(self, asked: Ask, begun: Mapping[str, Any]) -> Mapping[str, Any]:
        """The last answer: of its outcome, or of the moment when the time was over or somebody stopped it."""
        lasts = self._timeout or timedelta(seconds=begun["overdue_after"]) + BEYOND_OVERDUE
        end = self._clock.now() + lasts
        answer: Mapping[str, Any] | None = None
        while answer is None or not self._over(end):
            seen = 0 if answer is None else answer["version"]
            answer = await asked({"command": "follow", "id": begun["id"], "seen": seen})
            self._teller.tell(answer)
            if answer["canary"]["outcome"] is not None:
                break
        return answer

    def _over(self, end: Instant) -> bool:
        return self._told.is_set() or self._clock.now().since(end) >= timedelta(0)


def _masked(value: Any) -> Any:
    """Without tokens, wherever a server repeated one."""
    if isinstance(value, str):
        return without_tokens(value)
    if isinstance(value, Mapping):
        return {key: _masked(inner) for key, inner in value.items()}
    return [_masked(inner) for inner in value] if isinstance(value, list) else value
