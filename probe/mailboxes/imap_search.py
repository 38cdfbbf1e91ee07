"""SEARCH keys for canary identities. Pure.

Only ever one look before a verdict, never the hot path: most servers read every message for a HEADER key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

TOKENS_PER_LOOK = 16
_TAG_LENGTH = 29
_TOKEN = re.compile(r"[a-z2-7]{1,64}")


def identity_criteria(tokens: Sequence[str]) -> Iterator[str]:
    """SEARCH criteria that together match any of the identities, each for at most 16 of them.

    A short tag stands in the Subject, a long token in our own header and the Message-ID. Raises ValueError for what is
    no token: it would be a command injected.
    """
    for token in tokens:
        if not _TOKEN.fullmatch(token):
            raise ValueError(f"not a canary token: {token[:8]!r}")
    for start in range(0, len(tokens), TOKENS_PER_LOOK):
        keys = [key for token in tokens[start : start + TOKENS_PER_LOOK] for key in _keys(token)]
        yield "OR " * (len(keys) - 1) + " ".join(keys)


def _keys(token: str) -> tuple[str, ...]:
    if len(token) <= _TAG_LENGTH:
        return (f"SUBJECT {token}",)
    return f"HEADER X-MAILCANARY {token}", f"HEADER MESSAGE-ID {token}"
