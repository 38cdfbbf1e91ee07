"""What a report is believed: a signature of ours and nothing else, and only while the canary is waited for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from probe.canary.identity import DEFAULT_SKEW_MS, Keyring, SigningKey, route_mark
from probe.message.bounce import Bounce, BounceKind, Matched
from tests.message.bounce_mail import NAMES, judge, sample, swapped
from tests.message.canary_mail import (
    CANARY,
    FROM,
    HOUR,
    KEY,
    KNOWN,
    MARK,
    OTHER_CANARY,
    RING,
    SENT,
    TAG,
    TOKEN,
    with_field,
    without,
)

FORGED = Bounce(BounceKind.FORGED, "a delivery report that names a canary, but no signature of ours verifies")
NOT_OURS = Bounce(BounceKind.NOT_OURS, "a delivery report, but not of a canary")
STRANGER = Keyring([SigningKey("k1", b"s" * 32)])  # another prober's key under the name of ours
STRANGE_TOKEN = STRANGER.token(canary_id=CANARY, route=MARK, sent_ms=SENT, attempt=2)
STRANGE_TAG = STRANGER.tag(CANARY)


def _changed(identity: str, position: int) -> str:
    position %= len(identity)
    return identity[:position] + ("a" if identity[position] != "a" else "b") + identity[position + 1 :]


@pytest.mark.parametrize("name", NAMES)
def test_a_report_with_identities_of_another_key_is_forged(name: str) -> None:
    mail = sample(name, token=STRANGE_TOKEN, tag=STRANGE_TAG)
    assert judge(mail) == FORGED
    assert judge(mail, ring=STRANGER, known={}).canary_id == CANARY


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("position", [0, 1, 12, 20, -1])
def test_a_report_with_altered_identities_is_forged(name: str, position: int) -> None:
    assert judge(sample(name, token=_changed(TOKEN, position), tag=_changed(TAG, position))) == FORGED


@pytest.mark.parametrize("old", ["X-Mailcanary: v1\n @TOKEN@\n", "Message-ID: <@TOKEN@@prober-1.canary.example>\n"])
def test_one_place_in_the_returned_header_makes_a_forgery(old: str) -> None:
    """Where a place of a canary's identity is there, the report claims to be about one."""
    token = _changed(TOKEN, 3)
    mail = sample("exim_failed", token=token, tag="gone")
    assert judge(swapped(mail, old.replace("@TOKEN@", token), "")) == FORGED


def test_a_subject_of_ours_with_an_altered_tag_is_forged() -> None:
    tag = _changed(TAG, 3)
    mail = sample("exim_failed", token="gone", tag=tag)
    assert judge(swapped(mail, "X-Mailcanary: v1\n gone\n", "")) == FORGED
    assert (
        judge(swapped(swapped(mail, "X-Mailcanary: v1\n gone\n", ""), f"Mail canary {tag}", f"Invoice {tag}"))
        == NOT_OURS
    )


@pytest.mark.parametrize(("old", "place"), [("Original-Envelope-Id: ", TAG), ("", f"probe+{TAG}@canary.example")])
def test_one_altered_tag_alone_makes_a_forgery(old: str, place: str) -> None:
    mail = swapped(sample("recipient_tag_only"), f"+{TAG}", "")
    assert judge(mail) == NOT_OURS
    altered = place.replace(TAG, _changed(TAG, 3))
    if old:
        assert judge(swapped(mail, "Reporting-MTA:", f"{old}{altered}\nReporting-MTA:")) == FORGED
        assert judge(swapped(mail, "Reporting-MTA:", f"{old}{place}\nReporting-MTA:")).matched == {Matched.ENVELOPE_ID}
    else:
        assert judge(with_field("To", altered, mail)) == FORGED
        assert judge(with_field("To", place, mail)).matched == {Matched.RECIPIENT}


