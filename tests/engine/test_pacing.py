"""When the next poll is due: a tenth of the age apart, never closer than 12 ms, within the token bucket."""

from __future__ import annotations

import itertools
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.clock import Instant
from probe.engine.pacing import BURST, Backoff, TokenBucket, next_poll
from probe.options import Rate
from tests.engine import fakes
from tests.engine.world import HOUR, MINUTE, SECOND, World
from tests.jumping import JumpingClock, Virtual

DOT = Instant(1_800_000_000_000_000_000, 5_000_000_000_000, "boot")
IDLE = 30 * SECOND
MS = timedelta(milliseconds=1)
ages = st.floats(0.0001, 10_000).map(lambda seconds: timedelta(seconds=seconds))


def test_the_first_poll_comes_ten_milliseconds_after_the_dot() -> None:
    assert next_poll(DOT + -2 * SECOND, DOT, IDLE) == DOT + 10 * MS


@given(ages)
def test_then_each_comes_a_tenth_of_the_age_later(age: timedelta) -> None:
    last = DOT + age
    apart = next_poll(last, DOT, IDLE).since(last)
    assert 12 * MS <= apart <= IDLE
    assert abs(apart - min(IDLE, max(12 * MS, age * 0.1))) <= 2 * timedelta(microseconds=1)


@given(ages)
def test_without_a_canary_it_is_idle(age: timedelta) -> None:
    assert next_poll(DOT + age, None, IDLE).since(DOT + age) == IDLE


@given(st.integers(1, 50), st.lists(st.floats(0, 2), min_size=1, max_size=200))
def test_the_bucket_holds_any_window_to_burst_and_rate(count: int, pauses: list[float]) -> None:
    now, taken = DOT, []
    bucket = TokenBucket(Rate(count, SECOND), now)
    for pause in pauses:
        now = now + timedelta(seconds=pause)
        wait = bucket.wait(now)
        if wait <= timedelta(0):
            bucket.take(now)
            taken.append(now)
        else:
            # A little later than told there is one: the wait is rounded to whole microseconds.
            assert bucket.wait(now + wait + timedelta(microseconds=2)) <= timedelta(microseconds=1)
    for start in range(len(taken)):
        for end in range(start, len(taken)):
            allowed = BURST + count * taken[end].since(taken[start]).total_seconds()
            assert end - start + 1 <= allowed + 0.001


@pytest.mark.fault("R02")
@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=20))
def test_waits_double_up_to_the_most_and_begin_anew_after_a_success(chances: list[float]) -> None:
    backoff = Backoff(SECOND, 10 * SECOND)
    for number, chance in enumerate(chances):
        whole = min(10 * SECOND, SECOND * 2**number)
        assert 0.75 * whole <= backoff.next(chance) <= whole
    backoff.reset()
    assert backoff.next(1.0) == SECOND


def test_polls_of_a_watched_mailbox(virtual: Virtual, tmp_path: Path) -> None:
    """As the mailbox sees it: 10 ms after the dot, 12 ms apart, then a tenth of the age; other folders every 15 s."""

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, folders=("INBOX", "Junk"), every=HOUR, overdue_after=4 * MINUTE)
        async with world.running():
            await world.until(lambda: world.states()["accepted"])
            dot = world.canaries()[0].zero
            await clock.sleep(3 * MINUTE)
            polls = [at.since(dot) for at in world.account.reads_of("INBOX") if at.since(dot) > timedelta(0)]
            assert abs(polls[0] - 10 * MS) < MS
            gaps = [b - a for a, b in itertools.pairwise(polls)]
            assert min(gaps) >= 12 * MS - timedelta(microseconds=2)
            assert all(gap <= max(21 * MS, poll * 0.11) for poll, gap in zip(polls, gaps, strict=False))
            assert len(polls) < 120
            junk = [at.since(dot) for at in world.account.reads_of("Junk") if at.since(dot) > timedelta(0)]
            assert all(b - a <= 15.1 * SECOND for a, b in itertools.pairwise(junk))
            assert 11 <= len(junk) <= 14

    virtual.run(main)


def test_one_poll_serves_many_canaries(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.delivers(20 * SECOND), every=SECOND / 5)
        async with world.running():
            await clock.sleep(MINUTE)
            before, began = len(world.account.reads), len(world.sender.handed)
            await clock.sleep(MINUTE)
            polls = len(world.account.reads) - before
            assert len(world.sender.handed) - began > 270
            assert polls <= 10 * 60 + BURST  # the bucket, whatever the number of canaries
            world.check_books()

    virtual.run(main)
