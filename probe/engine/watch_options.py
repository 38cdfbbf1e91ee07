"""What a watcher needs of a mailbox kind's options."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Protocol

from probe.clock import Clock
from probe.mailboxes.base import Mailbox
from probe.options import Rate


class WatchOptions(Protocol):
    """What a watcher needs of a kind's options."""

    @property
    def folders(self) -> tuple[str, ...]: ...
    @property
    def exclusive(self) -> bool: ...
    @property
    def idle_poll(self) -> timedelta: ...
    @property
    def poll_rate(self) -> Rate: ...
    @property
    def cleanup(self) -> Any: ...
    @property
    def insecure(self) -> bool: ...
    def open(self, name: str, clock: Clock) -> Mailbox: ...
