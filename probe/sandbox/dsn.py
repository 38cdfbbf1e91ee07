"""What a sender asks for delivery reports (RFC 3461): the parameters of MAIL and RCPT, taken out of the commands.

aiosmtpd knows none of them and writes parameters in capitals, which an ENVID does not survive. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

LONGEST_ENVELOPE_ID = 100  # section 4.4
LONGEST_ORIGINAL = 500  # section 4.2

_PATH = re.compile(r'[^<]{0,20}<(?:"(?:\\.|[^"\\])*"|[^">])*>')
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+")  # section 4: without "+" and "="
_ENCODED = re.compile(r"\+([0-9A-F]{2})")
_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9-]{1,40}")


@dataclass(frozen=True, slots=True)
class MailRequest:
    """``envelope_id``: ENVID as it was before xtext, printable ASCII, or "". ``full``: the whole mail is wanted back
    (RET=FULL), else its header."""

    envelope_id: str = ""
    full: bool = False


@dataclass(frozen=True, slots=True)
class RcptRequest:
    """``on_failure``: a report of a failure is wanted. ``original``: ORCPT as ``rfc822;user@host.example``, or ""."""

    on_failure: bool = True
    original: str = ""


def mail_request(argument: str) -> tuple[str, MailRequest]:
    """The argument of MAIL without RET and ENVID, and what they ask. Raises ValueError with what is wrong."""
    rest, found = _taken(argument, ("RET", "ENVID"))
    returned = found.get("RET", "HDRS").upper()
    if returned not in ("FULL", "HDRS"):
        raise ValueError("RET is neither FULL nor HDRS")
    envelope_id = found.get("ENVID", "")
    if len(envelope_id) > LONGEST_ENVELOPE_ID:
        raise ValueError("ENVID is too long")
    return rest, MailRequest(_plain("ENVID", envelope_id), returned == "FULL")


def rcpt_request(argument: str) -> tuple[str, RcptRequest]:
    """The argument of RCPT without NOTIFY and ORCPT, and what they ask. Raises ValueError with what is wrong."""
    rest, found = _taken(argument, ("NOTIFY", "ORCPT"))
    # Without NOTIFY a failure is reported, as ever (section 4.1).
    wanted = found.get("NOTIFY", "FAILURE").upper().split(",")
    if wanted != ["NEVER"] and not set(wanted) <= {"SUCCESS", "FAILURE", "DELAY"}:
        raise ValueError("NOTIFY is neither NEVER nor of SUCCESS, FAILURE, DELAY")
    original = ""
    if "ORCPT" in found:
        kind, _, address = found["ORCPT"].partition(";")
        if len(found["ORCPT"]) > LONGEST_ORIGINAL or _ADDRESS_TYPE.fullmatch(kind) is None or not address:
            raise ValueError("ORCPT is no address")
        original = f"{kind};{_plain('ORCPT', address)}"
    return rest, RcptRequest("FAILURE" in wanted, original)


def _taken(argument: str, names: Collection[str]) -> tuple[str, dict[str, str]]:
    """The argument without the parameters ``names``, and their values. What has no path in angle brackets stays as it
    is: aiosmtpd judges it."""
    path = _PATH.match(argument)
    if path is None:
        return argument, {}
    found: dict[str, str] = {}
    left = [path[0]]
    for word in argument[path.end() :].split():
        name, _, value = word.partition("=")
        name = name.upper()
        if name not in names:
            left.append(word)
        elif name in found:
            raise ValueError(f"{name} stands there twice")
        elif not value:
            raise ValueError(f"{name} has no value")
        else:
            found[name] = value
    return " ".join(left), found


def _plain(name: str, xtext: str) -> str:
    """xtext undone. What is not printable ASCII is refused: it is to stand in a header (sections 4.2 and 4.4)."""
    if not xtext:
        return ""
    if _XTEXT.fullmatch(xtext) is None:
        raise ValueError(f"{name} is not xtext")
    text = "".join(_characters(xtext))
    if not (text.isascii() and text.isprintable()):
        raise ValueError(f"{name} is not printable ASCII")
    return text


def _characters(xtext: str) -> Iterator[str]:
    for number, piece in enumerate(_ENCODED.split(xtext)):
        yield chr(int(piece, 16)) if number % 2 else piece
