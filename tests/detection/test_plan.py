"""What a rate can see: against the figures of the simulated detector, and the rate that a target needs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from probe.detection.bounds import canaries_to_see
from probe.detection.plan import FASTEST, PAGE_DELAY, SHARES, Leg, needed_rate, ruled_out, see, table

CAP_20 = ((20, 60.0), (1000, 3600.0))

# rate | legs | cap/min | minutes to the page, mean, at 20, 5, 2 and 1 % | the same, p95 — from simulation
_SIMULATED = """
1  | 1  | 60 | 6.4 21 50 121     | 15.4 56 137 342
1  | 40 | 60 | 6.8 22.6 52 122   | 16.1 57 147 334
6  | 1  | 60 | 2.9 6.3 12.7 26   | 4.5 12.4 27.5 67
6  | 40 | 60 | 3.1 7.1 14.7 31   | 4.6 14.1 31 67
12 | 1  | 60 | 2.5 4.6 9.5 18    | 3.3 8.1 18.9 37
12 | 40 | 60 | 2.7 5.5 11.4 23   | 3.5 9.1 20.3 43
1  | 40 | 20 | 7.17 24.6 58.7 138 |
6  | 40 | 20 | 3.72 10.3 24.4 55.6 |
12 | 40 | 20 | 3.36 8.97 22.6 52.8 |
"""


@pytest.mark.parametrize("line", _SIMULATED.strip().splitlines())
def test_the_model_is_near_the_simulated_detector(line: str) -> None:
    rate, legs, cap, means, late = (cell.strip() for cell in line.split("|"))
    leg = Leg(float(rate), budget=0.65 / int(legs), caps=CAP_20 if cap == "20" else ((60, 60.0),))
    off = 0.22 if cap == "20" else 0.16
    for sight, mean in zip(table(leg)[1:], means.split(), strict=True):
        assert sight.mean / 60 == pytest.approx(float(mean), rel=off)
    for sight, within in zip(table(leg)[1:], late.split(), strict=False):
        assert sight.within / 60 == pytest.approx(float(within), rel=0.16)


@pytest.mark.parametrize(
    ("rate", "suspect_after", "mean", "late"),
    [(1, 20, 1.68, 2.13), (1, 2, 1.50, 1.95), (6, 20, 1.08, 1.15), (12, 20, 1.04, 1.07)],
)
def test_a_total_loss_pages_by_the_blackout_rule(rate: float, suspect_after: float, mean: float, late: float) -> None:
    sight = see(Leg(rate, suspect_after=suspect_after), 1.0)
    assert sight.mean / 60 == pytest.approx(mean, abs=0.02)
    assert sight.within / 60 == pytest.approx(late, abs=0.02)
    assert sight.canaries == 1


@pytest.mark.parametrize(
    ("rate", "share", "minutes"),
    [
        (1, 1.0, 1.5),
        (1, 0.2, 5.5),
        (1, 0.05, 20.5),
        (1, 0.02, 50.5),
        (1, 0.01, 100.5),
        (6, 0.05, 4.25),
        (12, 0.01, 9.3),
    ],
)
def test_the_floor_is_the_first_lost_canary(rate: float, share: float, minutes: float) -> None:
    sight = see(Leg(rate), share)
    assert sight.floor / 60 == pytest.approx(minutes, abs=0.02)
    assert sight.floor <= sight.mean


@pytest.mark.parametrize(
    ("share", "of_95", "of_99"), [(0.2, 14, 21), (0.1, 29, 44), (0.05, 59, 90), (0.02, 149, 228), (0.01, 299, 459)]
)
def test_the_canaries_to_see_one_loss(share: float, of_95: int, of_99: int) -> None:
    assert see(Leg(1), share, 0.95).canaries == of_95 == canaries_to_see(share)
    assert see(Leg(1), share, 0.99).canaries == of_99


def test_a_table_is_data() -> None:
    sights = table(Leg(1))
    assert tuple(sight.share for sight in sights) == SHARES
    assert all(sight.found for sight in sights)
    assert [sight.mean for sight in sights] == sorted(sight.mean for sight in sights)
    assert all(sight.mean < sight.within for sight in sights)


def test_a_share_near_the_noise_is_not_found() -> None:
    sight = see(Leg(1), 0.003)
    assert (sight.found, sight.mean, sight.within) == (False, math.inf, math.inf)
    assert math.isfinite(sight.floor)
    noisy = see(Leg(1, noise=0.4), 0.5)
    assert not noisy.found
    assert see(Leg(1, noise=0.4), 1.0).found  # the blackout rule needs no noise


@pytest.mark.parametrize(("share", "confidence"), [(0, 0.9), (1.1, 0.9), (0.1, 0), (0.1, 1)])
def test_what_cannot_be_is_refused(share: float, confidence: float) -> None:
    with pytest.raises(ValueError, match="share"):
        see(Leg(1), share, confidence)


@pytest.mark.parametrize("share", [1.0, 0.2, 0.05, 0.01])
@pytest.mark.parametrize("minutes", [5.0, 30, 120])
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_the_needed_rate_meets_its_target_and_a_slower_one_does_not(
    share: float, minutes: float, confidence: float
) -> None:
    leg = Leg(1)
    needed = needed_rate(leg, share, minutes * 60, confidence)
    if needed.rate is None:
        assert needed.sight is not None
        assert needed.sight.within + PAGE_DELAY > minutes * 60
        assert needed.sentence.startswith("no rate does: at 60 a minute it takes")
        return
    assert needed.sight is not None
    assert needed.sight.within + PAGE_DELAY <= minutes * 60
    slower = see(replace(leg, rate=needed.rate / 1.03), share, confidence)
    assert slower.within + PAGE_DELAY > minutes * 60 or needed.rate < 1.02 / 60


def test_the_needed_rate_is_said_in_words() -> None:
    fast = needed_rate(Leg(1), 0.01, 30 * 60)
    assert fast.rate == pytest.approx(18, abs=0.5)
    assert fast.sentence == (
        "one canary every 3.3 s on each leg finds a loss of 1.00% within 30 min at 95% (19 min on average)"
    )
    slow = needed_rate(Leg(1), 0.2, 30 * 60)
    assert slow.sentence.startswith("one canary every 126 s on each leg finds a loss of 20.00%")
    hopeless = needed_rate(Leg(1), 0.002, 30 * 60)
    assert hopeless.rate is None
    assert hopeless.sentence == "a loss of 0.20% is too near the noise: shares from 1.00% on are looked for"


def test_caps_bound_the_rate() -> None:
    capped = needed_rate(Leg(1, caps=CAP_20), 0.01, 30 * 60)
    assert capped.rate is None
    assert capped.sentence.startswith("no rate does: at 16.6 a minute it takes")
    assert needed_rate(Leg(1, caps=()), 0.05, 300, 0.5).rate is not None
    assert FASTEST == 60


def test_what_a_quiet_time_rules_out() -> None:
    assert ruled_out(Leg(1), 8 * 3600) == pytest.approx(0.0062, abs=0.0001)  # 0 of 480
    assert ruled_out(Leg(1), 30) == 1.0
