"""Incidents for the tests: a route of four legs, what can happen to it, and canaries of its fault."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from probe.canary.record import State as Outcome
from probe.clock import Instant
from probe.detection.incident import suspect
from probe.detection.incident_observations import (
    Counted,
    LegsGone,
    MarkedFalse,
    Observation,
    Paged,
    Proved,
    RouteGone,
    SuspicionPassed,
    Swept,
    WindowFound,
    Worsened,
)
from probe.detection.naming import Naming
from probe.detection.record import Incident
from probe.detection.recovery import Phase, Progress, Tally
from probe.detection.strata import Counts, Seen, count
from probe.detection.window import Window

ZERO = datetime(2026, 9, 9, 10, tzinfo=UTC)
LEGS = ("mx1", "mx2", "mx3", "mx4")
PAGED_AT = 120.0
OLD = Tally(5, 100)


def at(seconds: float) -> datetime:
    return ZERO + timedelta(seconds=seconds)


def instant(seconds: float) -> Instant:
    return Instant(int(ZERO.timestamp() + seconds) * 1_000_000_000, 0, "elsewhere")


def suspected(legs: tuple[str, ...] = LEGS) -> Incident:
    return suspect("2026-09-09-inbound-1", "inbound", legs, legs[-2 if len(legs) > 1 else 0], at(0), at(60))


def paged(mx: str = "mx3", rule: str = "share", when: float = PAGED_AT, first_bad: float = 0.0) -> Paged:
    return Paged(at(when), mx, rule, 5.2, 5.0, at(first_bad))


def naming(*bad: str, untold: tuple[str, ...] = ()) -> Naming:
    clean = tuple(mx for mx in LEGS if mx not in (*bad, *untold))
    return Naming(bad, clean, untold, f"{'not yet told' if untold else 'only'}: {bad}", dict.fromkeys(untold, 9))


def progress(phase: Phase, proof: float = 0.0, old: Tally = OLD, clear: float | None = None) -> Progress:
    cleared = None if clear is None else instant(clear)
    return Progress(phase, 12, 3, 90.0, 0.04, proof, 5.0, 1, Tally(0, 0), old, cleared, cleared)


def window(mx: str = "mx3", end: float | None = 7200) -> Window:
    ends = None if end is None else at(end)
    reasons = ("20 of 400 canaries were overdue", "so it is wider")
    return Window(at(-600), ends, at(0), at(3600), at(0), 90, 1, False, 0.03, Tally(20, 400), reasons)


OBSERVED: Mapping[str, Observation] = {
    "SuspicionPassed": SuspicionPassed(at(200)),
    "Paged": paged(when=200),
    "Paged:dark": paged("mx4", "blackout", 200, 30),
    "Swept:told": Swept(at(200), naming("mx3")),
    "Swept:untold": Swept(at(200), naming("mx3", untold=("mx4",))),
    "Proved:not": Proved(at(200), "mx3", progress(Phase.PROVING, 0.5)),
    "Proved:well": Proved(at(200), "mx3", progress(Phase.PROVING, 1.6)),
    "Proved:clear": Proved(at(200), "mx3", progress(Phase.CLEAR, 9.0, clear=199)),
    "Counted": Counted(at(200), Counts(in_flight=2, oldest=at(3))),
    "Counted:drained": Counted(at(200), Counts()),
    "WindowFound": WindowFound(at(200), "mx3", window()),
    "LegsGone": LegsGone(at(200), ("mx3",)),
    "LegsGone:other": LegsGone(at(200), ("mx1",)),
    "RouteGone": RouteGone(at(200)),
    "Worsened": Worsened(at(200), "mx3", 30, 60, 0.02),
    "MarkedFalse": MarkedFalse(at(200), "kim: a deploy"),
}


def fault(
    lost: int = 20,
    of: int = 400,
    *,
    mx: str = "mx3",
    proven: bool = True,
    late: int = 0,
    queued_as: str = "4bXyZ{}",
    start: float = 0.0,
) -> list[Seen]:
    """``of`` canaries of one leg in an hour from ``start`` on, the ``lost`` ones evenly spread, the first one lost, and
    the last one too; ``late`` further ones came late."""
    step, rows = 3600 / (of - 1), []
    bad = {round(place * (of - 1) / max(1, lost - 1)) for place in range(lost)}
    slow = set([place for place in range(of) if place not in bad][:late])
    for place in range(of):
        state = Outcome.DELIVERED
        if place in bad:
            state = Outcome.LOST if proven else Outcome.ACCEPTED
        elif place in slow:
            state = Outcome.LATE
        rows.append(
            Seen(
                mx,
                "plain",
                at(start + place * step),
                state,
                place in bad or place in slow,
                queued_as=queued_as.format(place),
            )
        )
    return rows


def healthy(mx: str, canaries: int = 60) -> list[Seen]:
    return [Seen(mx, "plain", at(60 * number), Outcome.DELIVERED) for number in range(canaries)]


def counted(rows: list[Seen], affected: tuple[str, ...] = ("mx3",)) -> Counts:
    return count(rows, at(0), at(PAGED_AT), affected)
