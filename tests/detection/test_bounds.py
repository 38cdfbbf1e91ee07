"""Exact bounds, against published figures, exact fractions, and the definition itself."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.detection.bounds import (
    at_least,
    canaries_to_see,
    clopper_pearson,
    incomplete_beta,
    lower_bound,
    upper_bound,
)


def _exact(count: int, canaries: int, share: float) -> float:
    p = Fraction(share)
    return float(sum(comb(canaries, k) * p**k * (1 - p) ** (canaries - k) for k in range(count, canaries + 1)))


@pytest.mark.parametrize(
    ("lost", "judged", "lower", "upper"),
    [
        (5, 480, 0.34, 2.41),
        (24, 480, 3.23, 7.35),
        (14, 1_680, 0.46, 1.39),
        (1, 480, 0.005, 1.16),
        (0, 480, 0.0, 0.77),
        (22, 477, 2.91, 6.90),
    ],
)
def test_the_interval_is_the_published_one(lost: int, judged: int, lower: float, upper: float) -> None:
    found = clopper_pearson(lost, judged)
    digits = 3 if lost == 1 else 2
    assert round(100 * found.lower, digits) == lower
    assert round(100 * found.upper, 2) == upper


def test_one_sided_is_narrower_than_two_sided() -> None:
    assert round(100 * upper_bound(0, 480), 2) == 0.62
    assert lower_bound(5, 480) > clopper_pearson(5, 480).lower
    assert upper_bound(5, 480) < clopper_pearson(5, 480).upper
    assert lower_bound(5, 480, 0.975) == pytest.approx(clopper_pearson(5, 480).lower, abs=1e-12)


@pytest.mark.parametrize(
    ("share", "likely", "certain"),
    [
        (0.2, 14, 21),
        (0.1, 29, 44),
        (0.05, 59, 90),
        (0.02, 149, 228),
        (0.01, 299, 459),
        (0.005, 598, 919),
        (0.001, 2_995, 4_603),
    ],
)
def test_how_many_canaries_see_a_loss(share: float, likely: int, certain: int) -> None:
    assert canaries_to_see(share) == likely
    assert canaries_to_see(share, 0.99) == certain


@given(st.integers(1, 120).flatmap(lambda n: st.tuples(st.integers(0, n + 1), st.just(n))), st.floats(0.001, 0.999))
@settings(max_examples=150, deadline=None)
def test_the_tail_is_the_sum_of_its_terms(counts: tuple[int, int], share: float) -> None:
    count, canaries = counts
    assert at_least(count, canaries, share) == pytest.approx(_exact(count, canaries, share), rel=1e-11, abs=1e-300)


@given(
    st.integers(1, 10_000_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    st.sampled_from([0.5, 0.9, 0.95, 0.99, 0.999]),
)
@settings(max_examples=200, deadline=None)
def test_the_bounds_are_where_the_tails_are_cut(counts: tuple[int, int], confidence: float) -> None:
    """The definition: at the lower bound so many or more, at the upper one so many or fewer, have chance ``tail``."""
    lost, judged = counts
    tail = (1 - confidence) / 2
    found = clopper_pearson(lost, judged, confidence)
    assert 0 <= found.lower <= lost / judged <= found.upper <= 1
    if lost:
        assert _tail_is(tail, lambda p: at_least(lost, judged, p), found.lower)
    if lost < judged:
        assert _tail_is(1 - tail, lambda p: at_least(lost + 1, judged, p), found.upper)


def _tail_is(tail: float, chance: Callable[[float], float], bound: float) -> bool:
    """``bound`` is right to 1e-9: the chance crosses ``tail`` between that much below it and that much above it."""
    return chance(bound - 1e-9) <= tail + 1e-12 and tail - 1e-12 <= chance(bound + 1e-9)


@pytest.mark.parametrize("judged", [1, 10, 10_000_000])
def test_the_ends_have_closed_forms(judged: int) -> None:
    assert clopper_pearson(0, judged).lower == 0.0
    assert clopper_pearson(0, judged).upper == pytest.approx(1 - 0.025 ** (1 / judged), abs=1e-12)
    assert clopper_pearson(judged, judged).lower == pytest.approx(0.025 ** (1 / judged), abs=1e-12)
    assert clopper_pearson(judged, judged).upper == 1.0


def test_small_bounds_keep_their_digits() -> None:
    """1 of 10 million: the bound itself is 5e-7, and still right to nine digits (the Poisson limit is 5.571643)."""
    assert clopper_pearson(1, 10_000_000).upper == pytest.approx(5.571643e-7, rel=2e-6)
    assert at_least(2, 10_000_000, clopper_pearson(1, 10_000_000).upper) == pytest.approx(0.975, abs=1e-12)


def test_nothing_judged_says_nothing() -> None:
    assert clopper_pearson(0, 0).lower == 0.0
    assert (lower_bound(0, 0), upper_bound(0, 0)) == (0.0, 1.0)


@pytest.mark.parametrize("counts", [(-1, 5), (6, 5)])
def test_impossible_counts_are_refused(counts: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        clopper_pearson(*counts)
    with pytest.raises(ValueError, match="cannot be"):
        upper_bound(*counts)
    with pytest.raises(ValueError, match="cannot be"):
        lower_bound(*counts)


@pytest.mark.parametrize("confidence", [0.0, 1.0, -1.0])
def test_impossible_confidence_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        clopper_pearson(1, 5, confidence)
    with pytest.raises(ValueError, match="confidence"):
        canaries_to_see(0.1, confidence)


def test_the_incomplete_beta_has_its_ends_and_its_mirror() -> None:
    assert (incomplete_beta(3, 4, 0.0), incomplete_beta(3, 4, 1.0)) == (0.0, 1.0)
    assert incomplete_beta(3, 4, 0.2) == pytest.approx(1 - incomplete_beta(4, 3, 0.8), abs=1e-15)
