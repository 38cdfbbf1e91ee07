"""Which leg is bad? After a page on one leg the others are swept with canaries, and each is judged by itself.

An exact binomial rule: of the first n canaries that a leg sent after the page, c or more overdue make it one of the bad
ones. n is the least for which a leg as bad as the paged one passes for clean, and any of the clean ones for bad, with a
chance of at most 1 % each. A clean canary only counts when it was sent before the last bad one of a paged leg: once the
fault is over, every leg is clean, and that says nothing. Until each leg is told the answer is "not yet told apart".
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

from probe.clock import Instant
from probe.detection.bounds import at_least
from probe.detection.prefix import SettledPrefix, Verdict, instant_from_json, instant_to_json

ERROR = 0.01
MOST_CANARIES = 20_000  # a share that needs more a leg cannot be told from the noise in a useful time
DEAD = 0.99  # the share to sweep with when nothing at all arrives
_MOST_BAD = 50


@dataclass(frozen=True, slots=True)
class Plan:
    """``bad`` or more overdue of the first ``canaries`` make a leg one of the bad ones."""

    canaries: int
    bad: int


@lru_cache(maxsize=512)
def plan_sweep(share: float, noise: float, others: int, error: float = ERROR) -> Plan | None:
    """The smallest sweep of each of ``others`` legs that tells ``share`` (of the paged leg) from ``noise``.

    Error: of a bad leg to pass for clean, and of any of ``others`` clean ones to pass for bad, each at most. None where
    more than MOST_CANARIES a leg would be needed. Shares from 0 to 1, both ends excluded.
    """
    if not 0 < share < 1 or not 0 < noise < 1 or others < 1:
        raise ValueError("shares lie between 0 and 1, and there is at least one other leg")
    for bad in range(1, _MOST_BAD):
        canaries = _least_canaries(bad, share, error)
        if canaries is None:
            return None
        if others * at_least(bad, canaries, noise) <= error:
            return Plan(canaries, bad)
    return None


def _least_canaries(bad: int, share: float, error: float) -> int | None:
    """The least n with a chance of at most ``error`` that fewer than ``bad`` of n are overdue at ``share``."""
    low, high = bad, MOST_CANARIES
    if 1 - at_least(bad, high, share) > error:
        return None
    while low < high:
        middle = (low + high) // 2
        if 1 - at_least(bad, middle, share) <= error:
            high = middle
        else:
            low = middle + 1
    return low


class Told(StrEnum):
    """What is known of one leg."""

    BAD = "bad"
    CLEAN = "clean"
    UNTOLD = "untold"


@dataclass(frozen=True, slots=True)
class Naming:
    """The answer. ``bad``, ``clean`` and ``untold`` part the legs; ``complete``: none is untold."""

    bad: tuple[str, ...]
    clean: tuple[str, ...]
    untold: tuple[str, ...]
    sentence: str
    needed: Mapping[str, int]

    @property
    def complete(self) -> bool:
        return not self.untold


class _Leg:
    """One swept leg: its settled canaries in send order."""

    def __init__(self) -> None:
        self.prefix = SettledPrefix()
        self.settled = 0
        self.confirmed = 0  # of the settled: sent before the last bad one of a paged leg
        self.bad_at: list[int] = []  # places of the first bad ones
        self.waiting: deque[Instant] = deque()

    def take(self, canary: str, verdict: Verdict) -> None:
        for done in self.prefix.judge(canary, verdict):
            if done.verdict is Verdict.LEFT_OUT:
                continue
            if done.verdict is Verdict.BAD and len(self.bad_at) < _MOST_BAD:
                self.bad_at.append(self.settled)
            self.settled += 1
            if self.confirmed + len(self.waiting) < MOST_CANARIES:
                self.waiting.append(done.sent)

    def confirm(self, until: Instant | None) -> None:
        while self.waiting and until is not None and self.waiting[0].since(until).total_seconds() <= 0:
            self.waiting.popleft()
            self.confirmed += 1

    def bad_of(self, canaries: int) -> int:
        return sum(place < canaries for place in self.bad_at)


class Sweep:
    """The sweep after a page. O(1) amortised an event; ``naming`` is O(legs).

    ``legs``: the route's hosts, each with its noise q. ``paged``: the first bad one. ``share``: what it loses, at the
    least (``DEAD`` after a blackout); it may be set anew as more is known, and the answer follows.
    """

    def __init__(self, legs: Mapping[str, float], paged: str, share: float) -> None:
        if paged not in legs:
            raise ValueError(f"{paged} is not a leg of this route")
        self._noise = dict(legs)
        self._legs = {mx: _Leg() for mx in legs}
        self._paged = {paged}
        self._last_bad: Instant | None = None
        self._share = 0.0
        self.share = share

    @property
    def share(self) -> float:
        return self._share

    @share.setter
    def share(self, share: float) -> None:
        if not 0 < share <= 1:
            raise ValueError("a share lies between 0 and 1")
        self._share = min(share, DEAD)

    @property
    def legs(self) -> tuple[str, ...]:
        """The legs that are told apart."""
        return tuple(self._legs)

    def add(self, mx: str, noise: float) -> None:
        """One more leg: a host that DNS has named since."""
        if mx not in self._legs:
            self._noise[mx], self._legs[mx] = noise, _Leg()

    def noise(self, mx: str) -> float:
        """q of this leg."""
        return self._noise[mx]

    def tally(self, mx: str) -> tuple[int, int]:
        """Bad ones among the canaries of this leg that are settled since the page, and how many these are."""
        leg = self._legs[mx]
        return len(leg.bad_at), leg.settled

    def paged(self, mx: str) -> None:
        """This leg's own detector has paged as well: it is bad, whatever the sweep says."""
        self._paged.add(mx if mx in self._legs else "")
        self._paged.discard("")

    def sent(self, mx: str, canary: str, at: Instant) -> None:
        """A canary was sent on this leg, after the page and after those of this leg told of before."""
        self._legs[mx].prefix.sent(canary, at)

    def judged(self, mx: str, canary: str, verdict: Verdict, sent: Instant) -> None:
        """Its verdict at ``overdue_after``; of a paged leg also for canaries that were sent before the page."""
        if mx in self._paged and verdict is Verdict.BAD:
            newer = self._last_bad is None or sent.since(self._last_bad).total_seconds() > 0
            self._last_bad = sent if newer else self._last_bad
            for leg in self._legs.values():
                leg.confirm(self._last_bad)
        self._legs[mx].take(canary, verdict)
        self._legs[mx].confirm(self._last_bad)

    def told(self, mx: str) -> Told:
        """What is known of this leg."""
        if mx in self._paged:
            return Told.BAD
        plan, leg = self._plan(mx), self._legs[mx]
        if plan is None:
            return Told.UNTOLD
        if leg.bad_of(plan.canaries) >= plan.bad:
            return Told.BAD
        return Told.CLEAN if leg.confirmed >= plan.canaries else Told.UNTOLD

    def needed(self, mx: str) -> int | None:
        """Canaries that this leg must still send and have judged while the fault runs; None: it cannot be told."""
        if self.told(mx) is not Told.UNTOLD:
            return 0
        plan = self._plan(mx)
        return None if plan is None else max(0, plan.canaries - self._legs[mx].confirmed)

    def to_send(self, mx: str) -> int:
        """Canaries that this leg should still send now: those on their way are not asked for twice."""
        needed, leg = self.needed(mx), self._legs[mx]
        return max(0, (needed or 0) - len(leg.waiting) - len(leg.prefix))

    @property
    def naming(self) -> Naming:
        """The answer now. Never a guess: a leg is untold until the rule tells it."""
        told = {mx: self.told(mx) for mx in self._legs}
        bad, clean, untold = (tuple(mx for mx in told if told[mx] is what) for what in Told)
        needed = {mx: count for mx in untold if (count := self.needed(mx)) is not None}
        return Naming(bad, clean, untold, self._sentence(bad, clean, untold, needed), needed)

    def to_json(self) -> dict[str, Any]:
        """All of it, for a restart."""
        legs = {
            mx: {
                **{name: getattr(leg, name) for name in ("settled", "confirmed", "bad_at")},
                "waiting": [instant_to_json(at) for at in leg.waiting],
                "open": leg.prefix.to_json(),
            }
            for mx, leg in self._legs.items()
        }
        last = self._last_bad and instant_to_json(self._last_bad)
        return {
            "noise": self._noise,
            "paged": sorted(self._paged),
            "share": self._share,
            "last_bad": last,
            "legs": legs,
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Sweep:
        """The inverse of ``to_json``. Raises ValueError, KeyError, TypeError or IndexError on anything else."""
        made = cls(stored["noise"], stored["paged"][0], stored["share"])
        made._paged = set(stored["paged"])
        made._last_bad = stored["last_bad"] and instant_from_json(stored["last_bad"])
        for mx, row in stored["legs"].items():
            leg = made._legs[mx]
            leg.settled, leg.confirmed, leg.bad_at = int(row["settled"]), int(row["confirmed"]), list(row["bad_at"])
            leg.waiting = deque(instant_from_json(at) for at in row["waiting"])
            leg.prefix = SettledPrefix.from_json(row["open"])
        return made

    def _plan(self, mx: str) -> Plan | None:
        noise = min(max(self._noise[mx], 1e-5), 0.99)
        # Rounded down to two digits: so that a share that is learned a little better does not move every plan.
        return plan_sweep(_round_down(self._share), noise, max(1, len(self._legs) - 1))

    def _sentence(
        self, bad: Iterable[str], clean: tuple[str, ...], untold: tuple[str, ...], needed: Mapping[str, int]
    ) -> str:
        names = join_names(bad)
        if untold:
            stuck = [mx for mx in untold if mx not in needed]
            more = ", ".join(f"{mx} {needed[mx]:,}" for mx in untold if mx in needed)
            wanted = f"; canaries still to be judged while the fault runs: {more}" if more else ""
            hopeless = f"; a share of {self._share:.2%} is too near the noise of {join_names(stuck)}" if stuck else ""
            return f"not yet told apart: {names} {_is_are(bad)} bad, {join_names(untold)} untold{wanted}{hopeless}"
        if not clean:
            return f"{names}: every leg of the route is bad" if len(self._legs) > 1 else f"{names}, the only leg"
        plan = max((p for mx in clean if (p := self._plan(mx))), key=lambda p: p.canaries)
        return (
            f"{'only ' if len(tuple(bad)) == 1 else ''}{names}: {join_names(clean)} had fewer than {plan.bad} overdue "
            f"of {plan.canaries:,} each, which a leg that loses {self._share:.0%} would have with at most {ERROR:.0%}"
        )


def join_names(names: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    every = list(names)
    return every[0] if len(every) == 1 else f"{', '.join(every[:-1])} and {every[-1]}" if every else "no leg"


def _is_are(names: Iterable[str]) -> str:
    return "is" if len(tuple(names)) == 1 else "are"


def _round_down(share: float) -> float:
    digits = 10.0 ** (1 - math.floor(math.log10(share)))
    return math.floor(share * digits + 1e-9) / digits
