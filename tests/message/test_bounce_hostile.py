"""Reports made to harm: nothing raises, nothing is believed, and size alone decides what it costs."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from probe.message.bounce import BOUNCE_CAP, BounceKind, may_be_report
from probe.message.parts import PARTS_MOST, content_type, parts_of, split_header
from probe.message.report import GROUPS_MOST, STATUS_PART_CAP, Action, read_notice, read_status
from tests.message.bounce_mail import NAMES, judge, sample, swapped
from tests.message.canary_mail import CANARY, SENT, TAG, TOKEN, split, with_field

HARMLESS = frozenset((BounceKind.NOT_OURS, BounceKind.FORGED, BounceKind.UNPARSABLE))
FAULT = "could not be parsed"  # of the sentence for a mail that tripped a fault; no input may
HEAD = b"Return-Path: <>\r\nFrom: MAILER-DAEMON@x.example\r\n"
REPORT = HEAD + b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n"
STATUS = b"\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n"
RETURNED = b"\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
QMAIL = HEAD + b"\r\nHi. This is the x\r\n"
EXIM = HEAD + b"\r\nThis message was created automatically by mail delivery software.\n\n"
EXIM += b"A message that you sent could not be delivered\n"


@settings(deadline=None, max_examples=300)
@given(
    mail=st.binary(max_size=3000), start=st.sampled_from((b"", HEAD, REPORT + STATUS, REPORT + RETURNED, QMAIL, EXIM))
)
@example(mail=b"\xff:\r\n\x00 \r\n", start=b"")
def test_no_bytes_trip_it(mail: bytes, start: bytes) -> None:
    seen = judge(start + mail)
    assert seen.kind in HARMLESS
    assert FAULT not in seen.sentence
    assert may_be_report(mail) in (True, False)


PIECE = st.sampled_from(
    (
        *(b"\r\n", b"\n", b"\r\n\r\n", b"--b", b"--b--", b"\r\n--b\r\n", b";", b'"', b"\\", b"=", b"\x00", b"\xff\xfe"),
        *(b"Content-Type: ", b"message/delivery-status", b"message/rfc822", b"multipart/report", b"; boundary=b"),
        *(b"Content-Transfer-Encoding: base64", b"Content-Transfer-Encoding: quoted-printable", b"QUJD", b"=3D"),
        *(b"Action: ", b"failed", b"Status: 5.1.1", b"Final-Recipient: rfc822; ", b"support@example.com", b"\xc3\xa4"),
        *(b"Original-Envelope-Id: ", b"Diagnostic-Code: smtp; ", b"X-Mailcanary: v1 ", b"a" * 63, b"a" * 29),
        *(b"<support@example.com>:\n", b"--- Below this line is a copy.\n", b"------ This is a copy of it ------\n"),
        *(b"\n  support@example.com\n", b"    said no\n", b"=?x?q?", b"Subject: Mail canary ", b"To: a+" + b"a" * 29),
    )
)


@settings(deadline=None, max_examples=500)
@given(
    start=st.sampled_from((HEAD, REPORT, REPORT + STATUS, REPORT + RETURNED, QMAIL, EXIM)),
    pieces=st.lists(PIECE, max_size=40),
)
def test_no_structure_trips_it(start: bytes, pieces: list[bytes]) -> None:
    seen = judge(start + b"".join(pieces))
    assert seen.kind in HARMLESS
    assert FAULT not in seen.sentence
    assert (seen.canary_id, seen.action, seen.diagnostic, seen.matched) == (None, None, "", frozenset())


@settings(deadline=None, max_examples=500)
@given(
    name=st.sampled_from(NAMES),
    edits=st.lists(st.tuples(st.floats(0, 1), st.sampled_from("sdi"), st.integers(0, 255)), min_size=1, max_size=30),
)
def test_a_mutated_report_is_never_of_another_canary(name: str, edits: list[tuple[float, str, int]]) -> None:
    mail = bytearray(sample(name))
    for where, kind, byte in edits:
        position = int(where * (len(mail) - 1))
        if kind == "d":
            del mail[position]
        elif kind == "s":
            mail[position] = byte
        else:
            mail.insert(position, byte)
    seen = judge(bytes(mail))
    assert FAULT not in seen.sentence
    assert seen.canary_id in (None, CANARY)
    assert seen.status == "" or seen.status in seen.sentence
    if seen.token_verified:
        assert (seen.attempt, seen.sent_ms, seen.route) == (2, SENT, "support-inbound")


@pytest.mark.parametrize("name", NAMES)
def test_a_report_may_end_anywhere(name: str) -> None:
    """Cut short it says the same, less, or nothing; never something else."""
    mail = sample(name)
    whole = judge(mail)
    for length in range(0, len(mail), 7):
        seen = judge(mail[:length])
        assert FAULT not in seen.sentence
        assert seen.canary_id in (None, CANARY)
        if seen.kind in (BounceKind.FAILED, BounceKind.DELAYED) and whole.kind is not BounceKind.DELAYED:
            assert (seen.kind, seen.action) == (whole.kind, whole.action)


def test_a_thousand_forgeries_are_not_believed() -> None:
    chance = random.Random(3464)
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"
    for count in range(1000):
        token = TOKEN[:36] + "".join(chance.choices(alphabet, k=27))
        tag = TAG[:12] + "".join(chance.choices(alphabet, k=17))
        assert judge(sample(NAMES[count % len(NAMES)], token=token, tag=tag)).kind is BounceKind.FORGED


UNITS = (
    *(
        b"a:\n",
        b"--b\r\n",
        b"--b\r\n\r\n",
        b"\r\n--b",
        b"--b--\r\n",
        b"--bb\r\n",
        b"-",
        b"--",
        b"\r\n",
        b"\n \n",
        b"\n\t",
    ),
    *(b" ", b"\t\r\n", b"a", b'"', b'"\\', b";", b"; a=b", b'; a="b"', b"; boundary=", b"(", b"<", b"/", b"x/y;"),
    *(b"\x00", b"\xff", b"=\r\n", b"=", b"QUJD\n", b"a+", b"@", b"<a>:\n", b"\n<a@b>:\n", b"\n--- \n", b"--- x\n"),
    *(
        b"------ x\n",
        b"\n------ This is a copy of \n",
        b"  a@b\n",
        b"    x\n",
        b"Action: failed\n\n",
        b"Action: failed\n",
    ),
    *(
        b"\n\nAction: failed\nFinal-Recipient: x;a@b\n",
        b"Diagnostic-Code: x;",
        b"Original-Envelope-Id: " + b"a" * 29 + b"\n",
    ),
    *(b"X-Mailcanary: v1 " + b"a" * 63 + b"\r\n", b"Subject: =?utf-8?q?", b"To: a+" + b"a" * 29 + b"@b\r\n"),
    b"--b\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n",
    b"--b\r\nContent-Type: message/rfc822\r\n\r\n",
    b"--b\r\nContent-Type: message/delivery-status\r\nContent-Transfer-Encoding: base64\r\n\r\n",
)
STARTS = (
    *(b"", b"Return-Path: ", b"From: ", b"To: ", b"Content-Type: ", b'Content-Type: multipart/report; a="', REPORT),
    *(REPORT + STATUS, REPORT + STATUS + b"Action: ", REPORT + STATUS + b"Status: 5.", REPORT + RETURNED, QMAIL, EXIM),
    REPORT.replace(b"=b", b'="' + b"-" * 150 + b'"') + b"\r\n",
    HEAD + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n",
)


@pytest.mark.parametrize("start", STARTS)
def test_floods_of_anything_are_read_and_not_believed(start: bytes) -> None:
    """Each fills the cap twice; a pattern that is worse than linear would run into the test's timeout."""
    for unit in UNITS:
        mail = start + unit * (2 * BOUNCE_CAP // len(unit))
        seen = judge(mail)
        assert FAULT not in seen.sentence
        assert seen.kind in HARMLESS
        assert may_be_report(mail) in (True, False)


def test_memory_is_bounded_by_the_cap() -> None:
    mail = REPORT + STATUS + b"\n\nAction: failed\nFinal-Recipient: x;a@b\n" * 1_000_000
    tracemalloc.start()
    try:
        judge(mail)
        assert tracemalloc.get_traced_memory()[1] < 40 * BOUNCE_CAP
    finally:
        tracemalloc.stop()


def test_what_lies_beyond_the_cap_is_not_read() -> None:
    start, end = QMAIL + b"<a@b.example>:\n", b"\n--- x\nX-Mailcanary: v1 " + TOKEN.encode()
    room = 128 * 1024 - len(start + end)
    assert judge(start + b"n" * room + end + b" and more").kind is BounceKind.FAILED
    assert judge(start + b"n" * (room + 1) + end).kind is BounceKind.FORGED
    pushed = judge(swapped(sample("recipient_tag_only"), "No.", "No." + "n" * BOUNCE_CAP))
    assert (pushed.kind, pushed.action) == (BounceKind.OTHER, None)


def test_the_outer_and_the_returned_header_have_their_caps() -> None:
    filler = "X-Filler: " + "a" * 70_000 + "\n"
    assert judge(swapped(sample("recipient_tag_only"), "Delivered-To:", filler + "Delivered-To:")).kind is (
        BounceKind.NOT_OURS
    )
    header, rule, returned = sample("exim_failed").partition(b"Content-type: message/rfc822\r\n\r\n")
    assert judge(header + rule + filler.encode() + returned).kind is BounceKind.NOT_OURS


def test_only_the_first_parts_are_read() -> None:
    body = b"".join(b"--b\r\n\r\n%d\r\n" % number for number in range(100)) + b"--b--\r\n"
    assert [part.content.strip() for part in parts_of(body, "b")] == [b"%d" % number for number in range(PARTS_MOST)]
    assert len(parts_of(body[: body.index(b"--b\r\n\r\n8")] + b"--b\r\n\r\nlast", "b")) == PARTS_MOST
    mail = sample("exim_failed")
    boundary = b"--1800000002-eximdsn-1234567\r\n"
    assert judge(mail.replace(boundary, boundary + (b"\r\n" + boundary) * 5, 1)).kind is BounceKind.FAILED
    assert judge(mail.replace(boundary, boundary + (b"\r\n" + boundary) * 6, 1)).matched == frozenset()


def test_only_the_first_groups_are_read() -> None:
    group = b"\nFinal-Recipient: rfc822; other@example.com\nAction: delayed\n"
    last = b"\nFinal-Recipient: rfc822; support@example.com\nAction: failed\n"
    for count, actions in ((49, {Action.DELAYED, Action.FAILED}), (50, {Action.DELAYED})):
        report = read_status(group * count + last)
        assert len(report.groups) == 50
        assert {each.action for each in report.groups} == actions
    assert read_status(b"\n" * STATUS_PART_CAP + last).groups == ()
    assert read_status(b"X: " + b"x" * STATUS_PART_CAP + last).groups == ()
    assert read_status(b"\n\n" * 2 * GROUPS_MOST + last).groups == ()
    notice = read_notice(b"Hi. This is the x\n" + b"<a@b.example>:\nno\n\n" * 100 + b"--- x\n")
    assert notice is not None
    assert len(notice[0].groups) == 50


def test_only_the_beginning_of_a_status_part_is_read() -> None:
    last = b"\n\nAction: failed"
    filler = b"X: " + b"x" * (64 * 1024 - 3 - len(last))
    assert len(read_status(filler + last + b"ish").groups) == 1
    assert read_status(filler + b"x" + last).groups == ()


def test_a_content_type_has_a_cap() -> None:
    assert content_type("a/b" + "; x=y" * 19 + "; boundary=b")[1]["boundary"] == "b"
    assert "boundary" not in content_type("a/b" + "; x=y" * 20 + "; boundary=b")[1]
    assert "boundary" not in content_type('a/b; x="' + "y" * 2048 + '"; boundary=b')[1]


def test_charsets_are_nobodys_business() -> None:
    mail = sample("sendmail_failed").replace(b"charset=us-ascii", b"charset=utf-7; x=\xff\x00")
    assert judge(mail).kind is BounceKind.FAILED
    latin = with_field("X-Note", "x", mail).replace(b"SMTP; 550 5.7.1 no", b"SMTP; 550 n\xf6")
    assert judge(latin).diagnostic == "550 nö"


def test_a_boundary_in_the_returned_canary_cuts_it_and_no_more() -> None:
    header, body = split(sample("exim_failed"))
    assert split_header(header + body)[0] == header
    cut = (header + body).replace(b"X-Mailcanary", b"\r\n--1800000002-eximdsn-1234567\r\nX-Mailcanary")
    assert judge(cut).kind is BounceKind.FAILED
