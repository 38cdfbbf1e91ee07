"""How many points make a page: the smallest threshold that keeps the false pages within their budget, exactly.

The score is an ordinary CUSUM (Page, Biometrika 41, 1954) for a share ``p`` against the share ``q`` of healthy canaries
that start an overdue run, divided by the weight of one such run, so that it reads "overdue runs more than expected":
+1 for a run, -1/m for a punctual canary, never below 0. Its mean run length has no closed form, and needs none: it
obeys a recursion that is solved exactly in one pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

CANARIES_HUNTED = 1.45  # canaries in health, the extra ones included, to each canary of the schedule
NOISE_MARGIN = 3.0  # a share is told from noise when it is this many times as large
TENTHS = 10
MOST_POINTS = 60.0
LONGEST = 1e12  # canaries
_NEVER_STEEP = 1e-15
NOISIEST = 0.3  # with more of the healthy canaries overdue than this, a share means nothing


@dataclass(frozen=True, slots=True)
class Tuning:
    """What a leg's detector works with; seconds. ``overdue_after`` (T): a canary later than this is a problem.
    ``stall_limit`` (W): the longest harmless restart, and some. ``suspect_after`` (S): the p98 latency of the leg;
    ``usual``: the p80. ``per_point`` (m): punctual canaries that take back one point. ``score`` (H): the points that
    page. ``share_pages``: else a share raises a ticket, for the leg's noise is not known yet."""

    overdue_after: float
    stall_limit: float
    suspect_after: float
    usual: float
    per_point: int
    score: float
    share_pages: bool = True


def stall_limit(overdue_after: float) -> float:
    """W where none is configured (seconds): an outage shorter than ``overdue_after`` must not page."""
    return min(50.0, 0.8 * overdue_after)


@dataclass(frozen=True, slots=True)
class Threshold:
    """``score``: the points that page (infinite: the route is too noisy for any). ``per_point``: punctual canaries
    that take one point back (m). ``smallest_loss``: the smallest share looked for; larger than the configured one where
    the noise is too high for that (``noisy``). ``false_pages``: expected of this leg in 30 days."""

    score: float
    per_point: int
    smallest_loss: float
    false_pages: float
    noisy: bool


@lru_cache(maxsize=4096)
def threshold(
    noise: float, canaries_a_month: float, budget: float, smallest_loss: float = 0.01, near: float = 0.0
) -> Threshold:
    """The threshold of one leg.

    ``noise``: the share of healthy canaries that start an overdue run, more than 0. ``canaries_a_month``: by the
    schedule, in 30 days. ``budget``: false pages that this leg may make in 30 days. ``smallest_loss``: the configured
    smallest share to find fast. ``near``: a score to try first, which saves most of the search; it changes no result.
    """
    noisy = noise > smallest_loss / NOISE_MARGIN
    share = NOISE_MARGIN * noise if noisy else smallest_loss
    if noise >= NOISIEST:
        return Threshold(math.inf, 1, 1.0, 0.0, True)
    per_point = canaries_per_point(noise, share)
    if noise * canaries_a_month * CANARIES_HUNTED <= 0:
        return Threshold(1.0, per_point, share, 0.0, noisy)

    def false_pages(tenths: int) -> float:
        return canaries_a_month * CANARIES_HUNTED / mean_run_length(noise, per_point, tenths / TENTHS)

    tried = round(near * TENTHS) if math.isfinite(near) else 0
    # Fewer with each tenth: where one is few enough and the tenth before is not, it is the smallest.
    if tried > TENTHS and (few := false_pages(tried)) <= budget < false_pages(tried - 1):
        return Threshold(tried / TENTHS, per_point, share, few, noisy)
    low, high = TENTHS, 2 * TENTHS
    while false_pages(high) > budget:
        low, high = high, 2 * high
        if high > MOST_POINTS * TENTHS:
            return Threshold(math.inf, per_point, share, 0.0, True)
    while low < high:
        middle = (low + high) // 2
        if false_pages(middle) <= budget:
            high = middle
        else:
            low = middle + 1
    return Threshold(high / TENTHS, per_point, share, false_pages(high), noisy)


def canaries_per_point(noise: float, share: float) -> int:
    """m: how many punctual canaries weigh as much as one overdue run, ``share`` against ``noise`` (both 0 to 1)."""
    return max(1, round(math.log(share / noise) / math.log((1 - noise) / (1 - share))))


def mean_run_length(noise: float, per_point: int, score: float) -> float:
    """Canaries, on average, from a score of 0 to a page at ``score``, when the share ``noise`` starts a run.

    In units of 1/m the score goes up by m with chance q and down by 1 otherwise. From i units the mean number of
    canaries left is E(i) = 1 + q E(i+m) + (1-q) E(i-1), with E = 0 from the page on and E(-1) = E(0). Each is
    slope(i) u + offset(i) with u = E(n-1): from the top down to the floor, where u is solved for. O(n). Infinite where
    it exceeds a million million canaries: there double precision says no more.
    """
    n = max(1, math.ceil(score * per_point - 1e-9))
    down = 1 - noise
    slope, offset = [0.0] * (n + per_point), [0.0] * (n + per_point)  # nought from n on: the page
    slope[n - 1] = 1.0
    for i in range(n - 1, 0, -1):
        slope[i - 1] = (slope[i] - noise * slope[i + per_point]) / down
        offset[i - 1] = (offset[i] - 1 - noise * offset[i + per_point]) / down
    # The floor: E(0) = 1 + q E(m) + (1-q) E(0).
    steepness = noise * (slope[0] - slope[per_point])
    if steepness <= _NEVER_STEEP:
        return math.inf
    length = slope[0] * (1 - noise * (offset[0] - offset[per_point])) / steepness + offset[0]
    return length if length < LONGEST else math.inf
