"""Answers to a canary and copies of it, in the styles of real mail programs: none of them is an arrival."""

from __future__ import annotations

import base64

import pytest

from probe.canary.identity import route_mark
from probe.message.recognise import Kind, Recognition, recognise
from tests.message.canary_mail import (
    CANARY,
    FROM,
    KNOWN,
    RING,
    SENT,
    TAG,
    TOKEN,
    canary,
    delivered,
    look,
    split,
    with_field,
    without,
)

MESSAGE_ID = f"<{TOKEN}@prober-1.canary.example>"
SUBJECT = f"Mail canary {TAG} (support-inbound)"
WORDS = ("Aw", "Sv", "Fwd", "FW", "Wg", "Antw", "TR", "RV", "Odp", "R", "I")
CHINESE_RE = "回复\uff1a".encode("gb2312")
ORIGINAL = canary().decode()
HEADER, BODY = (part.decode() for part in split(canary()))
QUOTED = "".join(f"> {line}\r\n" for line in BODY.splitlines())


def _mail(header: str, body: str) -> bytes:
    return (header.replace("\n", "\r\n") + "\r\n" + body).encode()


GMAIL = _mail(
    f"""\
Return-Path: <agent@example.com>
MIME-Version: 1.0
References: {MESSAGE_ID}
In-Reply-To: {MESSAGE_ID}
From: Agent <agent@example.com>
Date: Fri, 15 Jan 2027 08:05:00 +0000
Message-ID: <CAF=abc@mail.gmail.com>
Subject: Re: {SUBJECT}
To: {FROM}
Content-Type: multipart/alternative; boundary="0000"
""",
    f"--0000\r\nContent-Type: text/plain\r\n\r\nThanks\r\n\r\nOn Fri wrote:\r\n{QUOTED}--0000--\r\n",
)
OUTLOOK = _mail(
    f"""\
From: Agent <agent@example.com>
To: {FROM}
Subject: AW: {SUBJECT}
Thread-Topic: {SUBJECT}
Thread-Index: AdkoAAAA
Message-ID: <DB7PR01MB1234@DB7PR01MB1234.eurprd01.prod.exchangelabs.com>
References: {MESSAGE_ID}
In-Reply-To: {MESSAGE_ID}
""",
    f"Danke\r\n________________________________\r\nVon: {FROM}\r\nBetreff: {SUBJECT}\r\n\r\n{BODY}",
)
OUTLOOK_WITHOUT_REFERENCES = without("References", without("In-Reply-To", OUTLOOK))
VACATION = _mail(
    f"""\
Return-Path: <>
X-Sieve: Pigeonhole Sieve 0.5.19
Message-ID: <dovecot-sieve-1@store.example.com>
Date: Fri, 15 Jan 2027 08:00:02 +0000
From: <support@example.com>
To: <{FROM}>
Subject: Auto: {SUBJECT}
In-Reply-To: {MESSAGE_ID}
References: {MESSAGE_ID}
Auto-Submitted: auto-replied (vacation)
Precedence: bulk
X-Auto-Response-Suppress: All
""",
    "I am away.\r\n",
)
EXCHANGE_AWAY = _mail(
    f"""\
From: Support <support@example.com>
To: {FROM}
Subject: Automatic reply: {SUBJECT}
Auto-Submitted: auto-generated
X-Auto-Response-Suppress: All
Message-ID: <abc@example.com>
""",
    "Away.\r\n",
)
FORWARDED_INLINE = _mail(
    f"""\
From: Agent <agent@example.com>
To: support@example.com
Subject: Fwd: {SUBJECT}
Message-ID: <fwd-1@example.com>
""",
    f"---------- Forwarded message ---------\r\nFrom: {FROM}\r\n{BODY}",
)
FORWARDED_AS_ATTACHMENT = _mail(
    """\
From: Agent <agent@example.com>
To: support@example.com
Subject: please have a look
Message-ID: <fwd-2@example.com>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="b"
""",
    "--b\r\nContent-Type: text/plain\r\n\r\nwhat is this?\r\n"
    f"--b\r\nContent-Type: message/rfc822\r\n\r\n{ORIGINAL}\r\n--b--\r\n",
)
FORWARDED_IN_BASE64 = _mail(
    f"""\
From: Agent <agent@example.com>
Subject: WG: {SUBJECT}
Message-ID: <fwd-3@example.com>
Content-Transfer-Encoding: base64
""",
    base64.encodebytes(ORIGINAL.encode()).decode(),
)
POSTFIX_BOUNCE = _mail(
    f"""\
Return-Path: <>
Date: Fri, 15 Jan 2027 08:00:02 +0000 (UTC)
From: MAILER-DAEMON@mx1.example.com (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: {FROM}
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
\tboundary="4XyZ.1/mx1.example.com"
Message-Id: <20270115080002.4XyZ@mx1.example.com>
""",
    "--4XyZ.1/mx1.example.com\r\nContent-Type: text/plain\r\n\r\n<support@example.com>: User unknown\r\n"
    "--4XyZ.1/mx1.example.com\r\nContent-Type: message/delivery-status\r\n\r\nAction: failed\r\n"
    f"--4XyZ.1/mx1.example.com\r\nContent-Type: text/rfc822-headers\r\n\r\n{HEADER}--4XyZ.1/mx1.example.com--\r\n",
)
QMAIL_BOUNCE = _mail(
    f"""\
Return-Path: <>
From: MAILER-DAEMON@example.com
To: {FROM}
Subject: failure notice
""",
    f"Hi. This is the qmail-send program.\r\n\r\n--- Below this line is a copy of the message.\r\n\r\n{ORIGINAL}",
)
READ_RECEIPT = _mail(
    f"""\
From: Agent <agent@example.com>
To: {FROM}
Subject: Read: {SUBJECT}
Content-Type: multipart/report; report-type=disposition-notification; boundary="r"
""",
    f"--r\r\nContent-Type: message/disposition-notification\r\n\r\nOriginal-Message-ID: {MESSAGE_ID}\r\n--r--\r\n",
)
ANSWERS = {
    "gmail": GMAIL,
    "outlook": OUTLOOK,
    "outlook without references": OUTLOOK_WITHOUT_REFERENCES,
    "sieve vacation": VACATION,
    "exchange away": EXCHANGE_AWAY,
    "forwarded inline": FORWARDED_INLINE,
    "forwarded in base64": FORWARDED_IN_BASE64,
    "read receipt": READ_RECEIPT,
}


