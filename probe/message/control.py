"""The control message as bytes: what the prober puts straight into its own mailbox, to see that it sees. Pure.

It travels no path and measures none, so it is told from every canary by what is signed: its token names the mark of
the mailbox in place of a route's, and attempt 0, which no canary has.
"""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import format_datetime

from probe.canary.identity import TOKEN_LENGTH, Keyring, route_mark
from probe.message.compose import FORMAT, OWN_HEADER

ATTEMPT = 0  # a canary's attempts are counted from 1
SUBJECT = "Mailbox control message"  # not a canary's words: those would have a body fetched

_TOKEN = re.compile(rf"[a-z2-7]{{{TOKEN_LENGTH}}}")
_NAME = re.compile(r"[!-~]{1,64}")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,253}[A-Za-z0-9])?")


def control_mark(prober: str, mailbox: str) -> bytes:
    """What binds a token to the control messages of a mailbox; a route's name has no colon."""
    return route_mark(prober, f"control:{mailbox}")


def control_token(keyring: Keyring, *, control_id: str, mark: bytes, sent_ms: int) -> str:
    """The identity of one control message."""
    return keyring.token(canary_id=control_id, route=mark, sent_ms=sent_ms, attempt=ATTEMPT)


def compose_control(*, token: str, prober: str, mailbox: str, host: str, date: datetime) -> bytes:
    """Canonical CRLF, 7-bit, under 1 KiB. ``date`` is aware. ValueError for what does not belong in a header."""
    if _TOKEN.fullmatch(token) is None:
        raise ValueError(f"token is not {TOKEN_LENGTH} characters of a-z2-7")
    if _NAME.fullmatch(prober) is None or _NAME.fullmatch(mailbox) is None:
        raise ValueError("a name is not 1 to 64 characters of printable ASCII")
    if _HOST.fullmatch(host) is None:
        raise ValueError("host is not a host name")
    if date.tzinfo is None:
        raise ValueError("date must be aware")
    lines = (
        f"From: mailcanary@{host}",
        f"Date: {format_datetime(date)}",
        f"Message-ID: <{token}@{host}>",
        f"Subject: {SUBJECT}",
        f"{OWN_HEADER}: {FORMAT}",
        f" {token}",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=us-ascii",
        "Content-Transfer-Encoding: 7bit",
        "",
        "This message was put here by the prober itself, to test that it sees what is here.",
        "It was never sent, and the prober removes it again. It can be ignored or deleted.",
        "",
        f"Prober: {prober}",
        f"Mailbox: {mailbox}",
    )
    return "".join(f"{line}\r\n" for line in lines).encode("ascii")
