"""Replies as text: sanitised, enhanced code, queue id; and our own side's quoting."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.senders.smtp_text import dot_stuffed, enhanced_code, extensions, path, queued_as, sanitised, xtext


@given(st.binary(max_size=9000))
def test_no_bytes_get_past_sanitising(raw: bytes) -> None:
    text = sanitised(raw.decode("utf-8", "surrogateescape"))
    assert len(text) <= 512
    assert not any(ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in text)
    text.encode("utf-8")  # a lone surrogate would raise


def test_sanitising_leaves_plain_text_and_joins_lines() -> None:
    assert sanitised("2.0.0 Ok: queued") == "2.0.0 Ok: queued"
    assert sanitised("one\ntwo\r\nthree") == "one two three"
    assert sanitised("a\x1b[0mb\u202ec") == "a[0mbc"
    assert sanitised("Gr\u00fc\u00dfe") == "Gr\u00fc\u00dfe"


@pytest.mark.parametrize(
    ("code", "text", "enhanced"),
    [
        (550, "5.1.1 unknown", "5.1.1"),
        (550, "5.7.26 first 5.7.1 second", "5.7.26"),
        (550, "sorry, no mailbox here by that name (#5.1.1)", "5.1.1"),
        (421, "4.7.0 [TSS04] later", "4.7.0"),
        (250, "2.0.0 Ok", "2.0.0"),
        (550, "4.2.1 class does not agree", None),
        (550, "host 5.1.1.1 is listed", None),
        (550, "see 15.1.1", None),
        (550, "5.1.1", "5.1.1"),
        (550, "no mailbox: 5.1.1.", "5.1.1"),
        (250, "ok", None),
    ],
)
def test_enhanced_code(code: int, text: str, enhanced: str | None) -> None:
    assert enhanced_code(code, text) == enhanced


@pytest.mark.parametrize(
    ("reply", "identifier"),
    [
        ("2.0.0 Ok: queued as 4Wx9Yz1Qab", "4Wx9Yz1Qab"),
        ("2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as A1B2C3D4E5", "A1B2C3D4E5"),
        ("OK id=1rABCD-000123-Xy", "1rABCD-000123-Xy"),
        ("2.0.0 3A1BcDef012345 Message accepted for delivery", "3A1BcDef012345"),
        ("2.0.0 64a1b2c3 Message accepted for delivery", "64a1b2c3"),
        ("2.6.0 <x@y> [InternalId=123456789, Hostname=EX01.example] Queued mail for delivery", "123456789"),
        ("ok 1700000000 qp 12345", "1700000000 qp 12345"),
        ("2.0.0 OK  1700000000 d9443c01a7336-1ccd4.123 - gsmtp", "d9443c01a7336-1ccd4.123"),
        ("2.0.0 Message queued with id 1f2e3d4c", "1f2e3d4c"),
        ("Message Queued (8A0B1C2D-1111-2222-3333-444455556666.1)", "8A0B1C2D-1111-2222-3333-444455556666.1"),
        ("OK", ""),
        ("2.0.0 Ok", ""),
        ("queued as", ""),
    ],
)
def test_queued_as(reply: str, identifier: str) -> None:
    assert queued_as(reply) == identifier


@pytest.mark.parametrize(
    ("message", "wire"),
    [
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b".a\r\n.\r\n..b\r\n", b"..a\r\n..\r\n...b\r\n.\r\n"),
        (b"a\n.\nb\rc\r\n", b"a\r\n..\r\nb\r\nc\r\n.\r\n"),
        (b"", b"\r\n.\r\n"),
    ],
)
def test_dot_stuffing(message: bytes, wire: bytes) -> None:
    assert dot_stuffed(message) == wire


@given(st.binary(max_size=200))
def test_only_the_last_line_of_the_wire_ends_the_content(message: bytes) -> None:
    wire = dot_stuffed(message)
    assert wire.endswith(b"\r\n.\r\n")
    assert (b"\r\n" + wire).find(b"\r\n.\r\n") == len(wire) - 3
    assert wire.count(b"\n") == wire.count(b"\r") == wire.count(b"\r\n")


def test_xtext() -> None:
    assert xtext("k1.abc") == "k1.abc"
    assert xtext("a+b=c d") == "a+2Bb+3Dc+20d"


def test_path() -> None:
    assert path("a@b.example") == b"<a@b.example>"
    assert path("") == b"<>"
    for address in ("a>b@c", "a\r\nb", "a b", "a\x00", "\u00e4@b", "<a@b>"):
        with pytest.raises(ValueError, match="envelope"):
            path(address)


def test_extensions() -> None:
    offered = extensions("mx.example at your service\nSIZE 1000\nSTARTTLS\nAUTH PLAIN\nAUTH=LOGIN\n\n")
    assert offered == {"size": ("1000",), "starttls": (), "auth": ("PLAIN", "LOGIN")}
    assert extensions("DSN") == {}
