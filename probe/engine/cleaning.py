"""Cleaning up: canaries that arrived long enough ago are removed, by exact number and by the mailbox kind's own means.

Only copies that the ledger knows as ours are ever named; a copy that is gone by another hand is noted as such.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import groupby
from typing import Any

from probe.clock import NANOSECONDS, Clock, Instant
from probe.engine.books import Books
from probe.engine.controlling import Control
from probe.engine.pacing import Pace, earliest
from probe.ledger.batch import Batch
from probe.mailboxes.base import Mailbox, Removal

MOST_AT_ONCE = 500


class Cleaner:
    """The clean-up of one mailbox, and the control canaries that are put there and removed (controlling.py)."""

    def __init__(self, mailbox: str, options: Any, books: Books, clock: Clock, pace: Pace, control: Control) -> None:
        self._control = control
        self._mailbox = mailbox
        self._after: timedelta = options.after
        self._on = str(options.mode) != "off"
        self._books = books
        self._clock = clock
        self._apart = min(pace.cleanups_apart, max(options.after / 4, timedelta(seconds=1)))
        self._next = clock.now() + self._apart
        self.problem = ""

    def next_run(self) -> Instant | None:
        """When something is due; None where nothing is."""
        return earliest(self._next if self._on else None, self._control.next_run())

    async def run(self, mailbox: Mailbox, call: Callable[..., Awaitable[Any]]) -> None:
        """Do what is due. Raises MailboxError; what was removed before is recorded then."""
        await self._control.run(mailbox, call)
        now = self._clock.now()
        if self._on and now.since(self._next) >= timedelta(0):
            await self._clean(mailbox, call, now)

    async def _clean(self, mailbox: Mailbox, call: Callable[..., Awaitable[Any]], now: Instant) -> None:
        self._next = now + self._apart
        before = now.wall - int(self._after.total_seconds() * NANOSECONDS)
        copies = self._books.ledger.queries.copies_to_remove(self._mailbox, before, MOST_AT_ONCE)
        copies.sort(key=lambda copy: (copy.name, copy.epoch))
        for (name, epoch), group in groupby(copies, key=lambda copy: (copy.name, copy.epoch)):
            some = list(group)
            removal: Removal = await call(mailbox.remove, name, epoch, [copy.uid for copy in some])
            self.problem = removal.problem
            batch = Batch()
            for copy in some:
                if copy.uid in removal.removed:
                    batch.copy_ended(copy.number, removed_at=self._clock.now())
                elif not removal.problem or "UIDVALIDITY" in removal.problem:
                    # The number means nothing any more: the copy, if it is there, was read again under a new one.
                    batch.copy_ended(copy.number, removed_at=None)
            if batch:
                await self._books.commit(batch)
