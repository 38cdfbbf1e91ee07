"""What a mail is: arrivals by any carrier that survives, and nobody else's mail."""

from __future__ import annotations

import base64
import quopri
from collections.abc import Callable
from email.header import Header

import pytest

from probe.canary.identity import Identity, Keyring, Rejection, SigningKey, route_mark
from probe.message.carriers import Carrier
from probe.message.recognise import BODY_CAP, HEADER_CAP, Kind, Recognition, recognise
from tests.message.canary_mail import (
    CANARY,
    FROM,
    HOUR,
    KNOWN,
    OTHER_CANARY,
    RING,
    SENT,
    TAG,
    TOKEN,
    TRACE,
    canary,
    delivered,
    look,
    split,
    with_field,
    without,
)

ALL_OF_HEADER = frozenset((Carrier.HEADER, Carrier.MESSAGE_ID, Carrier.SUBJECT))
STRIPS: dict[Carrier, Callable[[bytes], bytes]] = {
    Carrier.HEADER: lambda mail: without("X-Mailcanary", mail),
    Carrier.MESSAGE_ID: lambda mail: with_field("Message-ID", "<0100018-8a9b@email.amazonses.com>", mail),
    Carrier.SUBJECT: lambda mail: with_field("Subject", "(no subject)", mail),
}


def _encoded(mail: bytes, encoding: str, body: bytes) -> bytes:
    """``mail`` with its body in another transfer encoding."""
    header, _ = split(with_field("Content-Transfer-Encoding", encoding, mail))
    return header + body


def test_an_arrival_says_all_that_was_signed() -> None:
    seen = look(delivered())
    assert seen == Recognition(
        Kind.ARRIVAL,
        "it is a canary of route support-inbound, verified by header, message_id, subject",
        canary_id=CANARY,
        attempt=2,
        sent_ms=SENT,
        route="support-inbound",
        carriers=ALL_OF_HEADER,
        token_verified=True,
        received=(
            "from mx1.example.com (mx1.example.com [192.0.2.1]) by store.example.com (Postfix) with LMTP id 4XyZ; "
            "Fri, 15 Jan 2027 08:00:01 +0000 (UTC)",
        ),
    )


@pytest.mark.fault("S35")
@pytest.mark.parametrize("stripped", STRIPS)
def test_one_carrier_lost_is_still_an_arrival(stripped: Carrier) -> None:
    seen = look(delivered(STRIPS[stripped]))
    assert (seen.kind, seen.canary_id, seen.route) == (Kind.ARRIVAL, CANARY, "support-inbound")
    assert seen.carriers == ALL_OF_HEADER - {stripped}


@pytest.mark.fault("S36")
@pytest.mark.parametrize("kept", STRIPS)
def test_one_carrier_left_is_still_an_arrival(kept: Carrier) -> None:
    mail = delivered()
    for carrier, strip in STRIPS.items():
        if carrier is not kept:
            mail = strip(mail)
    seen = look(mail)
    assert (seen.kind, seen.canary_id, seen.carriers) == (Kind.ARRIVAL, CANARY, {kept})
    assert seen.token_verified is (kept is not Carrier.SUBJECT)


def test_of_a_tag_alone_only_the_canary_is_known() -> None:
    seen = look(STRIPS[Carrier.HEADER](delivered(STRIPS[Carrier.MESSAGE_ID])))
    assert seen.kind is Kind.ARRIVAL
    assert (seen.attempt, seen.sent_ms, seen.route, seen.token_verified) == (None, None, None, False)


def _bare() -> bytes:
    """Only the body is left, and From."""
    mail = delivered()
    for strip in STRIPS.values():
        mail = strip(mail)
    return mail


def test_the_body_is_asked_for_where_it_alone_can_tell() -> None:
    header, body = split(_bare())
    first = recognise(header, keyring=RING, now_ms=SENT, known=KNOWN, mailbox="support")
    assert first.kind is Kind.NEEDS_BODY
    for given in (body, header + body):
        seen = recognise(header, keyring=RING, now_ms=SENT, known=KNOWN, mailbox="support", body=given)
        assert (seen.kind, seen.canary_id, seen.attempt) == (Kind.ARRIVAL, CANARY, 2)
        assert seen.carriers == {Carrier.BODY}


