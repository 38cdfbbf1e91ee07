"""What a detector says: what it found, and the extra canary it wants."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """Which rule found it."""

    SHARE = "share"
    BLACKOUT = "blackout"


class Grade(StrEnum):
    """What is to be done about it: open an incident and page, say so in the open incident, or raise a ticket."""

    PAGE = "page"
    UPDATE = "update"
    TICKET = "ticket"


@dataclass(frozen=True, slots=True)
class Finding:
    """What the detector found at ``at``. ``first_id``, ``first_sent``: the first overdue canary of this excursion of
    the score; ``dark_sent``: when the first canary was sent of which, and of all after it, nothing came in time."""

    kind: Kind
    grade: Grade
    at: float
    score: float
    threshold: float
    first_id: str
    first_sent: float
    dark_sent: float | None


def found(plain: dict[str, Any] | None) -> Finding | None:
    """A finding out of plain data (``asdict``)."""
    return None if plain is None else Finding(**{**plain, "kind": Kind(plain["kind"]), "grade": Grade(plain["grade"])})


class Why(StrEnum):
    """What an extra canary is for: an old canary is not seen yet; it is older than the stall limit; the score."""

    SUSPICION = "suspicion"
    WITNESS = "witness"
    HUNT = "hunt"


@dataclass(frozen=True, slots=True)
class Extra:
    """The next extra canary: due at ``due``. ``exempt``: the allowance does not hold it back (a second overdue run is
    never starved); the caps do."""

    due: float
    why: Why
    exempt: bool
