"""What is normal on a leg: its latency and its noise, learned from its own last fourteen days.

Kept are two counts an hour and a histogram of the latency a day, not the canaries. Incidents are left out from their
estimated start to their all-clear, and count again once they are called false. Blind and paused time need no rule: in
it nothing is judged.

The noise q is the share of canaries that start an overdue run. It is the one figure that must not be too low (a route
whose noise is half as much again pages five times as often), so a cautious upper value is taken, over the whole day and
over each quarter of it, and the largest counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from probe.detection.threshold import Threshold, Tuning, threshold

VERSION = 1
DAY = 86_400
HOUR = 3_600
DAYS = 14
RATIO = 1.1  # between the bounds of the histogram's buckets
LEAST_NOISE = 0.0002
PRIOR = 1_000  # canaries with two overdue runs, of which everyone starts
QUARTER_PRIOR = 250
QUARTER_FROM = 500  # canaries in a quarter of the day before it is heard: its prior alone would say 0.8 %
LATENCIES_FROM = 500  # arrivals before their quantiles are believed
PAGES_FROM = 2_000  # canaries judged before a share pages: a ticket until then
LEAST_SUSPICION = 2.0
DRY_RUN_PAGES = 2  # pages the rule would have made for nothing, from which on it is too sharp

_LOG_RATIO = math.log(RATIO)
_SHORTEST = 1e-3


@dataclass(frozen=True, slots=True)
class Aim:
    """What is configured for a leg: seconds, shares from 0 to 1, canaries of its schedule in 30 days, and the false
    pages it may make in 30 days (the installation's, divided by its legs)."""

    overdue_after: float
    stall_limit: float
    smallest_loss: float
    canaries_a_month: float
    budget: float


@dataclass(frozen=True, slots=True)
class Calibrated:
    """``tuning`` is for the detector. ``noise``: q. ``judged``, ``runs``: what it rests on. ``too_noisy``: for a day
    and more the configured smallest loss cannot be told from the noise; it may be a small real loss that was there
    before us. ``threshold``: of the plain calibration; ``tuning.score`` may be higher by a point or two."""

    tuning: Tuning
    threshold: Threshold
    noise: float
    judged: int
    runs: int
    too_noisy: bool


@dataclass(slots=True)
class _Excluded:
    incident: str
    begin: float
    end: float | None


class Calibration:
    """One leg's history. Times are seconds since the epoch (detector_time.py)."""

    def __init__(self) -> None:
        self._hours: dict[int, list[int]] = {}  # hour since the epoch → judged, runs
        self._latencies: dict[int, dict[int, int]] = {}  # day since the epoch → bucket → arrivals
        self._excluded: list[_Excluded] = []
        self._totals = (0, 0)  # the detector's, when they were looked at last
        self._false_point = False
        self._dry_run_point = False
        self._noisy_since: float | None = None
        self._calibrated: float | None = None
        self._near = 0.0  # the last threshold: the next is seldom far from it

    def follow(self, at: float, judged: int, runs: int) -> None:
        """The detector's running totals at ``at``. Totals that went back are those of a new detector."""
        seen = self._totals if judged >= self._totals[0] and runs >= self._totals[1] else (0, 0)
        self._totals = (judged, runs)
        if judged > seen[0]:
            hour = self._hours.setdefault(int(at // HOUR), [0, 0])
            hour[0] += judged - seen[0]
            hour[1] += runs - seen[1]

    def latency(self, at: float, seconds: float) -> None:
        """A canary arrived ``seconds`` after it was sent. Not while an incident is open."""
        if any(one.end is None for one in self._excluded):
            return
        day = self._latencies.setdefault(int(at // DAY), {})
        bucket = math.floor(math.log(max(seconds, _SHORTEST)) / _LOG_RATIO)
        day[bucket] = day.get(bucket, 0) + 1

    def exclude(self, incident: str, begin: float) -> None:
        """An incident is open that began, by estimate, at ``begin``. A later, earlier estimate replaces it."""
        for one in self._excluded:
            if one.incident == incident:
                one.begin = min(one.begin, begin)
                return
        self._excluded.append(_Excluded(incident, begin, None))

    def closed(self, incident: str, end: float) -> None:
        """Its all-clear."""
        for one in self._excluded:
            if one.incident == incident:
                one.end = end

    def called_false(self, incident: str) -> None:
        """It was none: its time counts again, and until the next calibration one point more is asked for."""
        self._excluded = [one for one in self._excluded if one.incident != incident]
        self._false_point = True

    def dry_run(self, pages: int) -> bool:
        """``pages`` that the present rule would have made in the window beside the recorded incidents (dry_run.py).
        True where that is too many: a ticket, and one point more until a dry run finds fewer."""
        self._dry_run_point = pages >= DRY_RUN_PAGES
        return self._dry_run_point

    @property
    def score_to_try(self) -> float:
        """What a dry run found too sharp is a point less than what is used: the dry run tries it again without."""
        return float(self._dry_run_point)

    @property
    def incidents(self) -> list[tuple[float, float]]:
        """Begin and all-clear of the incidents of the window, in seconds; infinite where one is open."""
        return [(one.begin, math.inf if one.end is None else one.end) for one in self._excluded]

    def due(self, at: float) -> bool:
        """Whether an hour has passed since the last calibration."""
        return self._calibrated is None or at - self._calibrated >= HOUR

    def recalibrate(self, at: float, aim: Aim) -> Calibrated:
        """The figures for the next hour."""
        if self._calibrated is not None:
            self._false_point = False
        return self._figures(at, aim, calibrated=True)

    def figures(self, at: float, aim: Aim) -> Calibrated:
        """The figures as they are, without the hour's end: after a page was called false, say."""
        return self._figures(at, aim, calibrated=False)

    def _figures(self, at: float, aim: Aim, *, calibrated: bool) -> Calibrated:
        self._prune(at)
        noise, judged, runs = self._noise()
        needed = threshold(noise, aim.canaries_a_month, aim.budget, aim.smallest_loss, self._near)
        self._near = needed.score
        self._noisy_since = None if not needed.noisy else self._noisy_since if self._noisy_since is not None else at
        suspect_after, usual = self._quantiles(aim.overdue_after)
        tuning = Tuning(
            aim.overdue_after,
            aim.stall_limit,
            suspect_after,
            usual,
            needed.per_point,
            needed.score + self._false_point + self._dry_run_point,
            share_pages=judged >= PAGES_FROM,
        )
        if calibrated:
            self._calibrated = at
        too_noisy = self._noisy_since is not None and at - self._noisy_since >= DAY
        return Calibrated(tuning, needed, noise, judged, runs, too_noisy)

    def _noise(self) -> tuple[float, int, int]:
        quarters = [[0, 0] for _ in range(4)]
        for hour, (judged, runs) in self._hours.items():
            if not self._is_excluded(hour * HOUR, (hour + 1) * HOUR):
                quarter = quarters[hour % 24 // 6]
                quarter[0] += judged
                quarter[1] += runs
        judged, runs = sum(n for n, _ in quarters), sum(x for _, x in quarters)
        heard = [cautious(x, n, QUARTER_PRIOR) for n, x in quarters if n >= QUARTER_FROM]
        return max(LEAST_NOISE, cautious(runs, judged, PRIOR), *heard), judged, runs

    def _quantiles(self, overdue_after: float) -> tuple[float, float]:
        """S and the p80; half the deadline for both until enough has arrived."""
        merged: dict[int, int] = {}
        for day in self._latencies.values():
            for bucket, count in day.items():
                merged[bucket] = merged.get(bucket, 0) + count
        if sum(merged.values()) < LATENCIES_FROM:
            return overdue_after / 2, overdue_after / 2
        suspect_after = min(max(quantile(merged, 0.98), LEAST_SUSPICION), overdue_after / 2)
        return suspect_after, min(quantile(merged, 0.8), suspect_after)

    def _is_excluded(self, begin: float, end: float) -> bool:
        return any(one.begin < end and (one.end is None or one.end > begin) for one in self._excluded)

    def _prune(self, at: float) -> None:
        oldest = at - DAYS * DAY
        self._hours = {hour: counts for hour, counts in self._hours.items() if (hour + 1) * HOUR > oldest}
        self._latencies = {day: counts for day, counts in self._latencies.items() if (day + 1) * DAY > oldest}
        self._excluded = [one for one in self._excluded if one.end is None or one.end > oldest]

    def state(self) -> dict[str, Any]:
        """All of it as plain data for JSON."""
        return {
            "version": VERSION,
            "hours": [[hour, *counts] for hour, counts in sorted(self._hours.items())],
            "latencies": [[day, sorted([k, n] for k, n in counts.items())] for day, counts in self._latencies.items()],
            "excluded": [[one.incident, one.begin, one.end] for one in self._excluded],
            "totals": list(self._totals),
            "points": [self._false_point, self._dry_run_point],
            "noisy_since": self._noisy_since,
            "calibrated": self._calibrated,
        }

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Calibration:
        """From ``state``. Raises ``ValueError`` for a version it does not know."""
        if state.get("version") != VERSION:
            raise ValueError(f"a calibration's state of version {state.get('version')!r}, not {VERSION}")
        one = cls()
        one._hours = {hour: [judged, runs] for hour, judged, runs in state["hours"]}
        one._latencies = {day: dict(counts) for day, counts in state["latencies"]}
        one._excluded = [_Excluded(incident, begin, end) for incident, begin, end in state["excluded"]]
        one._totals = (state["totals"][0], state["totals"][1])
        one._false_point, one._dry_run_point = state["points"]
        one._noisy_since, one._calibrated = state["noisy_since"], state["calibrated"]
        return one


def cautious(runs: int, judged: int, prior: int) -> float:
    """An upper value of the share ``runs / judged``, of one that starts at two in ``prior``."""
    return (runs + math.sqrt(runs) + 2) / (judged + prior)


def quantile(buckets: dict[int, int], share: float) -> float:
    """The latency (seconds) below which ``share`` of the arrivals lie; inside a bucket by its logarithm."""
    rank = share * sum(buckets.values())
    below = 0.0
    for bucket, count in sorted(buckets.items()):
        if below + count >= rank:
            return float(RATIO ** (bucket + (rank - below) / count))
        below += count
    raise ValueError("nothing has arrived")
