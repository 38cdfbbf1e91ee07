"""The hard caps against a naive oracle, over restarts, and against a scheduler gone mad."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.canary import counters
from probe.clock import Instant
from probe.config.model import Limits
from probe.engine.caps import Caps
from probe.options import Rate
from tests.engine.world import HOUR, MINUTE, SECOND, World
from tests.jumping import JumpingClock, Virtual

START = Instant(1_800_000_000_000_000_000, 5_000_000_000_000, "boot")
RATES = st.lists(
    st.builds(Rate, st.integers(1, 6), st.sampled_from([SECOND, 10 * SECOND, MINUTE])), min_size=1, max_size=2
).map(tuple)


@dataclass(frozen=True)
class Some:
    per_recipient: tuple[Rate, ...]
    per_route: tuple[Rate, ...]
    per_domain: tuple[Rate, ...]
    total: tuple[Rate, ...]


LIMITS = st.builds(Some, RATES, RATES, RATES, RATES)
ASKS = st.lists(
    st.tuples(
        st.floats(0, 8), st.sampled_from(["r1", "r2"]), st.sampled_from(["a@x.org", "A@X.ORG", "b@x.org", "c@y.org"])
    ),
    max_size=80,
)


class Oracle:
    """Remembers everything and counts anew each time."""

    def __init__(self, limits: Some) -> None:
        self.limits = limits
        self.sent: list[tuple[int, str, str]] = []

    def refuses(self, now: Instant, route: str, recipient: str) -> bool:
        address = recipient.casefold()
        domain = address.partition("@")[2]
        for rates, same in (
            (self.limits.per_recipient, lambda r, a: a == address),
            (self.limits.per_route, lambda r, a: r == route),
            (self.limits.per_domain, lambda r, a: a.endswith("@" + domain)),
            (self.limits.total, lambda r, a: True),
        ):
            for rate in rates:
                since = now.boot - int(rate.per.total_seconds() * 1e9)
                if sum(1 for at, r, a in self.sent if at > since and same(r, a)) >= rate.count:
                    return True
        return False


@given(LIMITS, ASKS, st.integers(0, 80))
def test_the_caps_say_what_counting_says(limits: Some, asks: list[tuple[float, str, str]], restart_at: int) -> None:
    caps, oracle, now = Caps(limits), Oracle(limits), START
    for number, (after, route, recipient) in enumerate(asks):
        now = now + timedelta(seconds=after)
        if number == restart_at:  # a new process knows only what the ledger has
            caps = Caps(limits)
            shift = now.wall - now.boot
            caps.load(now, [(at + shift, route_, address) for at, route_, address in oracle.sent])
        refused = caps.refuses(now, route, recipient)
        assert (refused is not None) == oracle.refuses(now, route, recipient)
        if refused is None:
            caps.record(now, route, recipient)
            oracle.sent.append((now.boot, route, recipient.casefold()))


@given(LIMITS)
def test_after_a_lost_ledger_every_window_is_full(limits: Some) -> None:
    caps = Caps(limits)
    caps.start_full(START, [("r1", "a@x.org"), ("r2", "c@y.org")])
    wait = timedelta(microseconds=(START.wall - caps.reach(START)) / 1000)
    assert caps.refuses(START, "r1", "a@x.org") == "per_recipient"
    every = (*limits.per_recipient, *limits.per_route, *limits.per_domain, *limits.total)
    almost = max(rate.per for rate in every) - timedelta(microseconds=1)
    assert caps.refuses(START + almost, "r1", "a@x.org") is not None
    assert caps.refuses(START + wait, "r1", "a@x.org") is None


def test_a_clock_set_back_between_two_runs_opens_nothing() -> None:
    """Attempts that seem to lie in the future count as made just now."""
    limits = Some(*((Rate(2, MINUTE),),) * 4)
    caps = Caps(limits)
    ahead = START.wall + 3600 * 10**9
    caps.load(START, [(ahead, "r1", "a@x.org"), (ahead + 10**9, "r1", "a@x.org")])
    assert caps.refuses(START, "r1", "a@x.org") == "per_recipient"
    assert caps.refuses(START + MINUTE, "r1", "a@x.org") is None


@pytest.mark.fault("P27")
def test_a_million_requests_of_a_mad_scheduler() -> None:
    """P27: a million asks in an hour; what goes out stays within every limit."""
    limits = Limits()
    caps, now, sent = Caps(limits), START, []
    for _ in range(1_000_000):
        now = now + timedelta(microseconds=3600)
        if caps.refuses(now, "r1", "a@x.org") is None:
            caps.record(now, "r1", "a@x.org")
            sent.append(now.boot)
    assert 900 < len(sent) <= 1000
    for first, after_twenty in zip(sent, sent[20:], strict=False):
        assert after_twenty - first >= 60 * 10**9


@pytest.mark.fault("P27")
def test_a_leg_that_launches_without_end_is_held_and_counted(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, limits=Limits()).running() as world:
            await world.until(world.settled())
            before = len(world.sender.handed)
            for _ in range(5000):
                world.daemon.legs[0]._launch(clock.now())
            await clock.sleep(10 * SECOND)
            assert len(world.sender.handed) == 20
            assert world.total(counters.CAP_HITS, "per_recipient") == 5000 - (20 - before)
            assert world.said.getvalue().count("event=capped") == 1
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("P26")
def test_a_restart_loop_sends_no_more_than_the_caps_and_the_rate_allow(virtual: Virtual, tmp_path: Path) -> None:
    """P26: the daemon starts again every second; it sends at its rate, and never beyond the cap."""
    limits = Limits(per_recipient=(Rate(3, MINUTE),))

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, limits=limits, every=5 * SECOND)
        await world.start()
        for _ in range(120):
            await world.restart(SECOND / 10)
            await clock.sleep(SECOND * 0.97)
        sent = [one.at.boot for one in world.sender.handed]
        assert 4 <= len(sent) <= 7
        assert all(later - first >= 60 * 10**9 for first, later in zip(sent, sent[3:], strict=False))
        assert all(later - first >= 4.5 * 10**9 for first, later in itertools.pairwise(sent))
        await world.kill()

    virtual.run(main)


def test_wider_limits_count_what_the_narrower_ones_had_no_memory_for() -> None:
    """Two a minute need two moments; three an hour need the third, which only the ledger still has."""
    narrow = Limits(per_route=(Rate(2, MINUTE),))
    caps = Caps(narrow)
    moments = [START + timedelta(minutes=2 * number) for number in range(3)]
    for at in moments:
        caps.record(at, "r1", "a@x.org")
    now = START + timedelta(minutes=10)
    caps.change(Limits(per_route=(Rate(3, HOUR),)), now, lambda since: [(at.wall, "r1", "a@x.org") for at in moments])
    assert caps.refuses(now, "r1", "a@x.org") == "per_route"
    assert caps.refuses(START + HOUR, "r1", "a@x.org") is None
