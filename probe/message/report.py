"""What a delivery report says, whoever it is about: the groups of RFC 3464, or the paragraphs of two older forms.

Nothing is believed here: ``bounce`` decides whether a report is about a canary. Limits as in ``headers``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from probe.message.addresses import split_tag
from probe.message.headers import Fields, address_of, first, parse_fields, printable

STATUS_PART_CAP = 64 * 1024
GROUPS_MOST = 50
DIAGNOSTIC_CAP = 500
NAME_CAP = 255
_ENVELOPE_ID_CAP = 100  # RFC 3461 4.4

# RFC 6522 2, RFC 3464 2; their internationalised forms: RFC 6533 4.
STATUS_PARTS = frozenset(("message/delivery-status", "message/global-delivery-status"))
RETURNED_PARTS = frozenset(("message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers"))

_FIELDS = (
    *("original-envelope-id", "reporting-mta", "original-recipient", "final-recipient"),
    *("action", "status", "remote-mta", "diagnostic-code"),
)
_EMPTY_LINE = re.compile(rb"\n[ \t]*\r?\n")
_STATUS = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?=[\s(;]|$)")  # RFC 3463 2; a comment may follow
_WORD = re.compile(r"[A-Za-z]{1,20}(?=[\s(;]|$)")
_TYPED = re.compile(r"[A-Za-z0-9-]{1,40}\s*;")  # "smtp;", "dns;", "rfc822;" (RFC 3464 2.1.2)


class Action(StrEnum):
    """RFC 3464 2.3.3, the worst first."""

    FAILED = "failed"
    DELAYED = "delayed"
    RELAYED = "relayed"
    EXPANDED = "expanded"
    DELIVERED = "delivered"


_ORDER = tuple(Action)


@dataclass(frozen=True, slots=True)
class Group:
    """What a report says of one recipient. ``recipients``: the final and the original one, lower case, where named.

    ``status``: an enhanced code (RFC 3463) or "". ``diagnostic``: on one line, at most 500 bytes. ``remote_mta``: a
    name, at most 255 bytes, or "".
    """

    recipients: frozenset[str]
    action: Action
    status: str = ""
    diagnostic: str = ""
    remote_mta: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """A report. ``envelope_id``: Original-Envelope-Id (RFC 3464 2.2.1), at most 100 characters, or ""."""

    groups: tuple[Group, ...]
    envelope_id: str = ""
    reporting_mta: str = ""


def read_status(content: bytes) -> Report:
    """A message/delivery-status part (RFC 3464 2). A group without an action of the standard is passed over.

    Fields of the whole message may stand in a recipient's group, as they do where the empty line between is missing.
    """
    blocks = _EMPTY_LINE.split(b"\n" + content[:STATUS_PART_CAP], maxsplit=2 * GROUPS_MOST)[: 2 * GROUPS_MOST]
    groups: list[Group] = []
    of_message: Fields = {}
    for block in blocks:
        fields = parse_fields(block.lstrip(b"\r\n"), _FIELDS)
        for name, values in fields.items():
            of_message.setdefault(name, values)
        if (group := _group(fields)) is not None:
            groups.append(group)
    return Report(
        groups=tuple(groups[:GROUPS_MOST]),
        envelope_id=first(of_message, "original-envelope-id")[:_ENVELOPE_ID_CAP],
        reporting_mta=_name(first(of_message, "reporting-mta")),
    )


def _group(fields: Fields) -> Group | None:
    word = _WORD.match(first(fields, "action"))
    action = word[0].lower() if word is not None else ""
    if action not in _ORDER:
        return None
    status = _STATUS.match(first(fields, "status"))
    named = (address_of(_bare(first(fields, name))) for name in ("final-recipient", "original-recipient"))
    return Group(
        recipients=frozenset(address for address in named if address),
        action=Action(action),
        status=status[1] if status is not None else "",
        diagnostic=_clean(_bare(first(fields, "diagnostic-code")), DIAGNOSTIC_CAP),
        remote_mta=_name(first(fields, "remote-mta")),
    )


@dataclass(frozen=True, slots=True)
class _Notice:
    """A bounce in plain text: how it starts, how it names a recipient, and the line above the message it returns."""

    start: re.Pattern[bytes]
    recipient: re.Pattern[bytes]
    rule: re.Pattern[bytes]


_NOTICES = (
    # qmail-send (its form has the name QSBMF): a first paragraph, one for each recipient, a break, and the message.
    _Notice(
        start=re.compile(rb"\s{0,80}Hi\. This is the "),
        recipient=re.compile(rb"\n<([^<>\s]{1,320})>:[ \t]{0,10}\n"),
        rule=re.compile(rb"\n--- [^\n]{0,200}\n"),
    ),
    # Exim, before it learned RFC 3464. Its warnings start otherwise ("... has not yet been delivered ...").
    _Notice(
        start=re.compile(
            rb"\s{0,80}This message was created automatically by mail delivery software[^\n]{0,80}\n{1,4}"
            rb"A message that you sent could not be delivered\b"
        ),
        recipient=re.compile(rb"\n {2}([^<>\s:]{1,320}):?\n"),
        rule=re.compile(rb"\n------ This is a copy of [^\n]{0,200}\n(?:------ [^\n]{0,200}\n)*"),
    ),
)


def read_notice(text: bytes) -> tuple[Report, bytes] | None:
    """A bounce in the plain text of qmail-send or old Exim, and the message beneath; None where it has neither form.

    Both only bounce what they gave up, so each recipient failed. What they say is for people: no code is taken.
    """
    text = text.replace(b"\r\n", b"\n")
    for notice in _NOTICES:
        rule = notice.rule.search(text) if notice.start.match(text) is not None else None
        if rule is None:
            continue
        told = text[: rule.start() + 1]
        found = list(islice(notice.recipient.finditer(told), GROUPS_MOST))
        ends = [later.start() for later in found[1:]] + [len(told)]
        groups = tuple(_paragraph(each[1], told[each.end() : end]) for each, end in zip(found, ends, strict=False))
        if groups:
            return Report(groups), text[rule.end() :]
    return None


def _paragraph(recipient: bytes, said: bytes) -> Group:
    paragraph = _EMPTY_LINE.split(said[: 2 * DIAGNOSTIC_CAP], maxsplit=1)[0]
    address = address_of(recipient.decode("utf-8", "replace"))
    return Group(
        recipients=frozenset((address,) if address else ()),
        action=Action.FAILED,
        diagnostic=_clean(paragraph.decode("utf-8", "replace"), DIAGNOSTIC_CAP),
    )


def chosen(groups: Sequence[Group], recipient: str) -> Group | None:
    """The group to judge by: the worst of those about ``recipient`` (lower case), else the worst of all.

    A tag of either side does not count: ``plus_tag`` is often gone when a report names the recipient.
    """
    plain = split_tag(recipient)[0]
    about = [group for group in groups if plain in {split_tag(each)[0] for each in group.recipients}]
    return min(about or groups, key=lambda group: _ORDER.index(group.action), default=None)


def _bare(value: str) -> str:
    """A typed value ("smtp; 550 no") without its type."""
    found = _TYPED.match(value)
    return value if found is None else value[found.end() :]


def _name(value: str) -> str:
    return _clean(_bare(value), NAME_CAP)


def _clean(value: str, limit: int) -> str:
    """On one line, nothing in it that a terminal or a page would not show, runs of blanks as one."""
    shown = "".join(char if char.isprintable() else " " for char in value[: 2 * limit])
    return printable(" ".join(shown.split()), limit)
