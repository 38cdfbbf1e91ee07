"""The header of any mail, hostile ones included, as fields that can be searched.

Not ``email.parser``: that stops at the first line that is no field, and a broken line put above ours by a gateway
would then hide a canary that did arrive. Here such a line is skipped. Work and memory grow with the length of the
input and no faster, and no input raises: each pattern begins at a rare character or has a bounded length.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable

FIELD_CAP = 16 * 1024
"""Characters of one field's value that are looked at."""

_NAME = re.compile(rb"[!-9;-~]{1,77}")
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f]+")
_WORD = re.compile(r"=\?([^?\s]{1,60})\?([bBqQ])\?([^?\r\n]{0,2048})\?=")
_BETWEEN_WORDS = re.compile(r"\?=\s+=\?")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_COMMENT = re.compile(r"\([^()]*\)")
_ANGLE = re.compile(r"<([^<>]*)>")
# Only charsets in which ASCII is ASCII and whose decoders are linear; any other name is read as Latin-1.
_CHARSETS = frozenset(
    ("us-ascii", "utf-8", "iso-8859-2", "iso-8859-5", "iso-8859-15", "windows-1250", "windows-1251", "windows-1252")
) | frozenset(("koi8-r", "gb2312", "gbk", "gb18030", "big5", "iso-2022-jp", "shift_jis", "euc-jp", "euc-kr"))

Fields = dict[str, list[str]]


def parse_fields(header: bytes, wanted: Iterable[str]) -> Fields:
    """The fields named in ``wanted`` (lower case), each with its unfolded values from the top; not yet decoded.

    Reads up to the first empty line. Bytes beyond ASCII are read as UTF-8 (RFC 6532), or Latin-1 where they are none.
    """
    names = frozenset(wanted)
    pieces: dict[str, list[list[bytes]]] = {}
    current: list[bytes] | None = None
    for line in header.split(b"\n"):
        line = line.removesuffix(b"\r")
        if not line:
            break
        if line[:1] in (b" ", b"\t"):
            if current is not None:
                current.append(line)
            continue
        raw_name, colon, value = line.partition(b":")
        raw_name = raw_name.rstrip(b" \t")
        if not colon or _NAME.fullmatch(raw_name) is None:
            continue  # not a field: a gateway's accident; what follows it may still be ours
        current = None
        name = raw_name.lower().decode("ascii")
        if name in names:
            current = [value]
            pieces.setdefault(name, []).append(current)
    return {name: [_text(b"".join(value)[:FIELD_CAP]).strip() for value in values] for name, values in pieces.items()}


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def first(fields: Fields, name: str) -> str:
    """The topmost value of a field, or ""."""
    values = fields.get(name)
    return values[0] if values else ""


def decode_words(value: str) -> str:
    """``value`` with its RFC 2047 encoded words decoded; one that cannot be is left as it is."""
    if "=?" not in value:
        return value
    return _WORD.sub(_decode_word, _BETWEEN_WORDS.sub("?==?", value))


def _decode_word(match: re.Match[str]) -> str:
    charset, encoding, text = match[1].lower().partition("*")[0], match[2].lower(), match[3]
    raw = text.encode("utf-8")
    try:
        data = unbase64(raw) if encoding == "b" else binascii.a2b_qp(raw.replace(b"_", b" "))
        return data.decode(charset if charset in _CHARSETS else "latin-1", "replace")
    except ValueError:  # binascii.Error is one
        return match[0]


def unbase64(raw: bytes) -> bytes:
    """What the whole groups of four in ``raw`` say; a cut end is dropped, foreign characters are passed over."""
    kept = re.sub(rb"[^A-Za-z0-9+/]", b"", raw)
    usable = len(kept) - (1 if len(kept) % 4 == 1 else 0)
    return base64.b64decode(kept[:usable] + b"=" * (-usable % 4))


def address_of(value: str) -> str:
    """The lower-case address in a From field, "" where there is none or more than one; display names do not count."""
    bare = _COMMENT.sub(" ", _QUOTED.sub(" ", value[:998]))
    angles = _ANGLE.findall(bare)
    if len(angles) > 1:
        return ""
    address = (angles[0] if angles else bare).strip().lower()
    return address if address.count("@") == 1 and not re.search(r"[\s,;<>]", address) else ""


def printable(value: str, limit: int) -> str:
    """``value`` on one line: C0 and C1 become a blank, surrogates and what passes ``limit`` bytes of UTF-8 go."""
    clean = _CONTROLS.sub(" ", value[:limit]).strip()
    return clean.encode("utf-8", "ignore")[:limit].decode("utf-8", "ignore")
