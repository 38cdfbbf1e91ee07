"""The names of the running totals and their labels, in order. The ledger keeps them, the exporter shows them.

Written once here so that what the engine counts and what ``/metrics`` promises cannot differ. R = route, mx, mailbox.
"""

from __future__ import annotations

from collections.abc import Mapping

from probe.canary.life import Effect, Move
from probe.canary.record import Canary, Leg

R = ("route", "mx", "mailbox")
V = (*R, "variant")

SENT = "sent"
SUBMISSIONS = "submissions"
ATTEMPTS = "attempts"
OVERDUE = "overdue"
JUDGED = "judged"
OUTCOMES = "outcomes"
RECOVERED = "recovered"
AFTERWARDS = "afterwards"
MOVED = "moved"
FOREIGN = "foreign"
CARRIERS = "carrier_survived"
DUPLICATES = "duplicates"
ARRIVALS = "arrivals"
DELIVERY_BUCKET = "delivery_seconds_bucket"  # not cumulative: one bucket counts one arrival once
DELIVERY_SUM = "delivery_seconds_sum"
STAGE_BUCKET = "stage_seconds_bucket"
STAGE_SUM = "stage_seconds_sum"
BLIND_SECONDS = "mailbox_blind_seconds"
UID_GAPS = "mailbox_uid_gaps"
CAP_HITS = "cap_hits"
TASK_CRASHES = "task_crashes"
PROBE_ERRORS = "probe_errors"
CLOCK_STEPS = "clock_steps"
LEDGER_RESETS = "ledger_resets"

LABELS: Mapping[str, tuple[str, ...]] = {
    SENT: V,
    SUBMISSIONS: (*R, "result"),
    ATTEMPTS: (*R, "result"),
    OVERDUE: V,
    JUDGED: V,
    OUTCOMES: (*V, "outcome"),
    RECOVERED: (*V, "was"),
    AFTERWARDS: (*R, "outcome", "event"),
    MOVED: R,
    FOREIGN: ("mailbox", "kind"),
    CARRIERS: (*R, "carrier"),
    DUPLICATES: V,
    ARRIVALS: (*R, "folder"),
    DELIVERY_BUCKET: ("route", "mx", "variant", "le"),
    DELIVERY_SUM: ("route", "mx", "variant"),
    STAGE_BUCKET: ("route", "stage", "le"),
    STAGE_SUM: ("route", "stage"),
    BLIND_SECONDS: ("mailbox",),
    UID_GAPS: ("mailbox",),
    CAP_HITS: ("limit",),
    TASK_CRASHES: ("task",),
    PROBE_ERRORS: ("component", "reason"),
    CLOCK_STEPS: (),
    LEDGER_RESETS: (),
}

FOREIGN_KINDS = ("forged", "expired", "replayed", "reply", "unparsable", "no_ledger_row")
FOLDERS = ("inbox", "spam", "other")
STAGES = ("connect", "submit", "transit", "retrieve")
LIMITS = ("per_recipient", "per_route", "per_domain", "total")
ERROR_COMPONENTS = ("sender", "mailbox", "dns", "store", "scheduler", "control", "heartbeat")

# 0.1 s to 24 h; the route's overdue_after is added where it is not among them (metrics.md 1.6).
DELIVERY_BUCKETS = (
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0,
    600.0, 900.0, 1200.0, 1800.0, 3600.0, 7200.0, 21600.0, 43200.0, 86400.0,
)  # fmt: skip
STAGE_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 600.0, 3600.0)

Counts = list[tuple[str, tuple[str, ...], float]]


def leg_labels(leg: Leg) -> tuple[str, str, str]:
    """R as values."""
    return leg.route, leg.mx, leg.mailbox


def folder_kind(configured: str) -> str:
    """``inbox``, ``spam`` or ``other``: the closed set of the ``folder`` label."""
    lowered = configured.casefold()
    if lowered == "inbox":
        return "inbox"
    return "spam" if lowered in ("junk", "spam") else "other"


def bucket_of(seconds: float, buckets: tuple[float, ...]) -> str:
    """The ``le`` of the first bucket that holds ``seconds``; ``+Inf`` beyond the last."""
    for bound in buckets:
        if seconds <= bound:
            return repr(bound)
    return "+Inf"


def delivery_buckets(overdue_after: float) -> tuple[float, ...]:
    """The buckets of a route: the common ones and its own ``overdue_after`` (seconds)."""
    return tuple(sorted({*DELIVERY_BUCKETS, overdue_after}))


def counts_of(before: Canary, move: Move) -> Counts:
    """What one move adds to the totals."""
    after = move.canary
    leg = leg_labels(after.leg)
    kinds = (*leg, after.variant)
    counts: Counts = []
    for effect in move.effects:
        match effect:
            case Effect.SENT:
                counts.append((SENT, kinds, 1))
            case Effect.PUNCTUAL:
                counts.append((JUDGED, kinds, 1))
            case Effect.OVERDUE:
                counts += [(JUDGED, kinds, 1), (OVERDUE, kinds, 1)]
            case Effect.OUTCOME:
                counts.append((OUTCOMES, (*kinds, after.state.value), 1))
            case Effect.RECOVERED:
                counts.append((RECOVERED, (*kinds, before.state.value), 1))
            case Effect.AFTERWARDS_ARRIVAL:
                counts.append((AFTERWARDS, (*leg, before.state.value, "arrival"), 1))
            case Effect.AFTERWARDS_BOUNCE:
                counts.append((AFTERWARDS, (*leg, before.state.value, "bounce"), 1))
            case Effect.DUPLICATE:
                counts.append((DUPLICATES, kinds, 1))
            case Effect.MOVED:
                counts.append((MOVED, leg, 1))
            case Effect.ARRIVAL:
                counts += _arrival_counts(after)
    return counts


def _arrival_counts(canary: Canary) -> Counts:
    leg = leg_labels(canary.leg)
    counts: Counts = [(ARRIVALS, (*leg, folder_kind(canary.folder)), 1)]
    if canary.latency is None:
        return counts
    seconds = canary.latency.total_seconds()
    series = (canary.leg.route, canary.leg.mx, canary.variant)
    bounds = delivery_buckets(canary.deadlines.overdue_after.total_seconds())
    counts += [(DELIVERY_BUCKET, (*series, bucket_of(seconds, bounds)), 1), (DELIVERY_SUM, series, seconds)]
    return counts
