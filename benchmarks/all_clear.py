"""The all-clear and the re-queue window, simulated through the code that runs: ``python -m benchmarks.all_clear``.

A leg with noise (each healthy canary is slow with chance q) and a fault that loses a share. Three questions: how often
is a fault that still runs called over, how long after a repair is it called over, and does the window to queue again
hold the fault's beginning? Time is simulated: canaries go at the gap that the code asks for, no faster than the caps,
and are judged when they arrive or ``overdue_after`` their sending. Nothing waits and nothing is sent.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from probe.clock import Instant
from probe.detection.recovery import FORGIVE, Phase, Recovery, Tally
from probe.detection.window import Placed, Window, requeue_window

OVERDUE_AFTER = 60.0
NOISE, NOISE_LOST = 0.0015, 0.0001
ZERO = Instant(1_790_000_000_000_000_000, 0, "simulated")


@dataclass(frozen=True, slots=True)
class Ended:
    """One run: seconds from the page to the all-clear, or None.

    ``proven``: to the canary that completed the first proof after the repair (noise in the hold may ask for another).
    """

    clear: float | None
    proven: float | None
    sent: int
    sent_after_repair: int


def at(seconds: float) -> Instant:
    """The instant so many seconds after the page."""
    nanoseconds = int(seconds * 1e9)
    return Instant(ZERO.wall + nanoseconds, nanoseconds, ZERO.boot_id)


def run(
    rng: random.Random,
    share: float,
    repaired: float,
    until: float,
    *,
    forgive: bool = False,
    slowest_gap: float = 1.0,
) -> Ended:
    """From the page on: a fault of ``share`` until ``repaired``, watched until ``until`` (seconds).

    ``slowest_gap``: what the caps allow, in seconds a canary (3 for 20 a minute).
    """
    noise = NOISE_LOST if forgive else NOISE
    recovery = Recovery(noise, _excursion(rng, share), forgive=FORGIVE if forgive else timedelta(0))
    judged: list[tuple[float, int, str]] = []
    now, sent, after, proven = 0.0, 0, 0, None
    while now < until:
        while judged and judged[0][0] <= now:
            due, number, verdict = heapq.heappop(judged)
            getattr(recovery, verdict)(str(number))
            recovery.tick(at(due))
            if proven is None and recovery.phase in (Phase.HOLDING, Phase.CLEAR):
                proven = _proven(recovery, repaired)
            if recovery.phase is Phase.CLEAR:
                return Ended(due, proven, sent, after)
        recovery.tick(at(now))
        recovery.sent(str(sent), at(now))
        for due, verdict in _fate(rng, now, share if now < repaired else 0.0):
            heapq.heappush(judged, (due, sent, verdict))
        sent += 1
        after += now >= repaired
        now += max(recovery.gap, slowest_gap)
    return Ended(None, None, sent, after)


def _excursion(rng: random.Random, share: float) -> Tally:
    """What the detector had seen from the first overdue canary to the page: a handful of bad ones."""
    if share >= 0.9:
        return Tally(7, 7)
    bad = 5
    return Tally(bad, bad + sum(int(math.log(1 - rng.random()) / math.log(1 - share)) for _ in range(bad - 1)))


def _proven(recovery: Recovery, repaired: float) -> float | None:
    """When the canary was sent that completed the proof; None for one before the repair."""
    proven = recovery.progress().proven_at
    seconds = None if proven is None else proven.since(ZERO).total_seconds()
    return None if seconds is None or seconds < repaired else seconds


def _fate(rng: random.Random, now: float, share: float) -> list[tuple[float, str]]:
    """When this canary is judged, and how: (seconds, the name of what ``Recovery`` is told)."""
    chance = rng.random()
    if chance < share:
        return [(now + OVERDUE_AFTER, "overdue")]
    if chance < share + (1 - share) * NOISE:
        late = now + rng.uniform(61, 600)
        return [(now + OVERDUE_AFTER, "overdue"), (late, "late")]
    return [(now + min(59.0, rng.lognormvariate(math.log(3), 0.9)), "punctual")]


def false_all_clears(share: float, runs: int, seed: int, **how: float | bool) -> dict[str, float]:
    """The share of ``runs`` that call a fault over that runs for 8 h; ``one_hour``: within the first."""
    rng = random.Random(seed)
    ended = [run(rng, share, math.inf, 8 * 3600, **how).clear for _ in range(runs)]  # type: ignore[arg-type]
    closed = [clear for clear in ended if clear is not None]
    return {"one_hour": sum(c <= 3600 for c in closed) / runs, "eight_hours": len(closed) / runs}


def after_repair(share: float, runs: int, seed: int, **how: float | bool) -> dict[str, float]:
    """Minutes from a repair two hours after the page to the proof, and to the all-clear with its hold."""
    rng, repaired = random.Random(seed), 2 * 3600.0
    ended = [run(rng, share, repaired, repaired + 8 * 3600, **how) for _ in range(runs)]  # type: ignore[arg-type]
    closed = [e for e in ended if e.clear is not None and e.proven is not None and e.clear >= repaired]
    early = sum(1 for e in ended if e.clear is not None and e.clear < repaired)
    proven = sorted((e.proven - repaired) / 60 for e in closed if e.proven is not None)
    clear = [(e.clear - repaired) / 60 for e in closed if e.clear is not None]
    return {
        "early": early / runs,
        "never": sum(1 for e in ended if e.clear is None) / runs,
        "mean": statistics.fmean(proven),
        "median": statistics.median(proven),
        "p95": proven[int(0.95 * (len(proven) - 1))],
        "clear_mean": statistics.fmean(clear),
        "canaries": statistics.median(e.sent_after_repair for e in closed),
    }


def one_window(rng: random.Random, share: float, interval: float, measured: int) -> tuple[Window, datetime]:
    """A fault's window after ``measured`` canaries since the page, and its true onset. ``interval``: seconds a canary.

    The score is that of the detector, without delays: a run of overdue ones +1, a punctual one -1/222, 1 a second while
    it is above 0; a page at 5.
    """
    zero = datetime(2026, 9, 9, 10, tzinfo=UTC)
    history: list[Placed] = []
    healthy = rng.randrange(4000, 5000)
    onset = healthy * interval + rng.uniform(0, interval)  # roughly: hunts in health bring canaries of their own
    now, score, first, bad, previous = 0.0, 0.0, 0, False, False
    while score < 5:
        lost = now >= onset and rng.random() < share
        bad = lost or rng.random() < NOISE
        if bad and not previous:
            first = len(history) if score <= 0 else first
            score += 1
        elif not bad:
            score = max(0.0, score - 1 / 222)
        history.append(Placed(zero + timedelta(seconds=now), lost))
        previous = bad
        now += 1.0 if score > 0 else interval
    after, last = Tally(0, 0), len(history) - 1
    for place in range(1, measured + 1):
        lost = rng.random() < share
        if lost or rng.random() < NOISE:
            after, last = Tally(after.bad + 1, place), len(history)
        history.append(Placed(zero + timedelta(seconds=now), lost))
        now += 1.0
    window = requeue_window(history, history[first].sent, history[last].sent, after)
    return window, zero + timedelta(seconds=onset)


def coverage(share: float, interval: float, measured: int, runs: int, seed: int) -> dict[str, float]:
    """How many of ``runs`` windows hold the onset, and by how many minutes they begin too early."""
    rng = random.Random(seed)
    early: list[float] = []
    while len(early) < runs:
        window, onset = one_window(rng, share, interval, measured)
        if window.last_bad >= onset:  # else noise paged before the fault began
            early.append((onset - window.start).total_seconds() / 60)
    early.sort()
    return {
        "covered": sum(minutes >= 0 for minutes in early) / runs,
        "median": statistics.median(early),
        "p95": early[int(0.95 * (runs - 1))],
    }


def main() -> None:
    """Print the tables. ``--runs``: a cell."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.all_clear", description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--shares", type=float, nargs="+", default=[1.0, 0.20, 0.05, 0.02, 0.01])
    parser.add_argument("--no-window", action="store_true", help="leave the re-queue window out")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if not options.no_window:
        _print_windows(options.shares, options.seed)
    _print_all_clears(options.shares, options.runs, options.seed)


