"""One line of time: no step of the clock moves it, and a restart does not break it."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from probe.clock import NANOSECONDS, Instant
from probe.detection.detector_time import Timeline

ANCHOR = Instant(1_800_000_000 * NANOSECONDS, 5_000 * NANOSECONDS, "boot")


def test_a_step_of_the_wall_clock_does_not_move_it() -> None:
    stepped = Instant(ANCHOR.wall - 3_600 * NANOSECONDS, ANCHOR.boot + 60 * NANOSECONDS, "boot")
    assert Timeline(ANCHOR).seconds(stepped) == 1_800_000_060


def test_an_instant_of_another_boot_is_placed_by_its_wall_clock() -> None:
    before = Instant(ANCHOR.wall - 10 * NANOSECONDS, 7, "earlier")
    assert Timeline(ANCHOR).seconds(before) == 1_799_999_990


@given(st.floats(-1e6, 1e6))
def test_there_and_back_to_the_microsecond(seconds: float) -> None:
    line = Timeline(ANCHOR)
    instant = ANCHOR + timedelta(seconds=seconds)
    assert abs(line.instant(line.seconds(instant)).boot - instant.boot) <= 2_000
