"""When a certificate ends, read from its DER. Pure; bounded by the length of what it is given.

The standard library decodes a certificate only after it was verified, and the end of one that was *not* accepted
because it has ended is just what is to be known. One date needs no library of cryptography: it stands at a fixed place
(RFC 5280 section 4.1). Nothing is trusted here, and nothing is believed from it but that date.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

_SEQUENCE = 0x30
_VERSION = 0xA0
_UTC_TIME = 0x17
_GENERALIZED_TIME = 0x18
_LENGTH_BYTES = 4
_TIMES = {
    _UTC_TIME: re.compile(rb"([0-9]{2})" * 6 + b"Z"),
    _GENERALIZED_TIME: re.compile(rb"([0-9]{4})" + rb"([0-9]{2})" * 5 + b"Z"),
}


def expires(der: bytes) -> int | None:
    """The ``notAfter`` of a DER certificate in seconds since the epoch; None where it cannot be read."""
    try:
        _, at, _ = _element(der, 0, _SEQUENCE)  # Certificate
        _, at, _ = _element(der, at, _SEQUENCE)  # tbsCertificate
        tag, _, end = _element(der, at)
        if tag == _VERSION:  # absent in version 1
            _, _, end = _element(der, end)
        for _ in ("signature", "issuer"):
            _, _, end = _element(der, end, _SEQUENCE)
        _, at, _ = _element(der, end, _SEQUENCE)  # validity
        _, _, at = _element(der, at)  # notBefore
        tag, at, end = _element(der, at)
        return _seconds(tag, der[at:end])
    except (ValueError, IndexError, OverflowError):
        return None


def _element(der: bytes, at: int, wanted: int | None = None) -> tuple[int, int, int]:
    """The element at ``at``: its tag, where its content begins and where it ends (ITU-T X.690 section 8.1)."""
    tag, length, begin = der[at], der[at + 1], at + 2
    if wanted is not None and tag != wanted:
        raise ValueError("another element than expected")
    if length & 0x80:
        size = length & 0x7F
        if not 1 <= size <= _LENGTH_BYTES:
            raise ValueError("a length that no certificate has")
        length = int.from_bytes(der[begin : begin + size], "big")
        begin += size
    if begin + length > len(der):
        raise ValueError("cut short")
    return tag, begin, begin + length


def _seconds(tag: int, text: bytes) -> int:
    """A time as RFC 5280 section 4.1.2.5 has it: UTCTime is of 1950 to 2049, GeneralizedTime of any year."""
    found = _TIMES[tag].fullmatch(text) if tag in _TIMES else None
    if found is None:
        raise ValueError("not a time")
    year, month, day, hour, minute, second = map(int, found.groups())
    if tag == _UTC_TIME:
        year += 1900 if year >= 50 else 2000
    return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp())
