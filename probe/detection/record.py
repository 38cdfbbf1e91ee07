"""An incident as data: what failed, since when, how much, what to queue again, and how near its end is. Immutable.

``incident.apply`` makes the next one. The JSON is a stable schema: readers may rely on its names, and a later version
only adds to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from probe.detection.moments import from_text, from_text_or_none, to_text
from probe.detection.record_parts import (
    Bout,
    LegProgress,
    Named,
    Page,
    naming_from_json,
    page_from_json,
    page_to_json,
)
from probe.detection.strata import Counts, Ratio, ratio
from probe.detection.window import Window, merged

__all__ = ["Bout", "Incident", "Kind", "LegProgress", "Named", "Page", "State"]

SCHEMA = 1
NOTHING = Counts()


class State(StrEnum):
    """Where an incident is in its life. The last two are never left; ``closed`` only within 24 hours."""

    SUSPECTED = "suspected"
    OPEN = "open"
    IDENTIFIED = "identified"
    RECOVERING = "recovering"
    DRAINED = "drained"
    CLOSED = "closed"
    DISMISSED = "dismissed"
    FALSE = "false"

    @property
    def active(self) -> bool:
        """Paged, and not over."""
        return self in (State.OPEN, State.IDENTIFIED, State.RECOVERING, State.DRAINED)


class Kind(StrEnum):
    """What is wrong. Loss and delay look alike until overdue mail begins to arrive."""

    TOTAL_LOSS = "total_loss"
    PARTIAL_LOSS = "partial_loss"
    DELAY = "delay"


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident of one route. Times are UTC. ``legs``: every leg of the route. ``reasons``: the last judgements.

    ``first_bad``: the first overdue canary; ``false_by``: who marked it false, and why. ``gone``: legs that are no host
    of the route any more; ``unproven``: why it was closed without an all-clear; ``closed_before``: when it was closed,
    each time that it was opened again.
    """

    id: str
    route: str
    legs: tuple[str, ...]
    state: State
    suspected_at: datetime
    first_bad: datetime
    kind: Kind | None = None
    pages: tuple[Page, ...] = ()
    naming: Named | None = None
    counts: Counts = NOTHING
    windows: tuple[tuple[str, Window], ...] = ()
    all_clear: tuple[LegProgress, ...] = ()
    drained_at: datetime | None = None
    closed_at: datetime | None = None
    reopened: tuple[datetime, ...] = ()
    false_by: str = ""
    reasons: tuple[tuple[datetime, str], ...] = ()
    gone: tuple[str, ...] = ()
    unproven: str = ""
    closed_before: tuple[datetime, ...] = ()

    @property
    def detected_at(self) -> datetime | None:
        """When it first paged."""
        return self.pages[0].at if self.pages else None

    @property
    def affected(self) -> tuple[str, ...]:
        """The legs known to be bad: those that paged, and those that the sweep named."""
        bad = {page.mx for page in self.pages} | set(self.naming.bad if self.naming else ())
        return tuple(mx for mx in self.legs if mx in bad)

    @property
    def bouts(self) -> tuple[Bout, ...]:
        """When the fault ran, oldest first; none before the page."""
        if not self.pages:
            return ()
        again = self.reopened[-len(self.closed_before) :] if self.closed_before else ()
        made = []
        for number, until in enumerate((*self.closed_before, None)):
            begun = again[number - 1] if number else None
            ended = again[number] if number < len(again) else None
            pages = [p for p in self.pages if (not begun or p.at >= begun) and (not ended or p.at < ended)]
            first_bad = min(page.first_bad for page in pages) if number else self.first_bad
            made.append(Bout(first_bad, pages[0].at, until))
        return tuple(made)

    @property
    def broken(self) -> tuple[str, ...]:
        """The affected legs of the present bout: those whose recovery is to be proven."""
        since = self.bouts[-1].paged_at if self.pages else self.suspected_at
        bad = {page.mx for page in self.pages if page.at >= since} | set(self.naming.bad if self.naming else ())
        return tuple(mx for mx in self.legs if mx in bad)

    @property
    def suspects(self) -> tuple[str, ...]:
        """The affected legs, and those that are not told apart from them."""
        untold = self.naming.untold if self.naming else tuple(mx for mx in self.legs if mx not in self.affected)
        return tuple(mx for mx in self.legs if mx in self.affected or mx in untold)

    @property
    def loss(self) -> Ratio:
        """The share lost on the affected legs while the fault ran."""
        return ratio(self.counts.of(self.affected))

    @property
    def requeue(self) -> tuple[datetime, datetime | None] | None:
        """From when to when mail should be queued again (no end yet: None), over all affected legs."""
        windows = [window for _, window in self.windows]
        return merged(windows) if windows else None

    def to_json(self) -> dict[str, Any]:
        """The record, with what follows from it (``affected``, ``loss_ratio``, ``requeue``) written out."""
        last = self.pages[-1] if self.pages else None
        return {
            "schema": SCHEMA,
            "id": self.id,
            "route": self.route,
            "legs": list(self.legs),
            "state": self.state.value,
            "kind": self.kind and self.kind.value,
            "suspected_at": to_text(self.suspected_at),
            "detected_at": to_text(self.detected_at),
            "drained_at": to_text(self.drained_at),
            "closed_at": to_text(self.closed_at),
            "reopened": [to_text(at) for at in self.reopened],
            "closed_before": [to_text(at) for at in self.closed_before],
            "closed_unproven": self.unproven,
            "gone": list(self.gone),
            "false_by": self.false_by,
            "detector": last and last.rule,
            "score": last and last.score,
            "threshold": last and last.threshold,
            "pages": [page_to_json(page) for page in self.pages],
            "naming": self.naming and {name: _plain(getattr(self.naming, name)) for name in Named.__slots__},
            "affected": self._affected_to_json(),
            "loss_ratio": self.loss.to_json(),
            "strata": self._strata_to_json(),
            "counts": self.counts.to_json(),
            "requeue": self._requeue_to_json(),
            "backlog": {"in_flight": self.counts.in_flight, "oldest_sent": to_text(self.counts.oldest)},
            "all_clear": [leg.to_json() for leg in self.all_clear],
            "reasons": [[to_text(at), sentence] for at, sentence in self.reasons],
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Incident:
        """The inverse of ``to_json``. Raises ValueError, KeyError or TypeError on anything else, a newer schema too."""
        if row["schema"] != SCHEMA:
            raise ValueError(f"an incident of schema {row['schema']}, not {SCHEMA}")
        naming = row["naming"]
        requeue = row["requeue"]
        return cls(
            str(row["id"]),
            str(row["route"]),
            tuple(str(mx) for mx in row["legs"]),
            State(row["state"]),
            from_text(row["suspected_at"]),
            from_text(row["affected"]["first_sent"]),
            Kind(row["kind"]) if row["kind"] else None,
            tuple(page_from_json(page) for page in row["pages"]),
            naming_from_json(naming) if naming else None,
            Counts.from_json(row["counts"]),
            tuple((str(leg["mx"]), Window.from_json(leg)) for leg in requeue["legs"]) if requeue else (),
            tuple(LegProgress.from_json(leg) for leg in row["all_clear"]),
            from_text_or_none(row["drained_at"]),
            from_text_or_none(row["closed_at"]),
            tuple(from_text(at) for at in row["reopened"]),
            str(row["false_by"]),
            tuple((from_text(at), str(sentence)) for at, sentence in row["reasons"]),
            tuple(str(mx) for mx in row.get("gone", ())),
            str(row.get("closed_unproven", "")),
            tuple(from_text(at) for at in row.get("closed_before", ())),
        )

    def _affected_to_json(self) -> dict[str, Any]:
        strata = self.counts.of(self.affected)
        names = ("overdue", "missing", "lost", "late", "recovered", "unknown")
        return {
            "legs": list(self.affected),
            "first_sent": to_text(self.first_bad),
            "last_sent": to_text(self.counts.last_bad),
            "canaries_sent": sum(stratum.sent for stratum in strata),
            **{name: sum(getattr(stratum, name) for stratum in strata) for name in names},
        }

    def _strata_to_json(self) -> list[dict[str, Any]]:
        return [{"mx": s.mx, "variant": s.variant, "sent": s.sent, **ratio([s]).to_json()} for s in self.counts.strata]

    def _requeue_to_json(self) -> dict[str, Any] | None:
        if self.requeue is None:
            return None
        start, end = self.requeue
        confidence = min(window.confidence for _, window in self.windows)
        legs = [{"mx": mx, **window.to_json()} for mx, window in self.windows]
        return {"from": to_text(start), "to": to_text(end), "confidence": confidence, "legs": legs}


def _plain(value: str | tuple[str, ...]) -> str | list[str]:
    return value if isinstance(value, str) else list(value)
