"""What servers write differently: words, codes, parts, encodings, recipients."""

from __future__ import annotations

import base64
import quopri

import pytest

from probe.message.bounce import Bounce, BounceKind
from probe.message.report import Action
from tests.message.bounce_mail import ALONE, EXPECTED, MTA, judge, sample, swapped
from tests.message.canary_mail import CANARY, TAG, TOKEN, split, with_field, without


@pytest.mark.parametrize("action", ["expanded", "delivered", "relayed"])
def test_good_news_is_neither_failure_nor_delay(action: str) -> None:
    seen = judge(swapped(sample("postfix_failed"), "Action: failed", f"Action: {action}"))
    assert (seen.kind, seen.action) == (BounceKind.OTHER, action)


@pytest.mark.parametrize("value", ["Failed", "FAILED (really)", " failed", "failed\n (folded)"])
def test_an_action_is_read_in_any_case_and_with_comments(value: str) -> None:
    seen = judge(swapped(sample("postfix_failed"), "Action: failed", f"Action: {value}"))
    assert (seen.kind, seen.action) == (BounceKind.FAILED, Action.FAILED)


@pytest.mark.parametrize("value", ["", "fail", "failedish", "undeliverable", "x failed", "failed2"])
def test_an_action_that_is_none_of_the_standard_says_nothing(value: str) -> None:
    seen = judge(swapped(sample("postfix_failed"), "Action: failed", f"Action: {value}"))
    assert (seen.kind, seen.action, seen.status, seen.canary_id) == (BounceKind.OTHER, None, "", CANARY)
    assert seen.sentence == (
        "it is about a canary (by envelope_id, returned), but in no form that says what happened to it"
    )
    assert seen.reporting_mta == MTA


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ("5.1.1", "5.1.1"),
        ("4.100.999 (comment)", "4.100.999"),
        ("2.1.5;", "2.1.5"),
        ("5.1.1<script>", ""),
        ("3.1.1", ""),
        ("5.1", ""),
        ("5.1.1000", ""),
        ("55.1.1", ""),
        ("five", ""),
        ("", ""),
    ],
)
def test_only_a_status_code_is_a_status(value: str, status: str) -> None:
    seen = judge(swapped(sample("postfix_failed"), "Status: 5.1.1", f"Status: {value}"))
    assert (seen.kind, seen.status) == (BounceKind.FAILED, status)
    assert f"status {status or 'not given'};" in seen.sentence


RETURNED_HEAD = "Content-Type: text/rfc822-headers\n"


@pytest.mark.parametrize(
    "kind", ["text/rfc822-headers", "message/rfc822", "message/global", "message/global-headers", "Message/RFC822"]
)
def test_the_canary_is_returned_whole_or_as_its_header(kind: str) -> None:
    mail = swapped(sample("sendmail_failed"), RETURNED_HEAD, f"Content-Type: {kind}\n")
    assert judge(mail) == EXPECTED["sendmail_failed"]


@pytest.mark.parametrize("kind", ["text/plain", "message/external-body", "application/octet-stream", "text/html"])
def test_other_parts_are_not_the_returned_canary(kind: str) -> None:
    mail = swapped(sample("sendmail_failed"), RETURNED_HEAD, f"Content-Type: {kind}\n")
    assert judge(mail) == Bounce(BounceKind.NOT_OURS, "a delivery report, but not of a canary")


def _encoded(mail: bytes, head: str, encoding: str) -> bytes:
    """``mail`` with the part that begins with ``head`` in another transfer encoding."""
    start = mail.index(head.replace("\n", "\r\n").encode())
    blank = mail.index(b"\r\n\r\n", start) + 4
    end = mail.index(b"\r\n--", blank)
    content = mail[blank:end]
    changed = (
        base64.encodebytes(content) if encoding.lower() == "base64" else quopri.encodestring(content, quotetabs=True)
    )
    return mail[: blank - 2] + f"Content-Transfer-Encoding: {encoding}\r\n\r\n".encode() + changed + mail[end:]


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "BASE64"])
@pytest.mark.parametrize("head", [RETURNED_HEAD, "Content-Type: message/delivery-status\n"])
def test_parts_may_be_encoded(encoding: str, head: str) -> None:
    mail = _encoded(sample("sendmail_failed"), head, encoding)
    assert mail != sample("sendmail_failed")
    assert judge(mail) == EXPECTED["sendmail_failed"]


@pytest.mark.parametrize("encoding", ["8bit", "x-nonsense", ""])
def test_an_encoding_nobody_knows_is_none(encoding: str) -> None:
    changed = f"{RETURNED_HEAD}Content-Transfer-Encoding: {encoding}\n"
    assert judge(swapped(sample("sendmail_failed"), RETURNED_HEAD, changed)) == EXPECTED["sendmail_failed"]