def test_a_true_identity_beside_a_forged_one_counts() -> None:
    mail = swapped(sample("postfix_failed"), f"Envelope-Id: {TAG}", f"Envelope-Id: {STRANGE_TAG}")
    seen = judge(mail)
    assert (seen.kind, seen.matched) == (BounceKind.FAILED, frozenset((Matched.RETURNED,)))


def test_with_a_tag_alone_neither_time_nor_route_are_known() -> None:
    seen = judge(sample("recipient_tag_only"), now_ms=SENT + 10_000 * HOUR, known={})
    assert (seen.kind, seen.canary_id, seen.token_verified) == (BounceKind.FAILED, CANARY, False)
    assert (seen.attempt, seen.sent_ms, seen.route) == (None, None, None)


def test_a_report_of_two_canaries_is_forged_and_nothing_it_says_is_kept() -> None:
    mail = swapped(sample("postfix_failed"), f"Envelope-Id: {TAG}", f"Envelope-Id: {RING.tag(OTHER_CANARY)}")
    ids = ", ".join(sorted((CANARY, OTHER_CANARY)))
    assert judge(mail) == Bounce(
        BounceKind.FORGED,
        f"a delivery report with the identities of 2 canaries at once: {ids}",
        matched=frozenset((Matched.ENVELOPE_ID, Matched.RETURNED)),
        token_verified=True,
    )
    tags = swapped(sample("recipient_tag_only"), f"To: probe+{TAG}", f"To: probe+{RING.tag(OTHER_CANARY)}")
    tags = with_field("Delivered-To", f"probe+{TAG}@canary.example", tags)
    seen = judge(tags)
    assert (seen.kind, seen.canary_id, seen.status, seen.token_verified) == (BounceKind.FORGED, None, "", False)


def test_a_canary_of_another_prober_with_our_key() -> None:
    token = RING.token(canary_id=CANARY, route=route_mark("prober-2", "support-inbound"), sent_ms=SENT, attempt=0)
    seen = judge(sample("postfix_failed", token=token), now_ms=SENT + 100 * HOUR)
    assert seen.kind is BounceKind.OTHER_PROBER
    assert seen.sentence == "a delivery report of a canary for no route of this prober"
    assert (seen.canary_id, seen.route, seen.attempt, seen.sent_ms) == (CANARY, None, 0, SENT)


@pytest.mark.parametrize("name", ["postfix_failed", "postfix_delayed", "postfix_relayed", "qmail_failed", "exim_old"])
def test_an_expired_canary(name: str) -> None:
    past = SENT + 72 * HOUR
    seen = judge(sample(name), now_ms=past + 1)
    assert seen.kind is BounceKind.EXPIRED
    assert seen.sentence == "a delivery report of a canary signed 72.0 h ago: past its watch"
    assert (seen.canary_id, seen.route, seen.sent_ms, seen.attempt) == (CANARY, "support-inbound", SENT, 2)
    assert seen == replace(judge(sample(name), now_ms=past), kind=seen.kind, sentence=seen.sentence)
    assert judge(sample(name), now_ms=past).kind is not BounceKind.EXPIRED


def test_the_longest_watch_of_a_routes_forms_counts() -> None:
    short = replace(KNOWN[MARK], max_age_ms=HOUR)
    both = {MARK: replace(short, earlier=(KNOWN[MARK],))}
    assert judge(sample("postfix_failed"), now_ms=SENT + 2 * HOUR, known={MARK: short}).kind is BounceKind.EXPIRED
    assert judge(sample("postfix_failed"), now_ms=SENT + 2 * HOUR, known=both).kind is BounceKind.FAILED


def test_a_canary_signed_in_the_future_counts() -> None:
    assert judge(sample("postfix_failed"), now_ms=SENT - 2 * DEFAULT_SKEW_MS).kind is BounceKind.FAILED


def test_a_retired_key_still_verifies() -> None:
    rotated = Keyring([SigningKey("k2", b"n" * 32), KEY])
    assert judge(sample("postfix_failed"), ring=rotated).kind is BounceKind.FAILED
    assert judge(sample("recipient_tag_only"), ring=rotated).kind is BounceKind.FAILED


