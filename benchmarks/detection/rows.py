"""The table, row by row: what was measured beside its bar."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.detection import bars, cells
from benchmarks.detection.cells import Months
from probe.detection.detector import Detector

Row = tuple[str, str, str, bool | None]
Play = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], list[Any]]  # a function over many arguments


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is played: runs a cell, months of a leg by rate (1, 6, 12 a minute), stalls, blind cases."""

    runs: int
    months: dict[str, tuple[int, int, int]]
    unseen: tuple[int, int, int]
    stalls: int
    cases: int


FULL = Sizes(1_000, {"inet": (600, 60, 30), "own": (300, 30, 15)}, (60, 12, 6), 4_000, 1_000)
QUICK = Sizes(60, {"inet": (20, 3, 2), "own": (10, 2, 1)}, (4, 1, 1), 200, 60)


def paged(play: Play, sizes: Sizes, seed: str) -> Iterator[Row]:
    """Time to page, by noise, rate, cap and share, with the threshold of forty legs."""
    for (noise, rate, cap), limits in bars.PAGED.items():
        for share, bar in zip(bars.SHARES, limits, strict=True):
            jobs = [(f"{seed} {noise} {rate} {share} {n}", noise, rate, cap, share, 40) for n in range(sizes.runs)]
            minutes = sorted(play(cells.time_to_page, jobs))
            name = f"{noise} {rate}/min, cap {cap}/min, {share:.0%} lost"
            met = statistics.mean(minutes) <= bar
            limit = f"{bar:g}"
            if noise == "inet" and share == 1:
                most = bars.TOTAL_P95[rate]
                met = met and _percentile(minutes, 0.95) <= most
                limit += f", p95 {most:g}"
            yield name, spread(minutes), limit, met