@pytest.mark.parametrize("style", ANSWERS)
def test_an_answer_is_a_reply(style: str) -> None:
    seen = look(ANSWERS[style])
    assert (seen.kind, seen.canary_id) == (Kind.REPLY, CANARY)


@pytest.mark.parametrize("mail", [*ANSWERS.values(), FORWARDED_AS_ATTACHMENT, POSTFIX_BOUNCE, QMAIL_BOUNCE])
def test_no_answer_is_an_arrival_whoever_it_is_from(mail: bytes) -> None:
    """Also with its body read, and also where the person who answers has the address that the canaries come from."""
    for sender in ("agent@example.com", FROM):
        header, body = split(with_field("From", sender, mail))
        for given in (None, body, header + body):
            assert _seen(header, given).kind in (Kind.REPLY, Kind.NOT_OURS, Kind.NEEDS_BODY)


def _seen(header: bytes, body: bytes | None) -> Recognition:
    return recognise(header, keyring=RING, now_ms=SENT, known=KNOWN, mailbox="support", body=body)


@pytest.mark.parametrize("mail", [POSTFIX_BOUNCE, QMAIL_BOUNCE])
def test_a_bounce_names_its_canary_only_where_its_body_was_read(mail: bytes) -> None:
    header, body = split(mail)
    assert _seen(header, None).kind is Kind.NOT_OURS
    seen = _seen(header, body)
    assert (seen.kind, seen.canary_id, seen.attempt) == (Kind.REPLY, CANARY, 2)


