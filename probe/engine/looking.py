"""One look at a mailbox: ask, and take what was found to the books with the cursor in one commit.

A crash between the read and the commit only means that the same look finds the same again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from probe.canary import counters
from probe.canary.identity import Keyring, route_mark
from probe.canary.record import Canary
from probe.clock import Clock, Instant
from probe.engine.arrivals import Arrivals, Hands, Place
from probe.engine.books import Books, Step
from probe.engine.folders import FolderState
from probe.engine.reports import Report, Reports
from probe.engine.supervisor import Pulse
from probe.engine.waiting import Deadline, Waiting
from probe.errors import FolderMissing
from probe.ledger.batch import Batch, Read
from probe.mailboxes.base import FolderRead, FolderRequest, Found, Mailbox

LONGEST_CALL = timedelta(minutes=3)  # a mailbox's own limit on one command is two minutes
TOKENS_A_SWEEP = 16

Call = Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Looker:
    """Reads and sweeps of one mailbox. ``call`` runs the mailbox's blocking calls in its own thread."""

    name: str
    mailbox: Mailbox
    folders: Mapping[str, FolderState]
    waiting: Waiting
    books: Books
    arrivals: Arrivals
    reports: Reports | None  # None: no route's bounces come here
    clock: Clock
    call: Call
    keyring: Keyring

    async def look(self, folders: Sequence[str], *, fresh: bool, pulse: Pulse) -> None:
        """Read the folders until each is complete; raises MailboxError."""
        left = list(folders)
        while left:
            pulse.beat(LONGEST_CALL)
            requests = [self._request(folder, fresh) for folder in left]
            reads = await self.call(_read_all, self.mailbox, requests)
            await self._take(requests, reads)
            left = [request.folder for request, read in zip(requests, reads, strict=True) if read and not read.complete]

    def _request(self, folder: str, fresh: bool) -> FolderRequest:
        state = self.folders[folder]
        relist = None
        if fresh and state.cursor is not None:
            relist = self.waiting.floors(folder, state.cursor.epoch)
        oldest = self.waiting.canaries.oldest if self.reports is None else self.books.in_flight.oldest
        rescan: datetime | None = None if oldest is None else oldest.sent.utc - timedelta(days=1)
        return state.request(fresh=fresh, relist_from=relist, rescan_since=rescan)

    async def _take(self, requests: Sequence[FolderRequest], reads: Sequence[FolderRead | None]) -> None:
        """Everything that these reads found, in one commit; reports about other canaries before it."""
        batch = Batch()
        steps: list[Step] = []
        done = [(request, read) for request, read in zip(requests, reads, strict=True) if read is not None]
        reports, judged = await self._reports(done, batch)
        async with AsyncExitStack() as stack:
            hands = self._hands(stack)
            for request, read in done:
                others = [message for message in read.messages if (request.folder, message.uid) not in judged]
                steps += await self.arrivals.take(self._place(request, read), others, batch, hands, steps)
                self._write_read(batch, request, read)
            if self.reports is not None and reports:
                steps += self.reports.join(reports, steps, batch)
            if batch or steps:
                await self.books.commit(batch, steps)
        for request, outcome in zip(requests, reads, strict=True):
            if outcome is None:
                self.folders[request.folder].lose()
            else:
                self.folders[request.folder].take(request, outcome)
        for folder, uid in self.arrivals.doubtful:
            if folder in self.folders:
                self.folders[folder].unreadable.add(uid)
        for folder, uid in self.arrivals.unnamed & self.arrivals.doubtful:
            if folder in self.folders:
                self.folders[folder].unnamed.add(uid)
        self.arrivals.doubtful.clear()
        self.arrivals.unnamed.clear()
        await self.arrivals.control.looked(reads, next(iter(self.folders)))

    def _place(self, request: FolderRequest, read: FolderRead) -> Place:
        after = None if read.reset else self.folders[request.folder].last_look
        return Place(request.folder, read.name, read.cursor.epoch, after, read.ended)

    async def _reports(
        self, done: Sequence[tuple[FolderRequest, FolderRead]], batch: Batch
    ) -> tuple[list[Report], set[tuple[str, int]]]:
        """The reports that must wait for the arrival of their canary, and the place of every report."""
        if self.reports is None:
            return [], set()
        found: list[Report] = []
        for request, read in done:
            found += await self.reports.find(self._place(request, read), read.messages, self._body)
        if not found:
            return [], set()
        messages = [message for _, read in done for message in read.messages]
        arriving = {self.arrivals.recognise(message.header).canary_id for message in messages} - {None}
        later = await self.reports.take(found, {one for one in arriving if one is not None}, batch)
        return later, {(report.place.folder, report.message.uid) for report in found}

    def _write_read(self, batch: Batch, request: FolderRequest, read: FolderRead) -> None:
        state = self.folders[request.folder]
        new_gaps = sum(map(len, read.gaps)) - sum(map(len, request.gaps))
        if new_gaps > 0 and not read.reset:
            batch.count(counters.UID_GAPS, (self.name,), new_gaps)
        if read.cursor != state.cursor or read.gaps != state.gaps:
            # What a cut read left over may have come before it began, but not before the last whole one.
            whole = read.began if read.complete else state.last_look or Instant(0, 0, "")
            hidden = self._hidden(request.folder, read)
            batch.watermark(self.name, request.folder, read.cursor, read.gaps, whole, unreadable=hidden)
        if read.messages or read.reset or (read.fresh and self.waiting.due[Deadline.LOST]):
            batch.read(
                Read(
                    self.name,
                    request.folder,
                    read.began,
                    read.ended,
                    read.fresh,
                    read.complete,
                    read.cursor,
                    len(read.messages),
                    "UIDVALIDITY changed" if read.reset else "",
                )
            )

    def _hidden(self, folder: str, read: FolderRead) -> set[int]:
        """Numbers that were listed and could not be looked at: durable, since no proof may pass over them."""
        known = set() if read.reset else self.folders[folder].unreadable
        given = {message.uid for message in read.messages if not message.header}
        return known | given | {uid for name, uid in self.arrivals.doubtful if name == folder}

    def _hands(self, stack: AsyncExitStack) -> Hands:
        held: set[str] = set()

        async def hold(canary_id: str) -> None:
            if canary_id not in held:
                held.add(canary_id)
                await stack.enter_async_context(self.books.holding([canary_id]))

        async def present(name: str, epoch: int, uids: Sequence[int]) -> frozenset[int]:
            found: frozenset[int] = await self.call(self.mailbox.present, name, epoch, uids)
            return found

        return Hands(present, self._body, hold)

    async def _body(self, name: str, epoch: int, uid: int, limit: int) -> bytes:
        text: bytes = await self.call(self.mailbox.body, name, epoch, uid, limit)
        return text

    async def sweep(self, canaries: Sequence[Canary]) -> None:
        """One look for these identities in every folder of the account (rule 3). Raises MailboxError."""
        tokens = [text for canary in canaries for text in self._identities(canary)]
        for start in range(0, len(tokens), TOKENS_A_SWEEP):
            found: tuple[Found, ...] = await self.call(
                self.mailbox.sweep, tokens[start : start + TOKENS_A_SWEEP], tuple(self.folders)
            )
            await self._take_found(found)

    def _identities(self, canary: Canary) -> tuple[str, str]:
        token = self.keyring.token(
            canary_id=canary.id,
            route=route_mark(canary.prober, canary.leg.route),
            sent_ms=canary.sent.wall // 1_000_000,
            attempt=canary.attempts,
        )
        return token, self.keyring.tag(canary.id)

    async def _take_found(self, found: Sequence[Found]) -> None:
        batch = Batch()
        steps: list[Step] = []
        now = self.clock.now()
        async with AsyncExitStack() as stack:
            hands = self._hands(stack)
            for one in found:
                place = Place(one.name, one.name, one.epoch, None, now, watched=False)
                steps += await self.arrivals.take(place, [one.message], batch, hands, steps)
            if batch or steps:
                await self.books.commit(batch, steps)


def _read_all(mailbox: Mailbox, requests: Sequence[FolderRequest]) -> list[FolderRead | None]:
    """In the mailbox's thread: read each folder; None for one that is not there."""
    reads: list[FolderRead | None] = []
    for request in requests:
        try:
            reads.append(mailbox.read(request))
        except FolderMissing:
            reads.append(None)
    return reads
