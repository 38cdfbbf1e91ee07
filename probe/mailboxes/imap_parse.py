"""What IMAP servers answer, parsed with limits and without recursion. Pure: bytes in, values out.

One malformed answer spoils one message and not the read: imapclient's own parser raises on the first and, where UID
is missing, takes the sequence number for it. Shapes are imaplib's: an answer is a list of ``bytes`` and
``(bytes, literal)`` pairs, and each response in it ends with a ``bytes``. Grammar: RFC 3501 section 9.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from probe.errors import MailboxHostile
from probe.mailboxes.imap_wire import NUMBER_LIMIT, number

_QUOTED = rb'"(?:[^"\\]|\\.)*"'
_BEGIN = re.compile(rb"\d+ \(")
_ITEM = re.compile(
    rb" *([A-Za-z0-9.-]+(?:\[[^\]]*\](?:<\d+>)?)?) +"
    rb"(\{\d+\}|" + _QUOTED + rb'|\((?:[^()"]|' + _QUOTED + rb')*\)|[^\s()"{]+)'
)
_DATE = re.compile(rb'"([ \d]\d)-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)"')
_MONTHS = {name: n for n, name in enumerate(b"jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}
_MONTH_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_STATUS = re.compile(rb"\(([A-Za-z0-9 ]*)\)\s*\Z")
_LIST = re.compile(rb"\(([^)]*)\) (?:NIL|" + _QUOTED + rb") (.*)\Z", re.IGNORECASE | re.DOTALL)
_CODE = re.compile(rb"\[([A-Za-z-]+)")
_UNPRINTABLE = re.compile(r"[^ -~]+")


@dataclass(frozen=True, slots=True)
class Answer:
    """What FETCH said of one UID; None where it said nothing usable. ``content`` is a BODY section."""

    size: int | None = None
    arrived: datetime | None = None
    content: bytes | None = None


def responses(data: Sequence[Any]) -> Iterator[tuple[bytes, list[bytes]]]:
    """Each response as its text, ``{n}`` where a literal stood, and the literals in their order."""
    text: list[bytes] = []
    literals: list[bytes] = []
    for piece in data:
        if isinstance(piece, tuple):
            text.append(piece[0])
            literals.append(piece[1])
        elif isinstance(piece, bytes):
            yield b"".join([*text, piece]), literals
            text, literals = [], []


def fetch_answers(data: Sequence[Any]) -> dict[int, Answer]:
    """FETCH responses by UID. One without a UID is left out; several for one UID are merged; of one that cannot be
    parsed to its end, what stood before the fault counts."""
    found: dict[int, Answer] = {}
    for text, literals in responses(data):
        items = _items(text, literals)
        uid = items.get(b"UID", b"")
        if not uid.isdigit() or len(uid) > 10 or int(uid) >= NUMBER_LIMIT:
            continue
        before = found.get(int(uid), Answer())
        size = items.get(b"RFC822.SIZE", b"")
        arrived = internal_date(items.get(b"INTERNALDATE", b""))
        content = next((value for key, value in items.items() if key.startswith(b"BODY[")), None)
        found[int(uid)] = Answer(
            int(size) if size.isdigit() and len(size) <= 18 else before.size,
            arrived or before.arrived,
            before.content if content is None else content,
        )
    return found


def _items(text: bytes, literals: list[bytes]) -> dict[bytes, bytes]:
    """The items of one response, up to the first that breaks the grammar. Strings are unquoted only under BODY[."""
    begin = _BEGIN.match(text)
    items: dict[bytes, bytes] = {}
    position = begin.end() if begin else len(text)
    waiting = iter(literals)
    while item := _ITEM.match(text, position):
        position = item.end()
        key, value = item[1].upper(), item[2]
        if value[:1] == b"{":
            value = next(waiting, b"")
        elif key.startswith(b"BODY["):
            value = b"" if value == b"NIL" else _unquoted(value)
        items[key] = value
    return items


def _unquoted(value: bytes) -> bytes:
    if len(value) >= 2 and value[:1] == value[-1:] == b'"':
        return re.sub(rb"\\(.)", rb"\1", value[1:-1])
    return value


def internal_date(value: bytes) -> datetime | None:
    """An INTERNALDATE with its quotes as an aware UTC datetime; None where it is no such date."""
    match = _DATE.fullmatch(value)
    month = _MONTHS.get(match[2].lower()) if match else None
    if match is None or month is None:
        return None
    offset = timedelta(hours=int(match[8]), minutes=int(match[9])) * (-1 if match[7] == b"-" else 1)
    try:
        day, year, hour, minute, second = (int(match[n]) for n in (1, 3, 4, 5, 6))
        return datetime(year, month, day, hour, minute, second, tzinfo=timezone(offset)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def search_date(moment: datetime) -> str:
    """A ``date`` for SEARCH SINCE, always in English."""
    return f"{moment.day}-{_MONTH_NAMES[moment.month - 1]}-{moment.year:04d}"


def search_numbers(data: Sequence[Any]) -> list[int]:
    """The numbers of all SEARCH responses, rising, each once. Raises MailboxHostile for anything else in them, and
    where there was no response at all: "nothing found" must have been said, not just not answered."""
    if not data:
        raise MailboxHostile("protocol", "SEARCH was answered OK without a SEARCH response")
    if not all(isinstance(line, bytes) for line in data):
        raise MailboxHostile("protocol", "a literal in a SEARCH response")
    words = b" ".join(data).split()
    if not all(map(bytes.isdigit, words)) or max(map(len, words), default=0) > 10:
        raise MailboxHostile("protocol", "a SEARCH response that holds more than numbers")
    numbers = sorted(set(map(int, words)))
    if numbers and (numbers[0] == 0 or numbers[-1] >= NUMBER_LIMIT):
        raise MailboxHostile("protocol", "a SEARCH response with a number that is no UID")
    return numbers


def status_items(data: Sequence[Any]) -> dict[str, int]:
    """The items of the last STATUS response, by upper-case name. Raises MailboxHostile where there is none."""
    texts = [text for text, _ in responses(data)]
    match = _STATUS.search(texts[-1]) if texts else None
    words = match[1].split() if match else []
    if not words or len(words) % 2:
        raise MailboxHostile("protocol", "a STATUS response without its items")
    return {words[n].decode().upper(): number(words[n + 1]) for n in range(0, len(words), 2)}


def list_entries(data: Sequence[Any]) -> list[tuple[frozenset[str], bytes]]:
    """LIST responses as (attributes in lower case, name still in modified UTF-7). Raises MailboxHostile."""
    entries = []
    for text, literals in responses(data):
        match = _LIST.match(text)
        if match is None:
            raise MailboxHostile("protocol", f"a LIST response that is none: {readable(text)}")
        name = literals[-1] if literals else _unquoted(match[2].strip())
        entries.append((frozenset(match[1].decode("ascii", "replace").lower().split()), name))
    return entries


def response_code(text: bytes) -> str:
    """The response code at the beginning of a tagged answer's text, upper case; "" without one (RFC 5530)."""
    match = _CODE.match(text)
    return match[1].decode().upper() if match else ""


def readable(text: bytes | str) -> str:
    """Server text for a log line or a sentence: printable ASCII, at most 200 characters."""
    string = text.decode("ascii", "replace") if isinstance(text, bytes) else text
    return _UNPRINTABLE.sub("?", string[:400])[:200]
