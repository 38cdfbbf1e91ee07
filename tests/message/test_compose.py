"""The plain canary as bytes."""

from __future__ import annotations

import email
from datetime import UTC, datetime, timedelta
from email import policy
from typing import Any

import pytest

from probe.canary.identity import Keyring, SigningKey, new_canary_id, route_mark
from probe.message.compose import compose

RING = Keyring([SigningKey("k1", b"o" * 32)])
CANARY = new_canary_id(bytes(range(8)))
TOKEN = RING.token(
    canary_id=CANARY, route=route_mark("prober-1", "support-inbound"), sent_ms=1_800_000_000_123, attempt=1
)
TAG = RING.tag(CANARY)
FIELDS: dict[str, Any] = {
    "identity_token": TOKEN,
    "tag": TAG,
    "mail_from": "probe@canary.example",
    "rcpt_to": "support@example.com",
    "prober_host": "prober-1.canary.example",
    "date": datetime(2027, 1, 15, 8, 0, 0, 123_000, tzinfo=UTC),
    "auto_submitted": True,
    "prober": "prober-1",
    "route": "support-inbound",
}
GOLDEN = f"""\
From: probe@canary.example
To: support@example.com
Date: Fri, 15 Jan 2027 08:00:00 +0000
Message-ID: <{TOKEN}@prober-1.canary.example>
Subject: Mail canary {TAG} (support-inbound)
X-Mailcanary: v1
 {TOKEN}
Auto-Submitted: auto-generated
X-Auto-Response-Suppress: All
MIME-Version: 1.0
Content-Type: text/plain; charset=us-ascii
Content-Transfer-Encoding: 7bit

This is a test message that measures whether mail arrives, and how fast.
Nobody needs to act on it: it can be ignored or deleted.

Prober: prober-1
Route: support-inbound

{TOKEN}
"""


def test_the_plain_canary() -> None:
    assert compose(**FIELDS) == GOLDEN.replace("\n", "\r\n").encode("ascii")


@pytest.mark.fault("S38")
def test_it_is_small_and_every_line_can_be_sent() -> None:
    message = compose(**FIELDS)
    lines = message.split(b"\r\n")
    assert len(message) <= 900
    assert max(map(len, lines)) <= 998
    assert [line[:11] for line in lines if len(line) > 78] == [b"Message-ID:"]
    assert b"\n" not in message.replace(b"\r\n", b"")
    assert all(byte < 0x80 for byte in message)
    assert not any(line.startswith(b".") for line in lines)


def test_a_strict_parser_reads_what_was_meant() -> None:
    """The standard library's own idea of the message, without a defect, and it would send the same fields."""
    message = email.message_from_bytes(compose(**FIELDS), policy=policy.SMTP)
    assert message.defects == []
    assert [name for name, value in message.items() if getattr(value, "defects", ())] == []
    assert message["Subject"] == f"Mail canary {TAG} (support-inbound)"
    assert message["X-Mailcanary"] == f"v1 {TOKEN}"
    assert message["Message-ID"] == f"<{TOKEN}@prober-1.canary.example>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Date"].datetime == FIELDS["date"].replace(microsecond=0)
    assert "Precedence" not in message
    assert "List-Id" not in message


def test_without_auto_submitted_it_looks_like_a_persons_mail() -> None:
    message = email.message_from_bytes(compose(**{**FIELDS, "auto_submitted": False}))
    assert "Auto-Submitted" not in message
    assert "X-Auto-Response-Suppress" not in message
    assert len(message.keys()) == 9


def test_a_long_route_name_stays_out_of_the_subject() -> None:
    name = "r" * 32
    message = compose(**{**FIELDS, "route": name})
    assert f"Subject: Mail canary {TAG}\r\n".encode() in message
    assert f"Route: {name}\r\n".encode() in message


@pytest.mark.parametrize("what", ["mail_from", "rcpt_to", "prober_host", "prober", "route", "identity_token", "tag"])
@pytest.mark.parametrize("bad", ["\r\nBcc: x@example.org", "\n", "\r", "\0", "\x7f", "\x85", "\u2028", "é", "\ud800"])
def test_nothing_can_be_injected(what: str, bad: str) -> None:
    good = FIELDS[what]
    for text in (good + bad, bad + good, good[:5] + bad + good[5:]):
        with pytest.raises(ValueError, match=what):
            compose(**{**FIELDS, what: text})


@pytest.mark.parametrize("address", ["", "probe", "a@b@c", "a b@c.example", "<a@b.example>", "a@b.example,c@d.example"])
def test_an_address_is_a_plain_one(address: str) -> None:
    with pytest.raises(ValueError, match="mail_from"):
        compose(**{**FIELDS, "mail_from": address})
    with pytest.raises(ValueError, match="rcpt_to"):
        compose(**{**FIELDS, "rcpt_to": address})


@pytest.mark.parametrize("address", ["a.b+c=d@x-y.example", "root@localhost", "a@[127.0.0.1]", "a@[IPv6:2001:db8::1]"])
def test_unusual_but_plain_addresses_pass(address: str) -> None:
    assert f"To: {address}\r\n".encode() in compose(**{**FIELDS, "rcpt_to": address})


def test_a_naive_date_is_refused() -> None:
    naive = FIELDS["date"].replace(tzinfo=None)
    with pytest.raises(ValueError, match="aware"):
        compose(**{**FIELDS, "date": naive})


def test_each_attempt_has_a_message_id_of_its_own() -> None:
    """Exchange drops a second mail with the Message-ID of a first: a retry would look like loss."""
    mark = route_mark("prober-1", "support-inbound")
    tokens = [RING.token(canary_id=CANARY, route=mark, sent_ms=1_800_000_000_123, attempt=n) for n in (1, 2)]
    date = FIELDS["date"] + timedelta(minutes=5)
    mails = [compose(**{**FIELDS, "identity_token": token, "date": date}) for token in tokens]
    assert len({email.message_from_bytes(mail)["Message-ID"] for mail in mails}) == 2
