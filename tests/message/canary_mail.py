"""A prober's keys, routes and one canary of it, for the tests of recognition."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from probe.canary.identity import Keyring, SigningKey, new_canary_id, route_mark
from probe.message.compose import compose
from probe.message.recognise import Recognition, RouteExpectation, recognise

KEY = SigningKey("k1", b"o" * 32)
RING = Keyring([KEY])
CANARY = new_canary_id(bytes(range(8)))
OTHER_CANARY = new_canary_id(b"another1")
MARK = route_mark("prober-1", "support-inbound")
SENT = 1_800_000_000_123
HOUR = 3_600_000
TOKEN = RING.token(canary_id=CANARY, route=MARK, sent_ms=SENT, attempt=2)
TAG = RING.tag(CANARY)
FROM = "probe@canary.example"
KNOWN = {
    MARK: RouteExpectation("support-inbound", "support", FROM, 72 * HOUR),
    route_mark("prober-1", "sales-inbound"): RouteExpectation("sales-inbound", "sales", "sales@canary.example", HOUR),
}


def canary(*, token: str = TOKEN, tag: str = TAG, mail_from: str = FROM) -> bytes:
    """The canary as it is sent."""
    return compose(
        identity_token=token,
        tag=tag,
        mail_from=mail_from,
        rcpt_to="support@example.com",
        prober_host="prober-1.canary.example",
        date=datetime.fromtimestamp(SENT / 1000, tz=UTC),
        auto_submitted=True,
        prober="prober-1",
        route="support-inbound",
    )


TRACE = (
    b"Return-Path: <probe@canary.example>\r\n"
    b"Delivered-To: support@example.com\r\n"
    b"Received: from mx1.example.com (mx1.example.com [192.0.2.1])\r\n"
    b"\tby store.example.com (Postfix) with LMTP id 4XyZ;\r\n"
    b"\tFri, 15 Jan 2027 08:00:01 +0000 (UTC)\r\n"
)


def delivered(change: Callable[[bytes], bytes] = lambda mail: mail) -> bytes:
    """The canary as it lies in the mailbox, after ``change`` by some system on its way."""
    return TRACE + change(canary())


def split(mail: bytes) -> tuple[bytes, bytes]:
    """Header with its empty line, and body."""
    header, blank, body = mail.partition(b"\r\n\r\n")
    return header + blank, body


def look(mail: bytes, *, now_ms: int = SENT + 1000, mailbox: str = "support", ring: Keyring = RING) -> Recognition:
    """As the engine looks: the header, then the whole message where the body is asked for."""
    header, _ = split(mail)
    seen = recognise(header, keyring=ring, now_ms=now_ms, known=KNOWN, mailbox=mailbox)
    if seen.kind == "needs_body":
        return recognise(header, keyring=ring, now_ms=now_ms, known=KNOWN, mailbox=mailbox, body=mail)
    return seen


def without(name: str, mail: bytes) -> bytes:
    """``mail`` without the field ``name``, its continuation lines included."""
    header, body = split(mail)
    kept: list[bytes] = []
    dropping = False
    for line in header.split(b"\r\n"):
        if line[:1] not in (b" ", b"\t"):
            dropping = line.lower().startswith(name.lower().encode() + b":")
        if not dropping:
            kept.append(line)
    return b"\r\n".join(kept) + body


def with_field(name: str, value: str, mail: bytes) -> bytes:
    """``mail`` with its field ``name`` replaced, or added at the end of the header."""
    header, body = split(without(name, mail))
    return header[:-2] + f"{name}: {value}\r\n\r\n".encode() + body
