"""The present state as the status page and ``/api/status`` show it: one computation for both. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from probe import __version__
from probe.canary import counters
from probe.canary.counters import leg_labels
from probe.canary.record import Canary, State
from probe.exposition.live import LegView, MailboxView, Snapshot
from probe.exposition.present import OUTCOME_NAMES, seconds, stamp
from probe.ledger.totals import Key


@dataclass(frozen=True, slots=True)
class LegStatus:
    """A leg now: ``word`` says how it is, ``good`` whether that is well (None: cannot be said).

    Counts are since the ledger began; ``overdue`` counts all that ever were.
    """

    view: LegView
    word: str
    good: bool | None
    sent: int
    overdue: int
    outcomes: Mapping[str, int]
    recovered: int
    duplicates: int
    recent: Sequence[Canary]  # newest first


def leg_statuses(snapshot: Snapshot, totals: Mapping[Key, float], recent: Sequence[Canary]) -> list[LegStatus]:
    """Of each configured leg and of each retired one that still has canaries in flight."""
    boxes = {box.name: box for box in snapshot.mailboxes}
    counts: dict[tuple[str, tuple[str, ...]], dict[str, int]] = {}
    for (name, labels), value in totals.items():
        if counters.LABELS.get(name, ())[:3] == counters.R:
            here = counts.setdefault((name, labels[:3]), {})
            tail = labels[-1]
            here[tail] = here.get(tail, 0) + int(value)
    by_leg: dict[tuple[str, ...], list[Canary]] = {}
    for canary in recent:
        by_leg.setdefault(leg_labels(canary.leg), []).append(canary)
    statuses = []
    for view in (*snapshot.legs, *snapshot.retired):
        key = leg_labels(view.leg)
        outcomes = {name: counts.get((counters.OUTCOMES, key), {}).get(name, 0) for name in OUTCOME_NAMES}
        sent = sum(counts.get((counters.SENT, key), {}).values())
        mine = by_leg.get(key, [])
        word, good = _judge(view, boxes.get(view.leg.mailbox), sent, mine)
        statuses.append(
            LegStatus(
                view=view,
                word=word,
                good=good,
                sent=sent,
                overdue=sum(counts.get((counters.OVERDUE, key), {}).values()),
                outcomes=outcomes,
                recovered=sum(counts.get((counters.RECOVERED, key), {}).values()),
                duplicates=sum(counts.get((counters.DUPLICATES, key), {}).values()),
                recent=mine,
            )
        )
    return statuses


def _judge(view: LegView, box: MailboxView | None, sent: int, recent: Sequence[Canary]) -> tuple[str, bool | None]:
    """A word for the leg. It is not a verdict on the route (the detector gives those) but what was last seen."""
    if box is not None and box.blind:
        return "blind", None
    if view.overdue_now:
        return "overdue", False
    if not sent:
        return "nothing sent yet", None
    last = next((canary.state for canary in recent if canary.state.terminal), None)
    if last is None:
        return ("waiting", None) if not view.last_delivery else ("ok", True)
    if last is State.DELIVERED:
        return "ok", True
    return f"last one {last.value}", None if last is State.UNKNOWN else False


def status_json(snapshot: Snapshot, statuses: Sequence[LegStatus]) -> dict[str, Any]:
    """The object of ``/api/status``."""
    return {
        "prober": snapshot.prober,
        "version": __version__,
        "taken_at": stamp(snapshot.taken),
        "started_at": stamp(snapshot.started),
        "ready": not snapshot.not_ready,
        "not_ready": list(snapshot.not_ready),
        "stalled": list(snapshot.stalled),
        "stopping": snapshot.stopping,
        "ledger_writable": snapshot.ledger_writable,
        "scheduler_lag_seconds": snapshot.scheduler_lag,
        "clock_offset_seconds": snapshot.clock_offset,
        "heartbeat_at": stamp(float(snapshot.heartbeat_at)),
        "notes": list(snapshot.notes),
        "legs": [_leg_json(status, retired=status.view not in snapshot.legs) for status in statuses],
        "mailboxes": [
            {
                "mailbox": box.name,
                "folders": list(box.folders),
                "blind": box.blind,
                "blind_since": stamp(float(box.blind_since)),
                "problem": box.problem or None,
                "last_read_at": stamp(float(box.last_read)),
                "messages": box.messages,
                "control_seen_at": None if box.control_seen is None else stamp(float(box.control_seen)),
            }
            for box in snapshot.mailboxes
        ],
    }


def _leg_json(status: LegStatus, *, retired: bool) -> dict[str, Any]:
    view = status.view
    return {
        "route": view.leg.route,
        "mx": view.leg.mx,
        "mailbox": view.leg.mailbox,
        "variants": list(view.variants),
        "status": status.word,
        "retired": retired,
        "paging": view.paging,
        "every_seconds": seconds(view.every),
        "overdue_after_seconds": seconds(view.overdue_after),
        "lost_after_seconds": seconds(view.lost_after),
        "sent": status.sent,
        "outcomes": dict(status.outcomes),
        "in_flight": view.in_flight,
        "overdue": status.overdue,
        "overdue_now": view.overdue_now,
        "recovered": status.recovered,
        "duplicates": status.duplicates,
        "last_sent_at": stamp(float(view.last_sent)),
        "last_delivery_at": stamp(float(view.last_delivery)),
        "oldest_outstanding_sent_at": stamp(float(view.oldest_outstanding)),
    }
