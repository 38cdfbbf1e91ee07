"""Exact bounds of a share by Clopper and Pearson (Biometrika 26, 1934), by the standard library alone.

The bounds are quantiles of the beta distribution, found by Newton steps kept inside a bracket. The distribution itself
is the continued fraction of the incomplete beta function (modified Lentz; Didonato and Morris, TOMS 18, 1992) times a
binomial probability by the saddle point (Loader, "Fast and accurate computation of binomial probabilities", 2000),
which does not lose digits where lgamma would: good to 1e-9 for up to 10 million canaries.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_TINY = 1e-300
_EPSILON = 1e-15
_MOST_TERMS = 200_000  # about 5 √n are needed
_STEPS = 200

# n! against Stirling's formula, in logarithms, for n = 0 … 15: the series is exact to double precision from 16 on.
_STIRLING_ERRORS = (
    0.0,
    *(math.lgamma(n + 1) - (n + 0.5) * math.log(n) + n - 0.5 * math.log(2 * math.pi) for n in range(1, 16)),
)


@dataclass(frozen=True, slots=True)
class Interval:
    """``lower`` and ``upper`` bound of a share, each from 0 to 1."""

    lower: float
    upper: float


def clopper_pearson(lost: int, judged: int, confidence: float = 0.95) -> Interval:
    """The exact two-sided interval of the share ``lost / judged``; 0 to 1 where nothing was judged.

    It holds the true share with at least ``confidence`` (more than 0, less than 1). Raises ``ValueError`` on counts
    that cannot be.
    """
    tail = (1 - confidence) / 2
    _check(lost, judged, confidence)
    return Interval(_lower(lost, judged, tail), _upper(lost, judged, tail))


def lower_bound(lost: int, judged: int, confidence: float = 0.95) -> float:
    """The exact one-sided bound: the true share is at least this, with at least ``confidence``."""
    _check(lost, judged, confidence)
    return _lower(lost, judged, 1 - confidence)


def upper_bound(lost: int, judged: int, confidence: float = 0.95) -> float:
    """The exact one-sided bound: the true share is at most this, with at least ``confidence``."""
    _check(lost, judged, confidence)
    return _upper(lost, judged, 1 - confidence)


def canaries_to_see(share: float, confidence: float = 0.95) -> int:
    """Canaries after which at least one is lost with ``confidence``, when ``share`` (0 < share < 1) of all are."""
    if not 0 < share < 1 or not 0 < confidence < 1:
        raise ValueError("share and confidence lie between 0 and 1")
    return math.ceil(math.log1p(-confidence) / math.log1p(-share))


def at_least(count: int, canaries: int, share: float) -> float:
    """The chance that ``count`` or more of ``canaries`` are lost when each is with chance ``share`` (0 to 1)."""
    if count <= 0:
        return 1.0
    if count > canaries:
        return 0.0
    return incomplete_beta(count, canaries - count + 1, share)


def incomplete_beta(a: int, b: int, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), for whole a and b from 1 on."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    if x > a / (a + b):
        return 1 - _below_mean(b, a, 1 - x, x)
    return _below_mean(a, b, x, 1 - x)


def _check(lost: int, judged: int, confidence: float) -> None:
    if not 0 <= lost <= judged:
        raise ValueError(f"{lost} lost of {judged} judged cannot be")
    if not 0 < confidence < 1:
        raise ValueError("confidence lies between 0 and 1")


def _lower(lost: int, judged: int, tail: float) -> float:
    if lost == 0:
        return 0.0
    if lost == judged:
        return math.exp(math.log(tail) / judged)
    return _quantile(lost, judged - lost + 1, tail)


def _upper(lost: int, judged: int, tail: float) -> float:
    if lost == judged:
        return 1.0
    if lost == 0:
        return -math.expm1(math.log(tail) / judged)
    return _quantile(lost + 1, judged - lost, 1 - tail)


def _quantile(a: int, b: int, target: float) -> float:
    """The x with I_x(a, b) = ``target``: Newton's step where it stays inside the bracket, else its middle."""
    low, high = 0.0, 1.0
    x = a / (a + b)
    for _ in range(_STEPS):
        excess = incomplete_beta(a, b, x) - target
        if excess > 0:
            high = x
        else:
            low = x
        density = _density(a, b, x)
        step = x - excess / density if density > 0 else -1.0
        nearer = step if low < step < high else (low + high) / 2
        if abs(nearer - x) <= 1e-15 + 1e-14 * x:
            return nearer
        x = nearer
    return x


def _density(a: int, b: int, x: float) -> float:
    """Of the beta distribution, which is a binomial probability times a count."""
    return (a + b - 1) * _binomial(a - 1, a + b - 2, x, 1 - x)


def _below_mean(a: int, b: int, x: float, y: float) -> float:
    """I_x(a, b) for x (= 1 - y) up to the mean, where the fraction converges in about √n terms."""
    return y * _binomial(a, a + b - 1, x, y) * _fraction(a, b, x)


def _fraction(a: int, b: int, x: float) -> float:
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > _TINY else _TINY)
    value = d
    for m in range(1, _MOST_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 + even * d
        c = 1 + even / c
        d = 1 / (d if abs(d) > _TINY else _TINY)
        c = c if abs(c) > _TINY else _TINY
        value *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 + odd * d
        c = 1 + odd / c
        d = 1 / (d if abs(d) > _TINY else _TINY)
        c = c if abs(c) > _TINY else _TINY
        change = d * c
        value *= change
        if abs(change - 1) < _EPSILON:
            break
    return value


def _binomial(k: int, n: int, p: float, q: float) -> float:
    """C(n, k) p^k q^(n-k), q = 1 - p, by Loader's saddle point."""
    if k == 0:
        return math.exp(n * math.log(q))
    if k == n:
        return math.exp(n * math.log(p))
    exponent = (
        _stirling_error(n) - _stirling_error(k) - _stirling_error(n - k) - _deviance(k, n * p) - _deviance(n - k, n * q)
    )
    return math.exp(exponent) * math.sqrt(n / (2 * math.pi * k * (n - k)))


def _stirling_error(n: int) -> float:
    if n < len(_STIRLING_ERRORS):
        return _STIRLING_ERRORS[n]
    square = n * n
    return (1 / 12 - (1 / 360 - (1 / 1260 - (1 / 1680 - 1 / 1188 / square) / square) / square) / square) / n


def _deviance(x: float, mean: float) -> float:
    """x ln(x/mean) + mean - x, without the loss of digits where x is near the mean."""
    if abs(x - mean) >= 0.1 * (x + mean):
        return x * math.log(x / mean) + mean - x
    v = (x - mean) / (x + mean)
    total = (x - mean) * v
    term, power = 2 * x * v, v * v
    for j in range(1, 1000):
        term *= power
        following = total + term / (2 * j + 1)
        if following == total:
            break
        total = following
    return total
