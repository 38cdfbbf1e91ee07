"""The option ``control_canary``, as the kinds that can put a message into their own mailbox declare it. Pure."""

from __future__ import annotations

from datetime import timedelta

CONTROL_DOC = (
    "How often a control message is put into the mailbox to test the watch; off for never. None is put where cleanup "
    "is off."
)
CONTROL_DEFAULT = timedelta(minutes=5)
SHORTEST = timedelta(seconds=1)


def control_rule(value: timedelta) -> str | None:
    """The rule that an interval breaks, or None."""
    return "must be at least 1s, or off" if value < SHORTEST else None