@pytest.mark.fault("S35")
@pytest.mark.parametrize(
    "rewrap",
    [
        lambda body: ("base64", base64.encodebytes(body).replace(b"\n", b"\r\n")),
        lambda body: ("quoted-printable", quopri.encodestring(body.replace(b"\r\n", b"\n") + b"caf\xc3\xa9 = x")),
        lambda body: ("quoted-printable", body[:-40] + b"=\r\n" + body[-40:]),
        lambda body: ("8bit", b"<html><p>" + body.replace(b"\r\n", b"<br>") + b"</p><hr>Confidential &copy;</html>"),
        lambda body: ("7bit", b"CAUTION: this mail is from outside.\r\n\r\n" + body + b"-- \r\nScanned.\r\n"),
    ],
)
def test_a_rewrapped_body_still_tells(rewrap: Callable[[bytes], tuple[str, bytes]]) -> None:
    _, body = split(canary())
    seen = look(_encoded(_bare(), *rewrap(body)))
    assert (seen.kind, seen.canary_id, seen.carriers) == (Kind.ARRIVAL, CANARY, {Carrier.BODY})


@pytest.mark.fault("S35")
@pytest.mark.parametrize(
    "subject",
    [
        f"[EXTERNAL] Mail canary {TAG} (support-inbound)",
        f"EXTERNAL: Mail canary {TAG}",
        f"[SPAM] ***** [list] Mail canary {TAG}",
        f"Mail canary\r\n {TAG}\r\n\t(support-inbound)",
        f"MAIL CANARY {TAG.upper()}",
        Header(f"[ÄUSSERES] Mail canary {TAG} (support-inbound)", "utf-8").encode(),
        Header(f"[ÄUSSERES] Mail canary {TAG} (support-inbound)", "iso-8859-1").encode(),
        f"=?utf-8?B?{base64.b64encode(b'Mail canary ' + TAG[:9].encode()).decode()}?=\r\n"
        f" =?utf-8?Q?{TAG[9:]}_=28support-inbound=29?=",
    ],
)
def test_a_rewritten_subject_still_tells(subject: str) -> None:
    mail = STRIPS[Carrier.HEADER](STRIPS[Carrier.MESSAGE_ID](with_field("Subject", subject, delivered())))
    seen = look(mail)
    assert (seen.kind, seen.canary_id, seen.carriers) == (Kind.ARRIVAL, CANARY, {Carrier.SUBJECT})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-mailcanary", f"v1 {TOKEN.upper()}"),
        ("X-MAILCANARY", f"v1\r\n\t{TOKEN}"),
        ("X-Mailcanary", f"v1 {TOKEN[:30]}\r\n {TOKEN[30:]}"),
        ("X-Mailcanary", f"=?us-ascii?Q?v1_{TOKEN}?="),
        ("Message-ID", f"\r\n <{TOKEN}@prober-1.canary.example>"),
        ("Message-Id", f"<{TOKEN[:50]}\r\n {TOKEN[50:]}@prober-1.canary.example>"),
        ("X-Microsoft-Original-Message-ID", f"<{TOKEN}@prober-1.canary.example>"),
    ],
)
def test_a_refolded_token_still_tells(name: str, value: str) -> None:
    mail = delivered()
    for strip in STRIPS.values():
        mail = strip(mail)
    seen = look(with_field(name, value, mail))
    assert (seen.kind, seen.canary_id) == (Kind.ARRIVAL, CANARY)
    assert seen.carriers == {Carrier.HEADER if name.lower() == "x-mailcanary" else Carrier.MESSAGE_ID}


def test_a_broken_line_above_ours_hides_nothing() -> None:
    for broken in (b"this is no field\r\n", b" continuation of nothing\r\n", b": x\r\n", b"\xff\xfe: y\r\n"):
        assert look(broken + delivered()).carriers == ALL_OF_HEADER


