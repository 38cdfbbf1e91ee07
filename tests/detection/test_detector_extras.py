"""The extra canaries: suspicion, witnesses and the hunt; when they are due, and when there are none."""

from __future__ import annotations

from probe.detection.detector import Finding, Grade, Kind, Why
from tests.detection.legs import Leg, S, T, W


def _why(leg: Leg, now: float) -> tuple[Why, float] | None:
    extra = leg.detector.next_extra(now)
    return None if extra is None else (extra.why, extra.due)


def test_a_canary_older_than_the_p98_latency_is_suspicious() -> None:
    leg = Leg()
    assert leg.detector.next_extra(0) is None
    leg.send(0)
    assert _why(leg, 1) == (Why.SUSPICION, S)
    leg.send(18)
    assert _why(leg, 19) == (Why.SUSPICION, 23)  # 5 s after the last send
    leg.punctual(0, age=19.5)
    assert _why(leg, 20) == (Why.SUSPICION, 18 + S)
    leg.punctual(18)
    assert leg.detector.next_extra(21) is None


def test_an_attempt_keeps_extras_at_a_distance_before_its_answer() -> None:
    leg = Leg()
    leg.send(0)
    leg.detector.attempted(24)
    assert _why(leg, 24) == (Why.SUSPICION, 29)


def test_beyond_the_stall_limit_witnesses_are_sent_a_second_apart() -> None:
    leg = Leg()
    leg.send(0, 20, 25, 30, 35, 40, 45)
    for now in (W, W + 1, W + 2, W + 3):
        assert _why(leg, now) == (Why.WITNESS, now)
        leg.send(now)


def test_the_last_suspicion_before_the_stall_limit_does_not_put_off_the_witnesses() -> None:
    leg = Leg()
    leg.send(0, 48)
    assert _why(leg, 48) == (Why.SUSPICION, W)


def test_an_overdue_canary_is_hunted_until_the_score_is_nought() -> None:
    leg = Leg()
    leg.send(0)
    leg.good(1)
    leg.read(T)
    assert _why(leg, T) == (Why.HUNT, 2.0)
    extra = leg.detector.next_extra(T)
    assert extra is not None
    assert not extra.exempt
    for n in range(200):
        leg.good(T + n)
    assert leg.detector.next_extra(300) is None


def test_a_second_overdue_run_is_exempt_from_the_allowance() -> None:
    leg = Leg()
    leg.send(0)
    leg.good(1)
    leg.send(2)
    leg.good(3)
    leg.read(2 + T)
    extra = leg.detector.next_extra(2 + T)
    assert extra is not None
    assert extra.exempt


def test_no_extras_while_blind_or_paused_or_during_an_incident() -> None:
    leg = Leg()
    leg.send(0)
    leg.detector.went_blind(30)
    assert leg.detector.next_extra(34.9) is not None  # a gap counts from 5 s
    assert leg.detector.next_extra(35) is None
    leg.read(40)
    assert leg.detector.next_extra(40) is not None
    leg.detector.paused = True
    assert leg.detector.next_extra(40) is None
    leg.detector.paused = False
    leg.detector.opened(Finding(Kind.SHARE, Grade.PAGE, 40, 3, 3, "x", 0, None))
    assert leg.detector.next_extra(41) is None
