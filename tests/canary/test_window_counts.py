"""Sliding windows: what is in them at each moment, whatever the clock does."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.canary.windows import SPANS, Ring, Span, What, Windows

NOW = 1_764_000_000
HOUR = SPANS[0]


def sums(windows: Windows, what: What) -> list[int]:
    return [ring.sums[what] for ring in windows.rings]


@pytest.mark.parametrize("span", SPANS, ids=lambda span: span.name)
def test_a_canary_is_in_the_window_for_its_span_and_at_most_one_bucket_more(span: Span) -> None:
    for offset in (0, span.bucket - 1):
        ring = Ring(span)
        ring.add(NOW // span.bucket * span.bucket + offset, What.LOST, 2)
        ring.forward(NOW // span.bucket * span.bucket + span.seconds)
        assert ring.sums[What.LOST] == 2
        ring.forward(NOW // span.bucket * span.bucket + offset + span.seconds + span.bucket)
        assert ring.sums[What.LOST] == 0


@given(
    events=st.lists(st.tuples(st.integers(0, 20_000), st.sampled_from(What), st.integers(1, 5)), max_size=60),
    after=st.integers(0, 20_000),
)
def test_it_counts_what_a_list_would(events: list[tuple[int, What, int]], after: int) -> None:
    """In any order, as a look into the ledger brings the old after the new."""
    ring = Ring(HOUR)
    end = max([NOW + at for at, _, _ in events], default=NOW) + after
    ring.forward(end)
    for at, what, count in events:
        ring.add(NOW + at, what, count)
    oldest = (end // HOUR.bucket - HOUR.seconds // HOUR.bucket) * HOUR.bucket
    for what in What:
        assert ring.sums[what] == sum(count for at, which, count in events if which is what and NOW + at >= oldest)


def test_each_window_lets_go_in_its_own_time() -> None:
    windows = Windows()
    windows.add(NOW, What.SENT, 3)
    windows.add(NOW, What.ARRIVED)
    seen = []
    for span in SPANS:
        windows.forward(NOW + span.seconds + 2 * span.bucket)
        seen.append(sums(windows, What.SENT))
    assert seen == [[0, 3, 3, 3], [0, 0, 3, 3], [0, 0, 0, 3], [0, 0, 0, 0]]
    assert windows.empty
    assert windows.rings[-1].sums[What.ARRIVED] == 0


def test_a_clock_that_steps_back_a_little_loses_nothing() -> None:
    ring = Ring(HOUR)
    ring.add(NOW, What.SENT, 1)
    ring.forward(NOW - 300)
    ring.add(NOW - 300, What.SENT, 1)
    assert ring.sums[What.SENT] == 2
    ring.forward(NOW + HOUR.seconds - 120)
    assert ring.sums[What.SENT] == 1


def test_after_a_clock_that_was_far_ahead_it_counts_again() -> None:
    ring = Ring(HOUR)
    ring.add(NOW + 400 * 86_400, What.SENT, 1)
    ring.forward(NOW)
    assert ring.sums[What.SENT] == 0
    ring.add(NOW, What.SENT, 1)
    assert ring.sums[What.SENT] == 1


def test_the_buckets_of_each_window_fit_into_the_next() -> None:
    for finer, coarser in pairwise(SPANS):
        assert coarser.bucket % finer.bucket == 0
    assert all(span.seconds % span.bucket == 0 and span.bucket * 60 <= span.seconds for span in SPANS)
