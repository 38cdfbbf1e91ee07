"""What the canaries of an incident say, counted by leg and variant: the one place where an incident's numbers are made.

The counts are made afresh from the canaries' own rows, never added up from events: so a restart, a row that is read
twice or an outcome that comes hours later cannot make them wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, NamedTuple

from probe.canary.record import State
from probe.detection.bounds import clopper_pearson
from probe.detection.moments import from_text, from_text_or_none, to_text

CONFIDENCE = 0.95
MOST_LOSSES = 2_000  # of lost canaries that a record names; all are counted
FEW = 20  # canaries after the page, below which those before it are counted in
_MANY_LATE = 3  # late ones that make a delay: fewer can be slow mail by chance


@dataclass(frozen=True, slots=True)
class Seen:
    """One canary of the route as its row says. ``state``: its outcome or where it is; ``recovered``: arrived after."""

    mx: str
    variant: str
    sent: datetime
    state: State
    overdue: bool = False
    recovered: bool = False
    queued_as: str = ""


@dataclass(frozen=True, slots=True)
class Stratum:
    """One leg's canaries of one variant, sent while the fault ran. ``missing``: overdue and not yet known to be lost.

    ``judged``/``lost`` again with ``_after``: of those sent after the page.
    """

    mx: str
    variant: str
    sent: int = 0
    delivered: int = 0
    overdue: int = 0
    late: int = 0
    missing: int = 0
    lost: int = 0
    recovered: int = 0
    unknown: int = 0
    judged_after: int = 0
    lost_after: int = 0
    missing_after: int = 0

    @property
    def judged(self) -> int:
        """With a verdict, or overdue: what a share is taken of. Unknown ones are left out."""
        return self.delivered + self.late + self.lost + self.missing


class Loss(NamedTuple):
    """A lost canary, and what the server said when it took it."""

    mx: str
    sent: datetime
    queued_as: str
    recovered: bool


@dataclass(frozen=True, slots=True)
class Ratio:
    """``lost`` of ``judged`` with its Clopper-Pearson bounds. ``missing`` ones may still come: ``upper`` has them as
    lost, ``lower`` as late. ``since_page``: only canaries sent after the page, which no choice has biased."""

    lost: int
    missing: int
    judged: int
    estimate: float
    lower: float
    upper: float
    since_page: bool
    confidence: float = CONFIDENCE

    def to_json(self) -> dict[str, Any]:
        return {
            **{name: getattr(self, name) for name in ("lost", "missing", "judged", "estimate", "lower", "upper")},
            "method": "clopper-pearson",
            "confidence": self.confidence,
            "canaries": "sent after the page" if self.since_page else "from the first overdue one on",
        }


@dataclass(frozen=True, slots=True)
class Counts:
    """An incident's canaries. ``last_bad``: when the last overdue one was sent; the fault's end as far as is known.

    ``in_flight``/``oldest``: those of the fault that have no outcome yet. ``losses``: the first MOST_LOSSES lost ones.
    ``late_in_turn``/``passed_over``: late arrivals, and overdue ones older than the newest of these that did not come.
    """

    strata: tuple[Stratum, ...] = ()
    last_bad: datetime | None = None
    in_flight: int = 0
    oldest: datetime | None = None
    losses: tuple[Loss, ...] = ()
    late_in_turn: int = 0
    passed_over: int = 0

    @property
    def delayed(self) -> bool:
        """Overdue mail arrives, more of it than is missing from the same time: a delay, not a loss."""
        return self.late_in_turn >= _MANY_LATE and self.late_in_turn > self.passed_over

    def of(self, legs: Collection[str]) -> tuple[Stratum, ...]:
        """The strata of these legs."""
        return tuple(stratum for stratum in self.strata if stratum.mx in legs)

    def to_json(self) -> dict[str, Any]:
        return {
            "strata": [
                {field.name: getattr(stratum, field.name) for field in fields(Stratum)} for stratum in self.strata
            ],
            "last_bad_sent": to_text(self.last_bad),
            "in_flight": self.in_flight,
            "oldest_sent": to_text(self.oldest),
            "losses": [[loss.mx, to_text(loss.sent), loss.queued_as, loss.recovered] for loss in self.losses],
            "late_in_turn": self.late_in_turn,
            "passed_over": self.passed_over,
        }

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Counts:
        """The inverse of ``to_json``. Raises ValueError, KeyError or TypeError on anything else."""
        names = [field.name for field in fields(Stratum)]
        return cls(
            tuple(Stratum(**{name: stratum[name] for name in names}) for stratum in row["strata"]),
            from_text_or_none(row["last_bad_sent"]),
            int(row["in_flight"]),
            from_text_or_none(row["oldest_sent"]),
            tuple(Loss(str(mx), from_text(at), str(said), bool(came)) for mx, at, said, came in row["losses"]),
            int(row["late_in_turn"]),
            int(row["passed_over"]),
        )


def count(
    canaries: Iterable[Seen],
    first_bad: datetime,
    paged_at: datetime,
    affected: Collection[str],
    earlier: Sequence[tuple[datetime, datetime, datetime]] = (),
) -> Counts:
    """Count the route's canaries, in any order. ``affected``: the legs that are bad as far as is known.

    Those sent from ``first_bad`` to the last overdue one of an affected leg are the incident's: what came after it says
    nothing of the fault. ``earlier``: the bouts of an incident that was opened again, as (first bad, paged, closed);
    what was sent between them says nothing either. O(canaries).
    """
    rows = list(canaries)
    tallies: dict[tuple[str, str], dict[str, int]] = {}
    inside: list[Seen] = []
    last_bad = None
    for begin, paged, until in (*earlier, (first_bad, paged_at, None)):
        some = [row for row in rows if row.sent >= begin and (until is None or row.sent <= until)]
        newest = max((row.sent for row in some if row.overdue and row.mx in affected), default=None)
        last_bad = newest or last_bad
        some = [row for row in some if newest is not None and row.sent <= newest]
        for row in some:
            tally = tallies.setdefault((row.mx, row.variant), dict.fromkeys(_COUNTED, 0))
            _add(tally, row, after=row.sent > paged)
        inside += some
    late, passed = _late_in_turn([row for row in inside if row.sent >= first_bad], affected)
    losses = sorted(Loss(row.mx, row.sent, row.queued_as, row.recovered) for row in inside if row.state is State.LOST)
    flying = [row.sent for row in inside if row.state.in_flight]
    return Counts(
        tuple(Stratum(mx, variant, **tally) for (mx, variant), tally in sorted(tallies.items())),
        last_bad,
        len(flying),
        min(flying, default=None),
        tuple(losses[:MOST_LOSSES]),
        late,
        passed,
    )


def _late_in_turn(rows: Iterable[Seen], affected: Collection[str]) -> tuple[int, int]:
    """Overdue ones that arrived, and those sent before the newest of these that did not."""
    overdue = [row for row in rows if row.overdue and row.mx in affected]
    arrived = [row.sent for row in overdue if row.state is State.LATE]
    newest = max(arrived, default=None)
    missing = (State.ACCEPTED, State.LOST)
    passed = [row for row in overdue if row.state in missing and not row.recovered and newest and row.sent <= newest]
    return len(arrived), len(passed)


_COUNTED = tuple(field.name for field in fields(Stratum) if field.name not in ("mx", "variant"))


def _add(tally: dict[str, int], row: Seen, *, after: bool) -> None:
    missing = row.state is State.ACCEPTED and row.overdue
    lost = row.state is State.LOST
    judged = missing or row.state in (State.DELIVERED, State.LATE, State.LOST)
    tally["sent"] += 1
    tally["delivered"] += row.state is State.DELIVERED
    tally["overdue"] += row.overdue
    tally["late"] += row.state is State.LATE
    tally["missing"] += missing
    tally["lost"] += lost
    tally["recovered"] += lost and row.recovered
    tally["unknown"] += row.state is State.UNKNOWN
    tally["judged_after"] += after and judged
    tally["lost_after"] += after and lost
    tally["missing_after"] += after and missing


def ratio(strata: Iterable[Stratum], confidence: float = CONFIDENCE) -> Ratio:
    """The loss of these strata together, from the canaries sent after the page where there are enough of them."""
    every = list(strata)
    since_page = sum(stratum.judged_after for stratum in every) >= FEW
    if since_page:
        judged = sum(stratum.judged_after for stratum in every)
        lost, missing = sum(s.lost_after for s in every), sum(s.missing_after for s in every)
    else:
        judged = sum(stratum.judged for stratum in every)
        lost, missing = sum(s.lost for s in every), sum(s.missing for s in every)
    return Ratio(
        lost,
        missing,
        judged,
        (lost + missing) / judged if judged else 0.0,
        clopper_pearson(lost, judged, confidence).lower,
        clopper_pearson(lost + missing, judged, confidence).upper,
        since_page,
        confidence,
    )
