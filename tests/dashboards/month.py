"""A month in the life of two legs, with three incidents: what a prober counts, canary by canary, on a jumping clock.

Canaries are sent once a minute a leg. Backup database: for 28 hours every 20th canary of both legs vanishes. Slow: for
four hours all are 15 minutes late. Bad host: for the last three hours ``mx2`` swallows all; half an hour before the end
it is repaired, and half of what it swallowed is put back.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

MINUTE, HOUR, DAY = 60, 3600, 86400
END = 1_769_904_000  # 2026-02-01T00:00:00Z
START = END - 31 * DAY
OVERDUE_AFTER, LATE_BY, LOST_AFTER, FAST = 60, 15 * MINUTE, 2 * HOUR, 3

LEGS = (("inbound", "mx1", "help"), ("inbound", "mx2", "help"))
VARIANTS = ("plain", "html")
Leg = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Incident:
    """``fate``: of every ``each``-th canary of the legs that is sent in the time."""

    kind: str
    legs: tuple[Leg, ...]
    begin: int
    end: int
    fate: str
    each: int = 1

    def on(self, leg: Leg, now: int) -> bool:
        return leg in self.legs and self.begin <= now < self.end


BACKUP = Incident("partial_loss", LEGS, START + 5 * DAY, START + 5 * DAY + 28 * HOUR, "lost", 20)
SLOW = Incident("delay", LEGS, START + 17 * DAY, START + 17 * DAY + 4 * HOUR, "late")
HOST = Incident("total_loss", LEGS[1:], END - 3 * HOUR, END - 30 * MINUTE, "lost")
INCIDENTS = (BACKUP, SLOW, HOST)
REQUEUED_AT = END - 20 * MINUTE
ALL_CLEAR = HOUR  # so long an incident stays open after its end


class Month:
    """The counters, moved on a minute at a time. Names are those of the ledger's totals."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self.out: dict[Leg, dict[int, bool]] = {leg: {} for leg in LEGS}  # sent at -> overdue
        self.arrived: dict[Leg, int] = dict.fromkeys(LEGS, 0)
        self._due: dict[int, list[tuple[str, Leg, str, int]]] = defaultdict(list)

    def minute(self, now: int) -> None:
        """One canary a leg is sent at ``now``; what is due at ``now`` happened before."""
        for event, leg, variant, sent in self._due.pop(now, ()):
            self._happen(event, leg, variant, sent)
        for leg in LEGS:
            variant = VARIANTS[now // MINUTE % 2]
            self._count("sent", (*leg, variant))
            self._count("submissions", (*leg, "accepted"))
            self._count("attempts", (*leg, "accepted"))
            self._fate(leg, variant, now)

    def _fate(self, leg: Leg, variant: str, now: int) -> None:
        fate = next((one.fate for one in INCIDENTS if one.on(leg, now) and now // MINUTE % one.each == 0), "delivered")
        if fate == "delivered":
            self._count("judged", (*leg, variant))
            self._arrive(leg, variant, now, FAST, "delivered")
            return
        self.out[leg][now] = False
        self._due[now + OVERDUE_AFTER].append(("overdue", leg, variant, now))
        if fate == "late":
            self._due[now + LATE_BY].append(("late", leg, variant, now))
            return
        self._due[now + LOST_AFTER].append(("lost", leg, variant, now))

    def _happen(self, event: str, leg: Leg, variant: str, sent: int) -> None:
        if event == "overdue":
            self._count("judged", (*leg, variant))
            self._count("overdue", (*leg, variant))
            self.out[leg][sent] = True
            return
        if event == "late":
            self._arrive(leg, variant, sent, LATE_BY, "late")
        else:
            self._count("outcomes", (*leg, variant, "lost"))
        del self.out[leg][sent]

    def requeue(self) -> None:
        """Every second lost canary comes back, one of them twice."""
        for leg in LEGS:
            for variant in VARIANTS:
                lost = self.counts["outcomes", (*leg, variant, "lost")]
                self._count("recovered", (*leg, variant, "lost"), lost // 2)
            self._count("duplicates", (*leg, VARIANTS[0]))

    def _arrive(self, leg: Leg, variant: str, sent: int, after: int, outcome: str) -> None:
        self._count("outcomes", (*leg, variant, outcome))
        self._count("arrivals", (*leg, "inbox"))
        for carrier in ("header", "message_id", "subject", "body"):
            self._count("carrier_survived", (*leg, carrier))
        route, mx, _ = leg
        self._count("delivery", (route, mx, variant, str(after)))
        self._count("stages", (route, "transit", str(after)))
        self.arrived[leg] = sent + after

    def _count(self, name: str, labels: tuple[str, ...], by: int = 1) -> None:
        self.counts[name, labels] += by

    def total(self, name: str, leg: Leg, *more: str) -> int:
        """A counter of a leg over all its variants, ``more`` being its last labels."""
        return sum(
            value
            for (counted, labels), value in self.counts.items()
            if counted == name and labels[: len(leg)] == leg and labels[len(labels) - len(more) :] == more
        )


def state(leg: Leg, now: int) -> int:
    """``mailcanary_route_state``: open, recovering, or ok."""
    for one in INCIDENTS:
        if one.on(leg, now):
            return 2
        if leg in one.legs and one.end <= now < one.end + ALL_CLEAR:
            return 3
    return 0