def _print_windows(shares: Sequence[float], seed: int) -> None:
    print("share  interval  measured   window holds the onset   too early by: median/p95 min")
    for interval in (60.0, 5.0):
        for share in (share for share in shares if share < 1):
            for measured in (600, 4000):
                held = coverage(share, interval, measured, 400, seed)
                print(
                    f"{share:5.0%}  {interval:6.0f} s  {measured:8}   {held['covered']:22.2%}"
                    f"   {held['median']:10.0f} {held['p95']:6.0f}",
                    flush=True,
                )


def _print_all_clears(shares: Sequence[float], runs: int, seed: int) -> None:
    print("share  judged   cap/min  false in 1 h / 8 h   repair to proof: mean/median/p95 min   to all-clear  canaries")
    for share in shares:
        for forgive in (False, True):
            for gap in (1.0, 3.0):
                how = {"forgive": forgive, "slowest_gap": gap}
                false = false_all_clears(share, runs, seed, **how)
                over = after_repair(share, runs, seed, **how)
                print(
                    f"{share:5.0%}  {'lost' if forgive else 'overdue':7}  {60 / gap:5.0f}    "
                    f"{false['one_hour']:6.1%} / {false['eight_hours']:5.1%}      "
                    f"{over['mean']:6.1f} {over['median']:6.1f} {over['p95']:6.1f}              "
                    f"{over['clear_mean']:6.1f}        {over['canaries']:.0f}"
                    f"   early {over['early']:.1%} never {over['never']:.1%}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
