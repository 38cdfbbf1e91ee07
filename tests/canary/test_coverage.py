"""Proof of loss: each doubt, and the arithmetic of spans against plain sets."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.canary.coverage import (
    Cursor,
    Doubt,
    FolderRecord,
    Proof,
    Span,
    merge,
    missing_between,
    prove_absence,
    spans_of,
    subtract,
)
from probe.clock import NANOSECONDS, Instant
from tests.canary.lives import at

DEADLINE = at(7_200)
FLOORS = {"INBOX": Cursor(1, 50), "Junk": Cursor(9, 3)}
INBOX = FolderRecord("INBOX", at(7_201), at(7_202), Cursor(1, 60), 50)
JUNK = FolderRecord("Junk", at(7_203), at(7_204), Cursor(9, 3), 1)


def _prove(*records: FolderRecord, exclusive: bool = False) -> Proof:
    return prove_absence(FLOORS, DEADLINE, records, exclusive=exclusive)


def test_every_folder_listed_after_the_deadline_from_its_floor_proves_absence() -> None:
    proof = _prove(INBOX, JUNK)
    assert proof.proven
    assert "INBOX: every number from 50 to 59 of 1 accounted for" in proof.sentence
    assert "Junk: " in proof.sentence
    assert INBOX.began is not None
    assert INBOX.began.isoformat() in proof.sentence


@pytest.mark.fault("R26")
@pytest.mark.parametrize(
    ("broken", "doubt", "word"),
    [
        ({"missing": True}, Doubt.FOLDER_MISSING, "not there"),
        ({"began": None, "ended": None}, Doubt.NO_READ, "never read"),
        ({"cursor": None}, Doubt.NO_READ, "never read"),
        ({"began": at(7_199)}, Doubt.NO_READ, "before the deadline"),
        ({"began": DEADLINE}, Doubt.NO_READ, "before the deadline"),  # begun exactly then is not after
        ({"folder": "Archive"}, Doubt.NO_FLOOR, "before the canary was sent"),
        ({"cursor": Cursor(2, 60)}, Doubt.EPOCH_CHANGED, "from 1 to 2"),
        ({"cursor": Cursor(2, 60), "gaps": (Span(52, 52),)}, Doubt.EPOCH_CHANGED, "UIDVALIDITY"),
        ({"relisted_from": None}, Doubt.CUT_SHORT, "from 50 again"),
        ({"relisted_from": 51}, Doubt.CUT_SHORT, "from 50 again"),
        ({"cursor": Cursor(1, 49), "relisted_from": 1}, Doubt.CUT_SHORT, "went back from 50 to 49"),
        ({"gaps": (Span(52, 53),)}, Doubt.UID_GAP, "2 number(s) from 52"),
        ({"gaps": (Span(40, 51),)}, Doubt.UID_GAP, "2 number(s) from 50"),  # across the floor
        ({"gaps": (Span(50, 50), Span(59, 59))}, Doubt.UID_GAP, "2 number(s) from 50"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_one_doubt_in_one_folder_is_enough(broken: dict[str, object], doubt: Doubt, word: str, first: bool) -> None:
    record = replace(INBOX, **broken)
    proof = _prove(record, JUNK) if first else _prove(JUNK, record)
    assert proof.doubt is doubt
    assert not proof.proven
    assert word in proof.sentence
    assert proof.sentence.startswith(f"{record.folder}: ")


@pytest.mark.parametrize("gap", [Span(1, 49), Span(49, 49)])
def test_a_gap_from_before_it_was_sent_does_not_matter(gap: Span) -> None:
    assert _prove(replace(INBOX, gaps=(gap,)), JUNK).proven


def test_in_an_exclusive_mailbox_a_number_never_listed_was_never_used() -> None:
    proof = _prove(replace(INBOX, gaps=(Span(40, 51), Span(58, 58))), JUNK, exclusive=True)
    assert proof.proven
    assert "3 never used" in proof.sentence


@pytest.mark.parametrize(
    ("broken", "doubt"),
    [
        ({"missing": True}, Doubt.FOLDER_MISSING),
        ({"began": at(1)}, Doubt.NO_READ),
        ({"cursor": Cursor(2, 60)}, Doubt.EPOCH_CHANGED),
        ({"relisted_from": 55}, Doubt.CUT_SHORT),
    ],
)
def test_exclusive_excuses_gaps_and_nothing_else(broken: dict[str, object], doubt: Doubt) -> None:
    assert _prove(replace(INBOX, **broken), JUNK, exclusive=True).doubt is doubt


def test_no_folder_read_proves_nothing() -> None:
    assert _prove().doubt is Doubt.NO_READ


def test_the_deadline_of_an_earlier_boot_is_compared_by_the_wall_clock() -> None:
    def began(seconds: float) -> FolderRecord:
        return replace(INBOX, began=Instant(at(seconds).wall, NANOSECONDS, "boot-2"))

    assert _prove(began(7_201)).proven
    assert _prove(began(7_199)).doubt is Doubt.NO_READ


@pytest.mark.fault("P10")
def test_a_step_of_the_wall_clock_makes_no_read_later() -> None:
    early = replace(at(7_100), wall=at(9_999).wall)
    assert _prove(replace(INBOX, began=early)).doubt is Doubt.NO_READ
    assert _prove(replace(INBOX, began=early + timedelta(seconds=200))).proven


numbers = st.sets(st.integers(1, 60), max_size=40)
spans = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 8)).map(lambda p: Span(p[0], p[0] + p[1])), max_size=12)


def _set(these: tuple[Span, ...] | list[Span]) -> set[int]:
    return {number for span in these for number in range(span.first, span.last + 1)}


def _is_canonical(these: tuple[Span, ...]) -> bool:
    return all(span.first <= span.last for span in these) and all(
        one.last + 1 < two.first for one, two in pairwise(these)
    )


@given(numbers)
def test_spans_of(these: set[int]) -> None:
    made = spans_of(iter([*these, *these]))
    assert _set(made) == these
    assert _is_canonical(made)


@given(st.integers(1, 60), st.integers(-5, 60), numbers)
def test_missing_between(first: int, width: int, listed: set[int]) -> None:
    made = missing_between(first, first + width, listed)
    assert _set(made) == set(range(first, first + width)) - listed
    assert _is_canonical(made)


@given(spans, numbers)
def test_subtract(these: list[Span], taken: set[int]) -> None:
    canonical = merge(these)
    made = subtract(canonical, taken)
    assert _set(made) == _set(canonical) - taken
    assert _is_canonical(made)


@given(spans)
def test_merge(these: list[Span]) -> None:
    made = merge(these)
    assert _set(made) == _set(these)
    assert _is_canonical(made)
    assert merge(made) == made


@given(st.integers(1, 50), st.integers(0, 9), st.integers(0, 70))
def test_a_span_holds_its_ends(first: int, more: int, number: int) -> None:
    span = Span(first, first + more)
    assert (number in span) == (number in range(first, first + more + 1))
    assert len(span) == more + 1


@pytest.mark.timeout(20)
def test_the_width_of_a_gap_costs_nothing() -> None:
    """A server may jump to UID 4294967295; the time must not follow."""
    assert missing_between(1, 2**32, [7]) == (Span(1, 6), Span(8, 2**32 - 1))
    assert subtract((Span(1, 2**32 - 1),), [1]) == (Span(2, 2**32 - 1),)
    wide = replace(INBOX, cursor=Cursor(1, 2**32), gaps=(Span(51, 2**32 - 1),))
    assert _prove(wide).doubt is Doubt.UID_GAP
