"""From the configuration to what the model of the detector (detection/plan.py) needs of a leg, and its answer.

Every limit is shared: by the legs of a route, by routes with the same recipient or domain, by all. What the schedule
of the others uses of it is not there for the leg that hunts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from probe.config.model import Config, Route
from probe.detection.pace import Cap, in_words
from probe.detection.plan import PAGE_DELAY, SHARES, Leg, Sight, needed_rate, see
from probe.detection.threshold import stall_limit
from probe.options import Rate

NOISE = 0.002  # what a route without history is taken to have (the prior of the calibration)
CONFIDENCE = 0.95
ASSUMED = ("any",)
_ROUNDS = 12
_DIFFERS = 0.01


@dataclass(frozen=True, slots=True)
class Target:
    """Find a loss of ``share`` (0 to 1) on the pager within ``seconds``."""

    share: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit, and canaries a minute of the schedules under it. ``others``: without the leg itself."""

    name: str
    rate: Rate
    others: float

    @property
    def minutes(self) -> float:
        return self.rate.per.total_seconds() / 60

    @property
    def cap(self) -> Cap:
        """What is left of it for one leg, its own schedule included; one where the others need all of it."""
        return max(1, math.floor(self.rate.count - self.others * self.minutes)), self.rate.per.total_seconds()

    @property
    def text(self) -> str:
        return f"{self.name} {self.rate}"


@dataclass(frozen=True, slots=True)
class Noise:
    """q, and where it is from, in words: ``learned from 12,400 canaries``."""

    share: float
    origin: str


@dataclass(frozen=True, slots=True)
class Installation:
    """The configuration with the legs of each route. ``noise``: q, by route; ``known``: the routes whose legs are
    known."""

    config: Config
    legs: Mapping[str, tuple[str, ...]]
    known: frozenset[str]
    noise: Mapping[str, Noise]

    def limits(self, name: str, rate: float) -> list[Limit]:
        """What binds one leg of a route whose legs send ``rate`` canaries a minute each."""
        route, limits = self.config.routes[name], self.config.limits
        domain = _domain(route)
        scopes: list[tuple[str, Sequence[Rate], list[str]]] = [
            ("per_recipient", limits.per_recipient, self._routes(lambda one: one.rcpt_to == route.rcpt_to)),
            ("per_route", limits.per_route, [name]),
            ("max_rate", (self.config.detection.max_rate,), [name]),
            ("per_domain", limits.per_domain, self._routes(lambda one: _domain(one) == domain)),
            ("total", limits.total, list(self.config.routes)),
        ]
        found = []
        for scope, rates, routes in scopes:
            every = sum(
                len(self.legs[one]) * (rate if one == name else _rate(self.config.routes[one])) for one in routes
            )
            found += [Limit(scope, cap, every - rate) for cap in rates]
        return found

    def _routes(self, like: Any) -> list[str]:
        return [name for name, route in self.config.routes.items() if like(route)]


@dataclass(frozen=True, slots=True)
class Seen:
    """How fast one share is found, and by which limit the hunt is held back ("" for none)."""

    sight: Sight
    bound_by: str


@dataclass(frozen=True, slots=True)
class Outlook:
    """One route: what it sees now, and what the target needs (``rate``: canaries a minute on each leg, or None)."""

    route: str
    legs: tuple[str, ...]
    known: bool
    paging: bool
    leg: Leg
    sees: tuple[Seen, ...]
    target: Target
    rate: float | None
    met: bool
    sentence: str
    notes: tuple[str, ...]
    noise_origin: str

    def to_json(self) -> dict[str, Any]:
        threshold = self.leg.threshold
        return {
            "route": self.route,
            "legs": list(self.legs),
            "legs_known": self.known,
            "paging": self.paging,
            "rate_per_minute": self.leg.rate,
            "false_pages_per_month": self.leg.budget,
            "noise": self.leg.noise,
            "noise_origin": self.noise_origin,
            "score": _finite(threshold.score),
            "smallest_loss": threshold.smallest_loss,
            "page_delay_seconds": PAGE_DELAY,
            "sees": [_seen_json(one) for one in self.sees],
            "target": {
                "loss": self.target.share,
                "within_seconds": self.target.seconds,
                "confidence": CONFIDENCE,
                "met": self.met,
                "rate_per_minute": self.rate,
                "every_seconds": self.rate and 60 / self.rate,
                "sentence": self.sentence,
            },
            "notes": list(self.notes),
        }


def installation(
    config: Config, legs: Mapping[str, tuple[str, ...]], noise: Mapping[str, Noise] | None = None
) -> Installation:
    """``legs``: those that are known, by route; any other route is taken to have one. ``noise``: likewise, and any
    other is taken to have what one without history has."""
    known = frozenset(name for name in config.routes if legs.get(name))
    heard = {name: (noise or {}).get(name) or Noise(NOISE, "assumed") for name in config.routes}
    return Installation(config, {name: legs.get(name) or ASSUMED for name in config.routes}, known, heard)


