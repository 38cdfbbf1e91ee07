"""``mailcanary pause``, ``resume`` and ``stop-sending``: by the daemon, or in its ledger while no daemon runs."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from probe.cli.output import config_option, json_option, print_json, say, warn
from probe.clock import SystemClock
from probe.config.load import load
from probe.config.model import Config
from probe.config.text import RuleError
from probe.config.values import parse_duration
from probe.engine.books import Books
from probe.engine.control import ask
from probe.engine.orders import Orders
from probe.engine.pauses import EVERY, Pauses
from probe.errors import UnreachableError
from probe.exposition.journal import Journal
from probe.exposition.present import clean
from probe.ledger.store import Ledger


class _Duration(click.ParamType[timedelta]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        try:
            return parse_duration(str(value))
        except RuleError as problem:
            self.fail(f"{value!r} {problem}", param, ctx)


@click.command(epilog='Example: mailcanary pause support-inbound --for 2h --reason "mail servers are moved"')
@config_option
@click.argument("route")
@click.option("--for", "duration", type=_Duration(), help="How long: 30m, 2h, 1d; until it is resumed where left out.")
@click.option("--reason", default="", help="Why, in a sentence: shown on the status page and kept in the ledger.")
@json_option
def pause(config: Path, route: str, duration: timedelta | None, reason: str, as_json: bool) -> None:
    """Send no further canaries on ROUTE, those due for another try included. Watching and judging go on.

    A pause survives a restart. The metric mailcanary_paused shows it.
    """
    seconds = None if duration is None else duration.total_seconds()
    _paused(_order(config, {"command": "pause", "route": route, "seconds": seconds, "reason": reason}), as_json)


@click.command("stop-sending", epilog="Example: mailcanary stop-sending --reason 'our canaries fill the queue'")
@config_option
@click.option("--reason", default="", help="Why, in a sentence.")
@json_option
def stop_sending(config: Path, reason: str, as_json: bool) -> None:
    """Stop every route at once, until `mailcanary resume --all`. Watching and judging go on."""
    _paused(_order(config, {"command": "pause", "route": EVERY, "seconds": None, "reason": reason}), as_json)


@click.command(epilog="Examples: mailcanary resume support-inbound; mailcanary resume --all")
@config_option
@click.argument("route", required=False)
@click.option("--all", "everything", is_flag=True, help="End every pause, that of stop-sending included.")
@json_option
def resume(config: Path, route: str | None, everything: bool, as_json: bool) -> None:
    """End the pause of ROUTE. The schedule goes on from its next slot; nothing is sent to make up for the pause."""
    if (route is None) is not everything:
        raise click.UsageError("name a route, or --all")
    answer = _order(config, {"command": "resume", "route": route or EVERY})
    if as_json:
        print_json(answer)
        return
    what = route or "every route"
    say(f"{what} is resumed" if answer["resumed"] else f"{what} was not paused by name")
    for sentence in answer["still"]:
        warn(clean(f"still in force: {sentence}"))


def _paused(answer: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(answer)
    else:
        say(clean(str(answer["paused"])))


def _order(path: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    return asyncio.run(_asked(load(path, secrets=False), request))


async def _asked(config: Config, request: Mapping[str, Any]) -> dict[str, Any]:
    try:
        answer = await ask(config.control, request)
    except UnreachableError:
        answer = await _without_daemon(config, request)
    return {key: value for key, value in answer.items() if key != "ok"}


async def _without_daemon(config: Config, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Under the ledger's lock, which a daemon that runs and does not answer would hold."""
    clock, journal = SystemClock(), Journal(io.StringIO(), SystemClock())
    ledger = Ledger(config.ledger, clock, inline=True)
    try:
        pauses = Pauses(Books(ledger, clock, journal))
        orders = Orders(pauses, clock, journal, routes=lambda: config.routes, status=dict)
        return await orders.handlers[request["command"]](request)
    finally:
        ledger.close()
        journal.close()
