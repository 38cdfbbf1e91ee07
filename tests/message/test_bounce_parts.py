"""The small readers of reports: media types, the parts of a body, and the choice among groups."""

from __future__ import annotations

import pytest

from probe.message.parts import Part, content_type, decoded, parts_of, split_header
from probe.message.report import Action, Group, chosen, read_status


@pytest.mark.parametrize(
    ("value", "media", "parameters"),
    [
        ("text/plain", "text/plain", {}),
        ("Text/PLAIN;", "text/plain", {}),
        (" a/b ; X=1;y=2 ", "a/b", {"x": "1", "y": "2"}),
        ('a/b; x="1; 2 \\" \\\\"; y=3', "a/b", {"x": '1; 2 " \\', "y": "3"}),
        ("a/b; x=1; X=2", "a/b", {"x": "1"}),
        ('a/b; x=""', "a/b", {"x": ""}),
        ('a/b; x="open', "a/b", {}),
        ("a/b; x=1 nonsense; y=2", "a/b", {"x": "1"}),
        ("a/b/c", "", {}),
        ("a", "", {}),
        ("a/b c/d", "", {}),
        ("", "", {}),
    ],
)
def test_media_types(value: str, media: str, parameters: dict[str, str]) -> None:
    assert content_type(value) == (media, parameters)


def test_the_header_ends_at_the_first_empty_line() -> None:
    assert split_header(b"A: 1\r\n\r\nbody\r\n\r\nmore") == (b"A: 1\r\n\r\n", b"body\r\n\r\nmore")
    assert split_header(b"A: 1\n\nbody") == (b"A: 1\n\n", b"body")
    assert split_header(b"\r\nbody") == (b"\r\n", b"body")
    assert split_header(b"A: 1\r\n") == (b"A: 1\r\n", b"")


def test_transfer_encodings() -> None:
    for name, content in (("base64", b"YT1i"), ("Quoted-Printable", b"a=3Db"), ("7bit", b"a=b"), ("", b"a=b")):
        assert decoded(content, {"content-transfer-encoding": [name]}) == b"a=b"


BODY = b"before\r\n--b\r\nContent-Type: A/B\r\n\r\none\r\n--b  \r\n\r\ntwo\r\n--b--\r\nafter\r\n--b\r\n\r\nnever\r\n"


def test_parts_lie_between_their_boundaries() -> None:
    assert parts_of(BODY, "b") == [Part("a/b", b"one\r"), Part("text/plain", b"two\r")]
    assert parts_of(BODY, "b ") == parts_of(BODY, "b")
    assert parts_of(BODY.replace(b"\r\n", b"\n"), "b") == [Part("a/b", b"one"), Part("text/plain", b"two")]


@pytest.mark.parametrize("boundary", ["", " ", "c", "b" * 201])
def test_no_boundary_divides_nothing(boundary: str) -> None:
    assert parts_of(BODY + b"\r\n--" + b"b" * 201 + b"\r\n\r\nx", boundary) == []


def test_a_part_may_be_cut_short() -> None:
    assert parts_of(b"--b\r\n\r\none", "b") == [Part("text/plain", b"one")]
    assert parts_of(b"--b\r\nContent-Type: a/b", "b") == [Part("a/b", b"")]
    assert parts_of(b"--b", "b") == [Part("text/plain", b"")]
    assert parts_of(b"nothing", "b") == []


@pytest.mark.parametrize("line", [b"--bb", b"--b x", b"--b--x", b" --b", b"x--b", b"--b-"])
def test_a_line_that_only_begins_like_a_boundary_is_content(line: bytes) -> None:
    assert parts_of(b"--b\r\n\r\none\r\n" + line + b"\r\ntwo\r\n--b--", "b") == [
        Part("text/plain", b"one\r\n" + line + b"\r\ntwo\r")
    ]


def test_nested_parts_are_not_opened() -> None:
    nested = (
        b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\nContent-Type: a/b\r\n\r\nx\r\n--c--\r\n--b--"
    )
    assert [part.kind for part in parts_of(nested, "b")] == ["multipart/mixed"]


def test_a_group_without_recipients_still_counts() -> None:
    report = read_status(b"Reporting-MTA: dns; a.example\n \nAction: failed\n")
    assert report.groups == (Group(frozenset(), Action.FAILED),)
    assert (report.reporting_mta, report.envelope_id) == ("a.example", "")


def test_the_worst_of_the_canarys_own_groups_is_chosen() -> None:
    groups = [Group(frozenset((f"{action}@x.example", "all@x.example")), action) for action in reversed(Action)]
    for action in Action:
        chosen_one = chosen(groups, f"{action}@x.example")
        assert chosen_one is not None
        assert chosen_one.action is action
    for count in range(1, len(groups) + 1):
        assert chosen(groups[:count], "all@x.example") is groups[count - 1]
        assert chosen(groups[:count][::-1], "nobody@x.example") is groups[count - 1]
        assert chosen(groups[:count], "") is groups[count - 1]
    assert chosen([], "all@x.example") is None


def test_an_envelope_id_is_capped() -> None:
    assert read_status(b"Original-Envelope-Id: " + b"x" * 500).envelope_id == "x" * 100
