"""The faults of the sandbox: what they are called, which are on, and whom they hit.

The draw for a share below 1 comes from the ``random.Random`` that was passed in, one draw for each message that an
active fault could hit, in the order in which the intakes and the worker take them: a seed repeats a run exactly.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

LONGEST_DELAY = timedelta(days=1)


class FaultName(StrEnum):
    """What can be switched. ``requeue`` is an action and not a fault; ``off`` clears all of them."""

    BACKUP_DB = "backup-db"  # the backup write fails; the message is dropped silently
    BAD_HOST = "bad-host"  # one intake answers 250 and keeps nothing: the message is gone for good
    BOUNCE = "bounce"  # the worker sends a delivery report back instead of delivering
    DELAY = "delay"  # the worker delivers later; the message waits in the spool, visibly
    DUPLICATE = "duplicate"  # the worker delivers twice
    GREYLIST = "greylist"  # an intake answers 450 to the first attempt of a message
    JUNK = "junk"  # the worker delivers to the folder Junk


@dataclass(frozen=True, slots=True)
class Fault:
    """An active fault. ``share``: of the messages, 0 to 1. ``delay``: from acceptance to delivery, for DELAY only.
    ``intake``: host name of the one intake whose mail it hits, or None for the mail of all."""

    name: FaultName
    share: float = 1.0
    delay: timedelta = timedelta(0)
    intake: str | None = None

    def __str__(self) -> str:
        words = [self.name.value]
        if self.name is FaultName.DELAY:
            words.append(f"{self.delay.total_seconds():g} s")
        words.append(f"for {self.share:.3g} of the mail" if self.share < 1 else "for all mail")
        if self.intake is not None:
            words.append(f"through {self.intake}")
        return " ".join(words)


class FaultBoard:
    """Which faults are on. At most one of each name."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._active: dict[FaultName, Fault] = {}

    @property
    def active(self) -> tuple[Fault, ...]:
        """The faults that are on, by name."""
        return tuple(self._active[name] for name in sorted(self._active))

    def set(self, fault: Fault) -> None:
        """Switch one on, or change it. Raises ValueError when a figure is out of its range."""
        if not 0.0 <= fault.share <= 1.0:  # also refuses NaN
            raise ValueError("share must be between 0 and 1")
        if fault.name is FaultName.DELAY and not timedelta(0) < fault.delay <= LONGEST_DELAY:
            raise ValueError(f"seconds must be above 0 and at most {LONGEST_DELAY.total_seconds():.0f}")
        if fault.name is FaultName.BAD_HOST and fault.intake is None:
            raise ValueError("bad-host needs an intake: it is about one of them")
        self._active[fault.name] = fault

    def clear(self, name: FaultName) -> None:
        """Switch one off; no error when it was not on."""
        self._active.pop(name, None)

    def hit(self, name: FaultName, intake: str) -> Fault | None:
        """The fault, if it is on, concerns mail of ``intake`` and its draw hits this message."""
        fault = self._active.get(name)
        if fault is None or fault.intake not in (None, intake):
            return None
        return fault if self._chance.random() < fault.share else None
