"""SMTP as text: what a reply says, and how our side is written. Pure; no I/O, no aiosmtplib.

Replies come from a server that nobody vouches for: everything here is bounded in time and length.
"""

from __future__ import annotations

import re

REPLY_LIMIT = 512
_READ_LIMIT = 4 * REPLY_LIMIT

# C0, DEL and C1, and the Unicode line breaks and direction marks: none of them may reach a terminal or a log.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_ENHANCED = re.compile(r"(?:^|[\s#(\[])([245]\.[0-9]{1,3}\.[0-9]{1,3})(?!\.?[0-9])")
_LINE_END = re.compile(rb"\r\n|\r|\n")

_QUEUED_AS = tuple(
    re.compile(pattern)
    for pattern in (
        r"\bqueued as ([0-9A-Za-z]{4,40})\b",  # Postfix
        r"\bOK id=([0-9A-Za-z-]{8,40})",  # Exim
        r"(?:^| )([0-9A-Za-z]{8,40}) Message accepted for delivery",  # Sendmail, OpenSMTPD
        r"\[InternalId=([0-9]{1,30})",  # Exchange
        r"^ok ([0-9]{1,15} qp [0-9]{1,15})\b",  # qmail
        r"\bOK {1,4}[0-9]{1,15} ([0-9A-Za-z._-]{4,80}) - gsmtp",  # Gmail
        r"\b[Qq]ueued with id ([0-9A-Za-z]{4,40})\b",  # Stalwart
        r"\bMessage Queued \(([0-9A-Za-z.-]{8,60})\)",  # Haraka
        r"^Ok ([0-9a-f-]{40,80})$",  # Amazon SES
    )
)


def sanitised(text: str) -> str:
    """One line of at most 512 printable characters: line ends become spaces, control characters vanish, and bytes that
    were not UTF-8 (lone surrogates) are written out with a backslash."""
    text = text[:_READ_LIMIT]
    if not (text.isascii() and text.isprintable()):
        text = _CONTROLS.sub("", text.replace("\r", "").replace("\n", " "))
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text[:REPLY_LIMIT]


def enhanced_code(code: int, text: str) -> str | None:
    """The enhanced status code (RFC 3463) of a sanitised reply, e.g. ``5.1.1``; None where there is none. Its class
    must agree with the reply code (RFC 2034), so that a number in passing is not taken for one."""
    return next((found for found in _ENHANCED.findall(text) if int(found[0]) == code // 100), None)


def queued_as(text: str) -> str:
    """The server's own identifier of the message, out of its sanitised 2xx reply to the final dot, or ""."""
    for pattern in _QUEUED_AS:
        if found := pattern.search(text):
            return found[1]
    return ""


def xtext(value: str) -> str:
    """``value`` as xtext (RFC 3461 section 4), the form of ENVID."""
    plain = (chr(byte) if 33 <= byte <= 126 and byte not in b"+=" else f"+{byte:02X}" for byte in value.encode("utf-8"))
    return "".join(plain)


def path(address: str) -> bytes:
    """``<address>`` for MAIL and RCPT (RFC 5321 section 4.1.2). Raises ValueError for one that breaks out of it."""
    if not address.isascii() or not address.isprintable() or set(address) & set("<> "):
        raise ValueError(f"{sanitised(address)!r} cannot stand in an SMTP envelope")
    return b"<" + address.encode("ascii") + b">"


def dot_stuffed(message: bytes) -> bytes:
    """The message as it crosses the wire after DATA: CRLF line ends only, leading dots doubled, the final dot
    (RFC 5321 section 4.5.2)."""
    lines = message.count(b"\r\n")
    if message.count(b"\n") != lines or message.count(b"\r") != lines:
        message = _LINE_END.sub(b"\r\n", message)
    if not message.endswith(b"\r\n"):
        message += b"\r\n"
    if message.startswith(b"."):
        message = b"." + message
    return message.replace(b"\r\n.", b"\r\n..") + b".\r\n"


def extensions(ehlo: str) -> dict[str, tuple[str, ...]]:
    """What an EHLO reply offers: keyword in lower case to its parameters in upper case (RFC 5321 section 4.1.1.1).
    The first line is the server's name. ``AUTH=PLAIN``, the old form, counts as ``AUTH PLAIN``."""
    offered: dict[str, tuple[str, ...]] = {}
    for line in ehlo.split("\n")[1:]:
        words = line.upper().replace("AUTH=", "AUTH ", 1).split()
        if words:
            keyword = words[0].lower()
            offered[keyword] = offered.get(keyword, ()) + tuple(words[1:])
    return offered
