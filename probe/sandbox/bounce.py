"""The report that a mail could not be delivered, as a mail server sends it: RFC 3464 in the frame of RFC 6522. Pure.

The bytes are put together here: what is returned may hold anything, and has to be returned as it came.
"""

from __future__ import annotations

from datetime import datetime
from email.utils import format_datetime

from probe.sandbox.dsn import RcptRequest
from probe.sandbox.stores import StoredMessage, in_header

STORE = "store.sandbox.test"
STATUS = "5.2.2"  # RFC 3463 section 3.3: mailbox full
DIAGNOSTIC = "552 5.2.2 Mailbox full"

_LARGEST_HEADER = 64 * 1024


def wants_report(message: StoredMessage) -> bool:
    """Whether a report goes back: never to the null sender (RFC 3464 section 2, RFC 5321 section 4.5.5), and not where
    no recipient's NOTIFY asks for one."""
    return bool(message.mail_from) and any(asked.on_failure for _, asked in _recipients(message))


def report(message: StoredMessage, now: datetime) -> bytes:
    """The mail to ``message.mail_from``, CRLF line ends. ``now`` is aware. Its header has no Return-Path: the delivery
    adds that."""
    boundary = f"{message.queue_id}/{message.intake}"
    failed = [(address, asked) for address, asked in _recipients(message) if asked.on_failure]
    returned_type, returned = _returned(message)
    head = [
        f"From: MAILER-DAEMON@{message.intake} (Mail Delivery System)",
        f"To: <{in_header(message.mail_from)}>",
        f"Date: {format_datetime(now)}",
        f"Message-ID: <{message.queue_id}.bounce@{message.intake}>",
        "Subject: Undelivered Mail Returned to Sender",
        "Auto-Submitted: auto-replied",  # RFC 3834 section 3.1.7
        "MIME-Version: 1.0",
        "Content-Type: multipart/report; report-type=delivery-status;",
        f'\tboundary="{boundary}"',
        "Content-Transfer-Encoding: 8bit",
        "",
        "This is a report in the format of RFC 3464.",
    ]
    parts = [
        ("text/plain; charset=us-ascii", "\r\n".join(_for_people(message, failed)).encode("ascii")),
        ("message/delivery-status", "\r\n".join(_for_machines(message, failed)).encode("ascii")),
        (returned_type, returned),
    ]
    text = "".join(f"{line}\r\n" for line in head).encode("ascii")
    for kind, content in parts:
        encoding = "7bit" if content.isascii() else "8bit"
        lines = f"\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
        text += lines.encode("ascii") + content
    return text + f"\r\n--{boundary}--\r\n".encode("ascii")


def _recipients(message: StoredMessage) -> list[tuple[str, RcptRequest]]:
    asked = message.rcpt_requests or (RcptRequest(),) * len(message.rcpt_to)
    return list(zip(message.rcpt_to, asked, strict=True))


def _for_people(message: StoredMessage, failed: list[tuple[str, RcptRequest]]) -> list[str]:
    return [
        f"This is the mail system at {message.intake}.",
        "",
        "Your message could not be delivered to these recipients:",
        "",
        *(f"<{in_header(address)}>: {STORE} said: {DIAGNOSTIC}" for address, _ in failed),
        "",
    ]


def _for_machines(message: StoredMessage, failed: list[tuple[str, RcptRequest]]) -> list[str]:
    """The fields of the message, then a group for each recipient (RFC 3464 sections 2.2 and 2.3)."""
    lines = [f"Original-Envelope-Id: {message.mail_request.envelope_id}"] if message.mail_request.envelope_id else []
    lines += [
        f"Reporting-MTA: dns; {message.intake}",
        f"Arrival-Date: {format_datetime(message.accepted.utc)}",
    ]
    for address, asked in failed:
        lines.append("")
        if asked.original:
            kind, _, original = asked.original.partition(";")
            lines.append(f"Original-Recipient: {kind}; {original}")
        lines += [
            f"Final-Recipient: rfc822; {in_header(address)}",
            "Action: failed",
            f"Status: {STATUS}",
            f"Remote-MTA: dns; {STORE}",
            f"Diagnostic-Code: smtp; {DIAGNOSTIC}",
        ]
    return [*lines, ""]


def _returned(message: StoredMessage) -> tuple[str, bytes]:
    """What comes back: the header (RFC 6522 section 4), or all of it where that was asked for."""
    if message.mail_request.full:
        return "message/rfc822", message.content
    header = message.content.partition(b"\r\n\r\n")[0][:_LARGEST_HEADER]
    return "text/rfc822-headers", header + b"\r\n"