def _of_subject(mail_from: str) -> bytes:
    """A report whose only identity is the tag in the returned subject."""
    mail = swapped(sample("exim_failed", token="gone"), "X-Mailcanary: v1\n gone\n", "")
    return swapped(mail, f"From: {FROM}", f"From: {mail_from}")


def test_a_tag_in_the_returned_subject_counts_in_mail_from_us_alone() -> None:
    seen = judge(_of_subject(FROM.upper()))
    assert (seen.kind, seen.canary_id, seen.token_verified) == (BounceKind.FAILED, CANARY, False)
    assert seen.matched == {Matched.RETURNED}
    assert judge(_of_subject("sales@canary.example")).kind is BounceKind.FAILED
    assert judge(_of_subject("old@canary.example")) == FORGED
    form = replace(KNOWN[MARK], earlier=(replace(KNOWN[MARK], mail_from="Old@canary.example"),))
    assert judge(_of_subject("old@canary.example"), known={MARK: form}).kind is BounceKind.FAILED
    assert judge(_of_subject(FROM), known={}) == FORGED


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("In-Reply-To", f"<{TOKEN}@prober-1.canary.example>"),
        ("Subject", f"Re: Mail canary {TAG}"),
        ("Auto-Submitted", "auto-replied"),
        ("Content-Type", "multipart/report; report-type=delivery-status"),
        ("Return-Path", "<>"),
    ],
)
def test_a_report_of_somebodys_answer_to_a_canary_is_not_of_the_canary(name: str, value: str) -> None:
    header, rule, returned = sample("exim_failed").partition(b"Content-type: message/rfc822\r\n\r\n")
    answer = f"{name}: {value}\r\n".encode() + without(name, returned + b"\r\n\r\n")
    assert judge(header + rule + answer) == NOT_OURS


@pytest.mark.parametrize("name", ["postfix_failed", "postfix_delayed", "exchange_failed", "gmail_failed", "exim_old"])
def test_reports_of_other_peoples_mail_leave_no_trace(name: str) -> None:
    """All fields of the answer are their defaults: not a word, not an address of it is kept."""
    mail = sample(name, token="other", tag="other")
    mail = swapped(mail, "X-Mailcanary: v1\n other\n", "")
    assert judge(mail) == NOT_OURS


def test_a_refusal_text_that_names_an_identity_is_not_a_place_of_it() -> None:
    mail = sample("recipient_tag_only", tag="other")
    mail = swapped(mail, "Status: 5.2.2", f"Status: 5.2.2\nDiagnostic-Code: smtp; 550 X-Mailcanary: v1 {TOKEN} {TAG}")
    mail = swapped(mail, "No.", f"No. <{TOKEN}@prober-1.canary.example>")
    assert judge(mail) == NOT_OURS


@pytest.mark.parametrize("name", ["In-Reply-To", "References", "Message-ID", "X-Mailcanary", "Subject"])
def test_the_reports_own_header_is_not_a_place_of_an_identity(name: str) -> None:
    mail = swapped(sample("recipient_tag_only"), f"+{TAG}", "")
    assert judge(with_field(name, f"<{TOKEN}@prober-1.canary.example> Mail canary {TAG}", mail)) == NOT_OURS


