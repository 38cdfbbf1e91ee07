"""The pure parts of the imap kind: parsing, window arithmetic, search keys, options, and finding the kind."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.canary.coverage import Span
from probe.errors import MailboxHostile
from probe.kinds import UnknownKind
from probe.mailboxes import imap, kinds
from probe.mailboxes.imap import Cleanup, CleanupMode, ImapOptions, Tls
from probe.mailboxes.imap_parse import (
    fetch_answers,
    internal_date,
    list_entries,
    readable,
    response_code,
    search_date,
    search_numbers,
    status_items,
)
from probe.mailboxes.imap_search import identity_criteria
from probe.mailboxes.imap_window import covers, gaps_after, number_set, wanted
from probe.options import Rate, Secret

PIECES = st.lists(st.binary(max_size=60) | st.tuples(st.binary(max_size=60), st.binary(max_size=20)), max_size=6)


def test_fetch_items_in_any_order_and_form() -> None:
    data = [
        (b'1 (INTERNALDATE "24-Nov-2026 07:30:29 +0100" BODY[HEADER.FIELDS (FROM)]<0> {5}', b"A: b\n"),
        b' FLAGS (\\Seen "UID 9") UID 4 RFC822.SIZE 12)',
        b'2 (UID 5 BODY[HEADER.FIELDS ("FROM")]<0> "quo\\"ted")',
        b"3 (UID 6 body[]<0> NIL)",
    ]
    answers = fetch_answers(data)
    assert answers[4].content == b"A: b\n"
    assert answers[4].arrived == datetime(2026, 11, 24, 6, 30, 29, tzinfo=UTC)
    assert (answers[4].size, answers[5].content, answers[6].content) == (12, b'quo"ted', b"")
    assert set(answers) == {4, 5, 6}


@given(PIECES)
def test_no_bytes_make_the_parsers_raise_anything_else(data: list[object]) -> None:
    assert all(0 <= uid < 2**32 for uid in fetch_answers(data))
    for parse in (search_numbers, status_items, list_entries):
        with suppress(MailboxHostile):
            parse(data)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'" 1-jan-2026 00:00:00 -0130"', datetime(2026, 1, 1, 1, 30, tzinfo=UTC)),
        (b'"31-Feb-2026 00:00:00 +0000"', None),
        (b'"01-Jan-2026 00:00:60 +0000"', None),
        (b'"01-Jan-2026 00:00:00"', None),
        (b"01-Jan-2026 00:00:00 +0000", None),
    ],
)
def test_internal_dates(text: bytes, expected: datetime | None) -> None:
    assert internal_date(text) == expected


def test_small_answers() -> None:
    assert search_date(datetime(2026, 3, 1, tzinfo=UTC) - timedelta(days=1)) == "28-Feb-2026"
    assert search_numbers([b"5 3", b"", b"3 9"]) == [3, 5, 9]
    assert status_items([b'"INBOX (UIDNEXT 9)" (UIDNEXT 4 messages 2)']) == {"UIDNEXT": 4, "MESSAGES": 2}
    assert status_items([(b"{5}", b"a (b)"), b" (UIDNEXT 4)"]) == {"UIDNEXT": 4}
    assert list_entries([b'(\\HasNoChildren \\Junk) "/" "Sp\\"am"', b"() NIL INBOX"]) == [
        (frozenset({"\\hasnochildren", "\\junk"}), b'Sp"am'),
        (frozenset(), b"INBOX"),
    ]
    assert response_code(b"[Limit 5] slow") == "LIMIT"
    assert response_code(b"no [LIMIT]") == ""
    assert readable(b"a\x1b[31m\r\n\xff" + b"b" * 500) == ("a?[31m?" + "b" * 500)[:200]


@given(st.sets(st.integers(1, 60)), st.integers(1, 60), st.integers(0, 20), st.sets(st.integers(1, 60)))
def test_every_number_below_the_end_is_looked_at_or_a_gap(
    listed: set[int], since: int, width: int, missed: set[int]
) -> None:
    end = since + width
    before = gaps_after((), 1, since, sorted(set(range(1, since)) - missed))
    looked_at = [n for n in wanted(listed, since, before) if n < end]
    after = gaps_after(before, since, end, looked_at)
    for n in range(1, end):
        known = n in looked_at or (n < since and n not in missed)
        assert covers(after, n) != known
    assert not any(covers(after, n) for n in range(end, 99))


def test_number_sets_name_exactly_their_numbers() -> None:
    assert number_set([9, 1, 2, 3, 7]) == "1:3,7,9"
    assert covers((Span(2, 3), Span(8, 8)), 3)
    assert not covers((Span(2, 3), Span(8, 8)), 5)
    assert not covers((), 1)


def test_identity_criteria() -> None:
    assert list(identity_criteria([])) == []
    assert list(identity_criteria(["b" * 29])) == [f"SUBJECT {'b' * 29}"]
    many = list(identity_criteria(["a" * 63] * 17))
    assert [each.count("MESSAGE-ID") for each in many] == [16, 1]
    assert many[0].startswith("OR " * 31 + "HEADER ")
    for bad in ("", "a b", "A" * 63, 'a"', "a" * 65, "a\r\nDELETE x"):
        with pytest.raises(ValueError, match="not a canary token"):
            list(identity_criteria([bad]))


def options(**changes: object) -> ImapOptions:
    return ImapOptions(host="imap.example.net", username="u", password=Secret(b"p"), **changes)  # type: ignore[arg-type]


def test_defaults_are_those_of_the_contract() -> None:
    given_ = options()
    assert (given_.port, given_.tls, given_.verify, given_.ca_file) == (993, Tls.IMPLICIT, True, None)
    assert (given_.folders, given_.exclusive) == (("INBOX",), False)
    assert given_.cleanup == Cleanup(CleanupMode.DELETE, timedelta(hours=24), None)
    assert (given_.idle_poll, given_.poll_rate) == (timedelta(seconds=30), Rate(10, timedelta(seconds=1)))
    assert given_.control_canary == timedelta(minutes=5)
    assert list(given_.breaches()) == []
    assert not given_.insecure
    assert options(tls=Tls.NONE).insecure
    assert options(verify=False).insecure


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"folders": ()}, "folders"),
        ({"folders": ("INBOX", "inbox")}, "folders"),
        ({"cleanup": Cleanup(mode=CleanupMode.MOVE)}, "cleanup.folder"),
        ({"cleanup": Cleanup(mode=CleanupMode.MOVE, folder="Inbox")}, "cleanup.folder"),
        ({"cleanup": Cleanup(folder="Old")}, "cleanup.folder"),
        ({"cleanup": Cleanup(mode=CleanupMode.OFF, folder="Old")}, "cleanup.folder"),
    ],
)
def test_breaches(changes: dict[str, object], key: str) -> None:
    assert [path for path, _ in options(**changes).breaches()] == [key]


def test_the_kind_is_found_by_its_folder() -> None:
    assert "imap" in kinds.names()
    assert not {name for name in kinds.names() if name.startswith("imap_")}
    assert kinds.kind("imap") is imap
    with pytest.raises(UnknownKind):
        kinds.kind("imap_wire")
