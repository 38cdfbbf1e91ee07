"""A canary stripped of every identity: from us, and without a name."""

from __future__ import annotations

import pytest

from probe.message.recognise import Kind, recognise
from tests.message.canary_mail import KNOWN, RING, SENT, delivered, split, with_field, without


def _bare() -> bytes:
    """Only From is left."""
    mail = with_field("Subject", "(no subject)", without("X-Mailcanary", delivered()))
    return with_field("Message-ID", "<0100018-8a9b@email.amazonses.com>", mail)


@pytest.mark.fault("S37")
def test_without_any_carrier_it_is_from_us_and_has_no_name() -> None:
    """Only in the mailbox that the route's canaries go to; an answer has a name of its own."""
    header, _ = split(_bare())
    for mailbox, kind in (("support", Kind.UNNAMED), ("sales", Kind.NOT_OURS)):
        seen = recognise(header, keyring=RING, now_ms=SENT, known=KNOWN, mailbox=mailbox, body=b"Hello.\r\n")
        assert (seen.kind, seen.canary_id) == (kind, None)
    answer = b"Auto-Submitted: auto-replied\r\n" + header
    seen = recognise(answer, keyring=RING, now_ms=SENT, known=KNOWN, mailbox="support", body=b"Hello.\r\n")
    assert seen.kind is Kind.NOT_OURS


def test_the_body_is_asked_for_at_most_once() -> None:
    header, _ = split(_bare())
    seen = recognise(header, keyring=RING, now_ms=SENT, known=KNOWN, mailbox="support", body=b"")
    assert seen.kind is Kind.UNNAMED
