"""What is learned from a leg's own history, and what is left out of it."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from probe.detection.calibration import Aim, Calibration, cautious, quantile
from probe.detection.dry_run import Past, dry_run
from probe.detection.threshold import threshold
from tests.detection.legs import TUNING, S, T

HOUR, DAY = 3_600.0, 86_400.0
AIM = Aim(T, 50.0, 0.01, 43_200, 0.65)


def _days(calibration: Calibration, days: int, runs_an_hour: float = 0.09, an_hour: int = 60) -> tuple[int, int]:
    """So many days of health, from nought; the totals at their end."""
    judged, runs = 0, 0.0
    for hour in range(24 * days):
        judged, runs = judged + an_hour, runs + runs_an_hour
        calibration.follow(hour * HOUR + 1, judged, int(runs))
    return judged, int(runs)


def test_the_first_day_has_cautious_figures() -> None:
    found = Calibration().recalibrate(0.0, AIM)
    assert (found.noise, found.judged, found.runs) == (0.002, 0, 0)
    assert (found.tuning.suspect_after, found.tuning.usual) == (T / 2, T / 2)
    assert found.tuning.score == threshold(0.002, 43_200, 0.65).score
    assert not found.tuning.share_pages
    assert not found.too_noisy


@pytest.mark.parametrize(("judged", "pages"), [(1_999, False), (2_000, True)])
def test_a_share_pages_from_2000_canaries_on(judged: int, pages: bool) -> None:
    calibration = Calibration()
    calibration.follow(1.0, judged, 0)
    assert calibration.recalibrate(2.0, AIM).tuning.share_pages is pages


def test_the_noise_is_a_cautious_upper_value() -> None:
    calibration = Calibration()
    judged, runs = _days(calibration, 13)
    found = calibration.recalibrate(13 * DAY, AIM)
    assert (found.judged, found.runs) == (judged, runs)
    assert found.noise >= (runs + math.sqrt(runs) + 2) / (judged + 1_000) > runs / judged


def test_a_cautious_share_is_a_standard_error_and_a_prior_above_the_plain_one() -> None:
    assert cautious(0, 0, 1_000) == 0.002
    assert cautious(9, 6_000, 1_000) == 14 / 7_000


def test_the_noise_is_never_less_than_two_in_ten_thousand() -> None:
    calibration = Calibration()
    calibration.follow(DAY, 10_000_000, 0)
    assert calibration.recalibrate(DAY + 1, AIM).noise == 0.0002


def test_the_noisiest_quarter_of_the_day_counts() -> None:
    calibration = Calibration()
    judged = runs = 0
    for hour in range(24 * 10):
        judged += 60
        runs += hour % 24 // 6 == 2 and hour % 4 == 0
        calibration.follow(hour * HOUR + 1, judged, runs)
    found = calibration.recalibrate(10 * DAY, AIM)
    assert found.noise == pytest.approx(cautious(runs, 3_600, 250))
    assert found.noise > cautious(runs, judged, 1_000)


def test_a_quarter_with_too_little_in_it_is_not_heard() -> None:
    calibration = Calibration()
    calibration.follow(1.0, 499, 0)
    assert calibration.recalibrate(2.0, AIM).noise == pytest.approx(2 / 1_499)
    calibration.follow(3.0, 500, 0)
    assert calibration.recalibrate(4.0, AIM).noise == pytest.approx(2 / 750)


def test_only_fourteen_days_count() -> None:
    calibration = Calibration()
    calibration.follow(1.0, 5_000, 100)
    for _ in range(600):
        calibration.latency(1.0, 50.0)
    assert calibration.recalibrate(13.9 * DAY, AIM).runs == 100
    found = calibration.recalibrate(15.1 * DAY, AIM)
    assert (found.judged, found.runs, found.tuning.suspect_after) == (0, 0, T / 2)


def test_an_incident_is_left_out_from_its_estimated_start_to_its_end() -> None:
    calibration = Calibration()
    calibration.follow(0.5 * HOUR, 100, 0)
    calibration.follow(1.5 * HOUR, 200, 30)
    calibration.exclude("i1", 1.2 * HOUR)
    calibration.follow(2.5 * HOUR, 300, 60)
    assert calibration.recalibrate(2.6 * HOUR, AIM).runs == 0
    calibration.exclude("i1", 0.9 * HOUR)  # the estimate moved back
    calibration.closed("i1", 2.7 * HOUR)
    calibration.follow(3.5 * HOUR, 400, 61)
    found = calibration.recalibrate(4 * HOUR, AIM)
    assert (found.judged, found.runs) == (100, 1)


def test_an_incident_that_was_false_counts_again_and_asks_for_a_point_more() -> None:
    calibration = Calibration()
    calibration.follow(1.5 * HOUR, 200, 3)
    calibration.exclude("i1", 1.2 * HOUR)
    calibration.closed("i1", 1.9 * HOUR)
    assert calibration.recalibrate(2 * HOUR, AIM).runs == 0
    calibration.called_false("i1")
    now = calibration.figures(2.1 * HOUR, AIM)
    assert now.runs == 3
    assert now.tuning.score == now.threshold.score + 1
    later = calibration.recalibrate(3.1 * HOUR, AIM)
    assert later.tuning.score == later.threshold.score


def test_latencies_of_an_incident_are_left_out() -> None:
    calibration = Calibration()
    for _ in range(1_000):
        calibration.latency(1.0, 1.0)
    before = calibration.recalibrate(2.0, AIM).tuning
    calibration.exclude("i1", 1.0)
    for _ in range(9_000):
        calibration.latency(1.0, 25.0)
    assert calibration.recalibrate(3.0, AIM).tuning.suspect_after == before.suspect_after


def test_the_quantiles_of_the_latency() -> None:
    calibration = Calibration()
    for n in range(1, 1_001):
        calibration.latency(DAY, n / 50)
    tuning = calibration.recalibrate(DAY, AIM).tuning
    assert tuning.suspect_after == pytest.approx(19.6, rel=0.04)
    assert tuning.usual == pytest.approx(16.0, rel=0.04)


@pytest.mark.parametrize(("seconds", "suspect_after"), [(0.0, 2.0), (0.3, 2.0), (10.0, 10.0), (500.0, T / 2)])
def test_the_suspicion_lies_between_two_seconds_and_half_the_deadline(seconds: float, suspect_after: float) -> None:
    calibration = Calibration()
    for _ in range(500):
        calibration.latency(DAY, seconds)
    tuning = calibration.recalibrate(DAY, AIM).tuning
    assert tuning.suspect_after == pytest.approx(suspect_after, rel=0.1)
    assert tuning.usual <= tuning.suspect_after


def test_a_short_deadline_has_a_short_suspicion() -> None:
    calibration = Calibration()
    for _ in range(500):
        calibration.latency(DAY, 0.1)
    assert calibration.recalibrate(DAY, replace(AIM, overdue_after=1.0)).tuning.suspect_after == 0.5


def test_a_quantile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing"):
        quantile({}, 0.5)


def test_a_leg_that_stays_too_noisy_for_a_day_says_so() -> None:
    calibration = Calibration()
    calibration.follow(1.0, 10_000, 50)
    first = calibration.recalibrate(HOUR, AIM)
    assert first.threshold.smallest_loss == pytest.approx(3 * first.noise)
    assert not first.too_noisy
    assert not calibration.recalibrate(1 * DAY, AIM).too_noisy
    assert calibration.recalibrate(HOUR + DAY, AIM).too_noisy
    calibration.follow(2 * DAY, 10_000_000, 50)
    assert not calibration.recalibrate(2 * DAY + HOUR, AIM).too_noisy


def test_it_is_due_once_an_hour() -> None:
    calibration = Calibration()
    assert calibration.due(0.0)
    calibration.recalibrate(0.0, AIM)
    assert not calibration.due(HOUR - 1)
    calibration.figures(HOUR - 1, AIM)
    assert calibration.due(HOUR)


def test_totals_that_began_anew_are_not_taken_for_a_loss_of_canaries() -> None:
    calibration = Calibration()
    calibration.follow(1.0, 1_000, 5)
    calibration.follow(2.0, 10, 1)
    found = calibration.recalibrate(3.0, AIM)
    assert (found.judged, found.runs) == (1_010, 6)


def test_its_state_survives_json() -> None:
    calibration = Calibration()
    _days(calibration, 3)
    for n in range(700):
        calibration.latency(2 * DAY, 1 + n / 100)
    calibration.exclude("i1", DAY)
    calibration.closed("i1", DAY + HOUR)
    calibration.exclude("i2", 2 * DAY)
    calibration.recalibrate(3 * DAY, AIM)
    state = json.loads(json.dumps(calibration.state()))
    again = Calibration.restore(state)
    assert json.loads(json.dumps(again.state())) == state
    assert again.recalibrate(4 * DAY, AIM) == calibration.recalibrate(4 * DAY, AIM)
    with pytest.raises(ValueError, match="version"):
        Calibration.restore(state | {"version": 0})


# The dry run.


def _history(lost: set[int], minutes: int = 300) -> list[Past]:
    return [Past(60.0 * n, None if n in lost else 2.0) for n in range(minutes)]


def test_a_dry_run_counts_the_pages_of_the_past() -> None:
    tuning = replace(TUNING, score=2.9)
    assert dry_run(_history(set()), tuning) == []
    assert dry_run(_history({10, 20}), tuning) == []
    pages = dry_run(_history({10, 20, 30}), tuning)
    assert [(one.first_sent, one.at) for one in pages] == [(600.0, 1_800.0 + T)]
    assert dry_run(_history({10, 20, 30}), tuning, incidents=[(1_500.0, 2_500.0)]) == []


def test_a_blackout_of_the_past_is_one_page() -> None:
    pages = dry_run(_history(set(range(10, 60))), replace(TUNING, score=99))
    assert len(pages) == 1
    assert pages[0].at == 600 + 6 * 60 + S


def test_two_pages_for_nothing_ask_for_a_point_more() -> None:
    calibration = Calibration()
    assert not calibration.dry_run(1)
    assert calibration.recalibrate(0.0, AIM).tuning.score == threshold(0.002, 43_200, 0.65).score
    assert calibration.dry_run(2)
    assert calibration.recalibrate(HOUR, AIM).tuning.score == threshold(0.002, 43_200, 0.65).score + 1
    assert not calibration.dry_run(0)
