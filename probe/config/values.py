"""The text of a scalar as a value of the type that is wanted. Pure: each function takes text and returns the value.

The rule that a text breaks is raised as ``RuleError``, in words that can follow the value that was written.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

from probe.config.text import Listen, RuleError, Share, parse_listen
from probe.options import Rate

MAX_TEXT = 1024
MAX_DURATION = timedelta(days=3650)
MAX_COUNT = 10_000_000
_UNITS = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}  # microseconds
_WINDOWS = {"s": timedelta(seconds=1), "min": timedelta(minutes=1), "h": timedelta(hours=1)}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h|d)", re.ASCII)
_RATE = re.compile(r"([1-9]\d{0,7})/(s|min|h)", re.ASCII)
_WHOLE = re.compile(r"0|[1-9]\d{0,11}", re.ASCII)
_DECIMAL = re.compile(r"(?:0|[1-9]\d{0,5})(?:\.\d{1,9})?", re.ASCII)
_PERCENT = re.compile(r"((?:0|[1-9]\d{0,3})(?:\.\d{1,6})?)\s?%", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")


def parse_text(text: str) -> str:
    """Any text of one line."""
    if len(text) > MAX_TEXT:
        raise RuleError(f"is longer than {MAX_TEXT} characters")
    if _CONTROL.search(text):
        raise RuleError("holds a control character or a line break")
    if not text:
        raise RuleError("is empty; leave the key out for the default")
    return text


def parse_bool(text: str) -> bool:
    """``true`` or ``false``, nothing else."""
    if text not in ("true", "false"):
        raise RuleError("must be true or false")
    return text == "true"


def parse_int(text: str) -> int:
    """A whole number without sign or leading zero."""
    if not _WHOLE.fullmatch(text):
        raise RuleError("must be a whole number")
    return int(text)


def parse_float(text: str) -> float:
    """A plain decimal number, not negative."""
    if not _DECIMAL.fullmatch(text):
        raise RuleError("must be a number such as 0.65")
    return float(text)


def parse_share(text: str) -> Share:
    """A percentage, ``1%``; the value is the share, 0.01."""
    match = _PERCENT.fullmatch(text)
    if not match:
        raise RuleError("must be a percentage such as 1%")
    return Share(float(Decimal(match[1]) / 100))


def parse_duration(text: str) -> timedelta:
    """``100ms 60s 2m 2h 3d``: one number and its unit; a decimal is exact to the microsecond."""
    match = _DURATION.fullmatch(text)
    if not match:
        raise RuleError("must be a duration with its unit: 100ms, 60s, 2m, 2h or 3d")
    microseconds = Decimal(match[1]) * _UNITS[match[2]]
    if microseconds != int(microseconds):
        raise RuleError("is finer than a microsecond")
    if microseconds > MAX_DURATION // timedelta(microseconds=1):
        raise RuleError("is longer than 3650d")
    return timedelta(microseconds=int(microseconds))


def parse_rate(text: str) -> Rate:
    """``10/s``, ``20/min`` or ``1000/h``."""
    match = _RATE.fullmatch(text)
    if not match:
        raise RuleError("must be a rate such as 10/s, 20/min or 1000/h")
    count = int(match[1])
    if count > MAX_COUNT:
        raise RuleError(f"is more than {MAX_COUNT}")
    return Rate(count, _WINDOWS[match[2]])


def parse_path(text: str) -> Path:
    """An absolute path without ``..``."""
    parse_text(text)
    if not text.startswith("/"):
        raise RuleError("must be an absolute path")
    path = Path(text)
    if ".." in path.parts:
        raise RuleError("must be a path without ..")
    return path


def parse_choice(enum: type[StrEnum], text: str) -> StrEnum:
    """One of the words of ``enum``."""
    try:
        return enum(text)
    except ValueError:
        raise RuleError(f"must be one of {', '.join(enum)}") from None


PARSERS: dict[Any, Callable[[str], Any]] = {
    str: parse_text,
    bool: parse_bool,
    int: parse_int,
    float: parse_float,
    Share: parse_share,
    timedelta: parse_duration,
    Rate: parse_rate,
    Path: parse_path,
    Listen: parse_listen,
}
