"""How canaries are shown to people and tools: one form for the commands and the web side.

JSON objects have the field names that `canaries --json` promises. Everything that came from outside (replies, headers)
passes ``clean`` before a terminal sees it; escaping for HTML is the pages' own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from probe.canary.record import OUTCOMES, Canary, State
from probe.clock import NANOSECONDS, Instant
from probe.errors import MailCanaryError, UsageError
from probe.ledger.queries import Life, Queries, StoredCopy

OUTCOME_NAMES = tuple(state.value for state in State if state in OUTCOMES)
MAX_LIMIT = 10_000
_DURATION = re.compile(r"(\d{1,6})(s|m|h|d)", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_ID = re.compile(r"[a-z2-7]{1,13}", re.ASCII)
_LONGEST_TOKEN_SHOWN = 28  # a canary's id has 13 characters, its tag 29, its token 63 (identity.py)
_TOKEN = re.compile(rf"[A-Za-z2-7]{{{_LONGEST_TOKEN_SHOWN + 1},}}")


def clean(text: str, limit: int = 2000) -> str:
    """On one line, without anything that acts on a terminal: control, format and surrogate characters are written as
    escapes (a bidirectional override would let a header rewrite its line). At most ``limit`` characters."""
    shown = text if len(text) <= limit else text[:limit] + "…"
    if shown.isprintable():
        return shown
    return "".join(_visible(character) for character in shown)


def _visible(character: str) -> str:
    if unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
        return character
    code = ord(character)
    return {9: "\\t", 10: "\\n", 13: "\\r"}.get(code) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def without_tokens(text: str) -> str:
    """Whoever holds a whole token can deliver that canary again, so only its beginning is ever shown."""
    return _TOKEN.sub(lambda match: match[0][:8] + "…", text)


def stamp(moment: Instant | int | float | None) -> str | None:
    """RFC 3339 in UTC with microseconds. An int is ns, a float is seconds since the epoch; 0.0 and None are None."""
    if moment is None or (isinstance(moment, float) and moment == 0.0):
        return None
    if isinstance(moment, Instant):
        return moment.isoformat()
    wall = round(moment * NANOSECONDS) if isinstance(moment, float) else moment
    return Instant(wall, 0, "").isoformat()


def seconds(duration: timedelta | None) -> float | None:
    """A duration in seconds, or None."""
    return None if duration is None else duration.total_seconds()


def canary_json(canary: Canary) -> dict[str, Any]:
    """The object that ``canaries --json`` prints and the API returns."""
    return {
        "id": canary.id,
        "route": canary.leg.route,
        "mx": canary.leg.mx,
        "variant": canary.variant,
        "prober": canary.prober,
        "state": canary.state.value,
        "outcome": canary.state.value if canary.state.terminal else None,
        "sent_at": stamp(canary.sent),
        "arrived_at": stamp(canary.arrived),
        "recovered_at": stamp(canary.recovered),
        "latency_seconds": seconds(canary.latency),
        "latency_uncertainty_seconds": seconds(canary.uncertainty),
        "transit_seconds": seconds(canary.transit),
        "folder": canary.folder or None,
        "attempts": canary.attempts,
        "duplicates": canary.duplicates,
        "queued_as": canary.queued_as or None,
        "reason": canary.reason,
    }


def life_json(life: Life) -> dict[str, Any]:
    """That object with the whole life: ``moves``, ``smtp``, ``copies``, ``reports``, ``received`` and ``hops`` (not
    judged yet)."""
    return {
        **canary_json(life.canary),
        "mailbox": life.canary.leg.mailbox,
        "moves": [_move_json(move) for move in life.moves],
        "smtp": [_attempt_json(attempt) for attempt in life.attempts],
        "copies": [_copy_json(copy) for copy in life.copies],
        "reports": [_report_json(report) for report in life.reports],
        "received": list(life.copies[0].received) if life.copies else [],
        "hops": [],
    }


def _move_json(move: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "at": stamp(int(move["at"])),
        "from": move["before"],
        "to": move["after"],
        "observation": move["observation"],
        "reason": move["reason"],
    }


def _attempt_json(attempt: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "attempt": attempt["attempt"],
        "started_at": stamp(int(attempt["started_at"])),
        "result": attempt["result"],
        "stage": attempt["stage"],
        "reason": attempt["reason"],
        "code": attempt["code"],
        "enhanced": attempt["enhanced"],
        "detail": attempt["detail"],
        "address": attempt["address"],
        "tls": attempt["tls"],
        "phases": dict(attempt["phases"]),
        "dialogue": [exchange_json(exchange) for exchange in attempt["dialogue"]],
    }


def exchange_json(exchange: Sequence[Any]) -> dict[str, Any]:
    """One exchange as the ledger keeps it: [stage, sent, code, reply] (senders/base.py ``Exchange``)."""
    stage, sent, code, reply = (*exchange, *(None,) * 4)[:4]
    return {"stage": stage or "", "sent": sent or "", "code": code, "reply": reply or ""}


def _report_json(report: StoredCopy) -> dict[str, Any]:
    """A delivery status notification. ``matched``: by what it names the canary; ``said``: its own words, as fields."""
    return {
        "mailbox": report.mailbox,
        "folder": report.folder,
        "name": report.name,
        "uid": report.uid,
        "epoch": report.epoch,
        "seen_at": stamp(report.seen_at),
        "mailbox_time": stamp(report.mailbox_time),
        "matched": list(report.carriers),
        "said": list(report.received),
    }


def _copy_json(copy: StoredCopy) -> dict[str, Any]:
    return {
        "kind": copy.kind,
        "mailbox": copy.mailbox,
        "folder": copy.folder,
        "name": copy.name,
        "uid": copy.uid,
        "epoch": copy.epoch,
        "seen_at": stamp(copy.seen_at),
        "mailbox_time": stamp(copy.mailbox_time),
        "carriers": list(copy.carriers),
        "removed_at": stamp(copy.removed_at),
        "gone": copy.gone,
        "received": list(copy.received),
    }


def duration_text(value: float | timedelta | None) -> str:
    """A duration for people: ``12 ms``, ``3.2 s``, ``2 min 5 s``, ``3 h 20 min``, ``2 d 4 h``; "-" for None."""
    if value is None:
        return "-"
    amount = value.total_seconds() if isinstance(value, timedelta) else value
    sign, amount = ("-", -amount) if amount < 0 else ("", amount)
    if amount < 0.9995:
        return f"{sign}{amount * 1000:.0f} ms"
    if amount < 59.95:
        return f"{sign}{amount:.1f}".removesuffix(".0") + " s"
    whole = round(amount)
    for unit, name, below, part in ((60, "min", 3600, "s"), (3600, "h", 86400, "min"), (86400, "d", 1 << 62, "h")):
        if whole < below:
            rest = whole % unit * {"s": 1, "min": 60, "h": 24}[part] // (unit if part != "s" else 1)
            return f"{sign}{whole // unit} {name}" + (f" {rest} {part}" if rest else "")
    raise AssertionError("unreachable: the last unit has no bound")


def parse_since(text: str, now: datetime) -> datetime:
    """``2h`` (before ``now``) or an RFC 3339 moment with its zone. Raises UsageError."""
    if match := _DURATION.fullmatch(text):
        try:
            return now - timedelta(**{_UNITS[match[2]]: int(match[1])})
        except OverflowError:
            raise UsageError(f"since {text!r} lies before the year 1") from None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or "T" not in text.upper():
        raise UsageError(
            f"since {clean(text, 60)!r} is neither a duration (30s, 15m, 2h, 3d) nor a moment with its zone "
            "(2026-11-24T05:00:00Z)"
        )
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        moment = datetime.min.replace(tzinfo=UTC)
    return max(moment, datetime(1970, 1, 1, tzinfo=UTC))


def find(queries: Queries, text: str) -> Life:
    """The life of the one canary whose id is, or begins with, ``text``. Raises UsageError, MailCanaryError."""
    wanted = text.strip().lower()
    if not _ID.fullmatch(wanted):
        raise UsageError(f"{clean(text, 60)!r} is not a canary's id: up to 13 characters of a-z and 2-7")
    ids = queries.ids_like(wanted)
    if len(ids) > 1 and wanted not in ids:
        shown = ", ".join(ids[:5]) + (", …" if len(ids) > 5 else "")
        raise UsageError(f"{wanted!r} begins more than one id: {shown}")
    life = queries.life(wanted if wanted in ids else ids[0]) if ids else None
    if life is None:
        raise MailCanaryError(f"no canary {wanted} in the ledger (it keeps settled ones for `keep`)")
    return life
