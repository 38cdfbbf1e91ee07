"""Mail made to harm: nothing raises, nothing is believed, and size alone decides what it costs."""

from __future__ import annotations

import email
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from probe.message import carriers, headers
from probe.message.headers import address_of, decode_words, parse_fields, printable, unbase64
from probe.message.recognise import BODY_CAP, HEADER_CAP, Kind, Recognition, recognise
from probe.message.signs import SIGN_FIELDS, sign_of_answer
from tests.message.canary_mail import CANARY, FROM, KNOWN, RING, SENT, TOKEN, canary, delivered, split

NAMES = ("X-Mailcanary", "Message-ID", "Subject", "From", "References", "Content-Type", "Received", "X-Other")
HARMLESS = frozenset((Kind.NOT_OURS, Kind.FORGED, Kind.NEEDS_BODY, Kind.UNNAMED))


def _see(header: bytes, body: bytes | None = None) -> Recognition:
    return recognise(header, keyring=RING, now_ms=SENT, known=KNOWN, mailbox="support", body=body)


@pytest.mark.fault("R20")
@settings(deadline=None, max_examples=300)
@given(header=st.binary(max_size=2000), body=st.none() | st.binary(max_size=2000))
@example(header=b"\xff:\r\n\x00 \r\n", body=b"=\r\n=")
def test_no_bytes_are_unparsable(header: bytes, body: bytes | None) -> None:
    assert _see(header, body).kind in HARMLESS


WORD = st.sampled_from(
    (
        *("=?utf-8?B?", "=?x?q?", "?=", "=", "=?utf-7?Q?+ADw-?=", "=?idna?B?eG4tLQ==?="),
        *("\r\n ", "\r\n", "<", ">", "@", '"', "(", "[", "\\", "\ud7ff", "\x00"),
        *(TOKEN[:30], TOKEN[30:], "v1 ", "a" * 63, "Mail canary ", "Re: ", FROM),
    )
)


@settings(deadline=None, max_examples=300)
@given(
    fields=st.lists(st.tuples(st.sampled_from(NAMES), st.lists(WORD, max_size=12).map("".join)), max_size=10),
    body=st.none() | st.lists(WORD, max_size=30).map("".join),
)
def test_no_structure_is_unparsable(fields: list[tuple[str, str]], body: str | None) -> None:
    header = "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"
    seen = _see(header.encode(), None if body is None else body.encode())
    assert seen.kind is not Kind.UNPARSABLE
    assert seen.canary_id in (None, CANARY)


@settings(deadline=None, max_examples=400)
@given(
    edits=st.lists(st.tuples(st.floats(0, 1), st.sampled_from("sdi"), st.integers(0, 255)), min_size=1, max_size=30),
    read_body=st.booleans(),
)
def test_a_mutated_canary_is_never_another_one(edits: list[tuple[float, str, int]], read_body: bool) -> None:
    mail = bytearray(delivered())
    for where, kind, byte in edits:
        position = int(where * (len(mail) - 1))
        if kind == "d":
            del mail[position]
        elif kind == "s":
            mail[position] = byte
        else:
            mail.insert(position, byte)
    header, body = split(bytes(mail))
    seen = _see(header, body if read_body else None)
    assert seen.kind is not Kind.UNPARSABLE
    assert seen.canary_id in (None, CANARY)
    if seen.kind is Kind.ARRIVAL and seen.token_verified:
        assert (seen.attempt, seen.sent_ms) == (2, SENT)


def test_a_thousand_forgeries_are_not_believed() -> None:
    chance = random.Random(28)
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"
    for _ in range(1000):
        token = TOKEN[:36] + "".join(chance.choices(alphabet, k=27))
        tag = "".join(chance.choices(alphabet, k=29))
        header, body = split(canary(token=token, tag=tag))
        assert _see(header).kind is Kind.NEEDS_BODY
        assert _see(header, body).kind is Kind.FORGED


