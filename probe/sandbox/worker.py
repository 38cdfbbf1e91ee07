"""The worker behind the spool: primary store, backup store, delivery. The 2015 incident lives in ``_process``."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import timedelta

from probe.clock import Clock
from probe.sandbox.bounce import report, wants_report
from probe.sandbox.faults import FaultBoard, FaultName
from probe.sandbox.imap_server import INBOX, JUNK
from probe.sandbox.spool import Spool
from probe.sandbox.stores import MessageStore, StoredMessage

RETRY_AFTER = timedelta(seconds=1)
MOST_REMEMBERED = 50_000

_log = logging.getLogger(__name__)

Deliver = Callable[[StoredMessage, str], Awaitable[None]]
"""Puts a message into the folder of that name."""


class BackupRefused(Exception):
    """The backup database refused the write."""


class Worker:
    """Takes messages from the spool until it is cancelled.

    ``delivered`` + ``bounced`` + ``dropped`` + the spool's waiting = all that was put into the spool. ``junked`` and
    ``duplicated`` count, of the delivered ones, those that went to Junk and those that were stored twice; ``requeued``,
    of the dropped ones, those that were brought back (``duplicate`` stores these twice as well). The newest 50,000
    dropped messages can be brought back. ``takes_bounces`` says whether the mailbox here gets an address's bounces:
    others are not sent, as nothing leaves this host.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        spool: Spool,
        primary: MessageStore,
        backup: MessageStore,
        deliver: Deliver,
        takes_bounces: Callable[[str], bool],
        faults: FaultBoard,
    ) -> None:
        self._clock = clock
        self._spool = spool
        self._primary = primary
        self._backup = backup
        self._deliver = deliver
        self._takes_bounces = takes_bounces
        self._faults = faults
        self._delay_decided: set[str] = set()
        self._vanished: deque[str] = deque()
        self._requeueing = asyncio.Lock()
        self.delivered = 0
        self.junked = 0
        self.duplicated = 0
        self.bounced = 0
        self.dropped = 0
        self.requeued = 0

    async def run(self) -> None:
        """Work. A store that cannot be written for a reason of its own keeps the message in the spool."""
        while True:
            message = await self._spool.next()
            if self._delayed(message):
                continue
            try:
                await self._process(message)
            except OSError as error:
                _log.warning("sandbox: %s stays in the spool: %s", message.queue_id, error)
                self._spool.hold(message.queue_id, self._clock.now() + RETRY_AFTER)
            else:
                self._delay_decided.discard(message.queue_id)
                self._spool.done(message.queue_id)

    def _delayed(self, message: StoredMessage) -> bool:
        if message.queue_id in self._delay_decided:
            return False
        self._delay_decided.add(message.queue_id)
        fault = self._faults.hit(FaultName.DELAY, message.intake)
        if fault is None:
            return False
        self._spool.hold(message.queue_id, message.accepted + fault.delay)
        return True

    async def _process(self, message: StoredMessage) -> None:
        self._primary.write(message)
        try:
            self._write_backup(message)
        except BackupRefused:
            # The bug of 2015, kept on purpose: a store that "is not supposed to impact customer-facing systems" fails,
            # the exception is swallowed, and the message is neither delivered nor left in the queue.
            self._remember(message.queue_id)
            return
        if self._faults.hit(FaultName.BOUNCE, message.intake) is not None:
            await self._bounce(message)
        else:
            await self._store(message)
        self._primary.settle(message.queue_id)
        self._backup.settle(message.queue_id)

    async def _store(self, message: StoredMessage) -> None:
        junk = self._faults.hit(FaultName.JUNK, message.intake) is not None
        twice = self._faults.hit(FaultName.DUPLICATE, message.intake) is not None
        for _ in range(2 if twice else 1):
            await self._deliver(message, JUNK if junk else INBOX)
        self.delivered += 1
        self.junked += junk
        self.duplicated += twice

    async def _bounce(self, message: StoredMessage) -> None:
        if wants_report(message) and self._takes_bounces(message.mail_from):
            now = self._clock.now()
            content = report(message, now.utc)
            back = StoredMessage(message.queue_id, message.intake, "", (message.mail_from,), now, content)
            await self._deliver(back, INBOX)
        self.bounced += 1

    def _write_backup(self, message: StoredMessage) -> None:
        if self._faults.hit(FaultName.BACKUP_DB, message.intake) is not None:
            raise BackupRefused(message.queue_id)
        self._backup.write(message)

    def _remember(self, queue_id: str) -> None:
        self.dropped += 1
        self._vanished.append(queue_id)
        if len(self._vanished) > MOST_REMEMBERED:
            self._primary.settle(self._vanished.popleft())

    async def requeue(self) -> int:
        """Deliver what was dropped, from the primary store, oldest first; the number delivered. It goes past the backup
        store, as the repair of 2015 did; ``duplicate`` hits it, as a re-queue that is run twice. Raises OSError where
        the primary store cannot be read."""
        async with self._requeueing:
            back = 0
            for _ in range(len(self._vanished)):  # not what is dropped meanwhile: this ends
                message = self._primary.read(self._vanished[0])
                twice = self._faults.hit(FaultName.DUPLICATE, message.intake) is not None
                for _ in range(2 if twice else 1):
                    await self._deliver(message, INBOX)
                self._primary.settle(self._vanished.popleft())
                self.requeued += 1
                self.duplicated += twice
                back += 1
            return back
