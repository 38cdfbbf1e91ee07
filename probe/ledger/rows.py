"""Canaries and watermarks as rows, and back. A row read back equals what was written, to the nanosecond."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from sys import intern
from typing import Any

from probe.canary.coverage import Cursor, Span
from probe.canary.record import Canary, Deadlines, Leg, State
from probe.clock import Instant

MICROSECOND = timedelta(microseconds=1)
compact = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps would build an encoder for each value
_INSTANTS = ("clock_started", "last_dot", "retry_at", "arrived", "recovered", "settled")


def microseconds(duration: timedelta | None) -> int | None:
    """Whole microseconds, or None."""
    return None if duration is None else duration // MICROSECOND


def duration(value: int | None) -> timedelta | None:
    """The inverse of ``microseconds``."""
    return None if value is None else timedelta(microseconds=value)


def canary_row(canary: Canary) -> dict[str, Any]:
    """The row of ``canaries`` for a canary."""
    return {
        "id": canary.id,
        "route": canary.leg.route,
        "mx": canary.leg.mx,
        "mailbox": canary.leg.mailbox,
        "variant": canary.variant,
        "prober": canary.prober,
        "state": canary.state.value,
        "sent_at": canary.sent.wall,
        "arrived_at": canary.arrived and canary.arrived.wall,
        "recovered_at": canary.recovered and canary.recovered.wall,
        "settled_at": canary.settled and canary.settled.wall,
        "latency_us": microseconds(canary.latency),
        "uncertainty_us": microseconds(canary.uncertainty),
        "transit_us": microseconds(canary.transit),
        "folder": canary.folder,
        "attempts": canary.attempts,
        "duplicates": canary.duplicates,
        "overdue": canary.overdue,
        "queued_as": canary.queued_as,
        "label": canary.label,
        "reason": canary.reason,
        "facts": compact(_facts(canary)),
    }


def _facts(canary: Canary) -> dict[str, Any]:
    deadlines = canary.deadlines
    facts: dict[str, Any] = {
        "sent": _instant(canary.sent),
        "deadlines": [
            deadlines.overdue_after // MICROSECOND,
            deadlines.lost_after // MICROSECOND,
            deadlines.watch_for // MICROSECOND,
        ],
        "floors": {folder: [cursor.epoch, cursor.position] for folder, cursor in canary.floors.items()},
        "judged": canary.judged,
        "key": canary.key,
        "mail_from": canary.mail_from,
    }
    for name in _INSTANTS:
        instant = getattr(canary, name)
        if instant is not None:
            facts[name] = _instant(instant)
    return facts


def _instant(instant: Instant) -> list[int | str]:
    return [instant.wall, instant.boot, instant.boot_id]


# A restart reads a hundred thousand rows that share nearly all of these: in memory there is one of each.
leg_of = lru_cache(maxsize=4096)(Leg)
_DECODER = json.JSONDecoder()
STATES = {state.value: state for state in State}


@lru_cache(maxsize=1024)
def deadlines_of(overdue_after: int, lost_after: int, watch_for: int) -> Deadlines:
    """Deadlines of whole microseconds."""
    return Deadlines(*(timedelta(microseconds=value) for value in (overdue_after, lost_after, watch_for)))


def _instant_of(value: list[Any]) -> Instant:
    return Instant(value[0], value[1], intern(value[2]))


def canary_of(row: Mapping[str, Any]) -> Canary:
    """The canary of a row of ``canaries``."""
    facts, _ = _DECODER.raw_decode(row["facts"])
    instants = {name: _instant_of(facts[name]) for name in _INSTANTS if name in facts}
    return Canary(
        id=row["id"],
        leg=leg_of(row["route"], row["mx"], row["mailbox"]),
        prober=intern(row["prober"]),
        variant=intern(row["variant"]),
        deadlines=deadlines_of(*facts["deadlines"]),
        sent=_instant_of(facts["sent"]),
        state=STATES[row["state"]],
        attempts=row["attempts"],
        floors={intern(folder): Cursor(*cursor) for folder, cursor in facts["floors"].items()},
        overdue=bool(row["overdue"]),
        judged=facts["judged"],
        key=intern(facts["key"]),
        mail_from=intern(facts.get("mail_from", "")),
        latency=duration(row["latency_us"]),
        uncertainty=duration(row["uncertainty_us"]),
        transit=duration(row["transit_us"]),
        folder=row["folder"],
        duplicates=row["duplicates"],
        queued_as=row["queued_as"],
        label=row["label"],
        reason=row["reason"],
        **instants,
    )


def gaps_text(gaps: tuple[Span, ...]) -> str:
    """Spans as JSON."""
    return compact([[gap.first, gap.last] for gap in gaps])


def gaps_of(value: str) -> tuple[Span, ...]:
    """The inverse of ``gaps_text``."""
    return tuple(Span(first, last) for first, last in json.loads(value))


@lru_cache(maxsize=16_384)
def labels_text(labels: tuple[str, ...]) -> str:
    """Label values as one canonical text; the metric's registry names them in the same order."""
    return json.dumps(labels, separators=(",", ":"), ensure_ascii=False)


def labels_of(value: str) -> tuple[str, ...]:
    """The inverse of ``labels_text``."""
    return tuple(json.loads(value))
