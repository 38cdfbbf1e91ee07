"""The schedule: slots on a grid, no burst after a gap, nothing extra by restarts."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.canary.record import Leg
from probe.clock import Instant
from probe.engine.schedule import BEAT, JITTER, SELDOM, first_slot, jittered, next_slot, phase

NOW = Instant(1_800_000_000_000_000_000, 5_000_000_000_000, "boot")
EVERY = st.sampled_from([timedelta(milliseconds=100), timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)])
CHANCE = st.floats(0, 1, exclude_max=True)
MICRO = timedelta(microseconds=1)


@given(EVERY, st.lists(st.tuples(st.floats(0, 20), CHANCE), min_size=2, max_size=40))
def test_slots_are_never_closer_than_nine_tenths(every: timedelta, steps: list[tuple[float, float]]) -> None:
    slot, due = NOW, []
    for late, chance in steps:
        due.append(jittered(slot, every, chance))
        slot = next_slot(slot, due[-1] + every * late, every)
    for one, other in itertools.pairwise(due):
        assert other.since(one) >= every * (1 - JITTER) - 2 * MICRO


@given(EVERY, st.floats(0, 1e5), CHANCE)
def test_after_a_gap_there_is_no_burst(every: timedelta, late: float, chance: float) -> None:
    """A slot that was missed goes out once, late; the next one keeps its distance and lies on the grid."""
    now = NOW + every * late
    following = next_slot(NOW, now, every)
    assert following.since(now) >= every * 0.5 - 2 * MICRO
    assert following.since(now) <= every * 1.5 + 2 * MICRO
    assert following.since(NOW) % every <= 2 * MICRO or every - following.since(NOW) % every <= 2 * MICRO


@given(EVERY, st.floats(0, JITTER * 4))
def test_a_slot_that_is_a_little_late_costs_none(every: timedelta, late: float) -> None:
    assert next_slot(NOW, NOW + every * late, every) == NOW + every


@given(EVERY, st.one_of(st.none(), st.integers(-(10**15), 10**15)), CHANCE)
def test_the_first_slot_is_never_past_and_at_most_one_interval_away(
    every: timedelta, ago: int | None, shift: float
) -> None:
    last = None if ago is None else NOW.wall - ago
    slot = first_slot(NOW, last, every, shift)
    assert timedelta(0) <= slot.since(NOW) <= every
    if ago is not None and ago >= 0:
        assert slot.wall - NOW.wall + ago >= every / MICRO * 1000 - 2000


@pytest.mark.fault("P26")
@given(EVERY, st.lists(st.floats(0.01, 3), min_size=2, max_size=60), CHANCE)
def test_a_restart_loop_never_sends_more_than_the_rate(every: timedelta, lives: list[float], shift: float) -> None:
    """Each life lasts so many intervals, then the daemon starts again and sends at the first slot if it gets there."""
    now, last, sent = NOW, None, []
    for life in lives:
        slot = first_slot(now, last, every, shift)
        end = now + every * life
        while slot.since(end) <= timedelta(0):
            sent.append(slot)
            last = slot.wall
            slot = next_slot(slot, slot, every)
        now = end
    for one, other in itertools.pairwise(sent):
        assert other.since(one) >= every - 2 * MICRO


def test_phases_spread_the_legs_and_stay() -> None:
    phases = [phase(Leg(f"r{number}", "any", "m")) for number in range(1000)]
    assert phases == [phase(Leg(f"r{number}", "any", "m")) for number in range(1000)]
    tenths = [sum(1 for one in phases if low <= one * 10 < low + 1) for low in range(10)]
    assert min(tenths) > 60
    assert phase(Leg("r", "mx1", "m")) != phase(Leg("r", "mx2", "m"))


@given(EVERY, st.floats(0, 1e5), CHANCE)
def test_legs_that_send_seldom_share_a_beat(every: timedelta, later: float, chance: float) -> None:
    """Never before the slot, never past the jitter; on the beat wherever one lies between them."""
    slot = NOW + timedelta(seconds=later)
    due = jittered(slot, every, chance)
    plain = slot + every * (JITTER * chance)
    assert slot.boot <= due.boot <= plain.boot
    beat = BEAT // MICRO * 1000
    if every < SELDOM or plain.boot // beat * beat < slot.boot:
        assert due == plain
    else:
        assert due.boot % beat < 1000
        assert plain.since(due) < BEAT
    assert due.wall - slot.wall == due.boot - slot.boot
