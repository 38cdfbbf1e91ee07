"""Which mails can be reports at all: asked of the header alone, and the same for the whole mail."""

from __future__ import annotations

import pytest

from probe.message import bounce
from probe.message.bounce import Bounce, BounceKind, may_be_report
from tests.message.bounce_mail import judge, sample
from tests.message.canary_mail import TAG, TOKEN, delivered, split, with_field, without

NO_FORM = Bounce(BounceKind.NOT_OURS, "it has not the form of a delivery report")
STANDARD = sample("postfix_failed")
NOTICE = sample("qmail_failed")


def _agree(mail: bytes) -> bool:
    """What the header alone says; the whole mail may say no more than that."""
    may_be = may_be_report(split(mail)[0])
    assert (judge(mail) == NO_FORM) is not may_be
    return may_be


@pytest.mark.parametrize(
    "value",
    [
        "multipart/report; report-type=delivery-status; boundary=b",
        'Multipart/Report; boundary="b"; Report-Type="Delivery-Status"',
        "multipart/report ;\r\n\treport-type = delivery-status ;\r\n boundary=b",
        "multipart/report; report-type=delivery-status",
    ],
)
def test_a_standard_report_by_its_content_type(value: str) -> None:
    assert _agree(with_field("Content-Type", value, STANDARD))


@pytest.mark.parametrize(
    "value",
    [
        "multipart/report; report-type=disposition-notification; boundary=b",
        "multipart/report; boundary=b",
        "multipart/report; x-report-type=delivery-status; boundary=b",
        "multipart/mixed; report-type=delivery-status; boundary=b",
        "multipart/reports; report-type=delivery-status; boundary=b",
        "text/html; report-type=delivery-status",
        "message/delivery-status",
        "multipart/report; report-type=feedback-report; report-type=delivery-status",
        "nonsense",
        "application/octet-stream",
    ],
)
def test_another_content_type_is_no_report(value: str) -> None:
    changed = with_field("Content-Type", value, STANDARD)
    if value == "nonsense":  # as if there were none, and then the mailer-daemon may speak in plain text
        assert _agree(changed)
        changed = without("Return-Path", changed)
    assert not _agree(changed)


def test_the_topmost_content_type_counts() -> None:
    assert not _agree(b"Content-Type: multipart/mixed; boundary=b\r\n" + STANDARD)


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("Return-Path", "<>", True),
        ("Return-Path", "< >", True),
        ("Return-Path", "<a@b.example>", False),
        ("Return-Path", "", False),
        ("From", "postmaster@relay.example.com", True),
        ("From", "Mail System <Mailer-Daemon@relay.example.com>", True),
        ("From", "MAILER-DAEMON (x)", False),
        ("From", "mailer-daemons@relay.example.com", False),
        ("From", "Mailer-Daemon <agent@example.com>", False),
        ("From", "<mailer-daemon@a.example> <b@c.example>", False),
        ("From", "support@example.com", False),
        ("In-Reply-To", "<1@a.example>", False),
        ("References", "<1@a.example>", False),
        ("References", "", True),
        ("Content-Type", "text/plain; charset=us-ascii", True),
        ("Content-Type", "TEXT/PLAIN", True),
        ("Content-Type", "text/html", False),
        ("Content-Type", "multipart/alternative; boundary=b", False),
    ],
)
def test_a_notice_is_from_nobody_by_a_daemon_in_plain_text(name: str, value: str, taken: bool) -> None:
    assert _agree(with_field(name, value, NOTICE)) is taken


@pytest.mark.parametrize("name", ["Return-Path", "From"])
def test_a_notice_needs_its_sender(name: str) -> None:
    assert _agree(NOTICE)
    assert not _agree(without(name, NOTICE))


def test_a_canary_and_an_empty_mail_are_no_reports() -> None:
    assert not _agree(delivered())
    assert not may_be_report(b"")
    assert judge(b"") == NO_FORM


def test_a_replayed_identity_in_a_plain_mail_is_no_report() -> None:
    body = split(NOTICE)[1]
    mail = f"From: a@b.example\r\nTo: probe+{TAG}@canary.example\r\nX-Mailcanary: v1 {TOKEN}\r\n\r\n".encode() + body
    assert not _agree(mail)


@pytest.mark.parametrize("name", ["postfix_failed", "qmail_failed", "exim_old"])
def test_a_report_passed_on_as_an_attachment_or_quoted_is_none(name: str) -> None:
    report = sample(name)
    head = b"From: MAILER-DAEMON@example.com\r\nReturn-Path: <>\r\nTo: probe@canary.example\r\nSubject: Fwd\r\n"
    attached = head + b"Content-Type: multipart/mixed; boundary=fwd\r\n\r\n--fwd\r\n\r\nSee below.\r\n--fwd\r\n"
    attached += b"Content-Type: message/rfc822\r\n\r\n" + report + b"\r\n--fwd--\r\n"
    assert not _agree(attached)
    within = head + b"Content-Type: message/rfc822\r\n\r\n" + report
    assert not _agree(within)
    quoted = head + b"In-Reply-To: <report-1@relay.example.com>\r\n\r\n"
    assert not _agree(quoted + b"".join(b"> " + line + b"\r\n" for line in report.split(b"\r\n")))
    inline = head.replace(b"MAILER-DAEMON", b"agent") + b"\r\n" + split(report)[1]
    assert not _agree(inline)


def test_the_header_is_read_to_its_empty_line_and_its_cap() -> None:
    late = b"\r\n" + b"Content-Type: multipart/report; report-type=delivery-status\r\n\r\n"
    assert not may_be_report(b"Subject: x\r\n" + late)
    far = b"X-Long: " + b"a" * 70_000 + b"\r\nContent-Type: multipart/report; report-type=delivery-status\r\n\r\n"
    assert not may_be_report(far)
    near = far[10_000:]
    assert may_be_report(b"X-Long: " + near)


def test_an_unknown_fault_in_the_reader_hides_no_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RecursionError(TOKEN)

    monkeypatch.setattr(bounce, "parse_fields", broken)
    assert may_be_report(split(STANDARD)[0])
    assert judge(STANDARD) == Bounce(BounceKind.UNPARSABLE, "the mail could not be parsed (RecursionError)")
