"""``mailcanary incidents``: what failed, since when and how much of it, daemon up or down; and ``mark-false``."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from probe.cli.output import config_option, json_option, print_json, say, table, warn
from probe.clock import Clock, SystemClock
from probe.config.load import load
from probe.config.model import Config
from probe.detection.incident import allows, apply
from probe.detection.incident_observations import MarkedFalse
from probe.detection.moments import to_second
from probe.detection.record import Incident, State
from probe.engine.books import Books
from probe.engine.control import ask
from probe.engine.orders import LONGEST_REASON
from probe.errors import LedgerLocked, MailCanaryError, UnreachableError, UsageError
from probe.exposition.incidents import (
    MOST_INCIDENTS,
    find_row,
    incident_of,
    kind_text,
    legs_text,
    list_incidents,
    loss_text,
    masked,
    shown,
    state_text,
    window_text,
)
from probe.exposition.journal import Journal
from probe.ledger.batch import Batch
from probe.ledger.opening import open_for_reading
from probe.ledger.queries import Queries
from probe.ledger.store import Ledger

_COLOURS = {
    State.SUSPECTED: "yellow",
    State.OPEN: "red",
    State.IDENTIFIED: "red",
    State.RECOVERING: "yellow",
    State.DRAINED: "yellow",
    State.CLOSED: "green",
}


@click.group(
    invoke_without_command=True,
    epilog="""\b
Examples:
  mailcanary incidents
  mailcanary incidents --route support-inbound --active
  mailcanary incidents --json | jq 'select(.kind == "total_loss") | .requeue'""",
    short_help="List incidents; mark one false.",
)
@config_option
@click.option("--route", help="Only this route.")
@click.option("--active", is_flag=True, help="Only those that paged and are not over.")
@click.option("--all", "passed", is_flag=True, help="Also suspicions that passed without a page.")
@click.option("--limit", type=click.IntRange(1, MOST_INCIDENTS), default=50, show_default=True, help="At most so many.")
@json_option
@click.pass_context
def incidents(
    ctx: click.Context, config: Path, route: str | None, active: bool, passed: bool, limit: int, as_json: bool
) -> None:
    """List incidents, newest first: what failed, since when, on which legs, how much, and what to queue again.

    SINCE is when the first overdue canary was sent; the fault began before it, see QUEUE AGAIN. LOST OR OVERDUE has the
    Clopper-Pearson bounds (95 %). `mailcanary report ID` tells all of one.

    Reads the ledger only; the daemon may run or not. With --json, one record a line.
    """
    if ctx.invoked_subcommand is not None:
        return
    queries = Queries(open_for_reading(load(config, secrets=False).ledger))
    try:
        listed = list_incidents(queries, route=route, active=active, passed=passed, limit=limit)
    finally:
        queries.close()
    for broken in listed.unreadable:
        warn(f"the record of incident {shown(broken, 60)} cannot be read by this version; it is left out")
    if as_json:
        for incident in listed.incidents:
            print_json(masked(incident.to_json()))
    elif listed.incidents:
        colours = [None, *(_COLOURS.get(incident.state) for incident in listed.incidents)]
        for number, (line, colour) in enumerate(zip(table(_rows(listed.incidents)), colours, strict=True)):
            say(line, bold=number == 0, colour=colour)
    elif not listed.unreadable:
        warn("no incident in the ledger matches")


def _rows(found: tuple[Incident, ...]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("ID", "ROUTE", "KIND", "STATE", "SINCE", "LEGS", "LOST OR OVERDUE", "QUEUE AGAIN")]
    for incident in found:
        rows.append(
            (
                shown(incident.id, 80),
                shown(incident.route, 40),
                kind_text(incident),
                state_text(incident),
                to_second(incident.first_bad),
                shown(legs_text(incident), 80),
                loss_text(incident),
                window_text(incident),
            )
        )
    return rows


@incidents.command(
    "mark-false",
    epilog="Example: mailcanary incidents mark-false 2026-11-24-support-inbound-1 --reason 'a restart of the relay'",
    short_help="Say that an incident was none.",
)
@config_option
@click.argument("incident_id", metavar="ID")
@click.option("--reason", default="", help="Why, in a sentence: kept in the record.")
@json_option
@click.pass_context
def mark_false(ctx: click.Context, config: Path, incident_id: str, reason: str, as_json: bool) -> None:
    """Say that the incident ID was none: the page was false, and nothing was wrong.

    It is over at once and for good; its record stays, with the reason. Goes to the daemon; where none runs, into its
    ledger.
    """
    if len(reason) > LONGEST_REASON:
        raise UsageError(f"--reason must be a text of at most {LONGEST_REASON} characters")
    answer = asyncio.run(_marked(load(_own_or_groups(ctx, config), secrets=False), incident_id, reason))
    if as_json:
        print_json(answer)
    else:
        say(f"incident {shown(answer['marked'], 200)} is marked false")


def _own_or_groups(ctx: click.Context, config: Path) -> Path:
    """``incidents -c FILE mark-false`` means that file too; the default must never win over a file that was named."""
    own, parent = ctx.get_parameter_source("config"), ctx.parent
    if own is click.core.ParameterSource.COMMANDLINE or parent is None:
        return config
    path = parent.params.get("config", config)
    return path if isinstance(path, Path) else config


async def _marked(config: Config, incident_id: str, reason: str) -> dict[str, Any]:
    try:
        answer = await ask(config.control, {"command": "mark_false", "incident": incident_id, "reason": reason})
    except UnreachableError:
        answer = await _without_daemon(config, incident_id, reason)
    return {key: value for key, value in answer.items() if key != "ok"}


async def _without_daemon(config: Config, incident_id: str, reason: str) -> Mapping[str, Any]:
    """Under the ledger's lock, which a daemon that runs and does not answer would hold."""
    open_for_reading(config.ledger).dispose()  # one that is missing or damaged is not for this command to replace
    clock, journal = SystemClock(), Journal(io.StringIO(), SystemClock())
    try:
        ledger = Ledger(config.ledger, clock, inline=True)
    except LedgerLocked as locked:
        raise LedgerLocked(f"{locked}. No daemon answers on {config.control}") from locked
    try:
        return await mark_in(Books(ledger, clock, journal), clock, incident_id, reason)
    finally:
        ledger.close()
        journal.close()


async def mark_in(books: Books, clock: Clock, incident_id: str, reason: str) -> Mapping[str, Any]:
    """Mark a stored incident false. Raises MailCanaryError (there is none, or it never paged), LedgerError."""
    row = find_row(books.ledger.queries, incident_id)
    incident, now = incident_of(row), clock.now()
    if not allows(incident.state, MarkedFalse):
        raise MailCanaryError(f"incident {row.id} is {state_text(incident)}: only one that paged can be marked false")
    by = f"an operator: {reason}" if reason else "an operator"
    after = apply(incident, MarkedFalse(now.utc, by))
    batch = Batch()
    batch.incident(replace(row, state=after.state.value, updated_at=now.wall, record=json.dumps(after.to_json())))
    batch.event(now, "incident_marked_false", f"{row.id}, by {by}")
    await books.commit(batch)
    return {"marked": row.id}
