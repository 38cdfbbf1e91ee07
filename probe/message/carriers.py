"""The places of a mail in which a canary's identity can stand, and what stands there.

Only places are judged here, not what they mean: ``recognise`` does that. At most ``CANDIDATES_MOST`` signatures are
checked for one mail, so that a flood of candidates costs nothing.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from probe.canary.identity import TAG_LENGTH, TOKEN_LENGTH, Identity, Keyring
from probe.message.compose import OWN_HEADER, SUBJECT_WORDS
from probe.message.headers import Fields, decode_words, unbase64

CANDIDATES_MOST = 8
_OF_ONE_FIELD = 2

OWN_FIELD = OWN_HEADER.lower()
# Some submission services put an id of their own in place of ours, and keep ours beside it.
MESSAGE_ID_FIELDS = ("message-id", "x-microsoft-original-message-id", "x-google-original-message-id")
ANSWERED_FIELDS = ("in-reply-to", "references")
CARRIER_FIELDS = (OWN_FIELD, *MESSAGE_ID_FIELDS, *ANSWERED_FIELDS, "subject")

# The look-behind lets only the beginning of a word start a match, so a long run is read once.
_TOKEN = re.compile(rf"(?<![A-Za-z0-9])[A-Za-z2-7]{{{TOKEN_LENGTH}}}(?![A-Za-z0-9])")
_TAG = re.compile(rf"(?<![A-Za-z0-9])[A-Za-z2-7]{{{TAG_LENGTH}}}(?![A-Za-z0-9])")
_OWN_FIELD_REACH = 32  # "X-Mailcanary: v1", a fold and a few marks of quotation
_FORMAT = re.compile(r"(?<!\s)\s*v\d{1,3}\s+", re.IGNORECASE)  # without (?<!\s) quadratic in a run of blanks
_BASE64_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2}")
_ENCODED_TOKEN = TOKEN_LENGTH * 4 // 3  # shorter base64 cannot hold a token


class Carrier(StrEnum):
    """A place that carries the identity; the label values of mailcanary_carrier_survived_total (metrics.md)."""

    HEADER = "header"
    MESSAGE_ID = "message_id"
    SUBJECT = "subject"
    BODY = "body"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found in one mail.

    ``tokens`` and ``tags``: what verified, by place, strongest place first. ``answered``: a verified token that the
    mail only refers to. ``claims``: our own header is there, or Message-ID has the shape of a token, verified or not.
    ``subject_claims``: the subject has our words and something shaped like a tag; ``subject_ours``: at least the words.
    ``embedded``: a token verified in the body stands there as in a header, so a whole canary is attached or quoted.
    """

    tokens: tuple[tuple[Carrier, Identity], ...]
    tags: tuple[tuple[Carrier, str], ...]
    answered: Identity | None
    claims: bool
    subject_claims: bool
    subject_ours: bool
    embedded: bool

    @property
    def carriers(self) -> frozenset[Carrier]:
        return frozenset(carrier for carrier, _ in (*self.tokens, *self.tags))

    @property
    def canary_ids(self) -> frozenset[str]:
        return frozenset((*(identity.canary_id for _, identity in self.tokens), *(canary for _, canary in self.tags)))


def gather(fields: Fields, body: bytes | None, keyring: Keyring) -> Evidence:
    """Everything that stands in the places of a canary. ``fields`` holds ``CARRIER_FIELDS``, ``body`` is capped."""
    checker = _Checker(keyring)
    own = list(_of_fields(fields, (OWN_FIELD,)))
    message_ids = list(_of_fields(fields, MESSAGE_ID_FIELDS))
    subject = " ".join(decode_words(value) for value in fields.get("subject", ())[:2])
    tag_shaped = _found(_TAG, subject)
    tokens = [(Carrier.HEADER, identity) for identity in checker.tokens(own)]
    tokens += [(Carrier.MESSAGE_ID, identity) for identity in checker.tokens(message_ids)]
    tags = [(Carrier.SUBJECT, canary) for canary in checker.tags(tag_shaped)]
    answered = next(iter(checker.tokens(_of_fields(fields, ANSWERED_FIELDS, newest=True))), None)
    in_header_form: set[str] = set()
    if body is not None:
        tokens += [(Carrier.BODY, identity) for identity in checker.tokens(_of_body(body, in_header_form))]
    ours = SUBJECT_WORDS.lower() in " ".join(subject.lower().split())
    return Evidence(
        tokens=tuple(tokens),
        tags=tuple(tags),
        answered=answered,
        claims=OWN_FIELD in fields or bool(message_ids),
        subject_claims=ours and bool(tag_shaped),
        subject_ours=ours,
        embedded=any(checker.verified(text) for text in in_header_form),
    )


class _Checker:
    """Checks signatures, each text once, and no more texts than one mail is worth."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._tokens: dict[str, Identity | None] = {}
        self._left = CANDIDATES_MOST

    def tokens(self, candidates: Iterable[str]) -> list[Identity]:
        verified: dict[Identity, None] = {}
        for text in candidates:
            if text not in self._tokens:
                if self._left == 0:
                    break
                self._left -= 1
                identity = self._keyring.verify_token(text)
                self._tokens[text] = identity if isinstance(identity, Identity) else None
            known = self._tokens[text]
            if known is not None:
                verified[known] = None
        return list(verified)

    def verified(self, text: str) -> bool:
        """Whether ``text`` was checked and is a token."""
        return self._tokens.get(text) is not None

    def tags(self, candidates: Iterable[str]) -> list[str]:
        verified: dict[str, None] = {}
        for text in candidates:
            if self._left == 0:
                break
            self._left -= 1
            canary = self._keyring.verify_tag(text)
            if isinstance(canary, str):
                verified[canary] = None
        return list(verified)


def _found(pattern: re.Pattern[str], text: str) -> list[str]:
    return [match[0] for match in islice(pattern.finditer(text), _OF_ONE_FIELD)]


def _of_fields(fields: Fields, names: Iterable[str], *, newest: bool = False) -> Iterator[str]:
    """Candidates of the first values of some fields; ``newest``: from the end of each value, as References has them."""
    for name in names:
        for value in fields.get(name, ())[:_OF_ONE_FIELD]:
            text = decode_words(value)
            if newest:
                text = text[-2048:]
            found = _found(_TOKEN, text)
            # A gateway that folds anywhere has put a blank into the token.
            yield from found or _found(_TOKEN, "".join(_FORMAT.sub("", text, count=1).split()))


def _of_body(body: bytes, in_header_form: set[str]) -> Iterator[str]:
    """Candidates of a body of any structure: as it stands, then with its transfer encodings undone.

    Those that stand as in Message-ID or in our own header are put into ``in_header_form`` as well.
    """
    for raw in _texts(body):
        text = raw.decode("latin-1")
        for match in _TOKEN.finditer(text):
            before = text[max(0, match.start() - _OWN_FIELD_REACH) : match.start()].lower()
            if OWN_FIELD in before or text[match.end() : match.end() + 1] == "@":
                in_header_form.add(match[0])
            yield match[0]


def _texts(body: bytes) -> Iterator[bytes]:
    yield body
    if b"=" in body:
        yield binascii.a2b_qp(body)
    block: list[bytes] = []
    for line in (*body.split(b"\n"), b""):
        stripped = line.strip()
        if stripped and _BASE64_LINE.fullmatch(stripped):
            block.append(stripped)
        elif block:
            joined = b"".join(block)
            if len(joined) >= _ENCODED_TOKEN:
                yield unbase64(joined)
            block = []
