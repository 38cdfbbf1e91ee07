"""Blackout: what must come together before "nothing arrives" is a page, and what ends it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from probe.detection.detector import Grade, Kind
from tests.detection.legs import P80, TUNING, Leg, S, T, W

QUIET = replace(TUNING, score=99.0)  # no share pages here


def _lost_from(begin: float) -> Leg:
    """A leg that loses all, as it sends: one a minute, suspicion every 5 s, witnesses."""
    leg = Leg(QUIET)
    leg.good(begin - 60)
    leg.send(begin, *(begin + n for n in (20, 25, 30, 35, 40, 45, 50, 51, 52)))
    return leg


def test_a_total_loss_pages_when_all_four_have_come_together() -> None:
    leg = _lost_from(0)
    assert leg.read(T) == []
    assert leg.detector.dark_since == 0
    due = 20 + W  # the first one after the dark one is older than the stall limit
    assert leg.detector.next_check() == due
    assert leg.read(due - 0.1) == []
    found = leg.read(due)
    assert [(one.kind, one.grade, one.dark_sent, one.first_id) for one in found] == [
        (Kind.BLACKOUT, Grade.PAGE, 0.0, "c0")
    ]
    assert leg.detector.blackout_run == 7
    assert leg.read(due + 1, due + 100) == []


def test_seven_canaries_make_a_run() -> None:
    leg = Leg(QUIET)
    leg.send(0, 1, 2, 50, 51)
    leg.send(52)
    assert leg.read(*range(60, 80)) == []  # six
    assert leg.detector.blackout_run == 6
    leg.send(80)
    assert leg.read(80 + S - 0.1) == []  # each must be older than the p98 latency
    assert leg.detector.blackout_run == 6  # what is shown reaches seven only when it is found
    assert [one.kind for one in leg.read(80 + S)] == [Kind.BLACKOUT]


def test_the_first_after_the_dark_one_must_be_older_than_the_stall_limit() -> None:
    leg = Leg(QUIET)
    leg.send(0, 51, 52, 53, 54, 55, 56)
    assert leg.read(56 + S) == []  # else one slow mail and a stall would be a page
    assert leg.read(51 + W - 0.1) == []
    assert len(leg.read(51 + W)) == 1


def test_three_witnesses_sent_after_the_stall_limit() -> None:
    leg = Leg(QUIET)
    leg.send(*range(10), W - 1, W, W + 1)
    assert leg.read(T, 90) == []  # a stall that ended with its backlog deferred
    leg.send(91)
    assert leg.read(91 + P80 - 0.1) == []
    assert len(leg.read(91 + P80)) == 1


def test_a_witness_that_was_seen_is_none() -> None:
    leg = Leg(QUIET)
    leg.send(*range(10), 55, 56, 57)
    leg.read(T)
    leg.detector.arrived("c56", None, 61.0)  # nobody can say how old, but there
    assert leg.read(90) == []
    leg.send(91)
    assert len(leg.read(91 + P80)) == 1


def test_one_that_is_left_out_counts_for_nothing() -> None:
    leg = Leg(QUIET)
    leg.send(0, 1, 2, 3, 50, 51, 52)
    leg.read(T)
    leg.detector.left_out("c2")
    assert leg.read(90) == []
    leg.send(90)
    assert leg.read(90 + S - 0.1) == []
    assert len(leg.read(90 + S)) == 1


def test_the_dark_stays_although_the_canary_that_began_it_is_left_out() -> None:
    leg = _lost_from(0)
    leg.read(T)
    leg.detector.left_out("c0")
    assert leg.detector.dark_since == 0
    assert len(leg.read(20 + W)) == 1


def test_only_a_punctual_canary_sent_since_ends_the_dark() -> None:
    leg = _lost_from(0)
    leg.read(T)
    leg.detector.arrived("c0", T + 5, T + 5)  # late
    assert leg.detector.dark_since == 0
    leg.detector.arrived("c25", 40.0, 65.0)
    assert not leg.dark
    assert leg.read(200) == []


def test_an_older_punctual_canary_does_not_end_it() -> None:
    leg = Leg(QUIET)
    leg.send(-1)
    leg.detector.went_blind(0)
    leg.read(6)
    leg.send(7)
    leg.read(7 + T)
    assert leg.detector.dark_since == 7
    leg.detector.arrived("c-1", 50.0, 80.0)
    assert leg.detector.dark_since == 7


def test_no_dark_where_something_sent_later_has_arrived() -> None:
    leg = Leg(QUIET)
    leg.send(0)
    leg.good(1)
    leg.read(T)
    assert leg.detector.dark_since is None


def test_an_open_incident_is_told_once_that_it_went_dark() -> None:
    leg = Leg(replace(TUNING, score=1.0))
    leg.send(0)
    leg.good(1)
    leg.read(T)
    assert leg.detector.open is not None
    leg.send(*range(70, 80), 125, 126, 127)
    leg.read(*range(130, 150))
    assert [(one.kind, one.grade) for one in leg.findings] == [
        (Kind.SHARE, Grade.PAGE),
        (Kind.BLACKOUT, Grade.UPDATE),
    ]


def test_a_leg_that_is_still_dark_pages_again_after_it_was_called_false() -> None:
    leg = _lost_from(0)
    leg.read(T, 20 + W)
    leg.detector.closed()
    assert leg.score == 0
    assert [one.kind for one in leg.read(80)] == [Kind.BLACKOUT]


def test_a_new_leg_pages_a_blackout_from_the_first_minute() -> None:
    leg = Leg(replace(TUNING, share_pages=False))
    leg.send(*range(10), 50, 51, 52)
    leg.read(*range(60, 80))
    assert [(one.kind, one.grade) for one in leg.findings] == [(Kind.BLACKOUT, Grade.PAGE)]


def _after_a_long_gap(begin: float, end: float) -> Leg:
    """Twelve canaries went into an outage of the mailbox; nothing was dark before."""
    leg = Leg(QUIET)
    leg.good(-10)
    leg.detector.went_blind(begin)
    leg.send(*(begin + 15 * n for n in range(12)))
    return leg


def test_after_a_long_gap_one_canary_sent_since_must_be_missing() -> None:
    """The fresh mend: the mailbox was away for three minutes, and its mail is on the way."""
    leg = _after_a_long_gap(0, 200)
    assert leg.read(200) == []
    assert leg.detector.dark_since == 0
    assert leg.detector.next_check() == 150 + T  # for that one's sake: no blackout before something new is sent
    leg.send(201)
    assert leg.read(201 + S - 0.1) == []
    assert len(leg.read(201 + S)) == 1


def test_a_fresh_canary_that_arrives_is_no_loss() -> None:
    leg = _after_a_long_gap(0, 200)
    leg.read(200)
    leg.good(201)
    assert not leg.dark
    assert leg.read(230, 300) == []


@pytest.mark.parametrize(("length", "asked"), [(W, False), (W + 0.1, True)])
def test_only_a_gap_longer_than_the_stall_limit_asks_for_a_fresh_one(length: float, asked: bool) -> None:
    leg = Leg(QUIET)
    leg.detector.down(100 - length, 100)
    leg.send(0, 1, 2, 3, 4, 5, 50, 51, 52)
    leg.read(T + W)
    leg.read(130)
    assert (leg.detector.open is None) == asked


def test_a_gap_that_began_in_the_dark_asks_for_nothing() -> None:
    """Blind for most of every minute: else each gap would put the page off again."""
    leg = _lost_from(0)
    leg.read(T)
    leg.detector.went_blind(T + 1)
    assert len(leg.read(T + 100)) == 1


def test_going_dark_keeps_no_more_than_it_needs() -> None:
    leg = Leg(QUIET)
    leg.send(*range(1_000))
    leg.detector.complete_read(T, T)
    kept = leg.detector.state()["blackout"]
    assert (len(kept["first"]), len(kept["witnesses"])) == (7, 3)
