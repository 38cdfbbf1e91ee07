"""Blind time postpones judgement, adds nothing, and clears nothing."""

from __future__ import annotations

from tests.detection.legs import Leg, T, W


def test_a_canary_that_was_partly_blind_is_judged_later() -> None:
    leg = Leg()
    leg.good(-1)
    leg.send(0)
    leg.detector.went_blind(T - 1)
    leg.read(T + 9)
    leg.read(T + W - 0.1)
    assert leg.score == 0
    leg.read(T + W)
    assert leg.score == 1


def test_further_gaps_put_it_off_no_longer() -> None:
    leg = Leg()
    leg.send(0)
    leg.detector.went_blind(10)
    leg.read(20)
    leg.detector.went_blind(T + 10)
    leg.read(T + W)
    assert leg.score == 1


def test_a_gap_shorter_than_five_seconds_is_none() -> None:
    leg = Leg()
    leg.send(0)
    leg.detector.went_blind(10)
    leg.read(14.9)
    leg.read(T)
    assert leg.score == 1


def test_a_gap_before_or_after_a_canarys_time_does_not_touch_it() -> None:
    leg = Leg()
    leg.detector.went_blind(-20)
    leg.read(-1)
    leg.send(0)
    leg.read(T)
    assert leg.score == 1


def test_seen_after_a_gap_it_is_punctual_only_where_that_is_known() -> None:
    leg = Leg()
    leg.send(0, 1, 2)
    leg.detector.went_blind(10)
    leg.detector.arrived("c0", 30.0, 200.0)
    leg.detector.arrived("c1", 199.0, 200.0)
    leg.detector.arrived("c2", None, 200.0)
    leg.read(200)
    assert (leg.score, leg.detector.judged, leg.detector.runs, leg.detector.waiting) == (0, 1, 0, 0)


def test_down_time_is_a_gap() -> None:
    leg = Leg()
    leg.send(0)
    leg.detector.down(10, 50)
    leg.read(T)
    assert leg.score == 0
    leg.read(T + W)
    assert leg.score == 1


def test_ten_blind_minutes_in_health_score_nothing() -> None:
    leg = Leg()
    leg.detector.went_blind(0)
    leg.send(*range(0, 600, 60))
    leg.punctual(*range(0, 600, 60))
    assert leg.read(600, 660, 720) == []
    assert (leg.score, leg.detector.runs, leg.detector.judged) == (0, 0, 10)
