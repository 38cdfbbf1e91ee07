"""Tags in addresses: where they fit, and what is read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.message.addresses import ADDRESS_MOST, NoRoomForTag, split_tag, tagged, untaggable
from tests.message.canary_mail import TAG

NOT_PLAIN = "a tag needs a plain ASCII address, its local part not quoted"


@pytest.mark.parametrize(
    ("address", "result"),
    [
        ("probe@canary.example", f"probe+{TAG}@canary.example"),
        ("Probe.Box+kept@canary.example", f"Probe.Box+kept+{TAG}@canary.example"),
        ("a!#$%&'*+/=?^_`{|}~-z@x", f"a!#$%&'*+/=?^_`{{|}}~-z+{TAG}@x"),
        ("probe@[192.0.2.1]", f"probe+{TAG}@[192.0.2.1]"),
    ],
)
def test_a_tag_stands_at_the_end_of_the_local_part(address: str, result: str) -> None:
    assert tagged(address, TAG) == result
    assert untaggable(address) is None
    assert split_tag(result) == (address, TAG)


@pytest.mark.parametrize(
    "address",
    [
        *("", "probe", "@canary.example", "probe@", '"a b"@x.example', "a b@x.example", "ä@x.example"),
        *(".a@x.example", "a.@x.example", "a..b@x.example", "a@b@x.example", "a\n@x.example"),
    ],
)
def test_what_is_no_plain_address_takes_no_tag(address: str) -> None:
    assert untaggable(address) == NOT_PLAIN
    with pytest.raises(NoRoomForTag, match="plain ASCII"):
        tagged(address, TAG)


def test_a_local_part_has_sixty_four_octets() -> None:
    fits = "a" * 34 + "@x.example"
    assert len(tagged(fits, TAG).partition("@")[0]) == 64
    assert untaggable("a" + fits) == (
        "its local part has 35 octets; with a tag of 29 and a '+' it would pass the 64 of RFC 5321 4.5.3.1.1: "
        "at most 34 fit"
    )


def test_an_address_has_two_hundred_and_fifty_four() -> None:
    domain = "x" * (ADDRESS_MOST - len(f"a+{TAG}@"))
    assert len(tagged(f"a@{domain}", TAG)) == ADDRESS_MOST
    assert untaggable(f"a@{domain}x") == "with a tag it would have 255 octets, more than the 254 of an address"


@pytest.mark.parametrize("tag", ["", TAG[:-1], TAG + "a", TAG[:-1] + "1", TAG[:-1] + "\u212a", f"{TAG[:-1]}\n"])
def test_what_has_not_the_shape_of_a_tag_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match=r"a tag has 29 characters of a-z2-7") as refused:
        tagged("probe@canary.example", tag)
    assert not isinstance(refused.value, NoRoomForTag)
    assert split_tag(f"probe+{tag}@canary.example") == (f"probe+{tag}@canary.example", "")


@pytest.mark.parametrize(
    "address",
    ["", "@", "+", "+@", "probe@x.example", f"+{TAG}@x.example", TAG, f"probe+{TAG}", f"probe-{TAG}@x.example"],
)
def test_an_address_without_a_tag_stays(address: str) -> None:
    assert split_tag(address) == (address, "")


def test_a_tag_is_read_in_either_case() -> None:
    assert split_tag(f"probe+{TAG.upper()}@x.example") == ("probe@x.example", TAG.upper())


@given(st.text(max_size=100))
def test_no_text_raises(text: str) -> None:
    address, tag = split_tag(text)
    assert tag == "" or len(address) < len(text)
    assert untaggable(text) is None or untaggable(text) == NOT_PLAIN or "octets" in str(untaggable(text))
