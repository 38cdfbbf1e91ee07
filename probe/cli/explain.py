"""``mailcanary explain``: one canary's life, every move with its reason, the dialogue, the raw Received lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from probe.cli.canaries import state_colour
from probe.cli.output import config_option, json_option, print_json, say, table
from probe.config.load import load
from probe.exposition.present import clean, duration_text, find, life_json, without_tokens
from probe.ledger.opening import open_for_reading
from probe.ledger.queries import Life, Queries


@click.command(
    epilog="Example: mailcanary explain mzxw6ytb",
    short_help="Tell one canary's life, every move with its reason.",
)
@config_option
@click.argument("canary_id", metavar="ID")
@json_option
def explain(config: Path, canary_id: str, as_json: bool) -> None:
    """Tell the life of the canary ID (its first characters will do where they name only one).

    Reads the ledger only; the daemon may run or not.
    """
    queries = Queries(open_for_reading(load(config, secrets=False).ledger))
    try:
        life = find(queries, canary_id)
    finally:
        queries.close()
    if as_json:
        print_json(life_json(life))
    else:
        _tell(life)


def _shown(value: object, limit: int = 2000) -> str:
    return clean(without_tokens(str(value)), limit)


def _tell(life: Life) -> None:
    facts = life_json(life)
    canary = life.canary
    say(f"canary {canary.id}: {canary.state.value.replace('_', ' ')}", bold=True, colour=state_colour(canary))
    say(f"  {_shown(canary.reason)}")
    say()
    pairs: list[tuple[str, ...]] = [
        ("  route / mx", f"{canary.leg.route} / {canary.leg.mx}"),
        ("  mailbox", canary.leg.mailbox),
        ("  variant", canary.variant),
        ("  prober", canary.prober),
        ("  sent", facts["sent_at"]),
        ("  arrived", facts["arrived_at"] or "-"),
        ("  latency", f"{duration_text(canary.latency)} (within {duration_text(canary.uncertainty)})"),
        ("  transit", duration_text(canary.transit)),
        ("  folder", _shown(canary.folder) or "-"),
        ("  queued as", _shown(canary.queued_as) or "-"),
        ("  attempts", str(canary.attempts)),
        ("  duplicates", str(canary.duplicates)),
    ]
    if canary.recovered:
        pairs.append(("  recovered", facts["recovered_at"]))
    _print_table(pairs)
    _tell_moves(facts["moves"])
    for attempt in facts["smtp"]:
        _tell_attempt(attempt)
    for copy in facts["copies"]:
        _tell_copy(copy)
    for report in facts["reports"]:
        _tell_report(report)


def _print_table(rows: list[tuple[str, ...]]) -> None:
    for line in table(rows):
        say(line)


def _tell_moves(moves: list[dict[str, Any]]) -> None:
    say()
    say("Moves", bold=True)
    for move in moves:
        say(f"  {move['at']}  {move['from']} → {move['to']}")
        say(f"      {_shown(move['reason'])}")


def _tell_attempt(attempt: dict[str, Any]) -> None:
    say()
    say(f"Attempt {attempt['attempt']}: {_shown(attempt['result'])}", bold=True)
    pairs: list[tuple[str, ...]] = [
        ("  started", attempt["started_at"]),
        ("  server", _shown(attempt["address"]) or "none reached"),
        ("  TLS", _shown(attempt["tls"]) or "in clear"),
        ("  phases", ", ".join(f"{name} {duration_text(value)}" for name, value in attempt["phases"].items()) or "-"),
    ]
    if attempt["detail"]:
        pairs.append(("  detail", _shown(attempt["detail"])))
    _print_table(pairs)
    for exchange in attempt["dialogue"]:
        if exchange["sent"]:
            say(f"    {exchange['stage']:<8} > {_shown(exchange['sent'])}")
        answer = f"{exchange['code'] or ''} {_shown(exchange['reply'])}".strip()
        if answer:
            say(f"    {exchange['stage']:<8} < {answer}")


def _tell_copy(copy: dict[str, Any]) -> None:
    say()
    say(f"Copy in {_shown(copy['folder'])}: {_shown(copy['kind'])}", bold=True)
    _print_table(
        [
            ("  seen", copy["seen_at"]),
            ("  mailbox's own time", copy["mailbox_time"] or "-"),
            ("  number", f"UID {copy['uid']}, UIDVALIDITY {copy['epoch']}"),
            ("  carriers", ", ".join(copy["carriers"]) or "-"),
            ("  removed", copy["removed_at"] or ("gone, not by us" if copy["gone"] else "no")),
        ]
    )
    for line in copy["received"]:
        say(f"    {_shown(line)}")


def _tell_report(report: dict[str, Any]) -> None:
    say()
    say(f"Delivery report in {_shown(report['mailbox'])}, {_shown(report['folder'])}", bold=True)
    _print_table(
        [
            ("  seen", report["seen_at"]),
            ("  number", f"UID {report['uid']}, UIDVALIDITY {report['epoch']}"),
            ("  names it by", ", ".join(report["matched"])),
        ]
    )
    for line in report["said"]:
        say(f"    {_shown(line)}")
