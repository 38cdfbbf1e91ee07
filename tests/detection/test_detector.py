"""Suspect, hunt, page: each rule of the detector, and each of its mends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from probe.detection.detector import Detector, Grade, Kind
from tests.detection.legs import TUNING, Leg, T, W

# Overdue.


def test_a_canary_is_overdue_by_the_first_read_begun_after_its_deadline() -> None:
    leg = Leg()
    leg.send(0)
    leg.read(T - 0.1)
    assert leg.score == 0
    leg.detector.complete_read(T - 0.1, T + 5)  # it began too soon, whenever it ended
    assert leg.score == 0
    leg.read(T)
    assert (leg.score, leg.detector.judged, leg.detector.runs) == (1, 1, 1)
    leg.read(T + 1, T + 2)
    assert (leg.score, leg.detector.judged) == (1, 1)


def test_a_punctual_canary_takes_back_its_part_of_a_point_and_never_more() -> None:
    leg = Leg()
    leg.good(0)
    assert leg.score == 0
    leg.send(1)
    leg.read(61)
    leg.good(62)
    assert leg.score == pytest.approx(1 - 1 / 200)
    for n in range(199):
        leg.good(63 + n)
    assert leg.score == 0


def test_a_late_arrival_gives_no_point_back() -> None:
    leg = Leg()
    leg.send(0)
    leg.good(1)
    leg.read(T + 1)
    leg.detector.arrived("c0", 600.0, 600.0)
    assert leg.score == 1


def test_an_arrival_after_the_deadline_and_before_a_read_is_overdue() -> None:
    leg = Leg()
    leg.send(0)
    leg.detector.arrived("c0", T + 0.5, T + 0.5)
    assert (leg.score, leg.detector.runs) == (1, 1)
    leg.read(T + 1)
    assert leg.score == 1


def test_an_arrival_that_nobody_can_place_counts_nothing() -> None:
    leg = Leg()
    leg.send(0, 1)
    leg.detector.arrived("c0", None, 100.0)
    leg.detector.left_out("c1")
    leg.read(200)
    assert (leg.score, leg.detector.judged, leg.detector.waiting) == (0, 0, 0)


def test_a_replay_without_reads_judges_by_what_was_recorded() -> None:
    leg = Leg()
    leg.send(0)
    leg.detector.overdue("c0", T + 1)
    leg.detector.overdue("c0", T + 2)
    leg.detector.overdue("nobody", T + 2)
    assert leg.score == 1


# Runs, not canaries.


def test_an_overdue_canary_right_after_an_overdue_one_adds_nothing() -> None:
    leg = Leg()
    leg.good(0)
    leg.send(1, 2, 3)
    leg.good(4)
    leg.send(5)
    leg.read(5 + T)
    assert leg.score == 2
    assert (leg.detector.runs, leg.detector.judged) == (2, 6)


def test_a_run_goes_on_over_those_that_are_left_out() -> None:
    leg = Leg()
    leg.good(0)
    leg.send(1, 2, 3)
    leg.detector.left_out("c2")
    leg.read(3 + T)
    assert leg.detector.runs == 1
    other = Leg()
    other.send(1, 2, 3)
    other.punctual(2)
    other.read(3 + T)
    assert other.detector.runs == 2


def test_one_left_out_passes_on_how_the_one_before_it_ended() -> None:
    leg = Leg()
    leg.send(0)
    leg.read(T)
    leg.send(61, 62)
    leg.detector.left_out("c61")
    leg.read(62 + T)
    assert leg.detector.runs == 1


def test_the_one_left_out_last_passes_on_what_was_before_it() -> None:
    leg = Leg()
    leg.send(0)
    leg.read(T)
    leg.send(61)
    leg.detector.left_out("c61")
    leg.send(62)
    leg.read(62 + T)
    assert leg.detector.runs == 1


def test_a_predecessor_that_waits_beyond_its_deadline_counts_as_bad() -> None:
    """The order mend: 0 was partly blind and is held; 60, sent after the gap, is overdue before 0 is judged."""
    leg = Leg()
    leg.send(0)
    leg.detector.went_blind(10)
    leg.read(40)
    leg.send(45)
    leg.read(45 + T)
    assert (leg.score, leg.detector.waiting) == (0, 1)
    leg.read(T + W)
    assert (leg.score, leg.detector.runs) == (1, 1)


def test_a_canary_accepted_out_of_order_takes_its_place() -> None:
    leg = Leg()
    leg.send(0, 2, 1)
    leg.punctual(1)
    leg.read(2 + T)
    assert leg.detector.runs == 2
    leg = Leg()
    leg.send(0, 2, 1)
    leg.punctual(2)
    leg.read(2 + T)
    assert leg.detector.runs == 1


# A share.


def _runs(leg: Leg, count: int, begin: float = 0.0) -> float:
    """So many runs of one, each between two punctual canaries; when the last is judged."""
    moment = begin
    for _ in range(count):
        leg.send(moment)
        leg.good(moment + 1)
        moment += 2
    return moment - 2 + T


def test_a_share_pages_at_its_threshold_and_names_the_first() -> None:
    leg = Leg(replace(TUNING, score=2.9))
    at = _runs(leg, 3)
    assert leg.read(at - 0.1) == []
    found = leg.read(at)
    assert [(one.kind, one.grade, one.at, one.first_id, one.first_sent) for one in found] == [
        (Kind.SHARE, Grade.PAGE, at, "c0", 0.0)
    ]
    assert found[0].score == pytest.approx(3)
    assert found[0].threshold == 2.9


def test_an_excursion_ends_where_the_score_does() -> None:
    leg = Leg(replace(TUNING, per_point=10, score=1.5))
    leg.send(0)
    leg.good(1)
    leg.read(T)
    leg.good(*range(70, 80))
    assert leg.score == 0
    at = _runs(leg, 2, begin=100)
    assert leg.read(at)[0].first_sent == 100


def test_a_page_is_latched_and_the_score_rests() -> None:
    leg = Leg()
    leg.read(_runs(leg, 3))
    score = leg.score
    leg.good(200, 201)
    leg.read(_runs(leg, 4, begin=202))
    assert len(leg.findings) == 1
    assert leg.score == score
    assert leg.detector.runs == 7  # what happened is counted all the same
    leg.detector.closed()
    assert (leg.score, leg.detector.open) == (0, None)
    leg.read(_runs(leg, 3, begin=400))
    assert len(leg.findings) == 2


def test_a_new_leg_raises_a_ticket_and_does_not_hunt_for_ever() -> None:
    leg = Leg(replace(TUNING, share_pages=False))
    found = leg.read(_runs(leg, 3))
    assert [(one.kind, one.grade) for one in found] == [(Kind.SHARE, Grade.TICKET)]
    assert leg.detector.open is None
    assert leg.detector.ticket == found[0]
    assert leg.score == 0
    assert leg.detector.next_extra(100) is None


def test_nothing_is_found_between_reads() -> None:
    leg = Leg()
    for n in range(0, 8, 2):
        leg.send(n)
        leg.good(n + 1)
        leg.detector.arrived(f"c{n}", T + 1, n + T + 1)
    assert leg.score >= 3
    assert leg.detector.open is None
    assert [one.kind for one in leg.read(80)] == [Kind.SHARE]


# When to look.


def test_it_says_when_a_read_could_tell_something() -> None:
    leg = Leg()
    assert leg.detector.next_check() is None
    leg.send(0)
    assert leg.detector.next_check() == T
    leg.detector.went_blind(10)
    leg.read(20)
    leg.read(T)
    assert leg.detector.next_check() == T + W
    leg.read(T + W)
    assert leg.detector.next_check() is None


def test_what_it_shows() -> None:
    leg = Leg()
    assert leg.detector.idle
    leg.send(0, 1)
    assert (leg.detector.waiting, leg.detector.oldest, leg.detector.idle) == (2, 0, False)
    leg.punctual(0, 1)
    assert leg.detector.oldest is None
    assert leg.detector.idle


def test_other_figures_apply_from_then_on() -> None:
    leg = Leg()
    leg.read(_runs(leg, 2))
    leg.detector.retune(replace(TUNING, score=1.5))
    assert leg.score == pytest.approx(2, abs=0.02)
    assert [one.threshold for one in leg.read(100)] == [1.5]


def test_a_state_of_another_version_is_refused() -> None:
    state = Detector(TUNING).state() | {"version": 99}
    with pytest.raises(ValueError, match="version 99"):
        Detector.restore(state)
