"""The vocabulary in which a kind of sender or mailbox declares its options.

A kind's options are a frozen dataclass in the kind's own file, each field made by ``option``. The configuration
loader reads the fields (type, default, doc, choices) and knows nothing of the kinds; the reference page is generated
from the same. Types a field may have: str, int, bool, timedelta, Rate, Secret, Path, StrEnum, another such dataclass,
a tuple of one of these, and each of these or None.

Cross-field rules: a method ``breaches(self) -> Iterable[tuple[str, str]]`` of (key, rule that is broken).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any


class Secret:
    """Bytes that never print. ``source`` says where they came from (``file:/…``, ``env:NAME``, ``credential:NAME``)."""

    __slots__ = ("_value", "source")

    def __init__(self, value: bytes, source: str = "") -> None:
        self._value = value
        self.source = source

    def reveal(self) -> bytes:
        """The bytes themselves; call it only where they are used."""
        return self._value

    def text(self) -> str:
        """As UTF-8 text."""
        return self._value.decode("utf-8")

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


@dataclass(frozen=True, slots=True)
class Rate:
    """``count`` in any window of length ``per``."""

    count: int
    per: timedelta

    def __str__(self) -> str:
        unit = {1: "s", 60: "min", 3600: "h"}.get(int(self.per.total_seconds()), f"{int(self.per.total_seconds())}s")
        return f"{self.count}/{unit}"


REQUIRED: Any = dataclasses.MISSING


def option(
    doc: str,
    *,
    default: Any = REQUIRED,
    check: Callable[[Any], str | None] | None = None,
) -> Any:
    """A field of an options dataclass. ``doc``: one sentence for the reference. ``check``: given the parsed value,
    the rule that it breaks, or None. No default: the key is required."""
    return dataclasses.field(default=default, metadata={"doc": doc, "check": check})
