"""A canary whose answer came late: it still has ``overdue_after`` to arrive in before it can be lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from probe.canary import observations as seen
from probe.canary.life import apply
from probe.canary.record import State
from tests.canary.lives import DEADLINES, LOST_AFTER, OVERDUE_AFTER, WATCH_FOR, ZERO, at, canary


def _accepted(seconds: float, *, dot: float | None = None) -> seen.SendAccepted:
    zero = at(seconds if dot is None else dot)
    return seen.SendAccepted(at(seconds), zero, zero, "Q1", "250 2.0.0 queued as Q1")


@pytest.mark.parametrize("answered", [0.2, 60.0, LOST_AFTER - OVERDUE_AFTER])
def test_an_answer_in_time_leaves_the_deadlines_alone(answered: float) -> None:
    deferred = canary(State.DATA_STARTED, clock_started=ZERO, attempts=2)
    assert apply(deferred, _accepted(answered)).canary.deadlines == DEADLINES


@pytest.mark.parametrize("answered", [LOST_AFTER - OVERDUE_AFTER + 1, LOST_AFTER - 1, LOST_AFTER + 600])
def test_a_late_try_has_its_time_after_a_4xx(answered: float) -> None:
    deferred = canary(State.DATA_STARTED, clock_started=ZERO, attempts=2)
    after = apply(deferred, _accepted(answered)).canary
    assert after.zero == ZERO  # greylisting is latency to the user
    assert after.overdue_at == at(OVERDUE_AFTER)
    assert after.lost_at == at(answered + OVERDUE_AFTER)
    assert after.watched_until == at(WATCH_FOR)


def test_an_answer_that_took_longer_than_lost_after_counts_too() -> None:
    first = canary(State.DATA_STARTED)
    after = apply(first, _accepted(LOST_AFTER + 5, dot=2)).canary
    assert after.zero == at(2)
    assert after.lost_at == at(LOST_AFTER + 5 + OVERDUE_AFTER)


def test_the_watch_is_never_shorter_than_the_time_to_arrive() -> None:
    short = replace(DEADLINES, watch_for=DEADLINES.lost_after)
    deferred = canary(State.DATA_STARTED, clock_started=ZERO, attempts=2, deadlines=short)
    after = apply(deferred, _accepted(LOST_AFTER)).canary
    assert after.watched_until == after.lost_at == at(LOST_AFTER + OVERDUE_AFTER)
    assert after.deadlines.overdue_after == timedelta(seconds=OVERDUE_AFTER)


def test_an_answer_behind_the_outcome_changes_no_deadline() -> None:
    settled = canary(State.UNKNOWN)
    assert apply(settled, _accepted(WATCH_FOR)).canary.deadlines == DEADLINES
