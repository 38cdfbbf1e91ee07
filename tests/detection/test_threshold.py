"""The threshold, against the exact mean run length and published figures."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import pytest

from probe.detection.threshold import canaries_per_point, mean_run_length, stall_limit, threshold

MONTH = 43_200


@pytest.mark.parametrize(("per_minute", "alone", "of_forty"), [(1, 2.9, 5.0), (6, 3.9, 5.9), (12, 4.3, 6.3)])
def test_the_published_thresholds(per_minute: int, alone: float, of_forty: float) -> None:
    """By a budget of 0.8 false pages a month for a leg alone, and 0.65 for forty."""
    assert threshold(0.0015, per_minute * MONTH, 0.8).score == alone
    assert threshold(0.0015, per_minute * MONTH, 0.65 / 40).score == of_forty


@pytest.mark.parametrize(("per_minute", "of_forty"), [(1, 4.2), (6, 5.0), (12, 5.3)])
def test_the_published_thresholds_of_a_quieter_path(per_minute: int, of_forty: float) -> None:
    assert threshold(0.00105, per_minute * MONTH, 0.65 / 40).score == of_forty


def test_a_point_weighs_222_canaries_at_the_usual_noise() -> None:
    assert canaries_per_point(0.0015, 0.01) == 222


@pytest.mark.parametrize(
    ("per_minute", "pages"), [(1, (0.04, 0.22, 0.77, 4.1, 22.7)), (12, (0.006, 0.096, 0.69, 9.8, 134.4))]
)
def test_the_published_sensitivity_to_noise_that_is_higher_than_thought(
    per_minute: int, pages: tuple[float, ...]
) -> None:
    needed = threshold(0.002, per_minute * MONTH, 0.8)
    for noise, expected in zip((0.001, 0.0015, 0.002, 0.003, 0.005), pages, strict=True):
        found = per_minute * MONTH * 1.45 / mean_run_length(noise, needed.per_point, needed.score)
        assert found == pytest.approx(expected, rel=0.1)


def _exactly(noise: Fraction, per_point: int, n: int) -> float:
    """The recursion in fractions."""
    up, slope, offset = noise, [Fraction(0)] * (n + per_point), [Fraction(0)] * (n + per_point)
    slope[n - 1] = Fraction(1)
    for i in range(n - 1, 0, -1):
        slope[i - 1] = (slope[i] - up * slope[i + per_point]) / (1 - up)
        offset[i - 1] = (offset[i] - 1 - up * offset[i + per_point]) / (1 - up)
    top = (1 - up * (offset[0] - offset[per_point])) / (up * (slope[0] - slope[per_point]))
    return float(slope[0] * top + offset[0])


@pytest.mark.parametrize(
    ("noise", "per_point", "score"),
    [("0.03", 20, 5.0), ("0.1", 3, 8.0), ("0.2", 2, 10.0), ("0.0015", 50, 4.0), ("0.3", 1, 6.0), ("0.01", 9, 1.0)],
)
def test_the_run_length_loses_no_digits(noise: str, per_point: int, score: float) -> None:
    found = mean_run_length(float(noise), per_point, score)
    assert found == pytest.approx(_exactly(Fraction(noise), per_point, round(score * per_point)), rel=1e-7)


def test_the_run_length_is_that_of_the_walk_itself() -> None:
    rng = random.Random(5)
    noise, per_point, score = 0.04, 10, 2.5
    lengths = []
    for _ in range(2_000):
        units = length = 0
        while units < score * per_point:
            length += 1
            units = units + per_point if rng.random() < noise else max(0, units - 1)
        lengths.append(length)
    error = 4 * (sum(n * n for n in lengths) ** 0.5) / len(lengths)
    assert sum(lengths) / len(lengths) == pytest.approx(mean_run_length(noise, per_point, score), abs=error)


def test_the_threshold_is_the_smallest_tenth_within_the_budget() -> None:
    needed = threshold(0.0015, MONTH, 0.65 / 40)
    assert needed.false_pages <= 0.65 / 40
    below = mean_run_length(0.0015, needed.per_point, needed.score - 0.1)
    assert MONTH * 1.45 / below > 0.65 / 40


def test_more_noise_than_a_third_of_the_smallest_loss_raises_that() -> None:
    quiet, noisy = threshold(0.003, MONTH, 0.65), threshold(0.004, MONTH, 0.65)
    assert (quiet.noisy, quiet.smallest_loss) == (False, 0.01)
    assert noisy.noisy
    assert noisy.smallest_loss == pytest.approx(0.012)
    assert noisy.false_pages <= 0.65


def test_a_route_that_is_all_noise_has_no_share_rule() -> None:
    assert threshold(0.4, MONTH, 0.65).score == math.inf
    assert threshold(0.29, 10 * MONTH, 0.01).false_pages <= 0.01


def test_nothing_sent_makes_no_false_page() -> None:
    assert threshold(0.002, 0, 0.65).score == 1.0


def test_a_run_length_beyond_double_precision_is_never() -> None:
    assert mean_run_length(0.001, 500, 60.0) == math.inf


@pytest.mark.parametrize(("deadline", "limit"), [(60, 48.0), (120, 50.0), (1, 0.8)])
def test_the_stall_limit_lies_below_the_deadline(deadline: float, limit: float) -> None:
    assert stall_limit(deadline) == limit


@pytest.mark.parametrize("noise", [0.0002, 0.0011, 0.0015, 0.0033, 0.02])
@pytest.mark.parametrize("budget", [0.65, 0.016, 0.00065])
def test_a_score_to_try_first_changes_no_result(noise: float, budget: float) -> None:
    plain = threshold(noise, 43_200, budget)
    for near in (0.0, 1.0, plain.score - 0.1, plain.score, plain.score + 0.1, plain.score + 3, math.inf):
        assert threshold(noise, 43_200, budget, 0.01, near) == plain
