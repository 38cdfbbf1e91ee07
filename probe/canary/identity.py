"""The identity of a canary: a signed token that travels in the mail, and a short tag for where space is scarce.

    token = base32(version:1 | key:1 | route:4 | sent_ms:8 | attempt:1 | canary:8 | HMAC-SHA-256[:16])   63 characters
    tag   = base32(canary:8 | HMAC-SHA-256[:10])                                                         29 characters

A token proves by itself, without the ledger, that this prober signed a mail for that route at that time. A tag proves
only which canary it is. What neither proves is that the mail took the path under test: whoever holds a canary can
deliver it again. That is what ``expired`` and the ledger are for. The alphabet ``a-z2-7`` (RFC 4648 section 6, lower
case, no padding) survives headers, quoted-printable, local parts and changes of case.

Both truncations follow RFC 2104 section 5: at least 80 bits; the token keeps half the hash as well.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

TOKEN_LENGTH = 63
TAG_LENGTH = 29
CANARY_ID_LENGTH = 13
MIN_SECRET = 32
DEFAULT_SKEW_MS = 5 * 60 * 1000

_VERSION = 1
_ID_BYTES = 8
_PAYLOAD_BYTES = 23
_TOKEN_MAC = 16
_TAG_MAC = 10
_TOKEN_DOMAIN = b"mailcanary canary v1\0"
_TAG_DOMAIN = b"mailcanary tag v1\0"
# No IGNORECASE and no lower() before this: the Kelvin sign (U+212A) lower-cases to an ASCII k.
_ALPHABET = re.compile(r"[A-Za-z2-7]+")


class Rejection(Enum):
    """Why a text is not an identity of ours. Not a StrEnum, so that it is never taken for the answer."""

    MALFORMED = "malformed"
    UNKNOWN_VERSION = "unknown_version"
    UNKNOWN_KEY = "unknown_key"
    BAD_SIGNATURE = "bad_signature"
    NOT_CANONICAL = "not_canonical"


class Age(Enum):
    """Where the time of signing lies; the answer of ``expired``."""

    FRESH = "fresh"
    EXPIRED = "expired"
    FROM_FUTURE = "from_future"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A named secret of at least 32 bytes (ValueError below). The secret never shows in ``repr``."""

    id: str
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("a signing key needs an id")
        if len(self.secret) < MIN_SECRET:
            length = len(self.secret)
            raise ValueError(f"signing key {self.id!r}: the secret has {length} bytes, at least {MIN_SECRET} needed")

    @property
    def key_id(self) -> int:
        """The byte that names this key inside a token; several keys may share it, then each is tried."""
        return hashlib.sha256(self.id.encode()).digest()[0]


@dataclass(frozen=True, slots=True)
class Identity:
    """What a verified token says. ``sent_ms``: wall milliseconds since the epoch; ``route``: see ``route_mark``."""

    canary_id: str
    route: bytes
    sent_ms: int
    attempt: int
    key_id: int


def new_canary_id(random_bytes: bytes) -> str:
    """The id users see: 13 characters of ``a-z2-7`` for 8 bytes of randomness from the caller."""
    if len(random_bytes) != _ID_BYTES:
        raise ValueError(f"a canary id is made of {_ID_BYTES} bytes, not {len(random_bytes)}")
    return _encode(random_bytes)


def canary_id_bytes(canary_id: str) -> bytes:
    """The 8 bytes of an id; ValueError where it is not the one spelling of them."""
    raw = _decode(canary_id, CANARY_ID_LENGTH)
    if raw is None or _encode(raw) != canary_id:
        raise ValueError("not a canary id: 13 characters of a-z2-7 are needed")
    return raw


def route_mark(prober: str, route: str) -> bytes:
    """4 bytes that bind a token to a route of a prober, so that two probers on one mailbox never mix up."""
    return hashlib.sha256(f"{prober}\0{route}".encode()).digest()[:4]


def expired(identity: Identity, now_ms: int, max_age_ms: int, skew_ms: int = DEFAULT_SKEW_MS) -> Age:
    """Where ``sent_ms`` lies: older than ``max_age_ms``, more than ``skew_ms`` ahead of us, or between."""
    if identity.sent_ms > now_ms + skew_ms:
        return Age.FROM_FUTURE
    return Age.EXPIRED if identity.sent_ms < now_ms - max_age_ms else Age.FRESH


