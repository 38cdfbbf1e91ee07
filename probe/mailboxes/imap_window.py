"""The arithmetic of a window read: which numbers to look at, and where that leaves cursor and gaps. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from probe.canary.coverage import Span, merge, missing_between, subtract


def covers(spans: Sequence[Span], number: int) -> bool:
    """Whether rising, disjoint ``spans`` hold ``number``; O(log)."""
    at = bisect_right(spans, number, key=lambda span: span.first)
    return at > 0 and number in spans[at - 1]


def wanted(listed: Iterable[int], position: int, gaps: Sequence[Span]) -> list[int]:
    """The listed numbers to look at, rising: all from ``position`` on, and those below it that were gaps till now."""
    return sorted(n for n in listed if n >= position or covers(gaps, n))


def gaps_after(gaps: Sequence[Span], since: int, end: int, looked_at: Sequence[int]) -> tuple[Span, ...]:
    """The gaps below ``end`` once ``looked_at`` was: those of before that were not among it, and the numbers of
    ``[since, end)`` that were not."""
    filled = [n for n in looked_at if covers(gaps, n)]
    before = subtract(gaps, filled) if filled else gaps
    below = (Span(span.first, min(span.last, end - 1)) for span in before if span.first < end)
    return merge((*below, *missing_between(since, end, looked_at)))


def number_set(numbers: Iterable[int]) -> str:
    """An RFC 3501 sequence-set that holds exactly these numbers."""
    spans = merge(Span(n, n) for n in set(numbers))
    return ",".join(str(s.first) if s.first == s.last else f"{s.first}:{s.last}" for s in spans)
