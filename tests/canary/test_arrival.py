"""Rules 9 and 10: an arrival is an interval, and the side of the deadline it lies on decides."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.canary.arrival import Judgement, judge_arrival
from probe.canary.observations import Arrived
from probe.clock import NANOSECONDS, Instant
from tests.canary.lives import ZERO, at, wall

DEADLINE = timedelta(seconds=900)


def _judge(
    after: float | None, seen: float, stamp: float | None = None, offset: tuple[float, float] = (0.0, 0.0)
) -> Judgement:
    low, high = offset
    arrived = Arrived(
        None if after is None else at(after),
        at(seen),
        "INBOX",
        None if stamp is None else wall(stamp),
        low,
        high,
    )
    return judge_arrival(ZERO, DEADLINE, arrived)


def _facts(judged: Judgement) -> tuple[bool, float | None, float | None]:
    def seconds(duration: timedelta | None) -> float | None:
        return None if duration is None else duration.total_seconds()

    return judged.late, seconds(judged.latency), seconds(judged.uncertainty)


@pytest.mark.parametrize(
    ("after", "seen", "expected"),
    [
        (10, 12, (False, 12, 2)),
        (None, 12, (False, 12, 12)),  # no look before: it may have come at once
        (890, 900, (False, 900, 10)),  # seen exactly at the deadline: within
        (900, 900, (False, 900, 0)),
        (900, 901, (True, 901, 1)),  # a look exactly at the deadline did not show it: after
        (950, 960, (True, 960, 10)),
        (-30, 5, (False, 5, 5)),  # the look before was before its clock began
        (-30, -2, (False, 0, 0)),  # seen before the final dot's answer was stamped
        (20, 10, (False, 10, 0)),  # a look that ended after it: never a negative width
    ],
)
def test_an_interval_on_one_side_of_the_deadline(
    after: float | None, seen: float, expected: tuple[bool, float, float]
) -> None:
    assert _facts(_judge(after, seen)) == expected


@pytest.mark.parametrize("after", [None, 0, 600, 899.999])
def test_straddling_without_the_mailbox_s_time_is_delivered_with_no_latency(after: float | None) -> None:
    judged = _judge(after, 900.001)
    assert _facts(judged) == (False, None, None)
    assert "latency unknown" in judged.sentence


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        (880, (False, 881, 1)),
        (950, (True, 951, 1)),
        (899, (False, 900, 1)),  # [899, 900]
        (900, (True, 901, 1)),  # [900, 901]: its middle is after
        (599, (False, 600, 0)),  # the second of rounding just touches the interval
        (1500, (True, 1500, 0)),
        (598, (False, None, None)),  # before the last look without it: it does not fit
        (1501, (False, None, None)),  # after it was seen
    ],
)
def test_straddling_is_decided_by_the_mailbox_s_time_if_it_fits(
    stamp: float, expected: tuple[bool, float | None, float | None]
) -> None:
    judged = _judge(600, 1500, stamp)
    assert _facts(judged) == expected
    assert ("by the mailbox's own time" in judged.sentence) == (expected[1] is not None)


@pytest.mark.parametrize(
    ("stamp", "offset", "expected"),
    [
        (999, (100, 100), (False, 900, 1)),  # its clock is 100 s ahead of ours
        (1000, (100, 100), (True, 901, 1)),
        (799, (-100, -100), (False, 900, 1)),  # and behind
        (880, (-5, 5), (False, 886, 11)),
        (899, (-1, 0), (False, 900, 1)),  # [899, 901]: the middle is the deadline itself, which is within
        (899.2, (-0.5, 0.5), (False, 900, 1.3)),  # [898.7, 900.7]: the middle is within, and so is the latency
        (899.8, (-0.5, 0.5), (True, 901.3, 1.3)),  # [899.3, 901.3]: the middle is after
        (895, (-20, 20), (False, None, None)),  # [875, 916]: too little is known of its clock to tell the side
        (905, (-20, 20), (False, None, None)),
        (700, (-300, 0), (False, None, None)),  # one arrival seen after blindness taught this: no ground for "late"
        (590, (-20, 20), (False, 611, 11)),  # cut at the last look without it
        (590, (0, 0), (False, None, None)),  # the same without the bound does not fit
        (1510, (-20, 20), (True, 1500, 10)),
    ],
)
def test_the_bounds_of_the_mailbox_s_clock_are_taken_off(
    stamp: float, offset: tuple[float, float], expected: tuple[bool, float | None, float | None]
) -> None:
    assert _facts(_judge(600, 1500, stamp, offset)) == expected


def test_the_mailbox_s_time_does_not_overrule_an_interval_that_is_clear() -> None:
    assert _facts(_judge(10, 12, 5_000)) == (False, 12, 2)
    assert _facts(_judge(950, 960, 1)) == (True, 960, 10)


def test_within_one_boot_a_step_of_the_wall_clock_changes_nothing() -> None:
    stepped = replace(at(12), wall=at(12).wall + 3_600 * NANOSECONDS)
    assert judge_arrival(ZERO, DEADLINE, Arrived(at(10), stepped, "INBOX")).latency == timedelta(seconds=12)


def test_over_boots_the_wall_clock_decides() -> None:
    rebooted = Instant(at(1_000).wall, 7 * NANOSECONDS, "boot-2")
    assert _facts(judge_arrival(ZERO, DEADLINE, Arrived(at(950), rebooted, "INBOX"))) == (True, 1_000, 50)
    back = Instant(at(-60).wall, 7 * NANOSECONDS, "boot-2")
    assert _facts(judge_arrival(ZERO, DEADLINE, Arrived(None, back, "INBOX"))) == (False, 0, 0)


_seconds = st.floats(-100, 3_000).map(lambda s: round(s, 3))


@given(
    after=st.none() | _seconds,
    seen=_seconds,
    stamp=st.none() | st.integers(-100, 3_000),
    low=st.floats(-60, 60),
    width=st.floats(0, 60),
)
def test_verdict_and_latency_never_contradict_each_other(
    after: float | None, seen: float, stamp: int | None, low: float, width: float
) -> None:
    judged = _judge(after, seen, stamp, (low, low + width))
    assert (judged.latency is None) == (judged.uncertainty is None)
    if judged.latency is None or judged.uncertainty is None:
        assert not judged.late
        return
    assert timedelta(0) <= judged.uncertainty <= judged.latency
    assert judged.latency <= max(timedelta(0), timedelta(seconds=seen))
    assert judged.late == (judged.latency > DEADLINE)
    if judged.late:
        assert judged.latency - judged.uncertainty >= DEADLINE or after is None or after < 900
