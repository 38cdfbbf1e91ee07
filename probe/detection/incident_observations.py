"""What can happen to an incident. Each is a fact, with its moment in UTC; ``incident`` decides what it means."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from probe.detection.naming import Naming
from probe.detection.recovery import Progress
from probe.detection.strata import Counts
from probe.detection.window import Window


@dataclass(frozen=True, slots=True)
class SuspicionPassed:
    """The score is back at 0 without a page."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Paged:
    """A leg's detector paged. ``rule``: share or blackout. ``first_bad``: the first overdue canary of the excursion."""

    at: datetime
    mx: str
    rule: str
    score: float
    threshold: float
    first_bad: datetime


@dataclass(frozen=True, slots=True)
class Swept:
    """The sweep's answer changed."""

    at: datetime
    naming: Naming


@dataclass(frozen=True, slots=True)
class Proved:
    """One affected leg's proof of recovery went on, or back."""

    at: datetime
    mx: str
    progress: Progress


@dataclass(frozen=True, slots=True)
class Counted:
    """The canaries were counted again (strata.py)."""

    at: datetime
    counts: Counts


@dataclass(frozen=True, slots=True)
class WindowFound:
    """The re-queue window of one leg, as it is now."""

    at: datetime
    mx: str
    window: Window


@dataclass(frozen=True, slots=True)
class LegsGone:
    """Which legs are gone for good, as far as anybody can tell: no host of the route for long, nothing in flight."""

    at: datetime
    gone: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RouteGone:
    """The route is not configured any more."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Worsened:
    """A leg loses ten times the share that it paged with: ``bad`` of the last ``judged``; ``before``: that share."""

    at: datetime
    mx: str
    bad: int
    judged: int
    before: float


@dataclass(frozen=True, slots=True)
class MarkedFalse:
    """An operator says that nothing was wrong. ``by``: who, and why."""

    at: datetime
    by: str


Observation = (
    SuspicionPassed | Paged | Swept | Proved | Counted | WindowFound | LegsGone | RouteGone | Worsened | MarkedFalse
)
OBSERVATIONS: tuple[type[Observation], ...] = (
    SuspicionPassed,
    Paged,
    Swept,
    Proved,
    Counted,
    WindowFound,
    LegsGone,
    RouteGone,
    Worsened,
    MarkedFalse,
)
