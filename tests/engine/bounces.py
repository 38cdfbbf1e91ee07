"""Delivery reports as Postfix writes them, about canaries that the fake sender was handed."""

from __future__ import annotations

from tests.engine.fakes import Handed
from tests.engine.world import World

_REPORT = """\
Return-Path: <>
Delivered-To: {to}
From: MAILER-DAEMON@relay.example.net (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: {to}
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="B0"

--B0
Content-Type: text/plain; charset=us-ascii

This is the mail system at host relay.example.net.

--B0
Content-Type: message/delivery-status

Reporting-MTA: dns; relay.example.net
{envelope_id}
Final-Recipient: rfc822; {rcpt_to}
Action: {action}
Status: {status}
Diagnostic-Code: smtp; 550 {status} no such user

--B0
Content-Type: text/rfc822-headers

{header}
--B0--
"""


def report(handed: Handed, *, action: str = "failed", status: str = "5.1.1", returned: bool = True) -> bytes:
    """A report about one attempt; without ``returned`` only the envelope id names it."""
    header = handed.message.partition(b"\r\n\r\n")[0].decode("ascii").replace("\r\n", "\n")
    envelope_id = f"Original-Envelope-Id: {handed.envelope.envelope_id}\n"
    text = _REPORT.format(
        to=handed.envelope.mail_from,
        rcpt_to=handed.envelope.rcpt_to,
        action=action,
        status=status,
        header=header if returned else "From: somebody@example.org",
        envelope_id=envelope_id,
    )
    return text.replace("\n", "\r\n").encode("ascii")


async def until_accepted(world: World) -> Handed:
    """The first canary, once it is taken."""
    await world.until(lambda: world.states()["accepted"])
    return world.sender.handed[0]
