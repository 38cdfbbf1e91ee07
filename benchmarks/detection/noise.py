"""What a healthy path does to mail: the latency of each canary, and the stalls and blind gaps of a month."""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import NormalDist

DAY = 86_400.0
NEVER = math.inf
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Noise:
    """A healthy path. Latency is lognormal; ``slow`` of all mails take 1-10 minutes; ``clumped`` of all are retried
    after 5-15 minutes, in clumps of 1-5. Stalls hold all mail for ``stall`` seconds; ``deferring`` of them have it
    retried 5-15 minutes later. While blind (``gap`` seconds) no mailbox is read."""

    name: str
    median: float
    sigma: float
    slow: float = 0.001
    clumped: float = 0.0001
    stalls_a_day: float = 4.0
    stall: tuple[float, float] = (5.0, 45.0)
    deferring: float = 0.0
    gaps_a_day: float = 2.0
    gap: tuple[float, float] = (30.0, 300.0)
    # The busiest quarter of the day has this many times the slow mail of the quietest.
    day_and_night: float = 1.0

    def quantile(self, share: float) -> float:
        """Of the latency, without the noise beside it."""
        return self.median * math.exp(self.sigma * _NORMAL.inv_cdf(share))

    def beyond(self, seconds: float) -> float:
        """The chance that an ordinary mail takes longer."""
        return 1 - _NORMAL.cdf(math.log(seconds / self.median) / self.sigma)

    def slow_at(self, moment: float) -> float:
        """The chance that a mail sent at ``moment`` is a slow one."""
        if self.day_and_night == 1:
            return self.slow
        swing = (self.day_and_night - 1) / (self.day_and_night + 1)
        return self.slow * (1 + swing * math.sin(2 * math.pi * moment / DAY))


INET = Noise("inet", 3.0, 0.9)
OWN = Noise("own", 0.3, 0.5)
QUIET_OWN = Noise("own, no noise", 0.3, 0.5, slow=0, clumped=0, stalls_a_day=0, gaps_a_day=0)


@dataclass(frozen=True, slots=True)
class Spells:
    """Disjoint intervals (begin, end), rising."""

    spells: tuple[tuple[float, float], ...] = ()
    begins: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "begins", tuple(begin for begin, _ in self.spells))

    def at(self, moment: float) -> tuple[float, float] | None:
        """The one that holds ``moment``."""
        place = bisect_right(self.begins, moment) - 1
        if place >= 0 and moment < self.spells[place][1]:
            return self.spells[place]
        return None

    def next_begin(self, moment: float) -> float:
        """When the next one begins that is not over at ``moment``: now or earlier, if one holds it."""
        place = bisect_right(self.begins, moment)
        if place and moment < self.spells[place - 1][1]:
            return self.spells[place - 1][0]
        return self.begins[place] if place < len(self.begins) else NEVER


def random_spells(rng: random.Random, until: float, a_day: float, length: tuple[float, float]) -> Spells:
    """A Poisson stream of spells, uniformly long; those that would overlap begin where the one before ended."""
    found: list[tuple[float, float]] = []
    moment = 0.0
    while a_day:
        moment += rng.expovariate(a_day / DAY)
        if moment >= until:
            break
        begin = max(moment, found[-1][1]) if found else moment
        found.append((begin, begin + rng.uniform(*length)))
    return Spells(tuple(found))


def every(period: float, length: float, begin: float, until: float) -> Iterable[tuple[float, float]]:
    """A spell of ``length`` in each ``period`` seconds."""
    while begin < until:
        yield begin, begin + length
        begin += period


class Draw:
    """The latencies of a path's canaries, drawn one after the other. ``rare_above``: a canary slower than this is
    called rare; ``common`` says how many in a row are not, without drawing each of them."""

    def __init__(self, noise: Noise, rng: random.Random, rare_above: float) -> None:
        self._noise = noise
        self._rng = rng
        self._mu = math.log(noise.median)
        self._tail = noise.beyond(rare_above)
        self.clump = 0

    def latency(self, moment: float) -> float:
        """Seconds from sending to arrival, before stalls."""
        rng = self._rng
        if self.clump:
            self.clump -= 1
            return rng.uniform(300, 900)
        chance = rng.random() - self._noise.slow_at(moment)
        if chance < 0:
            return rng.uniform(60, 600)
        if chance < self._noise.clumped / 2:
            return self._clump()
        return rng.lognormvariate(self._mu, self._noise.sigma)

    def rare_share(self, lost: float) -> float:
        """Of all canaries, ``lost`` of which never arrive; at the noisiest time of the day."""
        common = (1 - lost) * (1 - self._most_slow() - self._noise.clumped / 2) * (1 - self._tail)
        return 1 - common

    def common(self, lost: float) -> int:
        """How many canaries in a row are not rare."""
        rare = self.rare_share(lost)
        return 0 if rare >= 1 else int(math.log(1 - self._rng.random()) / math.log1p(-rare))

    def rare(self, lost: float, moment: float) -> float:
        """The latency of a canary that may be rare (``rare_share`` is that of the noisiest time)."""
        rng = self._rng
        chance = rng.random() * self.rare_share(lost) - lost
        if chance < 0:
            return NEVER
        if chance < (1 - lost) * self._most_slow():
            slow = chance < (1 - lost) * self._noise.slow_at(moment)
            return rng.uniform(60, 600) if slow else self._noise.median
        chance -= (1 - lost) * self._most_slow()
        if chance < (1 - lost) * self._noise.clumped / 2:
            return self._clump()
        share = 1 - self._tail * (1 - rng.random())
        return self._noise.quantile(min(share, 1 - 1e-15))

    def _most_slow(self) -> float:
        high = self._noise.day_and_night
        return self._noise.slow * 2 * high / (high + 1)

    def _clump(self) -> float:
        # Clumps of 1 to 5, 2 on average.
        self.clump = self._rng.choices((0, 1, 2, 3, 4), (0.47, 0.26, 0.14, 0.08, 0.05))[0]
        return self._rng.uniform(300, 900)