def test_a_daemons_text_in_no_known_form() -> None:
    """Old mail servers have forms of their own: that it was a canary is known, what happened to it is not."""
    mail = swapped(sample("qmail_failed"), "Hi. This is the qmail-send program", "This is the Foomail program")
    seen = judge(mail)
    assert seen == Bounce(
        BounceKind.OTHER,
        "it is about a canary (by returned), but in no form that says what happened to it",
        canary_id=CANARY,
        matched=frozenset((Matched.RETURNED,)),
        token_verified=True,
        attempt=2,
        sent_ms=SENT,
        route="support-inbound",
    )
    bare = swapped(
        swapped(mail, f"<{TOKEN}@prober-1.canary.example>", "<0@x>"), f"v1\n {TOKEN}", f"v1\n{' ' * 40}{TOKEN}"
    )
    assert judge(bare) == NOT_OURS
    tagged = with_field("To", f"probe+{TAG}@canary.example", bare)
    assert judge(tagged).kind is BounceKind.OTHER
    assert judge(tagged).matched == {Matched.RECIPIENT}
    assert judge(with_field("To", f"probe+{STRANGE_TAG}@canary.example", bare)) == FORGED


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("A message that you sent could not be delivered", "A message that you sent has not yet been delivered"),
        ("This message was created automatically by mail delivery software", "This message was made by hand"),
        ("------ This is a copy", "---- This is a copy"),
        ("  support@example.com\n", "  an undisclosed address\n"),
    ],
)
def test_exims_warnings_and_what_only_looks_like_exim_say_nothing_of_a_failure(old: str, new: str) -> None:
    seen = judge(swapped(sample("exim_old"), old, new))
    assert (seen.kind, seen.canary_id, seen.action) == (BounceKind.OTHER, CANARY, None)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Hi. This is the", "Hi! This is the"),
        ("--- Below this line", "-- Below this line"),
        ("<support@example.com>:\n", "support@example.com:\n"),
    ],
)
def test_what_only_looks_like_qmail_says_nothing_of_a_failure(old: str, new: str) -> None:
    seen = judge(swapped(sample("qmail_failed"), old, new))
    assert (seen.kind, seen.canary_id, seen.action) == (BounceKind.OTHER, CANARY, None)


UNREADABLE = Bounce(BounceKind.UNPARSABLE, "a delivery report without a part that machines can read")


def test_a_report_without_a_status_part_cannot_be_read() -> None:
    mail = swapped(sample("exim_failed", token="x", tag="x"), "X-Mailcanary: v1\n x\n", "")
    assert judge(swapped(mail, "message/delivery-status", "text/plain")) == UNREADABLE
    assert judge(swapped(mail, "Action: failed\n", "")) == UNREADABLE
    assert judge(swapped(mail, "\tboundary=", "\tborder=")) == UNREADABLE
    known = judge(swapped(sample("exim_failed"), "message/delivery-status", "text/plain"))
    assert (known.kind, known.canary_id, known.reporting_mta) == (BounceKind.OTHER, CANARY, "")


def test_words_of_the_mail_are_kept_on_one_line_and_short_and_in_no_sentence() -> None:
    evil = "\x1b[31m\u202e\x00<b>" + "wörter " * 200
    mail = swapped(sample("postfix_failed"), "smtp; 550 5.1.1", f"smtp;\n {evil}")
    mail = swapped(mail, "Remote-MTA: dns; ", f"Remote-MTA: dns; {evil}")
    seen = judge(swapped(mail, "Reporting-MTA: dns; ", f"Reporting-MTA: dns; {evil}"))
    assert seen.sentence == judge(sample("postfix_failed")).sentence
    for text, most in ((seen.diagnostic, 500), (seen.reporting_mta, 255), (seen.remote_mta, 255)):
        assert text.isprintable()
        assert text.startswith("[31m <b>w")
        assert most - 8 <= len(text.encode()) <= most


def test_words_of_the_mail_have_their_caps() -> None:
    mail = swapped(sample("postfix_failed"), "smtp; 550 5.1.1", "smtp; " + "x" * 600)
    seen = judge(swapped(mail, "-MTA: dns; ", "-MTA: dns; " + "x" * 600))
    assert (seen.diagnostic, seen.reporting_mta, seen.remote_mta) == ("x" * 500, "x" * 255, "x" * 255)


def test_the_names_that_others_store_and_count_by() -> None:
    assert " ".join(BounceKind) == "failed delayed other forged expired other_prober unparsable not_ours"
    assert " ".join(Matched) == "envelope_id returned recipient"
