"""The signed identity: what verifies, and that nothing else does."""

from __future__ import annotations

import base64
import hashlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.canary.identity import (
    Age,
    Identity,
    Keyring,
    Rejection,
    SigningKey,
    canary_id_bytes,
    expired,
    new_canary_id,
    route_mark,
)

ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
OLD = SigningKey("k1", b"o" * 32)
NEW = SigningKey("k2", b"n" * 40)
RING = Keyring([OLD])
CANARY = new_canary_id(bytes(range(8)))
MARK = route_mark("prober-1", "support-inbound")
SENT = 1_800_000_000_123
TOKEN = RING.token(canary_id=CANARY, route=MARK, sent_ms=SENT, attempt=2)
TAG = RING.tag(CANARY)


def _encode(raw: bytes) -> str:
    return base64.b32encode(raw).decode().rstrip("=").lower()


def _raw(text: str) -> bytes:
    return base64.b32decode(text.upper() + "=" * (-len(text) % 8))


def _other_spellings(text: str) -> list[str]:
    """Texts that differ in the last character and decode to the same bytes."""
    others = [text[:-1] + letter for letter in ALPHABET if letter != text[-1]]
    return [other for other in others if _raw(other) == _raw(text)]


def _twin_of(key: SigningKey) -> SigningKey:
    """Another key whose id has the same key byte."""
    names = (f"twin{n}" for n in range(100_000))
    name = next(n for n in names if hashlib.sha256(n.encode()).digest()[0] == key.key_id)
    return SigningKey(name, b"t" * 32)


def test_a_token_says_what_was_signed() -> None:
    assert len(TOKEN) == 63
    assert set(TOKEN) <= set(ALPHABET)
    assert RING.verify_token(TOKEN) == Identity(CANARY, MARK, SENT, 2, OLD.key_id)


def test_a_tag_says_which_canary() -> None:
    assert len(TAG) == 29
    assert RING.verify_tag(TAG) == CANARY


def test_the_format_is_frozen() -> None:
    """Tokens of a running prober must verify after an upgrade: these were made by version 1."""
    assert CANARY == "aaaqeayeaudao"
    assert hashlib.sha256(b"prober-1\0support-inbound").digest()[:4] == MARK
    payload = b"\x01" + bytes((OLD.key_id,)) + MARK + SENT.to_bytes(8, "big") + b"\x02" + bytes(range(8))
    assert _raw(TOKEN)[:23] == payload
    assert _raw(TAG)[:8] == bytes(range(8))
    assert TOKEN == "afvhdafi4iaaaanddbofa6ycaaaqeayeaudaoof4sn77o7ogzuyt2hf32a5cbky"
    assert TAG == "aaaqeayeaudaogaif2g4yh4t6w4r2"


def test_case_does_not_matter() -> None:
    assert RING.verify_token(TOKEN.upper()) == RING.verify_token(TOKEN)
    assert RING.verify_tag(TAG.upper()) == CANARY


def test_no_single_change_of_a_token_is_accepted() -> None:
    accepted = [
        (position, letter)
        for position in range(len(TOKEN))
        for letter in ALPHABET
        if letter != TOKEN[position]
        and isinstance(RING.verify_token(TOKEN[:position] + letter + TOKEN[position + 1 :]), Identity)
    ]
    assert accepted == []


def test_no_single_change_of_a_tag_is_accepted() -> None:
    accepted = [
        (position, letter)
        for position in range(len(TAG))
        for letter in ALPHABET
        if letter != TAG[position] and isinstance(RING.verify_tag(TAG[:position] + letter + TAG[position + 1 :]), str)
    ]
    assert accepted == []


def test_no_random_text_is_accepted() -> None:
    chance = random.Random(20150909)
    head = TOKEN[:36]  # version, key, route and time are right: the signature alone decides
    for _ in range(20_000):
        text = head + "".join(chance.choices(ALPHABET, k=27))
        assert text == TOKEN or isinstance(RING.verify_token(text), Rejection)
        assert isinstance(RING.verify_tag("".join(chance.choices(ALPHABET, k=29))), Rejection)


def test_spare_bits_at_the_end_must_be_zero() -> None:
    """63 characters hold 315 bits, a token has 312: seven other spellings decode to the same bytes."""
    tokens, tags = _other_spellings(TOKEN), _other_spellings(TAG)
    assert len(tokens) == 7
    assert {RING.verify_token(text) for text in tokens} == {Rejection.NOT_CANONICAL}
    assert len(tags) == 1
    assert RING.verify_tag(tags[0]) is Rejection.NOT_CANONICAL


@pytest.mark.parametrize(
    "text",
    ["", TOKEN[:-1], TOKEN + "a", "0" + TOKEN[1:], TOKEN[:-1] + "=", " " + TOKEN[1:], TOKEN[:-1] + "\n", "\u212a" * 63],
)
def test_what_is_no_token_is_malformed(text: str) -> None:
    assert RING.verify_token(text) is Rejection.MALFORMED


def test_a_letter_that_lower_cases_into_the_alphabet_is_malformed() -> None:
    position = TOKEN.find("k")
    text = TOKEN[:position] + "\u212a" + TOKEN[position + 1 :]
    assert position >= 0
    assert text.lower() == TOKEN
    assert RING.verify_token(text) is Rejection.MALFORMED


