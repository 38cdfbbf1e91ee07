"""What is kept of the control canaries of a mailbox, and what they are made by. Pure but for the host's name."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from probe.clock import Instant


@dataclass(frozen=True, slots=True)
class Left:
    """One that was seen and is to be removed, by its place."""

    id: str
    name: str
    epoch: int
    uid: int


@dataclass(frozen=True, slots=True)
class Record:
    """What outlives a restart. Times are wall ns, 0 for never.

    ``id``: the one that was put there last and not seen yet, "" for none. ``missed``: how many in a row were missed.
    ``old``: those that were missed and followed by another; removed should they ever come to light.
    """

    since: int
    placed: int = 0
    success: int = 0
    id: str = ""
    missed: int = 0
    old: tuple[str, ...] = ()
    left: tuple[Left, ...] = ()

    def text(self) -> str:
        return json.dumps(asdict(self))


def parsed(text: str | None, now: Instant) -> Record:
    """The record as it was written; begun anew where there is none that can be read: it protects no canary."""
    try:
        fields = json.loads(text or "")
        old = tuple(str(one) for one in fields.pop("old"))
        left = tuple(Left(**one) for one in fields.pop("left"))
        return Record(**fields, old=old, left=left)
    except (ValueError, TypeError, KeyError, AttributeError):
        return Record(since=now.wall)


@dataclass(frozen=True, slots=True)
class Scheme:
    """What a control canary of a mailbox is: how often (None: never), and under whose name. ``removable``: by us."""

    every: timedelta | None
    prober: str
    mailbox: str
    host: str
    removable: bool = True

    @classmethod
    def of(cls, prober: str, mailbox: str, options: Any) -> Scheme:
        """By a kind's options; one that cannot place a message has no ``control_canary``. Where clean-up is off the
        mailbox is only ever read, so that nothing is put there either."""
        removable = str(options.cleanup.mode) != "off"
        every = getattr(options, "control_canary", None) if removable else None
        host = re.sub(r"[^A-Za-z0-9.-]+", "-", socket.gethostname()).strip("-.") or "localhost"
        return cls(every, prober, mailbox, host, removable)
