"""What is fuzzed: each target takes hostile bytes, and answers whether it believed a forgery. Whatever it raises
beyond the errors that its parser documents is a defect."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from urllib.parse import parse_qsl

from probe.canary.identity import Rejection, canary_id_bytes
from probe.config.load import parse
from probe.errors import ConfigError, MailCanaryError, UsageError
from probe.exposition.guard import Credentials
from probe.exposition.present import clean, parse_since, without_tokens
from probe.exposition.prometheus import _number, _parsed
from probe.exposition.text import wants_openmetrics
from probe.message.bounce import may_be_report, recognise_bounce
from probe.message.headers import parse_fields, printable
from probe.message.parts import split_header
from probe.message.recognise import Kind, recognise
from tests.fuzz.wires import imap, smtp
from tests.message.bounce_mail import NAMES, sample
from tests.message.canary_mail import CANARY, KNOWN, MARK, RING, SENT, TAG, TOKEN

CORPUS = Path(__file__).parents[1] / "corpus"
REGRESSIONS = CORPUS / "regressions"
_BAD_CONFIGS = Path(__file__).parents[1] / "config" / "bad"
_FAULT = "could not be parsed"
_NOW = datetime(2026, 11, 24, 5, tzinfo=UTC)


class TrippedError(Exception):
    """The outermost door of a parser caught what nobody had foreseen."""


@dataclass(frozen=True, slots=True)
class Target:
    """``run`` answers whether a forgery was believed; ``corpus`` is what is mutated."""

    name: str
    run: Callable[[bytes], bool]
    corpus: Callable[[], Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class _Signed:
    canary_id: str = CANARY
    attempt: int = 2
    sent_ms: int = SENT


def _believes(canary_id: str | None, attempt: int | None, sent_ms: int | None) -> bool:
    """Whether an identity was believed that was never signed."""
    signed = _Signed()
    true = canary_id in (None, CANARY) and attempt in (None, signed.attempt) and sent_ms in (None, signed.sent_ms)
    return not true


def _recogniser(data: bytes) -> bool:
    forged = False
    header, _ = split_header(data)
    for body in (None, data):
        seen = recognise(header, keyring=RING, now_ms=SENT + 1000, known=KNOWN, mailbox="support", body=body)
        if seen.kind is Kind.UNPARSABLE and _FAULT in seen.sentence:
            raise TrippedError(seen.sentence)
        forged |= _believes(seen.canary_id, seen.attempt, seen.sent_ms)
    return forged


def _bounce(data: bytes) -> bool:
    may_be_report(data)
    seen = recognise_bounce(data, keyring=RING, now_ms=SENT + 1000, known=KNOWN)
    if _FAULT in seen.sentence:
        raise TrippedError(seen.sentence)
    return _believes(seen.canary_id, seen.attempt, seen.sent_ms)


def _received(data: bytes) -> bool:
    """Received fields as the trace keeps them: no control character, and no longer than is allowed."""
    for values in parse_fields(data, frozenset(("received", "from", "subject"))).values():
        for value in values:
            shown = printable(value, 2048)
            if len(shown.encode("utf-8", "surrogateescape")) > 2048 + 3 or any(ord(char) < 32 for char in shown):
                raise TrippedError("a field that is too long, or not printable")
    return False


def _token(data: bytes) -> bool:
    text = data.decode("utf-8", "surrogateescape")
    seen = RING.verify_token(text)
    tag = RING.verify_tag(text)
    with suppress(ValueError):
        canary_id_bytes(text)
    if not isinstance(seen, Rejection):
        whole = (seen.canary_id, seen.route, seen.sent_ms, seen.attempt) == (CANARY, MARK, SENT, 2)
        return not whole or text.lower() != TOKEN
    return not isinstance(tag, Rejection) and (tag != CANARY or text.lower() != TAG)


def _yaml(data: bytes) -> bool:
    try:
        parse(data.decode("utf-8", "replace"), "fuzzed.yaml", environ={}, secrets=False)
    except ConfigError as error:
        str(error)
    return False


_LOGIN = b"YWRtaW46c2VjcmV0LW9mLXRoZS13ZWI="
_CLOSED = Credentials(b"admin:secret-of-the-web", b"token-of-the-web-side")


def _web(data: bytes) -> bool:
    """Lines of a request: its query, and the headers that are read. A forgery: what opens without being the secret."""
    text = data.decode("utf-8", "surrogateescape")
    for line in text.splitlines()[:20]:
        wants_openmetrics(line)
        for name, value in (("", line), *parse_qsl(line[:8000], keep_blank_values=True, max_num_fields=None)):
            clean(name), without_tokens(clean(value, 60))
            with suppress(UsageError):
                parse_since(value, _NOW)
        if _CLOSED.open_to(line) and not _names_the_secret(line.partition(" ")[2].strip()):
            return True
    return False


def _names_the_secret(value: str) -> bool:
    """Base64 has several spellings of the same bytes where bits are spare: those are no forgeries."""
    given = value.encode("utf-8", "surrogateescape")
    return given == _CLOSED.token or (given[:-2] == _LOGIN[:-2] and base64.b64decode(given) == _CLOSED.login)


def _answer(data: bytes) -> bool:
    """What a Prometheus answers."""
    with suppress(MailCanaryError):
        _number(_parsed(200, data, "localhost"), "localhost")
    return False


@cache
def _files(folder: str) -> tuple[bytes, ...]:
    found = tuple(path.read_bytes() for path in sorted((CORPUS / folder).iterdir()))
    assert found, folder
    return found


@cache
def _mails() -> tuple[bytes, ...]:
    return _files("mail") + _bounces()


@cache
def _bounces() -> tuple[bytes, ...]:
    return tuple(sample(name) for name in NAMES)


@cache
def _configs() -> tuple[bytes, ...]:
    whole = (_BAD_CONFIGS.parents[2] / "config.example.yaml").read_bytes()
    return (whole, whole[:1500], *(path.read_bytes()[:8000] for path in sorted(_BAD_CONFIGS.glob("*.yaml"))))


TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target("recogniser", _recogniser, _mails),
        Target("received", _received, _mails),
        Target("bounce", _bounce, _bounces),
        Target("token", _token, lambda: _files("token")),
        Target("imap", imap, lambda: _files("imap")),
        Target("smtp", smtp, lambda: _files("smtp")),
        Target("yaml", _yaml, _configs),
        Target("web", _web, lambda: _files("web")),
        Target("answer", _answer, lambda: _files("answer")),
    )
}
