"""Delivery reports in the forms of real mail servers, about the canary of ``canary_mail``, for the tests of bounces.

The samples in ``bounces/`` have placeholders where an identity stands; what is put there is signed by the test run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from probe.canary.identity import Keyring
from probe.message.bounce import Bounce, BounceKind, Matched, recognise_bounce
from probe.message.recognise import RouteExpectation
from probe.message.report import Action
from tests.message.canary_mail import CANARY, KNOWN, RING, SENT, TAG, TOKEN

_FOLDER = Path(__file__).parent / "bounces"
NAMES = tuple(sorted(path.stem for path in _FOLDER.glob("*.eml")))
MINUTE = 60_000


def sample(name: str, *, token: str = TOKEN, tag: str = TAG) -> bytes:
    """One report with the line ends of mail."""
    text = (_FOLDER / f"{name}.eml").read_text(encoding="utf-8")
    text = text.replace("@TOKEN@", token).replace("@TAG@", tag)
    return text.replace("\n", "\r\n").encode()


def swapped(mail: bytes, old: str, new: str) -> bytes:
    """``mail`` with ``old`` replaced wherever it stands; it has to stand there."""
    found = old.replace("\n", "\r\n").encode()
    assert found in mail
    return mail.replace(found, new.replace("\n", "\r\n").encode())


def judge(
    mail: bytes,
    *,
    now_ms: int = SENT + MINUTE,
    ring: Keyring = RING,
    known: Mapping[bytes, RouteExpectation] = KNOWN,
) -> Bounce:
    return recognise_bounce(mail, keyring=ring, now_ms=now_ms, known=known)


ENVELOPE_ID, RETURNED, RECIPIENT = Matched
BOTH = frozenset((ENVELOPE_ID, RETURNED))
ALONE = frozenset((RETURNED,))
MTA = "relay.example.com"


def _bounce(
    kind: BounceKind,
    action: Action | None,
    status: str,
    diagnostic: str,
    mtas: tuple[str, str],
    matched: frozenset[Matched],
    sentence: str,
) -> Bounce:
    return Bounce(
        kind=kind,
        sentence=sentence,
        canary_id=CANARY,
        action=action,
        status=status,
        diagnostic=diagnostic,
        reporting_mta=mtas[0],
        remote_mta=mtas[1],
        matched=matched,
        token_verified=True,
        attempt=2,
        sent_ms=SENT,
        route="support-inbound",
    )


EXPECTED: dict[str, Bounce] = {
    "postfix_failed": _bounce(
        BounceKind.FAILED,
        Action.FAILED,
        "5.1.1",
        "550 5.1.1 <support@example.com> User doesn't exist: support@example.com",
        (MTA, "store.example.com"),
        BOTH,
        "a delivery report of a canary: failed, status 5.1.1; verified by envelope_id, returned",
    ),
    "postfix_smtputf8": _bounce(
        BounceKind.FAILED,
        Action.FAILED,
        "5.1.1",
        "550 5.1.1 <support@example.com> Benutzer unbekannt: ü: support@example.com",
        (MTA, "store.example.com"),
        ALONE,
        "a delivery report of a canary: failed, status 5.1.1; verified by returned",
    ),
    "postfix_delayed": _bounce(
        BounceKind.DELAYED,
        Action.DELAYED,
        "4.4.1",
        "connect to store.example.com[192.0.2.7]:25: Connection refused",
        (MTA, ""),
        BOTH,
        "a delivery report of a canary: delayed, status 4.4.1; verified by envelope_id, returned",
    ),
    "postfix_relayed": _bounce(
        BounceKind.OTHER,
        Action.RELAYED,
        "2.0.0",
        "250 2.0.0 Ok: queued as 4Abc",
        (MTA, "store.example.com"),
        BOTH,
        "a delivery report of a canary: relayed, status 2.0.0; verified by envelope_id, returned",
    ),
    "sendmail_delivered": _bounce(
        BounceKind.OTHER,
        Action.DELIVERED,
        "2.1.5",
        "",
        (MTA, ""),
        BOTH,
        "a delivery report of a canary: delivered, status 2.1.5; verified by envelope_id, returned",
    ),
    "sendmail_failed": _bounce(
        BounceKind.FAILED,
        Action.FAILED,
        "5.7.1",
        "550 5.7.1 no",
        (MTA, "store.example.com"),
        ALONE,
        "a delivery report of a canary: failed, status 5.7.1; verified by returned",
    ),
    "exim_failed": _bounce(
        BounceKind.FAILED,
        Action.FAILED,
        "5.0.0",
        "",
        (MTA, ""),
        ALONE,
        "a delivery report of a canary: failed, status 5.0.0; verified by returned",
    ),
    "exim_old": _bounce(
        BounceKind.FAILED,
        Action.FAILED,
        "",
        "Unrouteable address",
        ("", ""),
        ALONE,
        "a delivery report of a canary: failed, status not given; verified by returned",
    ),
    "qmail_failed": _bounce(
        BounceKind.FAILED,
        Action.FAILED,
        "",
        "192.0.2.7 does not like recipient. Remote host said: 550 5.1.1 no such user Giving up on 192.0.2.7.",
        ("", ""),
        ALONE,
        "a delivery report of a canary: failed, status not given; verified by returned",
    ),
    "exchange_failed": _bounce(
        BounceKind.FAILED,
        Action.FAILED,
        "5.1.10",
        "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient support@example.com not found by SMTP address lookup",
        ("AM0PR01MB0001.eurprd01.prod.exchangelabs.com", ""),
        ALONE,
        "a delivery report of a canary: failed, status 5.1.10; verified by returned",
    ),
    "gmail_failed": _bounce(
        BounceKind.FAILED,
        Action.FAILED,
        "5.1.1",
        "550-5.1.1 The email account that you tried to reach does not exist. 550 5.1.1 Learn more at "
        "https://support.google.com/mail/?p=NoSuchUser",
        ("googlemail.com", "store.example.com. (192.0.2.7, the server for the domain example.com.)"),
        ALONE,
        "a delivery report of a canary: failed, status 5.1.1; verified by returned",
    ),
    "several_recipients": _bounce(
        BounceKind.DELAYED,
        Action.DELAYED,
        "4.2.2",
        "452 4.2.2 full",
        (MTA, ""),
        ALONE,
        "a delivery report of a canary: delayed, status 4.2.2; verified by returned",
    ),
    "recipient_tag_only": Bounce(
        kind=BounceKind.FAILED,
        sentence="a delivery report of a canary: failed, status 5.2.2; verified by recipient",
        canary_id=CANARY,
        action=Action.FAILED,
        status="5.2.2",
        reporting_mta="gateway.example.com",
        matched=frozenset((RECIPIENT,)),
    ),
}
