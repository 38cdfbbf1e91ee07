"""The parts of an incident's record: pages, the naming of the bad legs, each leg's way to the all-clear. Immutable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from probe.detection.moments import from_text, from_text_or_none, to_text
from probe.detection.recovery import Phase, Progress


@dataclass(frozen=True, slots=True)
class Page:
    """A page of one leg's detector. ``rule``: share or blackout; ``first_bad``: the first overdue canary it rests on.

    ``bad_before`` of ``judged_before`` canaries were bad when a leg paged that is known to be bad (it went dark).
    """

    mx: str
    at: datetime
    rule: str
    score: float
    threshold: float
    first_bad: datetime
    bad_before: int = 0
    judged_before: int = 0


@dataclass(frozen=True, slots=True)
class Named:
    """Which legs are bad, as the sweep told it."""

    bad: tuple[str, ...]
    clean: tuple[str, ...]
    untold: tuple[str, ...]
    sentence: str


@dataclass(frozen=True, slots=True)
class LegProgress:
    """How near one leg's all-clear is. ``old_bad`` of ``old_judged`` canaries were bad up to the last bad one."""

    mx: str
    phase: Phase
    needed: int
    seen: int
    seconds: float
    share: float
    proof: float
    level: float
    tries: int
    old_bad: int
    old_judged: int
    sentence: str
    clear_at: datetime | None = None

    @classmethod
    def of(cls, mx: str, progress: Progress) -> LegProgress:
        return cls(
            mx,
            progress.phase,
            progress.needed,
            progress.seen,
            progress.seconds,
            progress.share,
            progress.proof,
            progress.level,
            progress.tries,
            progress.old.bad,
            progress.old.judged,
            progress.sentence,
            progress.clear_at.utc if progress.clear_at else None,
        )

    def to_json(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in self.__slots__ if name not in ("phase", "clear_at")}
        return {**plain, "phase": self.phase.value, "clear_at": to_text(self.clear_at)}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> LegProgress:
        plain = {name: row[name] for name in cls.__slots__ if name not in ("phase", "clear_at")}
        return cls(**plain, phase=Phase(row["phase"]), clear_at=from_text_or_none(row["clear_at"]))


class Bout(NamedTuple):
    """Once that the fault ran, as far as is known: from its first overdue canary over its page to when the incident was
    closed; ``until`` None: it is the present one. An incident that was opened again has one more for each time."""

    first_bad: datetime
    paged_at: datetime
    until: datetime | None


def naming_from_json(row: Mapping[str, Any]) -> Named:
    bad, clean, untold = (tuple(str(mx) for mx in row[name]) for name in ("bad", "clean", "untold"))
    return Named(bad, clean, untold, str(row["sentence"]))


def page_to_json(page: Page) -> dict[str, Any]:
    return {
        "mx": page.mx,
        "at": to_text(page.at),
        "rule": page.rule,
        "score": page.score,
        "threshold": page.threshold,
        "first_bad_sent": to_text(page.first_bad),
        "bad_before": page.bad_before,
        "judged_before": page.judged_before,
    }


def page_from_json(row: Mapping[str, Any]) -> Page:
    return Page(
        str(row["mx"]),
        from_text(row["at"]),
        str(row["rule"]),
        float(row["score"]),
        float(row["threshold"]),
        from_text(row["first_bad_sent"]),
        int(row["bad_before"]),
        int(row["judged_before"]),
    )
