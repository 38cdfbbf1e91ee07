"""``mailcanary canaries``: what the ledger knows, newest first, daemon up or down."""

from __future__ import annotations

from pathlib import Path

import click

from probe.canary.record import Canary
from probe.cli.output import config_option, json_option, print_json, say, table, warn
from probe.clock import SystemClock
from probe.config.load import load
from probe.exposition.present import MAX_LIMIT, OUTCOME_NAMES, canary_json, clean, duration_text, parse_since
from probe.ledger.opening import open_for_reading
from probe.ledger.queries import Filter, Queries


@click.command(
    epilog="Example: mailcanary canaries --route support-inbound --outcome lost --since 2h",
    short_help="List canaries from the ledger.",
)
@config_option
@click.option("--route", help="Only this route.")
@click.option("--mx", help="Only this MX host ('any' for a relay).")
@click.option("--outcome", type=click.Choice(OUTCOME_NAMES), help="Only this outcome.")
@click.option("--since", help="Only those sent since: 30s, 15m, 2h, 3d ago, or 2026-11-24T05:00:00Z.")
@click.option("--limit", type=click.IntRange(1, MAX_LIMIT), default=50, show_default=True, help="At most so many.")
@json_option
def canaries(
    config: Path, route: str | None, mx: str | None, outcome: str | None, since: str | None, limit: int, as_json: bool
) -> None:
    """List canaries, newest first: state, latency, where they arrived and the server's "queued as" reply.

    Reads the ledger only; the daemon may run or not. With --json, one object a line.
    """
    moment = None if since is None else parse_since(since, SystemClock().now().utc)
    queries = Queries(open_for_reading(load(config, secrets=False).ledger))
    try:
        found = queries.canaries(Filter(route=route, mx=mx, outcome=outcome, since=moment, limit=limit))
    finally:
        queries.close()
    if as_json:
        for canary in found:
            print_json(canary_json(canary))
    elif found:
        for number, (line, colour) in enumerate(zip(table(_rows(found)), _colours(found), strict=True)):
            say(line, bold=number == 0, colour=colour)
    else:
        warn("no canary in the ledger matches")


def _rows(found: list[Canary]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("ID", "SENT", "ROUTE", "MX", "VARIANT", "STATE", "LATENCY", "FOLDER", "TRIES", "QUEUED AS")
    ]
    for canary in found:
        state = canary.state.value + (", recovered" if canary.recovered else "")
        rows.append(
            (
                canary.id,
                canary.sent.utc.strftime("%Y-%m-%d %H:%M:%S"),
                canary.leg.route,
                canary.leg.mx,
                canary.variant,
                state + (f" ({canary.label})" if canary.label else ""),
                duration_text(canary.latency),
                clean(canary.folder, 40) or "-",
                str(canary.attempts),
                clean(canary.queued_as, 40) or "-",
            )
        )
    return rows


def _colours(found: list[Canary]) -> list[str | None]:
    return [None, *(state_colour(canary) for canary in found)]


def state_colour(canary: Canary) -> str | None:
    """The colour of a state on a terminal; the word always stands beside it."""
    return {
        "delivered": "green",
        "late": "yellow",
        "lost": "red",
        "bounced": "red",
        "refused": "red",
        "unsent": "yellow",
        "unknown": "yellow",
    }.get(canary.state.value)