def test_bare_line_feeds_are_read_too() -> None:
    header, body = split(delivered())
    seen = recognise(header.replace(b"\r\n", b"\n"), keyring=RING, now_ms=SENT, known=KNOWN, mailbox="support")
    assert seen.carriers == ALL_OF_HEADER
    assert body


def test_a_bad_candidate_beside_a_good_one_does_no_harm() -> None:
    broken = ("b" if TOKEN[40] == "a" else "a").join((TOKEN[:40], TOKEN[41:]))
    seen = look(with_field("Message-ID", f"<{broken}@prober-1.canary.example>", delivered()))
    assert (seen.kind, seen.canary_id) == (Kind.ARRIVAL, CANARY)
    assert seen.carriers == {Carrier.HEADER, Carrier.SUBJECT}


def test_carriers_of_two_canaries_are_believed_in_nothing() -> None:
    seen = look(with_field("Subject", f"Mail canary {RING.tag(OTHER_CANARY)}", delivered()))
    assert (seen.kind, seen.canary_id, seen.route) == (Kind.FORGED, None, None)
    assert "2 canaries" in seen.sentence


def test_a_weak_carrier_needs_the_routes_from() -> None:
    bare = STRIPS[Carrier.HEADER](STRIPS[Carrier.MESSAGE_ID](delivered()))
    assert look(with_field("From", f'"Canary" <{FROM.upper()}>', bare)).kind is Kind.ARRIVAL
    for sender in (
        "someone@example.org",
        f'"{FROM}" <someone@example.org>',
        f"someone@example.org ({FROM})",
        f"<{FROM}> <someone@example.org>",
        f"{FROM}, someone@example.org",
        "",
    ):
        assert look(with_field("From", sender, bare)).kind is Kind.REPLY, sender
    assert look(with_field("From", "sales@canary.example", bare)).kind is Kind.ARRIVAL  # a tag names no route
    of_body = with_field("From", "sales@canary.example", _bare())
    assert look(of_body).kind is Kind.REPLY


def test_two_from_fields_are_no_from() -> None:
    bare = STRIPS[Carrier.HEADER](STRIPS[Carrier.MESSAGE_ID](delivered()))
    assert look(b"From: someone@example.org\r\n" + bare).kind is Kind.REPLY


def test_a_strong_carrier_bears_a_rewritten_from() -> None:
    assert look(with_field("From", "'probe' via Support <support@example.com>", delivered())).kind is Kind.ARRIVAL


def test_age_is_judged_by_the_watch_of_the_route() -> None:
    assert look(delivered(), now_ms=SENT + 72 * HOUR).kind is Kind.ARRIVAL
    old = look(delivered(), now_ms=SENT + 72 * HOUR + 1)
    assert (old.kind, old.canary_id, old.sent_ms) == (Kind.EXPIRED, CANARY, SENT)
    assert "72.0 h ago" in old.sentence


def test_a_clock_set_back_loses_no_arrival() -> None:
    seen = look(delivered(), now_ms=SENT - 24 * HOUR)
    assert seen.kind is Kind.ARRIVAL
    assert "clock" in seen.sentence


def test_a_canary_in_another_mailbox_is_replayed() -> None:
    seen = look(delivered(), mailbox="sales")
    assert (seen.kind, seen.canary_id, seen.route) == (Kind.REPLAYED, CANARY, "support-inbound")


def test_a_canary_of_another_prober_is_neither_ours_nor_forged() -> None:
    token = RING.token(canary_id=CANARY, route=route_mark("prober-2", "support-inbound"), sent_ms=SENT, attempt=1)
    seen = look(TRACE + canary(token=token))
    assert (seen.kind, seen.route) == (Kind.OTHER_PROBER, None)


def test_without_the_key_nothing_is_believed() -> None:
    assert look(delivered(), ring=Keyring([SigningKey("k9", b"z" * 32)])).kind is Kind.FORGED


def test_a_rotated_key_still_verifies() -> None:
    both = Keyring([SigningKey("k9", b"z" * 32), SigningKey("k1", b"o" * 32)])
    assert look(delivered(), ring=both).kind is Kind.ARRIVAL


