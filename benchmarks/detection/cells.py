"""The experiments: each takes a seed, plays one run or one leg's months, and gives a plain result back."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, replace

from benchmarks.detection.noise import DAY, INET, OWN, QUIET_OWN, Draw, Noise, Spells, every, random_spells
from benchmarks.detection.world import Fault, Setting, Weather, World
from probe.detection.calibration import Aim, Calibration
from probe.detection.detector import Grade, Tuning
from probe.detection.pace import Cap
from probe.detection.threshold import threshold

BUDGET = 0.65  # false pages in 30 days, of the whole installation
MONTH = 30 * DAY
DEADLINE, STALL_LIMIT = 60.0, 50.0
WARM_UP = 7_200.0
SAVED = 0.5 * DAY / 60  # extras saved at the onset, to each canary a minute: a day's worth, the median of long runs
CAPS: dict[int, tuple[Cap, ...]] = {20: ((20, 60.0), (1_000, 3_600.0)), 60: ((60, 60.0),)}
NOISES = {"inet": INET, "own": OWN}
RUNS = {"inet": 0.00149, "own": 0.00105}  # overdue runs to each healthy canary

# Noise that no figure of the detector was set on: more stalls and near the stall limit, two in five of them with their
# mail deferred; twice as long blind; slow mail four times as often by day as by night.
UNSEEN = replace(
    INET, name="unseen", stalls_a_day=6.0, stall=(20.0, 50.0), deferring=0.4, gap=(60.0, 600.0), day_and_night=4.0
)


@dataclass(frozen=True, slots=True)
class Months:
    """``pages`` in ``months`` of one leg; canaries of the schedule, and extra ones."""

    pages: int
    months: float
    base: int
    extras: int


def tuning_of(noise: str, per_minute: float, legs: int) -> Tuning:
    """The figures that a long history of this noise would give."""
    known = NOISES[noise]
    needed = threshold(RUNS[noise], per_minute * MONTH / 60, BUDGET / legs)
    return Tuning(
        DEADLINE,
        STALL_LIMIT,
        max(known.quantile(0.98), 2.0),
        known.quantile(0.8),
        needed.per_point,
        needed.score,
    )


def time_to_page(seed: str, noise: str, per_minute: float, cap: int, share: float, legs: int) -> float:
    """Minutes from the onset of a loss to the decision."""
    setting = Setting(per_minute, tuning_of(noise, per_minute, legs), CAPS[cap], SAVED * per_minute)
    return _page_after(random.Random(seed), NOISES[noise], setting, share)


def dead_host(seed: str, per_minute: float, route_per_minute: float) -> float:
    """The same for one dead host among others that share their route's schedule."""
    tuning = tuning_of("inet", per_minute, 40)
    saved = 3 * 0.5 * route_per_minute * DAY / 60
    setting = Setting(per_minute, tuning, CAPS[60], saved, route_per_minute)
    return _page_after(random.Random(seed), INET, setting, 1.0)


def _page_after(rng: random.Random, noise: Noise, setting: Setting, share: float) -> float:
    onset = WARM_UP + rng.random() * 60 / setting.per_minute
    until = onset + 7 * DAY
    world = World(noise, setting, Weather.of(noise, rng, until, Fault(onset, share)), rng)
    world.run(onset)
    if world.detector.open is not None:
        world.detector.closed()
    page = world.run(until, stop_at_page=True)
    return (page.at - onset) / 60 if page is not None else 7 * DAY / 60


def healthy(seed: str, noise: str, per_minute: float, cap: int, months: float, legs: int) -> Months:
    """A leg without any fault."""
    rng = random.Random(seed)
    known = NOISES[noise]
    setting = Setting(per_minute, tuning_of(noise, per_minute, legs), CAPS[cap])
    world = World(known, setting, Weather.of(known, rng, months * MONTH), rng)
    world.run(months * MONTH)
    return Months(_pages(world), months, world.base, world.extras)


def unseen(seed: str, per_minute: float, months: float) -> Months:
    """A leg without any fault under noise that nothing was set on: 14 days of learning, then ``months`` that count."""
    rng = random.Random(seed)
    learning = 14 * DAY
    until = learning + months * MONTH
    calibration = Calibration()
    draw = Draw(UNSEEN, rng, 1.0)
    for second in range(2_000):
        calibration.latency(second, draw.latency(float(second)))
    aim = Aim(DEADLINE, STALL_LIMIT, 0.01, per_minute * MONTH / 60, BUDGET / 40)
    setting = Setting(per_minute, calibration.recalibrate(0.0, aim).tuning, CAPS[20])
    world = World(UNSEEN, setting, Weather.of(UNSEEN, rng, until), rng)
    while world.now < learning:
        world.run(world.now + 3_600)
        # Those that were skipped were punctual.
        calibration.follow(world.now - 1, world.base + world.extras - world.detector.waiting, world.detector.runs)
    world.detector.retune(calibration.recalibrate(learning, aim).tuning)
    before = _pages(world)
    world.run(until)
    return Months(_pages(world) - before, months, world.base, world.extras)