def legs_in(hosts: Sequence[str]) -> tuple[str, ...]:
    """The hosts of a route, in order."""
    return tuple(sorted(hosts))


def outlook(found: Installation, name: str, target: Target) -> Outlook:
    """What one route sees, and the rate that ``target`` needs of each of its legs. Raises KeyError on no such route."""
    route = found.config.routes[name]
    limits = found.limits(name, _rate(route))
    leg = _leg(found, route, _rate(route), limits)
    shares = sorted({*SHARES, target.share}, reverse=True)
    sees = tuple(Seen(see(leg, share, CONFIDENCE), _bound_by(leg, share, limits)) for share in shares)
    asked = next(one for one in sees if one.sight.share == target.share)
    now, held = asked.sight, f"; {asked.bound_by} holds it back" if asked.bound_by else ""
    met = now.within + PAGE_DELAY <= target.seconds
    rate, needs = _needed(found, name, target)
    if met:
        took = in_words(now.within + PAGE_DELAY)
        has = f"one canary every {route.every.total_seconds():g} s on each leg finds a loss of {target.share:.2%}"
        sentence = f"the present rate will do: {has} within {took} at {CONFIDENCE:.0%}. Needed: {needs}"
    else:
        sentence = needs if rate else needs + held
    return Outlook(
        name,
        found.legs[name],
        name in found.known,
        route.paging,
        leg,
        sees,
        target,
        rate,
        met,
        sentence,
        tuple(_notes(found, name, leg, limits)),
        found.noise[name].origin,
    )


def _needed(found: Installation, name: str, target: Target) -> tuple[float | None, str]:
    """The slowest rate that will do and its sentence. The faster the other legs of the route send, the less is left of
    the limits for the one that hunts: so the rate is raised until it holds with the others at it too."""
    route = found.config.routes[name]
    rate, sentence = 0.0, ""
    for _ in range(_ROUNDS):
        leg = _leg(found, route, max(rate, 1 / 60), found.limits(name, rate))
        needed = needed_rate(leg, target.share, target.seconds, CONFIDENCE)
        sentence = needed.sentence
        if needed.rate is None:
            return None, sentence
        if needed.rate <= rate * (1 + _DIFFERS):
            return needed.rate, sentence
        rate = needed.rate
    return None, "no rate does: the limits leave too little for the legs of this route together"


def _leg(found: Installation, route: Route, rate: float, limits: Sequence[Limit]) -> Leg:
    config, overdue = found.config, route.overdue_after.total_seconds()
    paging = sum(len(found.legs[name]) for name, one in config.routes.items() if one.paging)
    stall = config.detection.stall_limit
    return Leg(
        rate=rate,
        overdue_after=overdue,
        suspect_after=overdue / 2,
        stall_limit=stall_limit(overdue) if stall is None else stall.total_seconds(),
        noise=found.noise[route.name].share,
        budget=config.detection.false_pages_per_month / max(1, paging),
        smallest_loss=float(config.detection.smallest_loss),
        caps=tuple(limit.cap for limit in limits),
    )


def _bound_by(leg: Leg, share: float, limits: Sequence[Limit]) -> str:
    """The limit that costs the most time; "" where none costs any."""
    free = see(replace(leg, caps=()), share, CONFIDENCE).mean
    alone = [(see(replace(leg, caps=(limit.cap,)), share, CONFIDENCE).mean, limit.text) for limit in limits]
    slowest, text = max(alone, key=lambda one: one[0])
    return text if slowest > free * (1 + _DIFFERS) else ""


def _notes(found: Installation, name: str, leg: Leg, limits: Sequence[Limit]) -> list[str]:
    said = []
    if name not in found.known:
        said.append("no canary was sent in the last day, so one leg is assumed")
    for limit in limits:
        if limit.others * limit.minutes + leg.rate * limit.minutes > limit.rate.count:
            said.append(f"the schedule alone needs more than {limit.text}; canaries wait for it")
    if leg.threshold.noisy:
        said.append(f"too noisy to find {leg.smallest_loss:.2%}: shares from {leg.threshold.smallest_loss:.2%} on are")
    if not found.config.routes[name].paging:
        said.append("it does not page (paging: false); the times are what they would be")
    return said


def _seen_json(seen: Seen) -> dict[str, Any]:
    sight = seen.sight
    return {
        "loss": sight.share,
        "floor_seconds": sight.floor,
        "mean_seconds": _finite(sight.mean),
        "within_seconds": _finite(sight.within),
        "confidence": sight.confidence,
        "canaries": sight.canaries,
        "bound_by": seen.bound_by or None,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _rate(route: Route) -> float:
    """Canaries a minute on each leg."""
    return 60 / route.every.total_seconds()


def _domain(route: Route) -> str:
    return route.rcpt_to.rpartition("@")[2].lower()
