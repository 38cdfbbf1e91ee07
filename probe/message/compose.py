"""The canary as bytes, ready for DATA: the plain variant, with its identity in four places.

Each place is rewritten by some real system (Amazon SES replaces Message-ID, gateways strip X- headers and prefix
subjects, disclaimers change bodies), so the identity travels in all of them and any one that verifies is enough.

The bytes are put together here, not by ``email.message``: what stands in them is fixed, 7-bit and checked below, so
there is nothing to encode or fold, a canary costs microseconds, and two runs give the same bytes on every Python. It
has no Precedence and no List-Id: those change how mail is classified, and so the path that is measured.
"""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import format_datetime

from probe.canary.identity import TAG_LENGTH, TOKEN_LENGTH

OWN_HEADER = "X-Mailcanary"
SUBJECT_WORDS = "Mail canary"
FORMAT = "v1"

_SOFT_LINE = 78  # RFC 5322 2.1.1: should not be longer, without CRLF
_HARD_LINE = 998  # RFC 5322 2.1.1: must not be longer
_ADDRESS = re.compile(r"""[^\s<>(),;:"\\@\[\]\x00-\x20\x7f-\U0010ffff]+@(?:[A-Za-z0-9._-]+|\[[A-Za-z0-9.:]+\])""")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_NAME = re.compile(r"[!-~](?:[ -~]{0,62}[!-~])?")


def compose(
    *,
    identity_token: str,
    tag: str,
    mail_from: str,
    rcpt_to: str,
    prober_host: str,
    date: datetime,
    auto_submitted: bool,
    prober: str,
    route: str,
) -> bytes:
    """One attempt of one canary: canonical CRLF, 7-bit, no line over 998 octets, well under 1 KiB.

    ``identity_token`` names the attempt, so Message-ID differs with each: a server that drops repeated ones (Exchange
    does) never swallows a second try. ``date`` is aware. ``auto_submitted`` adds the fields that keep auto-responders
    quiet (RFC 3834 section 5, and Exchange's own). ValueError for anything that does not belong in a header.
    """
    _check(identity_token, tag)
    for what, address in (("mail_from", mail_from), ("rcpt_to", rcpt_to)):
        if _ADDRESS.fullmatch(address) is None or len(address) > 254:
            raise ValueError(f"{what} is not a plain ASCII address")
    if _HOST.fullmatch(prober_host) is None or len(prober_host) > 255:
        raise ValueError("prober_host is not a host name")
    for what, name in (("prober", prober), ("route", route)):
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"{what} is not 1 to 64 characters of printable ASCII")
    if date.tzinfo is None:
        raise ValueError("date must be aware")
    lines = [
        f"From: {mail_from}",
        f"To: {rcpt_to}",
        f"Date: {format_datetime(date)}",
        f"Message-ID: <{identity_token}@{prober_host}>",
        _subject(tag, route),
        # Folded here, at the one blank, so that no gateway needs to.
        f"{OWN_HEADER}: {FORMAT}",
        f" {identity_token}",
    ]
    if auto_submitted:
        lines += ["Auto-Submitted: auto-generated", "X-Auto-Response-Suppress: All"]
    lines += [
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=us-ascii",
        "Content-Transfer-Encoding: 7bit",
        "",
        *_body(identity_token, prober, route),
    ]
    assert all(len(line) <= _HARD_LINE for line in lines)
    return "".join(f"{line}\r\n" for line in lines).encode("ascii")


def _check(token: str, tag: str) -> None:
    for what, text, length in (("identity_token", token, TOKEN_LENGTH), ("tag", tag, TAG_LENGTH)):
        if re.fullmatch(f"[a-z2-7]{{{length}}}", text) is None:
            raise ValueError(f"{what} is not {length} characters of a-z2-7")


def _subject(tag: str, route: str) -> str:
    """With the route's name where it fits in a line that nobody needs to fold."""
    subject = f"Subject: {SUBJECT_WORDS} {tag}"
    named = f"{subject} ({route})"
    return named if len(named) <= _SOFT_LINE else subject


def _body(token: str, prober: str, route: str) -> tuple[str, ...]:
    """Two sentences for whoever finds it, the token on a line of its own, no line that begins with a dot."""
    return (
        "This is a test message that measures whether mail arrives, and how fast.",
        "Nobody needs to act on it: it can be ignored or deleted.",
        "",
        f"Prober: {prober}",
        f"Route: {route}",
        "",
        token,
    )