def test_another_version_and_an_unknown_key_are_named() -> None:
    raw = _raw(TOKEN)
    assert RING.verify_token(_encode(b"\x02" + raw[1:])) is Rejection.UNKNOWN_VERSION
    assert RING.verify_token(_encode(raw[:1] + bytes((raw[1] ^ 1,)) + raw[2:])) is Rejection.UNKNOWN_KEY
    assert RING.verify_token(_encode(raw[:-1] + bytes((raw[-1] ^ 1,)))) is Rejection.BAD_SIGNATURE


def test_rotation_signs_with_the_first_and_verifies_with_all() -> None:
    both = Keyring([NEW, OLD])
    fresh = both.token(canary_id=CANARY, route=MARK, sent_ms=SENT, attempt=1)
    assert isinstance(both.verify_token(TOKEN), Identity)
    assert both.verify_tag(TAG) == CANARY
    verified = both.verify_token(fresh)
    assert isinstance(verified, Identity)
    assert verified.key_id == NEW.key_id
    assert RING.verify_token(fresh) is Rejection.UNKNOWN_KEY
    assert Keyring([NEW]).verify_token(TOKEN) is Rejection.UNKNOWN_KEY
    assert Keyring([NEW]).verify_tag(TAG) is Rejection.BAD_SIGNATURE


def test_keys_that_share_a_byte_are_all_tried() -> None:
    twin = _twin_of(OLD)
    token = Keyring([twin]).token(canary_id=CANARY, route=MARK, sent_ms=SENT, attempt=1)
    assert isinstance(Keyring([OLD, twin]).verify_token(token), Identity)
    assert RING.verify_token(token) is Rejection.BAD_SIGNATURE


def test_the_signature_of_a_tag_is_none_for_a_token() -> None:
    """Both sign with one secret; their domains differ, so one never serves as the other."""
    raw = _raw(TAG)
    assert _raw(RING.token(canary_id=CANARY, route=MARK, sent_ms=SENT, attempt=1))[23:33] != raw[8:]
    assert RING.verify_token(_encode(_raw(TOKEN)[:23] + raw[8:] + bytes(6))) is Rejection.BAD_SIGNATURE


@settings(deadline=None)
@given(
    nonce=st.binary(min_size=8, max_size=8),
    route=st.binary(min_size=4, max_size=4),
    sent=st.integers(0, (1 << 63) - 1),
    attempt=st.integers(0, 255),
)
def test_every_identity_comes_back(nonce: bytes, route: bytes, sent: int, attempt: int) -> None:
    canary = new_canary_id(nonce)
    assert canary_id_bytes(canary) == nonce
    assert RING.verify_tag(RING.tag(canary)) == canary
    token = RING.token(canary_id=canary, route=route, sent_ms=sent, attempt=attempt)
    assert RING.verify_token(token) == Identity(canary, route, sent, attempt, OLD.key_id)


@settings(deadline=None)
@given(st.text(max_size=80))
def test_verification_never_raises(text: str) -> None:
    assert isinstance(RING.verify_token(text), Rejection)
    assert isinstance(RING.verify_tag(text), Rejection)


@pytest.mark.parametrize("text", ["", "aaaqeayeauda", "aaaqeayeaudap", "AAAQEAYEAUDAO", "aaaqeayeauda0"])
def test_only_the_one_spelling_of_a_canary_id_is_one(text: str) -> None:
    with pytest.raises(ValueError, match="not a canary id"):
        canary_id_bytes(text)


def test_a_key_needs_32_bytes_and_hides_them() -> None:
    with pytest.raises(ValueError, match="31 bytes"):
        SigningKey("k1", b"s" * 31)
    with pytest.raises(ValueError, match="needs an id"):
        SigningKey("", b"s" * 32)
    assert "sss" not in repr(SigningKey("k1", b"s" * 32))
    assert "ooo" not in repr(RING)


def test_a_keyring_needs_keys_with_ids_of_their_own() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Keyring([])
    with pytest.raises(ValueError, match="same id"):
        Keyring([OLD, SigningKey("k1", b"x" * 32)])


@pytest.mark.parametrize(
    ("route", "sent", "attempt"),
    [(b"abc", SENT, 1), (MARK, -1, 1), (MARK, 1 << 63, 1), (MARK, SENT, 256), (MARK, SENT, -1)],
)
def test_fields_that_do_not_fit_are_refused(route: bytes, sent: int, attempt: int) -> None:
    with pytest.raises(ValueError, match=r"route mark|out of range"):
        RING.token(canary_id=CANARY, route=route, sent_ms=sent, attempt=attempt)


def test_a_canary_id_is_made_of_8_bytes() -> None:
    with pytest.raises(ValueError, match="8 bytes"):
        new_canary_id(b"1234567")


def test_two_probers_have_different_marks() -> None:
    assert route_mark("a", "bc") != route_mark("ab", "c")
    assert len(MARK) == 4


@pytest.mark.parametrize(
    ("now", "age"),
    [
        (SENT, Age.FRESH),
        (SENT + 1000, Age.FRESH),
        (SENT + 1001, Age.EXPIRED),
        (SENT - 50, Age.FRESH),
        (SENT - 51, Age.FROM_FUTURE),
    ],
)
def test_age_has_exact_limits(now: int, age: Age) -> None:
    identity = Identity(CANARY, MARK, SENT, 1, 0)
    assert expired(identity, now, 1000, skew_ms=50) is age
