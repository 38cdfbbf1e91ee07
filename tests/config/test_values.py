"""Each type from its text, and the texts that look right and are not."""

from datetime import timedelta
from enum import StrEnum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.config import values
from probe.config.rules import spoken
from probe.config.text import Listen, RuleError, address_rule, is_domain, is_name, parse_listen
from probe.options import Rate


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("100ms", 100),
        ("60s", 60_000),
        ("2m", 120_000),
        ("2h", 7_200_000),
        ("3d", 259_200_000),
        ("0.5s", 500),
        ("0s", 0),
    ],
)
def test_durations(text: str, milliseconds: int) -> None:
    assert values.parse_duration(text) == timedelta(milliseconds=milliseconds)


@pytest.mark.parametrize("text", ["60", "", "s", "1 s", "-1s", "1e3s", "1s1s", "1w", "60S", "٣s", ".5s", "1min", "inf"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(RuleError, match="must be a duration with its unit"):
        values.parse_duration(text)


@pytest.mark.parametrize(("text", "rule"), [("0.0001ms", "finer"), ("3651d", "longer"), ("999999999d", "longer")])
def test_durations_have_bounds(text: str, rule: str) -> None:
    with pytest.raises(RuleError, match=rule):
        values.parse_duration(text)


@given(st.integers(0, 10**12 - 1))
def test_a_spoken_duration_reads_back(microseconds: int) -> None:
    duration = timedelta(microseconds=microseconds)
    assert values.parse_duration(spoken(duration)) == duration


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("20/min", Rate(20, timedelta(minutes=1))),
        ("1000/h", Rate(1000, timedelta(hours=1))),
        ("10/s", Rate(10, timedelta(seconds=1))),
    ],
)
def test_rates(text: str, rate: Rate) -> None:
    assert values.parse_rate(text) == rate
    assert str(rate) == text


@pytest.mark.parametrize("text", ["0/min", "20", "20/m", "20 /min", "-1/s", "020/min", "1.5/s", "20/day", "99999999/s"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(RuleError):
        values.parse_rate(text)


@pytest.mark.parametrize("text", ["no", "yes", "True", "1", "on", "off", ""])
def test_only_true_and_false_are_booleans(text: str) -> None:
    with pytest.raises(RuleError):
        values.parse_bool(text)
    assert values.parse_bool("true") is True
    assert values.parse_bool("false") is False


@pytest.mark.parametrize("text", ["010", "0x1f", "1_000", "-1", "1.0", "12:30", "", "1" * 13])
def test_only_plain_whole_numbers_are_numbers(text: str) -> None:
    with pytest.raises(RuleError):
        values.parse_int(text)
    assert values.parse_int("993") == 993


@pytest.mark.parametrize(("text", "share"), [("1%", 0.01), ("0.5%", 0.005), ("50 %", 0.5), ("100%", 1.0)])
def test_shares(text: str, share: float) -> None:
    assert values.parse_share(text) == share


@pytest.mark.parametrize("text", ["0.01", "1", "-1%", "%", "1%%", "nan%"])
def test_a_share_is_a_percentage(text: str) -> None:
    with pytest.raises(RuleError):
        values.parse_share(text)


@pytest.mark.parametrize("text", ["nan", "inf", "1e3", "-1", "", "1,5"])
def test_only_plain_decimals_are_numbers(text: str) -> None:
    with pytest.raises(RuleError):
        values.parse_float(text)
    assert values.parse_float("0.65") == 0.65


@pytest.mark.parametrize("text", ["a\nb", "a\x00", "\x1b[31m", "a\u2028b", "\x85", "x" * 1025, ""])
def test_texts_have_one_line_and_a_bound(text: str) -> None:
    with pytest.raises(RuleError):
        values.parse_text(text)


@pytest.mark.parametrize("text", ["relative", "/a/../b", "/a\x00", ""])
def test_paths_are_absolute_and_plain(text: str) -> None:
    with pytest.raises(RuleError):
        values.parse_path(text)
    assert values.parse_path("/var/lib/x") == Path("/var/lib/x")


def test_choices_name_all_words() -> None:
    assert values.parse_choice(Colour, "red") is Colour.RED
    with pytest.raises(RuleError, match="must be one of red, blue"):
        values.parse_choice(Colour, "green")


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        ("127.0.0.1:9925", Listen("127.0.0.1", 9925)),
        ("[::1]:80", Listen("::1", 80)),
        ("localhost:1", Listen("localhost", 1)),
    ],
)
def test_listen(text: str, listen: Listen) -> None:
    assert parse_listen(text) == listen
    assert str(listen) == text


@pytest.mark.parametrize(
    "text", ["9925", ":9925", "127.0.0.1", "::1:80", "h:0", "h:65536", "h:99999999", "a b:1", "300.1.1.1:80", "[x]:1"]
)
def test_what_is_no_listen(text: str) -> None:
    with pytest.raises(RuleError):
        parse_listen(text)


@pytest.mark.parametrize("text", ["a@b.example", "x+y@b", "a.b-c_d@mx-1.example.org", "A/B=c@B.Example"])
def test_addresses(text: str) -> None:
    assert address_rule(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "", "a", "@b", "a@", "a b@c", "a@b c", "a@@b", "a..b@c", ".a@c", "a.@c", "a@-b", "a@b-", "a@b..c",
        "a@[127.0.0.1]", '"a b"@c', "é@c", "a@é", "a@b\r\nRCPT TO:<x@y>", "a\x00@b", "x" * 65 + "@b", "a@" + "b" * 64,
        "a,b@c", "<a@b>", "a@b\n",
    ],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    assert address_rule(text) is not None


def test_the_whole_address_is_bounded() -> None:
    assert address_rule("a@" + "b." * 126 + "c") == "is longer than 254 characters"


@pytest.mark.parametrize("text", ["", "-a", "A", "a_b", "a.b", "é", "x" * 33, "a\n"])
def test_what_is_no_name(text: str) -> None:
    assert not is_name(text)
    assert is_name("0-a" + "b" * 29)


def test_domains_are_bounded() -> None:
    assert is_domain("a." * 126 + "b")
    assert not is_domain("a." * 127 + "b")
