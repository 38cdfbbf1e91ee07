"""Moments of an incident's record: aware datetimes in UTC, as RFC 3339 with microseconds in JSON."""

from __future__ import annotations

from datetime import UTC, datetime


def to_text(moment: datetime | None) -> str | None:
    """``2026-11-24T05:52:28.000123Z``; None for None."""
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def from_text(text: str) -> datetime:
    """The inverse. Raises ValueError on anything that is not a moment with a zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no zone")
    return moment.astimezone(UTC)


def from_text_or_none(text: str | None) -> datetime | None:
    """The inverse, where there may be none."""
    return None if text is None else from_text(text)


def to_minute(moment: datetime | None) -> str:
    """``2026-11-24 05:52 UTC``, for people; ``not known`` for None."""
    return "not known" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def to_second(moment: datetime | None) -> str:
    """``2026-11-24 05:52:28 UTC``; ``not known`` for None."""
    return "not known" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