@pytest.mark.parametrize(
    "claim",
    [
        f"X-Mailcanary: v1 {'a' * 63}\r\n",
        "X-Mailcanary: hello\r\n",
        f"Message-ID: <{'a' * 63}@prober-1.canary.example>\r\n",
        f"Subject: Mail canary {'a' * 29} (support-inbound)\r\n",
        f"X-Mailcanary: v1 {'a' * 63}\r\nIn-Reply-To: <x@example.org>\r\n",
    ],
)
def test_a_claim_without_a_signature_is_forged(claim: str) -> None:
    mail = f"From: someone@example.org\r\n{claim}\r\nhello\r\n".encode()
    seen = look(mail)
    assert (seen.kind, seen.canary_id, seen.carriers, seen.received) == (Kind.FORGED, None, frozenset(), ())
    assert "a" * 29 not in seen.sentence


@pytest.mark.parametrize(
    "header",
    [
        "From: someone@example.org\r\nSubject: lunch\r\nMessage-ID: <1@example.org>\r\n",
        f"From: someone@example.org\r\nSubject: {'a' * 29}\r\n",
        "From: someone@example.org\r\nSubject: Re: Mail canary\r\nIn-Reply-To: <1@example.org>\r\n",
        "",
    ],
)
def test_ordinary_mail_is_not_ours_and_its_body_is_left_alone(header: str) -> None:
    seen = recognise(f"{header}\r\n".encode(), keyring=RING, now_ms=SENT, known=KNOWN, mailbox="support")
    assert seen.kind is Kind.NOT_OURS


def test_input_beyond_the_caps_is_not_looked_at() -> None:
    header, body = split(canary())
    padding = b"X-Padding: " + b"x" * HEADER_CAP + b"\r\n"
    hidden = recognise(padding + header, keyring=RING, now_ms=SENT, known=KNOWN, mailbox="support")
    assert hidden.kind is Kind.NOT_OURS
    bare, _ = split(_bare())
    for room, kind in ((BODY_CAP - len(body), Kind.ARRIVAL), (BODY_CAP - len(body) + 3, Kind.UNNAMED)):
        text = b" " * room + body
        assert recognise(bare, keyring=RING, now_ms=SENT, known=KNOWN, mailbox="support", body=text).kind is kind


def test_received_is_capped_and_clean() -> None:
    line = b"Received: from \x1b[31mevil\x00\xc2\x9b by\r\n\tx; " + b"y" * 3000 + b"\r\n"
    seen = look(line * 20 + delivered())
    assert seen.kind is Kind.ARRIVAL
    assert seen.received[0].startswith("from  [31mevil  by x; yyy")
    assert {len(text) for text in seen.received[:-1]} == {len(seen.received[0])}
    assert len(seen.received[0]) <= 2048
    many = look(b"Received: from a by b\r\n" * 200 + delivered())
    assert many.received == ("from a by b",) * 50


def test_no_more_signatures_are_checked_than_one_mail_is_worth() -> None:
    class Counting(Keyring):
        checks = 0

        def verify_token(self, text: str) -> Identity | Rejection:
            Counting.checks += 1
            return super().verify_token(text)

    header, _ = split(_bare())
    junk = b"\r\n".join(f"{number:063d}".translate(str.maketrans("0189", "abcd")).encode() for number in range(900))
    ring = Counting([SigningKey("k1", b"o" * 32)])
    seen = recognise(header, keyring=ring, now_ms=SENT, known=KNOWN, mailbox="support", body=junk)
    assert seen.kind is Kind.UNNAMED
    assert Counting.checks == 8


def test_a_fault_of_ours_is_one_mail_unparsable() -> None:
    class Broken(Keyring):
        def verify_token(self, text: str) -> Identity:
            raise RecursionError(text)

    seen = look(delivered(), ring=Broken([SigningKey("k1", b"o" * 32)]))
    assert seen == Recognition(Kind.UNPARSABLE, "the mail could not be parsed (RecursionError)")
