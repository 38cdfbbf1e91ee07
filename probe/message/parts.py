"""The parts of a multipart mail, one level deep, for reports (RFC 2046 5.1, RFC 6522).

As with ``headers``: no input raises, and work and memory grow with the length of the input and no faster. What is
nested is not opened, so depth costs nothing; at most ``PARTS_MOST`` parts are read.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass

from probe.message.headers import Fields, first, parse_fields, unbase64

PARTS_MOST = 8
_BOUNDARY_MOST = 200  # RFC 2046 5.1.1 allows 70
_PARAMETERS_MOST = 20
_CONTENT_TYPE_CAP = 2048

_TYPE = re.compile(r"\s*([!#-'*+.0-9A-Z^-~-]{1,127}/[!#-'*+.0-9A-Z^-~-]{1,127})\s*(?=;|$)", re.IGNORECASE)
_PARAMETER = re.compile(
    r'\s*;\s*([!#-\'*+.0-9A-Z^-~-]{1,60})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]{1,400}))', re.IGNORECASE | re.DOTALL
)
_BLANK_LINE = re.compile(rb"(?:\A|\n)\r?\n")
_PART_FIELDS = ("content-type", "content-transfer-encoding")


@dataclass(frozen=True, slots=True)
class Part:
    """One part: its media type in lower case ("text/plain" where none is named), and its content, decoded."""

    kind: str
    content: bytes


def split_header(mail: bytes) -> tuple[bytes, bytes]:
    """The header with its last line end, and what follows the first empty line."""
    blank = _BLANK_LINE.search(mail)
    return (mail, b"") if blank is None else (mail[: blank.end()], mail[blank.end() :])


def content_type(value: str) -> tuple[str, dict[str, str]]:
    """The media type in lower case, and its parameters by their lower-case names; ("", {}) where there is none.

    Of a parameter that is named twice the first counts.
    """
    value = value[:_CONTENT_TYPE_CAP]
    found = _TYPE.match(value)
    if found is None:
        return "", {}
    parameters: dict[str, str] = {}
    position = found.end()
    for _ in range(_PARAMETERS_MOST):
        parameter = _PARAMETER.match(value, position)
        if parameter is None:
            break
        text = parameter[3] if parameter[2] is None else re.sub(r"\\(.)", r"\1", parameter[2], flags=re.DOTALL)
        parameters.setdefault(parameter[1].lower(), text)
        position = parameter.end()
    return found[1].lower(), parameters


def decoded(content: bytes, fields: Fields) -> bytes:
    """``content`` with the transfer encoding that ``fields`` name undone; any other is taken as it stands."""
    encoding = first(fields, "content-transfer-encoding").strip().lower()
    if encoding == "base64":
        return unbase64(content)
    if encoding == "quoted-printable":
        return binascii.a2b_qp(content)
    return content


def parts_of(body: bytes, boundary: str) -> list[Part]:
    """The first parts of a multipart body; a last one that is cut short is read as far as it goes.

    Nothing where ``boundary`` is none: a boundary that is longer or blank divides nothing.
    """
    if not boundary.strip() or len(boundary) > _BOUNDARY_MOST:
        return []
    delimiter = b"\n--" + boundary.rstrip().encode("utf-8", "surrogateescape")
    text = b"\n" + body
    pieces: list[bytes] = []
    start: int | None = None
    position = text.find(delimiter)
    while position >= 0 and len(pieces) < PARTS_MOST:
        end = text.find(b"\n", position + 1)
        end = len(text) if end < 0 else end
        rest = text[position + len(delimiter) : end]
        closing = rest.startswith(b"--")
        if not rest.strip() or (closing and not rest[2:].strip()):  # else a longer boundary that begins like this one
            if start is not None:
                pieces.append(text[start:position])
            start = None if closing else end + 1
            if closing:
                break
        position = text.find(delimiter, end)
    if start is not None and len(pieces) < PARTS_MOST:
        pieces.append(text[start:])
    return [_part(piece) for piece in pieces]


def _part(piece: bytes) -> Part:
    header, content = split_header(piece)
    fields = parse_fields(header, _PART_FIELDS)
    kind, _ = content_type(first(fields, "content-type"))
    return Part(kind or "text/plain", decoded(content, fields))
