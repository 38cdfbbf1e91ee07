"""The control message: what it is made of, and that nothing else is taken for it, nor it for anything else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from probe.canary.identity import Keyring, SigningKey, route_mark
from probe.message.carriers import Carrier
from probe.message.control import ATTEMPT, compose_control, control_mark, control_token
from probe.message.recognise import Kind, Recognition, recognise
from tests.message.canary_mail import CANARY, KNOWN, OTHER_CANARY, RING, SENT, TOKEN, split, with_field, without

MARK = control_mark("prober-1", "support")
MADE: dict[str, Any] = {
    "token": control_token(RING, control_id=CANARY, mark=MARK, sent_ms=SENT),
    "prober": "prober-1",
    "mailbox": "support",
    "host": "prober.example.org",
    "date": datetime(2026, 11, 24, 6, 30, tzinfo=UTC),
}
MESSAGE = compose_control(**MADE)


def judge(message: bytes, *, control: bytes = MARK, ring: Keyring = RING, whole: bool = False) -> Recognition:
    header, _ = split(message)
    body = message if whole else None
    return recognise(
        header, keyring=ring, now_ms=SENT + 1000, known=KNOWN, mailbox="support", body=body, control=control
    )


def test_it_is_recognised_by_its_signature() -> None:
    seen = judge(MESSAGE)
    assert (seen.kind, seen.canary_id) == (Kind.CONTROL, CANARY)
    assert seen.carriers == {Carrier.HEADER, Carrier.MESSAGE_ID}
    assert judge(without("Message-ID", MESSAGE)).kind is Kind.CONTROL
    assert judge(without("X-Mailcanary", MESSAGE)).kind is Kind.CONTROL


def test_it_is_small_and_plain() -> None:
    assert len(MESSAGE) < 1024
    assert MESSAGE.isascii()
    assert MESSAGE.endswith(b"\r\n")
    assert b"\n" not in MESSAGE.replace(b"\r\n", b"")
    assert max(map(len, MESSAGE.split(b"\r\n"))) <= 100


@pytest.mark.parametrize(
    "other",
    [
        control_mark("prober-1", "sales"),
        control_mark("prober-2", "support"),
        route_mark("prober-1", "support"),
        b"",
    ],
)
def test_of_another_mailbox_or_prober_it_is_nothing(other: bytes) -> None:
    assert judge(MESSAGE, control=other).kind is Kind.OTHER_PROBER


def test_it_never_counts_as_anything_else() -> None:
    """Quoted, answered or stripped down to its body, it is no reply to a canary and no forgery of one."""
    bare = without("Message-ID", without("X-Mailcanary", MESSAGE))
    assert judge(with_field("Auto-Submitted", "auto-replied", MESSAGE)).kind is Kind.NOT_OURS
    quoted = with_field("Subject", "look at this", bare).replace(b"Mailbox: support", MADE["token"].encode())
    assert judge(quoted, whole=True).kind is Kind.NOT_OURS
    twice = with_field(
        "Message-ID", f"<{control_token(RING, control_id=OTHER_CANARY, mark=MARK, sent_ms=1)}@x>", MESSAGE
    )
    assert judge(twice).kind is Kind.NOT_OURS


def test_a_canary_is_none_whatever_stands_beside_it() -> None:
    """A route whose mark is that of the control (one in four thousand millions) stays a route."""
    assert ATTEMPT == 0
    token = RING.token(canary_id=CANARY, route=MARK, sent_ms=SENT, attempt=1)
    mail = MESSAGE.replace(MADE["token"].encode(), token.encode())
    assert judge(mail).kind is Kind.OTHER_PROBER
    both = with_field("Message-ID", f"<{TOKEN}@x>", MESSAGE)
    assert judge(both).kind in (Kind.OTHER_PROBER, Kind.FORGED)


def test_without_the_key_it_is_a_forgery() -> None:
    assert judge(MESSAGE, ring=Keyring([SigningKey("other", b"o" * 32)])).kind is Kind.FORGED
    token: str = MADE["token"]
    other = "b" if token[40] == "a" else "a"
    changed = MESSAGE.replace(token.encode(), f"{token[:40]}{other}{token[41:]}".encode())
    assert judge(changed).kind is Kind.FORGED


@pytest.mark.parametrize(
    "wrong",
    [
        {"token": "short"},
        {"token": "A" * 63},
        {"host": "not a host"},
        {"host": ""},
        {"prober": "two\r\nlines"},
        {"mailbox": "ä"},
        {"date": datetime(2026, 1, 1)},  # noqa: DTZ001 - naive on purpose
    ],
)
def test_nothing_odd_gets_into_a_header(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"is not|aware"):
        compose_control(**(MADE | wrong))


def test_the_routes_of_a_prober_are_not_its_controls() -> None:
    names = {mark: replace(form) for mark, form in KNOWN.items()}
    assert MARK not in names