@pytest.mark.parametrize("name", ["qmail_failed", "exim_old"])
@pytest.mark.parametrize("encoding", ["base64", "quoted-printable"])
def test_a_notice_may_be_encoded(name: str, encoding: str) -> None:
    header, body = split(sample(name))
    changed = base64.encodebytes(body) if encoding == "base64" else quopri.encodestring(body)
    mail = with_field("Content-Type", "text/plain; charset=utf-8", header)
    mail = with_field("Content-Transfer-Encoding", encoding, mail)
    assert judge(mail + changed) == EXPECTED[name]


def test_fields_of_the_message_may_stand_in_the_group_of_the_recipient() -> None:
    mail = swapped(
        sample("postfix_failed"), "Arrival-Date: Fri, 15 Jan 2027 08:00:00 +0000 (UTC)\n\nFinal", "X-None: 0\nFinal"
    )
    assert judge(mail) == EXPECTED["postfix_failed"]


def test_an_empty_line_may_stand_before_the_returned_header() -> None:
    mail = swapped(sample("sendmail_failed"), RETURNED_HEAD + "\n", RETURNED_HEAD + "\n\n\n")
    assert judge(mail) == EXPECTED["sendmail_failed"]


@pytest.mark.parametrize("name", ["postfix_failed", "exim_old", "qmail_failed"])
def test_what_a_gateway_took_from_the_returned_header_does_not_matter(name: str) -> None:
    """Each place of the identity is enough: our own header, Message-ID, and the subject of a mail from us."""
    kept = {
        "own": swapped(swapped(sample(name), f"<{TOKEN}@", "<0@"), f"Mail canary {TAG}", "gone"),
        "message_id": swapped(swapped(sample(name), f"v1\n {TOKEN}", "v1"), f"Mail canary {TAG}", "gone"),
    }
    for mail in kept.values():
        seen = judge(swapped(mail, f"Original-Envelope-Id: {TAG}\n", "") if name == "postfix_failed" else mail)
        assert (seen.kind, seen.canary_id, seen.matched) == (BounceKind.FAILED, CANARY, ALONE)
        assert seen.token_verified


@pytest.mark.parametrize("name", ["delivered-to", "x-original-to", "envelope-to", "to"])
def test_the_tag_may_stand_in_any_field_of_the_recipient(name: str) -> None:
    mail = without("To", without("Delivered-To", sample("recipient_tag_only")))
    assert judge(mail).kind is BounceKind.NOT_OURS
    assert judge(with_field(name, f"Probe <probe+{TAG}@canary.example>", mail)) == EXPECTED["recipient_tag_only"]
    assert judge(f"{name}: x@y.example\r\n{name}: probe+{TAG}@canary.example\r\n".encode() + mail).canary_id == CANARY
    third = f"{name}: x@y.example\r\n" * 2 + f"{name}: probe+{TAG}@canary.example\r\n"
    assert judge(third.encode() + mail).kind is BounceKind.NOT_OURS


def test_of_several_recipients_the_canarys_own_counts() -> None:
    mail = sample("several_recipients")
    own = "Original-Recipient: rfc822; Support@Example.com\n"
    assert judge(mail).action is Action.DELAYED
    assert judge(swapped(mail, own, "")).status == "5.1.1"  # nobody it knows: the worst
    named = swapped(
        mail,
        "Final-Recipient: rfc822; inbox@store.example.com\n" + own,
        "Final-Recipient: rfc822;<support@example.com>\n",
    )
    assert judge(named).action is Action.DELAYED
    tagged = swapped(mail, "To: support@example.com", f"To: support+{TAG}@example.com")
    assert judge(tagged).action is Action.DELAYED
    other_way = swapped(mail, "Support@Example.com", f"support+{TAG}@example.com")
    assert judge(other_way).action is Action.DELAYED
    foreign = swapped(mail, "Support@Example.com", "support+list@example.com")
    assert judge(foreign).status == "5.1.1"


def test_of_several_failed_in_a_notice_the_canarys_own_counts() -> None:
    qmail = swapped(sample("qmail_failed"), "<support@", "<other@example.com>:\nIt said no.\n\n<support@")
    assert judge(qmail) == EXPECTED["qmail_failed"]
    exim = swapped(sample("exim_old"), "  support@", "  other@example.com\n    Other\n  support@")
    assert judge(exim) == EXPECTED["exim_old"]
    colon = swapped(sample("exim_old"), "  support@example.com\n", "  support@example.com:\n")
    assert judge(colon) == EXPECTED["exim_old"]


def test_exim_says_how_much_it_returns() -> None:
    rule = "including all the headers. ------\n"
    more = (
        "------ The body of the message is 9999 characters long; only the first\n------ 10 or so are included here.\n"
    )
    assert judge(swapped(sample("exim_old"), rule, rule + more)) == EXPECTED["exim_old"]
