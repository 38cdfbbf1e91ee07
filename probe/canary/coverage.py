"""Proof of loss: what was looked at, and what was not.

``lost`` may be said of a canary only when every folder of its mailbox was listed afresh after the deadline, from the
position held when it was sent, and each number since then was looked at (rule 3 of docs/how-it-decides.md; RFC 3501
2.3.1.1: UIDs rise, need not be contiguous, and mean nothing once UIDVALIDITY changes). This module decides that from
what the reads recorded; it does no reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from probe.clock import Instant


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a folder was looked at: everything below ``position`` of ``epoch`` (IMAP: UIDNEXT of UIDVALIDITY)."""

    epoch: int
    position: int


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Numbers ``first`` to ``last``, both included."""

    first: int
    last: int

    def __contains__(self, number: int) -> bool:
        return self.first <= number <= self.last

    def __len__(self) -> int:
        return self.last - self.first + 1


def spans_of(numbers: Iterable[int]) -> tuple[Span, ...]:
    """The numbers as the fewest spans, rising."""
    spans: list[Span] = []
    for number in sorted(set(numbers)):
        if spans and spans[-1].last + 1 == number:
            spans[-1] = Span(spans[-1].first, number)
        else:
            spans.append(Span(number, number))
    return tuple(spans)


def missing_between(first: int, end: int, listed: Iterable[int]) -> tuple[Span, ...]:
    """The spans of ``[first, end)`` that ``listed`` does not hold; O(len(listed)), whatever the width."""
    gaps: list[Span] = []
    expected = first
    for number in sorted({n for n in listed if first <= n < end}):
        if number > expected:
            gaps.append(Span(expected, number - 1))
        expected = number + 1
    if expected < end:
        gaps.append(Span(expected, end - 1))
    return tuple(gaps)


def subtract(spans: Sequence[Span], numbers: Iterable[int]) -> tuple[Span, ...]:
    """``spans`` without ``numbers``."""
    taken = sorted(set(numbers))
    left: list[Span] = []
    for span in spans:
        inside = [n for n in taken if n in span]
        left.extend(missing_between(span.first, span.last + 1, inside))
    return tuple(left)


def merge(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Rising, neither overlapping nor touching."""
    merged: list[Span] = []
    for span in sorted(spans):
        if merged and span.first <= merged[-1].last + 1:
            merged[-1] = Span(merged[-1].first, max(merged[-1].last, span.last))
        else:
            merged.append(span)
    return tuple(merged)


class Doubt(StrEnum):
    """Why absence cannot be proven; the reason label of ``unknown``."""

    UID_GAP = "uid_gap"
    EPOCH_CHANGED = "uidvalidity"
    FOLDER_MISSING = "folder_missing"
    NO_READ = "blind"
    NO_FLOOR = "no_floor"
    CUT_SHORT = "cut_short"
    UNREADABLE = "unreadable"
    UNCORRELATABLE = "uncorrelatable"
    BOUNCES_UNREAD = "bounces_unread"


@dataclass(frozen=True, slots=True)
class FolderRecord:
    """The last fresh, complete read of a folder: when it began, how far it got, and every known gap.

    ``missing``: the folder was not there when that read was tried.
    """

    folder: str
    began: Instant | None
    ended: Instant | None
    cursor: Cursor | None
    relisted_from: int | None
    gaps: tuple[Span, ...] = ()
    missing: bool = False


@dataclass(frozen=True, slots=True)
class Proof:
    """The verdict of ``prove_absence``: proven when ``doubt`` is None. ``sentence`` says why, for the ledger."""

    doubt: Doubt | None
    sentence: str

    @property
    def proven(self) -> bool:
        return self.doubt is None


def prove_absence(
    floors: Mapping[str, Cursor],
    deadline: Instant,
    records: Sequence[FolderRecord],
    *,
    exclusive: bool,
) -> Proof:
    """Whether a canary that was not seen can be proven absent.

    ``floors``: the cursor held for each folder when the canary was sent. ``records``: one for each folder of the
    mailbox, by its last fresh read. ``exclusive``: nobody else deletes or moves mail there, so a number that was
    never listed was never used.
    """
    spoken: list[str] = []
    for record in records:
        doubt = _doubt_of(record, floors.get(record.folder), deadline, exclusive=exclusive)
        if doubt is not None:
            return doubt
        assert record.cursor is not None
        assert record.began is not None
        floor = floors[record.folder]
        unaccounted = _gaps_from(record.gaps, floor.position)
        note = f", {unaccounted} never used (the mailbox is exclusive)" if unaccounted else ""
        begun = record.began.isoformat()
        spoken.append(f"{record.folder}: {_looked_at(floor, record.cursor)}{note}, read begun {begun}")
    if not records:
        return Proof(Doubt.NO_READ, "the mailbox has no folder that was read")
    return Proof(None, "; ".join(spoken))


def _looked_at(floor: Cursor, cursor: Cursor) -> str:
    if cursor.position == floor.position:
        return f"nothing came from number {floor.position} of {floor.epoch} on"
    return f"every number from {floor.position} to {cursor.position - 1} of {floor.epoch} accounted for"


def _gaps_from(gaps: Sequence[Span], position: int) -> int:
    return sum(gap.last - max(gap.first, position) + 1 for gap in gaps if gap.last >= position)


def _doubt_of(record: FolderRecord, floor: Cursor | None, deadline: Instant, *, exclusive: bool) -> Proof | None:
    """The first reason why this folder proves nothing, or None."""
    folder = record.folder
    if record.missing:
        return Proof(Doubt.FOLDER_MISSING, f"{folder}: the folder is not there")
    if record.began is None or record.cursor is None:
        return Proof(Doubt.NO_READ, f"{folder}: never read completely")
    if record.began.since(deadline).total_seconds() <= 0:
        return Proof(Doubt.NO_READ, f"{folder}: the last complete read began before the deadline")
    if floor is None:
        return Proof(Doubt.NO_FLOOR, f"{folder}: it was not read before the canary was sent")
    if floor.epoch != record.cursor.epoch:
        return Proof(
            Doubt.EPOCH_CHANGED,
            f"{folder}: UIDVALIDITY changed from {floor.epoch} to {record.cursor.epoch}, so older numbers mean nothing",
        )
    if record.relisted_from is None or record.relisted_from > floor.position:
        return Proof(Doubt.CUT_SHORT, f"{folder}: the last read did not list the numbers from {floor.position} again")
    if record.cursor.position < floor.position:
        went_back = f"the numbering went back from {floor.position} to {record.cursor.position}"
        return Proof(Doubt.CUT_SHORT, f"{folder}: {went_back}")
    unaccounted = _gaps_from(record.gaps, floor.position)
    if unaccounted and not exclusive:
        first = next(g for g in record.gaps if g.last >= floor.position)
        return Proof(
            Doubt.UID_GAP,
            f"{folder}: {unaccounted} number(s) from {max(first.first, floor.position)} on were never seen: a message "
            "may have come and gone before we looked (declare the mailbox exclusive where nobody else deletes or moves "
            "mail)",
        )
    return None
