"""The end of a certificate out of its DER, compared with a library of cryptography, and out of anything else."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime

import pytest
import trustme
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from probe.senders.certificate import expires

ENDS = [
    datetime(2020, 2, 1, tzinfo=UTC),
    datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC),  # the last second of UTCTime
    datetime(2050, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),  # RFC 5280 section 4.1.2.5: has no end
]


def certificate(end: datetime) -> bytes:
    issued = trustme.CA().issue_cert("mx.test", not_before=datetime(1960, 1, 1, tzinfo=UTC), not_after=end)
    return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())


@pytest.fixture(scope="module")
def der() -> bytes:
    return certificate(ENDS[0])


@pytest.mark.parametrize("end", ENDS)
def test_as_a_library_reads_it(end: datetime) -> None:
    made = certificate(end)
    assert expires(made) == int(x509.load_der_x509_certificate(made).not_valid_after_utc.timestamp())
    assert expires(made) == int(end.timestamp())


def test_cut_anywhere_it_is_unknown(der: bytes) -> None:
    assert {expires(der[:length]) for length in range(len(der))} == {None}


@given(st.binary(max_size=400))
def test_any_bytes_end_nothing_but_the_reading(raw: bytes) -> None:
    assert expires(raw) is None or isinstance(expires(raw), int)


@given(st.data())
def test_damaged_it_is_read_or_unknown(der: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(der) - 1))
    damaged = bytearray(der)
    damaged[place] = data.draw(st.integers(0, 255))
    found = expires(bytes(damaged))
    assert found is None or datetime.fromtimestamp(found, UTC).year < 10_000


@pytest.mark.parametrize(
    "text", [b"20200231000000Z", b"20200101000060Z", b"2020010100000Z", b"20200101000000+", b"\xff" * 15]
)
def test_a_date_that_no_calendar_has(text: bytes) -> None:
    made = certificate(ENDS[2])
    assert made.count(b"20500101000000Z") == 1
    assert expires(made.replace(b"20500101000000Z", text.ljust(15, b"Z"))) is None