def _pages(world: World) -> int:
    return sum(1 for finding in world.findings if finding.grade is not Grade.UPDATE)


def one_stall(seed: str, noise: str, per_minute: float, seconds: float) -> bool:
    """Whether a stall of exactly so many seconds pages."""
    rng = random.Random(seed)
    begin = 1_800 + rng.random() * 60
    stall = Spells(((begin, begin + seconds),))
    setting = Setting(per_minute, tuning_of(noise, per_minute, 40), CAPS[60])
    world = World(NOISES[noise], setting, Weather(stalls=stall), rng)
    world.run(begin)
    return world.run(begin + seconds + 180, stop_at_page=True) is not None


def dropped(seed: str, seconds: float, period: float) -> float:
    """Total loss at one canary a minute, while the mailbox's connection is lost for ``seconds`` in each ``period``."""
    rng = random.Random(seed)
    onset = WARM_UP / 4 + rng.random() * 60
    until = onset + DAY / 4
    blind = Spells(tuple(every(period, seconds, rng.random() * period, until)))
    stalls = random_spells(rng, until, INET.stalls_a_day, INET.stall)
    setting = Setting(1, tuning_of("inet", 1, 40), CAPS[60])
    world = World(INET, setting, Weather(Fault(onset, 1.0), stalls, blind=blind), rng)
    world.run(onset)
    page = world.run(until, stop_at_page=True)
    return (page.at - onset) / 60 if page is not None else DAY / 240


def blind_in_health(seed: str, per_minute: float) -> tuple[float, int]:
    """Ten blind minutes without noise: the points scored and the pages made, in the hour after."""
    rng = random.Random(seed)
    begin = 600 + rng.random() * 600
    setting = Setting(per_minute, tuning_of("own", per_minute, 40), CAPS[60])
    world = World(QUIET_OWN, setting, Weather(blind=Spells(((begin, begin + 600),))), rng)
    world.run(begin + 4_200)
    return float(world.detector.runs), _pages(world)


def blind_at_onset(seed: str) -> float:
    """Ten blind minutes that begin with a total loss: minutes from their end to the page."""
    rng = random.Random(seed)
    onset = 600 + rng.random() * 60
    weather = Weather(Fault(onset, 1.0), blind=Spells(((onset, onset + 600),)))
    world = World(INET, Setting(1, tuning_of("inet", 1, 40), CAPS[60]), weather, rng)
    page = world.run(onset + 3_600, stop_at_page=True)
    return (page.at - onset - 600) / 60 if page is not None else 60.0


def mailbox_down(seed: str, per_minute: float) -> tuple[bool, int]:
    """The mailbox's server is down for 3 minutes, and its mail comes 5 minutes late: did it page, and the runs."""
    rng = random.Random(seed)
    begin = 1_800 + rng.random() * 60
    down = Spells(((begin, begin + 180),))
    weather = Weather(stalls=down, deferred=frozenset({begin}), deferred_for=(120.0, 300.0), blind=down)
    world = World(INET, Setting(per_minute, tuning_of("inet", per_minute, 40), CAPS[60]), weather, rng)
    world.run(begin)
    before = world.detector.runs
    page = world.run(begin + 900, stop_at_page=True)
    return page is not None, world.detector.runs - before


def over_a_cap(seed: str, per_minute: float) -> int:
    """Canaries beyond a cap (20 a minute and 1,000 an hour) in any window of ten days with a 5 % loss in the middle."""
    rng = random.Random(seed)
    world = World(
        INET,
        Setting(per_minute, tuning_of("inet", per_minute, 40), CAPS[20]),
        Weather.of(INET, rng, 10 * DAY, Fault(5 * DAY, 0.05)),
        rng,
        keep_sends=True,
    )
    world.run(10 * DAY)
    assert world.sends is not None
    beyond = 0
    for most, per in CAPS[20]:
        window: deque[float] = deque()
        for sent in sorted(world.sends):
            window.append(sent)
            while window[0] <= sent - per + 1e-6:
                window.popleft()
            beyond += len(window) > most
    return beyond
