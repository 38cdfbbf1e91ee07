"""The options of the kind smtp and the rules that span them."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from probe.clock import SystemClock
from probe.options import Secret
from probe.senders import smtp
from probe.senders.smtp import SmtpOptions, SmtpTimeouts, Via
from probe.senders.smtp_plan import TlsPolicy

PASSWORD = Secret(b"correct horse")


def broken(options: SmtpOptions) -> list[str]:
    return [key for key, _ in options.breaches()]


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        (SmtpOptions(host="relay.example"), []),
        (SmtpOptions(), ["host"]),
        (SmtpOptions(via=Via.MX), []),
        (SmtpOptions(via=Via.MX, port=2525), []),
        (SmtpOptions(via=Via.MX, host="r"), ["host"]),
        (SmtpOptions(via=Via.MX, username="u", password=PASSWORD, tls=TlsPolicy.STARTTLS), ["username"]),
        (SmtpOptions(host="r", username="u", tls=TlsPolicy.STARTTLS), ["password"]),
        (SmtpOptions(host="r", password=PASSWORD, tls=TlsPolicy.STARTTLS), ["username"]),
        (SmtpOptions(host="r", username="u", password=PASSWORD), ["tls"]),
        (SmtpOptions(host="r", username="u", password=PASSWORD, tls=TlsPolicy.OPPORTUNISTIC), ["tls"]),
        (SmtpOptions(host="r", username="u", password=PASSWORD, tls=TlsPolicy.NONE), []),
        (SmtpOptions(host="r", username="u", password=PASSWORD, tls=TlsPolicy.IMPLICIT), []),
        (SmtpOptions(host="r", username="u\0", password=PASSWORD, tls=TlsPolicy.IMPLICIT), ["password"]),
        (SmtpOptions(host="r", username="u", password=Secret(b"a\0b"), tls=TlsPolicy.IMPLICIT), ["password"]),
    ],
)
def test_rules_that_span_keys(options: SmtpOptions, keys: list[str]) -> None:
    assert broken(options) == keys


def test_what_to_write_is_said() -> None:
    rules = dict(SmtpOptions(host="r", username="u", password=PASSWORD).breaches())
    assert "starttls" in rules["tls"]
    assert "implicit" in rules["tls"]
    assert "via: mx" in dict(SmtpOptions().breaches())["host"]
    assert "keep one" in dict(SmtpOptions(via=Via.MX, host="r").breaches())["host"]


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("host", "mx-1.example.org", "mx 1"),
        ("host", "2001:db8::1", "mx\r\nQUIT"),
        ("port", 587, 0),
        ("port", 65535, 65536),
        ("resolver", ("127.0.0.1:5353", "[::1]:53", "192.0.2.1", "::1"), ("127.0.0.1", "dns.example")),
        ("resolver", (), ("[::1]",)),
        ("helo", "[192.0.2.1]", "a b"),
        ("helo", None, ""),
        ("retry", (timedelta(minutes=1),), (timedelta(0),)),
    ],
)
def test_checks_of_single_keys(key: str, good: object, bad: object) -> None:
    check = {field.name: field.metadata["check"] for field in dataclasses.fields(SmtpOptions)}[key]
    assert check(good) is None
    assert check(bad)


def test_no_wait_may_be_nothing() -> None:
    for field in dataclasses.fields(SmtpTimeouts):
        assert field.metadata["check"](timedelta(0))
        assert field.metadata["check"](timedelta(seconds=1)) is None


def test_every_key_is_explained_and_the_defaults_are_those_promised() -> None:
    fields = {field.name: field for field in dataclasses.fields(SmtpOptions)}
    assert all(field.metadata["doc"].endswith(".") for field in fields.values())
    made = SmtpOptions(host="relay.example")
    assert (made.port, made.family, made.verify, made.tls) == (25, "any", True, None)
    assert [wait.total_seconds() for wait in made.retry] == [60, 300, 900, 1800]
    limits = made.timeouts
    assert [value.total_seconds() for value in dataclasses.astuple(limits)] == [30, 60, 600, 900]


def test_a_sender_is_opened_with_its_retries() -> None:
    made = smtp.OPTIONS(host="relay.example", retry=(timedelta(seconds=5),)).open("relay", SystemClock())
    assert (tuple(made.retry), made.insecure) == ((timedelta(seconds=5),), False)
