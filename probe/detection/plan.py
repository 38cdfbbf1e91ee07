"""What can the present rate see, and which rate does a target need? A model of the detector, as a table of data.

Two parts. The wait for the first lost canary, which no rule can shorten: (1/p - 1/2) intervals on average, and judged
``overdue_after`` later. Then the hunt, at the rate that the caps allow: H - 1 points more, of which each canary brings
p(1 - p) (a run of lost ones counts once) less what the good ones take back. A total loss pages by the blackout rule
instead. Against the simulated detector (one leg and forty, 1 to 12 canaries a minute, 1 to 20 % and all lost) the model
is right within 15 % at 60 a minute and within 21 %, on the slow side, under caps of 20 a minute. It knows of no stalls,
no blind time and no other legs that hunt at the same time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from probe.detection.bounds import canaries_to_see, upper_bound
from probe.detection.pace import Cap, in_words, seconds_to_send
from probe.detection.recovery import FAST_GAP
from probe.detection.threshold import Threshold, threshold

MONTH_MINUTES = 30 * 24 * 60
PAGE_DELAY = 25.0  # seconds from the decision to the pager: scrape, evaluation, group_wait
SHARES = (1.0, 0.20, 0.05, 0.02, 0.01)
SLOWEST, FASTEST = 1 / 60, 60.0  # canaries a minute


@dataclass(frozen=True, slots=True)
class Leg:
    """What the model needs of a leg. Times in seconds, ``rate`` in canaries a minute on this leg.

    ``budget``: false pages a month that are this leg's; ``caps``: what binds its extras (20 in 60 s, and so on);
    ``noise``: q, ``suspect_after``: S, ``stall_limit``: W.
    """

    rate: float
    overdue_after: float = 60.0
    suspect_after: float = 20.0
    stall_limit: float = 50.0
    noise: float = 0.0015
    budget: float = 0.65
    smallest_loss: float = 0.01
    caps: Sequence[Cap] = ((60, 60.0),)

    @property
    def threshold(self) -> Threshold:
        """H and m of this leg."""
        return _threshold(self.noise, self.rate, self.budget, self.smallest_loss)


@dataclass(frozen=True, slots=True)
class Sight:
    """How fast a loss of ``share`` pages at this rate: seconds from its onset to the decision, add PAGE_DELAY.

    ``floor``: the mean that no rule can beat; ``mean`` and ``within`` (at ``confidence``): of this detector, infinite
    where it does not find such a share. ``canaries``: for one lost one to be seen with ``confidence``.
    """

    share: float
    floor: float
    mean: float
    within: float
    confidence: float
    canaries: int

    @property
    def found(self) -> bool:
        return math.isfinite(self.within)


@dataclass(frozen=True, slots=True)
class Needed:
    """The rate that a target needs, in canaries a minute on each leg; None where none does, and why in ``sentence``."""

    rate: float | None
    sight: Sight | None
    sentence: str


def see(leg: Leg, share: float, confidence: float = 0.95) -> Sight:
    """How fast ``share`` (0 < share <= 1) of this leg's mail lost is found. ``confidence`` between 0 and 1."""
    if not 0 < share <= 1 or not 0 < confidence < 1:
        raise ValueError("a share lies above 0 and not above 1, a confidence between 0 and 1")
    interval = 60 / leg.rate
    first = (1 / share - 0.5) * interval
    # The onset falls anywhere between two canaries: half an interval early, unless the first one is lost already.
    unlucky = math.log(1 - confidence) / math.log(1 - share) - 0.5 if share < 1 else 0.0
    latest = max(unlucky, confidence) * interval
    rest = min(_blackout(leg, interval) if share >= 1 else math.inf, _hunt(leg, share))
    canaries = canaries_to_see(share, confidence) if share < 1 else 1
    return Sight(share, first + leg.overdue_after, first + rest, latest + rest, confidence, canaries)


def table(leg: Leg, shares: Sequence[float] = SHARES, confidence: float = 0.95) -> tuple[Sight, ...]:
    """``see`` for each share."""
    return tuple(see(leg, share, confidence) for share in shares)


def needed_rate(leg: Leg, share: float, within: float, confidence: float = 0.95) -> Needed:
    """The slowest rate at which a loss of ``share`` is on the pager ``within`` so many seconds, at ``confidence``.

    ``leg.rate`` is not used; the rate is found between one canary an hour and one a second, to 1 %.
    """
    fastest = see(replace(leg, rate=_fastest(leg)), share, confidence)
    if not fastest.found:
        least = replace(leg, rate=1.0).threshold.smallest_loss
        why = f"a loss of {share:.2%} is too near the noise: shares from {least:.2%} on are looked for"
        return Needed(None, None, why)
    if fastest.within + PAGE_DELAY > within:
        best, most = in_words(fastest.within + PAGE_DELAY), math.floor(_fastest(leg) * 10) / 10
        return Needed(None, fastest, f"no rate does: at {most:g} a minute it takes {best}, at {confidence:.0%}")
    low, high = math.log(SLOWEST), math.log(_fastest(leg))
    while high - low > 0.01:
        middle = (low + high) / 2
        if see(replace(leg, rate=math.exp(middle)), share, confidence).within + PAGE_DELAY <= within:
            high = middle
        else:
            low = middle
    rate = math.exp(high)
    sight = see(replace(leg, rate=rate), share, confidence)
    return Needed(
        rate,
        sight,
        f"one canary every {often(rate, _fastest(leg)):g} s on each leg finds a loss of {share:.2%} "
        f"within {in_words(within)} at {confidence:.0%} "
        f"({in_words(sight.mean + PAGE_DELAY)} on average)",
    )


def often(rate: float, fastest: float = FASTEST) -> float:
    """Seconds between canaries, as few digits as will do, at which a leg sends at least ``rate`` a minute; as far as
    milliseconds can say it not more than ``fastest``, nor a twentieth more than is asked for."""
    for step in (1, 10, 100, 1000):  # of them in a second
        seconds = math.floor(60 / rate * step) / step
        if seconds and 60 / seconds <= min(fastest, 1.05 * rate):
            return seconds
    return seconds


def ruled_out(leg: Leg, seconds: float, confidence: float = 0.95) -> float:
    """The share lost that ``seconds`` without a lost canary rule out at this rate, at ``confidence``."""
    judged = math.floor(seconds * leg.rate / 60)
    return upper_bound(0, judged, confidence) if judged else 1.0


def _hunt(leg: Leg, share: float) -> float:
    """Seconds from the sending of the first lost canary to the page of the share rule, on average."""
    found = leg.threshold
    drift = share * (1 - share) - (1 - share) / found.per_point
    if share >= 1 or drift <= 0 or not math.isfinite(found.score):
        return math.inf
    more = max(0.0, found.score - 1)
    if not more:
        return leg.overdue_after
    # The hunt begins when the first one is overdue, and its canaries are judged as much later.
    return 2 * leg.overdue_after + seconds_to_send(math.ceil(more / drift), FAST_GAP, leg.caps)


def _blackout(leg: Leg, interval: float) -> float:
    """Seconds from the first lost canary to the page when nothing arrives: the next one must outlive a stall."""
    return max(leg.overdue_after, min(interval, leg.suspect_after) + leg.stall_limit)


def _fastest(leg: Leg) -> float:
    """The fastest schedule that the caps bear, a minute."""
    return min([FASTEST, *(most * 60 / per for most, per in leg.caps)])


@lru_cache(maxsize=1024)
def _threshold(noise: float, rate: float, budget: float, smallest_loss: float) -> Threshold:
    return threshold(noise, rate * MONTH_MINUTES, budget, smallest_loss)