@pytest.mark.fault("R20")
@pytest.mark.parametrize(
    "unit",
    [
        b"a:\n",
        b"Subject: =?utf-8?q?",
        b"Subject: x\r\n",
        b"Received: x\r\n",
        b"X-Mailcanary: v1 " + b"a" * 63 + b"\r\n",
        b"=?",
        b"=?a?b?",
        b"?= ",
        b"?=\r\n ",
        b" ",
        b"\t\r\n",
        b"a",
        b'From: "\\',
        b"(",
        b"<",
        b"[",
        b"*",
        b"=\r\n",
        b"QUJD\n",
        b"QUJD\n-\n",
        b"\n" * 3 + b"QUJDQUJDQUJD",
        b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n",
        b"> ",
        b"\x00",
        b"\xff",
    ],
)
@pytest.mark.parametrize("start", [b"", b"Subject: ", b"X-Mailcanary: ", b"References: ", b"From: ", b"Message-ID: <"])
def test_floods_of_anything_are_read_and_not_believed(unit: bytes, start: bytes) -> None:
    """Each fills its cap several times over; a pattern that is worse than linear would run into the test's timeout."""
    header = start + unit * (2 * HEADER_CAP // len(unit))
    body = unit * (2 * BODY_CAP // len(unit))
    assert _see(header, body).kind in HARMLESS


def test_what_is_decoded_is_no_longer_than_what_came() -> None:
    """No input can grow here: the texts of a body are at most four thirds of it each, and there are three kinds."""
    body = (b"QUJD" * 19 + b"\n") * 800
    assert sum(map(len, carriers._texts(body))) <= 3 * len(body)
    assert len(decode_words("=?utf-8?B?" + "QUJD" * 400 + "?=")) == 1200


def test_well_formed_fields_are_read_as_the_standard_library_reads_them() -> None:
    header, _ = split(delivered())
    names = ("received", "from", "subject", "x-mailcanary", "message-id", "return-path")
    theirs = email.message_from_bytes(header)
    ours = parse_fields(header, names)
    for name in names:
        values = [str(value).replace("\r\n", "").strip() for value in theirs.get_all(name, [])]
        assert ours.get(name, []) == values
    assert set(ours) == {name for name in names if name in theirs}


@settings(deadline=None)
@given(st.text(max_size=200))
def test_the_small_readers_never_raise(text: str) -> None:
    assert "\n" not in printable(text, 100)
    assert len(printable(text, 100).encode()) <= 100
    assert len(address_of(text)) <= len(text) * 3
    decode_words("=?utf-8?B?" + text + "?=")
    sign_of_answer({name: [text] for name in SIGN_FIELDS})
    assert len(unbase64(text.encode("utf-8", "replace"))) <= len(text) * 3


@pytest.mark.parametrize(
    ("value", "decoded"),
    [
        ("=?utf-8?Q?a_b=3Dc?=", "a b=c"),
        ("=?utf-8?B?YWI=?= =?utf-8?B?Y2Q?=", "abcd"),
        ("=?utf-8*en?Q?x?= y", "x y"),
        ("=?nonsense?Q?=e9?=", "é"),
        ("=?idna?Q?xn--?=", "xn--"),
        ("=?utf-8?X?a?=", "=?utf-8?X?a?="),
        ("=?utf-8?B?A?=", ""),
        ("plain", "plain"),
    ],
)
def test_encoded_words(value: str, decoded: str) -> None:
    assert decode_words(value) == decoded


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("a@b.example", "a@b.example"),
        ("A <A@B.example>", "a@b.example"),
        ('"x@y.example" <a@b.example>', "a@b.example"),
        ("a@b.example (comment)", "a@b.example"),
        ("<a@b.example> <c@d.example>", ""),
        ("a@b.example, c@d.example", ""),
        ("group:;", ""),
        ("", ""),
    ],
)
def test_addresses(value: str, address: str) -> None:
    assert address_of(value) == address


def test_a_fields_value_is_capped() -> None:
    fields = parse_fields(b"Subject: " + b"x" * 60_000 + b"\r\n", ("subject",))
    assert len(fields["subject"][0]) == headers.FIELD_CAP - 1