def alone(play: Play, sizes: Sizes, seed: str) -> Iterator[Row]:
    """The same with the threshold of a single leg; it has no bar."""
    for rate in bars.RATES:
        for share in bars.SHARES:
            jobs = [(f"{seed} one {rate} {share} {n}", "inet", rate, 20, share, 1) for n in range(sizes.runs // 2)]
            name = f"inet {rate}/min, cap 20/min, {share:.0%} lost, one leg's threshold"
            yield name, spread(sorted(play(cells.time_to_page, jobs))), "", None


def false_pages(play: Play, sizes: Sizes, seed: str) -> Iterator[Row]:
    """Months of health, and the extra canaries they took."""
    for noise, months in sizes.months.items():
        for rate, count in zip(bars.RATES, months, strict=True):
            for legs in (40, 1):
                jobs = [(f"{seed} {noise} {rate} {legs} {n}", noise, rate, 20, 1, legs) for n in range(count)]
                total = _sum(play(cells.healthy, jobs))
                in_600 = total.pages * 600 / total.months
                name = f"{noise} {rate}/min, health, threshold of {legs} leg{'s' * (legs > 1)}"
                found = f"{total.pages} in {total.months:g} leg-months: {total.pages / total.months * legs:.2f} a month"
                if legs == 40:
                    yield name, f"{found}; {in_600:.0f} in 600", f"{bars.FALSE_PAGES:g} in 600", in_600 <= 15
                    extra = total.extras / total.base
                    yield f"{name}, extras", f"{extra:+.1%}", f"{bars.EXTRAS:+.0%}", extra <= bars.EXTRAS
                else:
                    yield name, found, "", None


def other_noise(play: Play, sizes: Sizes, seed: str) -> Iterator[Row]:
    """Noise that nothing was set on, learned by the real calibration for 14 days before."""
    for rate, count in zip(bars.RATES, sizes.unseen, strict=True):
        total = _sum(play(cells.unseen, [(f"{seed} unseen {rate} {n}", rate, 1) for n in range(count)]))
        a_month = 40 * total.pages / total.months
        found = f"{total.pages} in {total.months:g} leg-months: {a_month:.2f} a month of 40 legs"
        yield f"unseen noise {rate}/min", found, f"{bars.UNSEEN_A_MONTH:g}", a_month < bars.UNSEEN_A_MONTH


def stalls(play: Play, sizes: Sizes, seed: str) -> Iterator[Row]:
    """One stall of exactly so many seconds."""
    for noise, rate, seconds in (("inet", 1, 45), ("inet", 12, 45), ("own", 1, 45), ("own", 12, 45)):
        share = _share(play(cells.one_stall, [(f"{seed} {n}", noise, rate, seconds) for n in range(sizes.stalls)]))
        yield f"{noise} {rate}/min, stall of {seconds} s", f"pages in {share:.2%}", "≤ 0.2%", share <= bars.STALL_PAGES
    for noise, seconds in (("inet", 75), ("own", 65)):
        share = _share(play(cells.one_stall, [(f"{seed} {n}", noise, 12, seconds) for n in range(sizes.stalls)]))
        yield f"{noise} 12/min, stall of {seconds} s", f"pages in {share:.2%}", "≥ 99%", share >= bars.STALL_SEEN


def blindness(play: Play, sizes: Sizes, seed: str) -> Iterator[Row]:
    """What the watcher's own blindness hides, and does not."""
    several = [f"{seed} {n}" for n in range(sizes.cases)]
    for (seconds, period), bar in bars.DROPPED.items():
        minutes = sorted(play(cells.dropped, [(one, seconds, period) for one in several]))
        paged_in = sum(1 for one in minutes if one < 360) / len(minutes)
        name = f"blind {seconds:g} s of every {period:g} s, all lost, inet 1/min"
        limit = "100%" + (f", mean {bar:g}" if bar else "")
        met = paged_in == 1 and (bar is None or statistics.mean(minutes) <= bar)
        yield name, f"pages in {paged_in:.1%}, {spread(minutes)}", limit, met
    found = play(cells.blind_in_health, [(one, rate) for one in several for rate in bars.RATES])
    points, pages = sum(one for one, _ in found), sum(one for _, one in found)
    yield "blind 10 min, own, no noise", f"{points:g} points, {pages} pages", "0, 0", not points and not pages
    minutes = sorted(play(cells.blind_at_onset, [(one,) for one in several]))
    met = statistics.mean(minutes) <= bars.BLIND_AT_ONSET
    yield "blind 10 min from a total loss on, after the gap", spread(minutes), f"{bars.BLIND_AT_ONSET:g}", met
    for rate in bars.RATES:
        down = play(cells.mailbox_down, [(one, rate) for one in several])
        share, kept = _share([page for page, _ in down]), _share([runs > 0 for _, runs in down])
        name = f"mailbox down 3 min, mail 5 min late, {rate}/min"
        yield name, f"pages in {share:.2%}; scores in {kept:.0%}", "≤ 1%", share <= bars.MAILBOX_DOWN


def hosts(play: Play, sizes: Sizes, seed: str) -> Iterator[Row]:
    """One dead host among several, each with canaries of its own."""
    for (rate, route), bar in bars.DEAD_HOST.items():
        minutes = sorted(play(cells.dead_host, [(f"{seed} {n}", rate, route) for n in range(sizes.runs)]))
        name = f"dead host at {rate:g}/min, {route:g}/min on the route"
        yield name, spread(minutes), f"{bar:g}", statistics.mean(minutes) <= bar


def caps(play: Play, sizes: Sizes, seed: str) -> Iterator[Row]:
    """Every window of both caps, over days with a loss in them."""
    for rate in bars.RATES:
        beyond = sum(play(cells.over_a_cap, [(f"{seed} {n}", rate) for n in range(2)]))
        yield f"canaries above a cap, {rate}/min, any window", str(beyond), "0", beyond == 0


def work(play: Play, sizes: Sizes, seed: str) -> Iterator[Row]:
    """CPU of forty legs at 60 canaries a minute, a complete read each second."""
    tuning = cells.tuning_of("inet", 12, 40)
    legs = [Detector(tuning) for _ in range(40)]
    seconds = 120 if sizes is QUICK else 1_200
    began = time.process_time()
    for now in range(seconds):
        moment = float(now)
        for leg in legs:
            leg.sent(str(now), moment)
            if now >= 4:
                leg.arrived(str(now - 4), 4.0, moment)
            leg.complete_read(moment, moment)
            leg.next_extra(moment)
            leg.next_check()
    share = (time.process_time() - began) / seconds
    name = "40 legs at 60 canaries a minute, one core"
    yield name, f"{share:.3%} ({share / 40 * 1e6:.1f} µs a canary)", f"{bars.CORE:.0%}", share < bars.CORE


PARTS = {
    "paged": paged,
    "alone": alone,
    "false": false_pages,
    "unseen": other_noise,
    "stalls": stalls,
    "blind": blindness,
    "hosts": hosts,
    "caps": caps,
    "work": work,
}


def spread(minutes: Sequence[float]) -> str:
    """Mean ± its standard error / median / 95th percentile of rising figures."""
    error = statistics.stdev(minutes) / len(minutes) ** 0.5
    mean, median = statistics.mean(minutes), statistics.median(minutes)
    return f"{mean:.2f} ± {error:.2f} / {median:.2f} / {_percentile(minutes, 0.95):.2f}"


def _percentile(rising: Sequence[float], share: float) -> float:
    return rising[min(len(rising) - 1, int(share * len(rising)))]


def _share(found: Sequence[bool]) -> float:
    return sum(found) / len(found)


def _sum(several: Sequence[Months]) -> Months:
    return Months(
        sum(one.pages for one in several),
        sum(one.months for one in several),
        sum(one.base for one in several),
        sum(one.extras for one in several),
    )