class Keyring:
    """Signs with the first key and verifies with all, so that a key can be rotated while canaries are in flight."""

    def __init__(self, keys: Sequence[SigningKey]) -> None:
        if not keys:
            raise ValueError("a keyring needs at least one key")
        if len({key.id for key in keys}) != len(keys):
            raise ValueError("two signing keys have the same id")
        self._keys = tuple(keys)
        by_byte: dict[int, tuple[SigningKey, ...]] = {}
        for key in keys:
            by_byte[key.key_id] = (*by_byte.get(key.key_id, ()), key)
        self._by_byte = by_byte

    @property
    def signing_key(self) -> str:
        """The id of the key that signs."""
        return self._keys[0].id

    def __repr__(self) -> str:
        return f"Keyring({', '.join(key.id for key in self._keys)})"

    def token(self, *, canary_id: str, route: bytes, sent_ms: int, attempt: int) -> str:
        """The long form, for one attempt. ValueError where a field does not fit its bytes."""
        if len(route) != 4:
            raise ValueError("a route mark has 4 bytes")
        if not 0 <= sent_ms < 1 << 63:
            raise ValueError("sent_ms is out of range")
        if not 0 <= attempt <= 255:
            raise ValueError("attempt is out of range 0 to 255")
        key = self._keys[0]
        head = bytes((_VERSION, key.key_id)) + route + sent_ms.to_bytes(8, "big") + bytes((attempt,))
        payload = head + canary_id_bytes(canary_id)
        return _encode(payload + _mac(key, _TOKEN_DOMAIN, payload, _TOKEN_MAC))

    def tag(self, canary_id: str) -> str:
        """The short form: which canary, nothing else."""
        raw = canary_id_bytes(canary_id)
        return _encode(raw + _mac(self._keys[0], _TAG_DOMAIN, raw, _TAG_MAC))

    def verify_token(self, text: str) -> Identity | Rejection:
        """The identity in a token of either case, or why it is none. Cheap tests first; never raises."""
        raw = _decode(text, TOKEN_LENGTH)
        if raw is None:
            return Rejection.MALFORMED
        if raw[0] != _VERSION:
            return Rejection.UNKNOWN_VERSION
        keys = self._by_byte.get(raw[1])
        if keys is None:
            return Rejection.UNKNOWN_KEY
        payload, mac = raw[:_PAYLOAD_BYTES], raw[_PAYLOAD_BYTES:]
        if not _signed_by_any(keys, _TOKEN_DOMAIN, payload, mac):
            return Rejection.BAD_SIGNATURE
        if _encode(raw) != text.lower():
            return Rejection.NOT_CANONICAL
        return Identity(
            canary_id=_encode(payload[15:]),
            route=payload[2:6],
            sent_ms=int.from_bytes(payload[6:14], "big"),
            attempt=payload[14],
            key_id=raw[1],
        )

    def verify_tag(self, text: str) -> str | Rejection:
        """The canary id in a tag of either case, or why it is none. Never raises."""
        raw = _decode(text, TAG_LENGTH)
        if raw is None:
            return Rejection.MALFORMED
        if not _signed_by_any(self._keys, _TAG_DOMAIN, raw[:_ID_BYTES], raw[_ID_BYTES:]):
            return Rejection.BAD_SIGNATURE
        if _encode(raw) != text.lower():
            return Rejection.NOT_CANONICAL
        return _encode(raw[:_ID_BYTES])


def _mac(key: SigningKey, domain: bytes, payload: bytes, length: int) -> bytes:
    return hmac.digest(key.secret, domain + payload, "sha256")[:length]


def _signed_by_any(keys: Sequence[SigningKey], domain: bytes, payload: bytes, mac: bytes) -> bool:
    return any(hmac.compare_digest(_mac(key, domain, payload, len(mac)), mac) for key in keys)


def _encode(raw: bytes) -> str:
    return base64.b32encode(raw).rstrip(b"=").lower().decode("ascii")


def _decode(text: str, length: int) -> bytes | None:
    """The bytes of ``length`` base32 characters of either case, or None. Spare bits at the end are not looked at."""
    if len(text) != length or _ALPHABET.fullmatch(text) is None:
        return None
    return base64.b32decode(text.upper() + "=" * (-length % 8))
