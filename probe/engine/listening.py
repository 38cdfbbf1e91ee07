"""How a watcher waits: until a look is due, until roused, or until the mailbox hints that a read is due before that.

A hint only moves a read forward. Whether any comes changes nothing about when the next read is due without one.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from probe.canary import counters
from probe.clock import Clock, Instant
from probe.engine.books import Books
from probe.engine.looking import LONGEST_CALL, Call
from probe.engine.supervisor import Pulse, wait_until
from probe.exposition.journal import Journal
from probe.mailboxes.base import Hinting, Mailbox

LISTEN_FROM = timedelta(milliseconds=500)  # in a shorter wait, listening costs more commands than a hint is worth
HOLD = timedelta(seconds=1)


class Waits:
    """The waits of one mailbox's watcher. ``hinted``: the last one ended with a hint that no read has followed yet."""

    def __init__(self, name: str, mailbox: Mailbox, books: Books, clock: Clock, journal: Journal, call: Call) -> None:
        self.hinted = False
        self._name = name
        self._hinting = mailbox if isinstance(mailbox, Hinting) else None
        self._books = books
        self._clock = clock
        self._journal = journal
        self._call = call
        self._roused = asyncio.Event()
        self._said = False
        self._held_until = clock.now()

    def rouse(self) -> None:
        """What is due may have changed: end the wait, or the next one where none is under way."""
        self._roused.set()
        if self._hinting is not None:
            self._hinting.wake()

    def hold(self) -> None:
        """Mail is about to be sent here: no listening for a moment, so that its first read finds the line free."""
        if self._hinting is not None:
            self._held_until = self._clock.now() + HOLD
            self.rouse()

    def begin(self) -> None:
        """From here on a ``rouse`` counts: to be called before it is decided how long to wait."""
        self._roused.clear()

    async def until(self, moment: Instant, pulse: Pulse, *, listen: bool) -> None:
        """Wait, and with ``listen`` take hints meanwhile; may end early for no reason. Raises MailboxError where the
        connection broke while listening."""
        now = self._clock.now()
        left = moment.since(now)
        if not listen or self._hinting is None or left < LISTEN_FROM:
            await wait_until(self._clock, moment, self._roused, pulse)
        elif self._held_until.since(now) > timedelta(0):
            await wait_until(self._clock, now + min(left, self._held_until.since(now)), self._roused, pulse)
        elif self._hears(self._hinting):
            pulse.beat(LONGEST_CALL)
            self.hinted = await self._call(self._hinting.wait, left)
        else:
            await wait_until(self._clock, moment, self._roused, pulse)

    def _hears(self, hinting: Hinting) -> bool:
        """Whether it can listen now; says once why it never will again."""
        if hinting.no_hints and not self._said:
            self._said = True
            self._journal.warning(f"mailbox {self._name}: {hinting.no_hints}; reads go on without hints")
            self._books.owe(counters.PROBE_ERRORS, ("mailbox", "other"))
        return hinting.hints