def test_a_bounce_of_something_that_only_looks_like_ours_is_not_ours() -> None:
    header, body = split(POSTFIX_BOUNCE)
    forged = body.replace(TOKEN.encode(), b"a" * 63).replace(TAG.encode(), b"a" * 29)
    assert _seen(header, forged).kind is Kind.NOT_OURS


@pytest.mark.parametrize("sender", ["agent@example.com", FROM])
@pytest.mark.parametrize("lost", ["X-Mailcanary", "Message-ID"])
def test_a_canary_as_an_attachment_is_a_reply(sender: str, lost: str) -> None:
    header, body = split(with_field("From", sender, FORWARDED_AS_ATTACHMENT))
    attached = without(lost, canary())
    seen = _seen(header, body.replace(canary(), attached))
    assert (seen.kind, seen.canary_id) == (Kind.REPLY, CANARY)
    assert attached in body.replace(canary(), attached)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("In-Reply-To", "<x@example.org>"),
        ("References", "<x@example.org>"),
        ("Auto-Submitted", "auto-replied"),
        ("Auto-Submitted", "Auto-Notified; owner-email=x"),
        ("X-Autoreply", "yes"),
        ("X-Autorespond", "1"),
        ("Precedence", "auto_reply"),
        ("Content-Type", 'multipart/report; report-type="delivery-status"'),
        ("X-Failed-Recipients", "support@example.com"),
        ("Return-Path", "<>"),
        *(
            ("Subject", subject)
            for subject in (
                f"Re: {SUBJECT}",
                f"RE : {SUBJECT}",
                f"Re[2]: {SUBJECT}",
                f"[EXTERNAL] Re: {SUBJECT}",
                f"=?utf-8?Q?Antw=3A?= {SUBJECT}",
                f"=?gb2312?B?{base64.b64encode(CHINESE_RE).decode()}?= {SUBJECT}",
                f"回复: {SUBJECT}",
                *(f"{word}: {SUBJECT}" for word in WORDS),
            )
        ),
    ],
)
def test_one_sign_outweighs_every_carrier(name: str, value: str) -> None:
    seen = look(with_field(name, value, delivered()))
    assert (seen.kind, seen.canary_id) == (Kind.REPLY, CANARY)
    assert seen.carriers


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Auto-Submitted", "no"),
        ("Precedence", "bulk"),
        ("Return-Path", f"<{FROM}>"),
        ("References", ""),
        ("X-Autoreply", "no"),
        ("List-Id", "<support.example.com>"),
        ("Resent-From", "support@example.com"),
        ("Subject", f"EXTERNAL: {SUBJECT}"),
        ("Subject", f"[Re] {SUBJECT}"),
        ("Subject", f"Warning: external sender! {SUBJECT}"),
    ],
)
def test_what_gateways_do_is_no_sign(name: str, value: str) -> None:
    assert look(with_field(name, value, delivered())).kind is Kind.ARRIVAL


def test_a_reply_that_lost_all_but_its_reference_is_still_one() -> None:
    mail = with_field("Subject", "your question", with_field("Message-ID", "<1@example.com>", GMAIL))
    seen = look(mail)
    assert (seen.kind, seen.canary_id, seen.carriers) == (Kind.REPLY, CANARY, frozenset())


def test_a_reply_in_a_mailbox_of_another_route_is_a_reply() -> None:
    assert look(GMAIL, mailbox="sales").kind is Kind.REPLY


def test_an_answer_to_another_probers_canary_is_not_ours_to_count() -> None:
    token = RING.token(canary_id=CANARY, route=route_mark("prober-2", "x"), sent_ms=1, attempt=1)
    mail = f"From: a@example.org\r\nSubject: hi\r\nIn-Reply-To: <{token}@prober-2>\r\n\r\n".encode()
    assert look(mail).kind is Kind.OTHER_PROBER
