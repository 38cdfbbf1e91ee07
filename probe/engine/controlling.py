"""The control canary of one mailbox: a message that the prober puts there itself, past the path, and then has to see.

Seen by an ordinary read, it proves that the watcher sees what is in the mailbox. It is no canary of a route: never
sent, in no total, no arrival; it is told by what is signed alone (message/control.py) and believed only where the
record names it. The record (the ledger's ``meta``) is written before a message is put there and together with the read
that saw it, so that neither a crash nor a restart loop leaves messages behind or puts any sooner than the interval.

One that a complete read begun well after it was put there does not show is *missed*: then the reads of this mailbox
prove nothing, and nothing is judged by them until a control canary is seen again.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import groupby
from typing import Any

from probe.canary import counters
from probe.canary.identity import Keyring, new_canary_id
from probe.clock import NANOSECONDS, Clock, Instant
from probe.engine.books import Books
from probe.engine.control_record import Left, Record, Scheme, parsed
from probe.engine.pacing import earliest
from probe.exposition.journal import Journal
from probe.ledger.batch import Batch
from probe.ledger.queries import Queries
from probe.mailboxes.base import FolderRead, Mailbox, Placing, Removal
from probe.message.control import compose_control, control_mark, control_token

MISSED_AFTER = timedelta(minutes=1)  # a server may show it to other connections a little later
LONGEST_WAIT = timedelta(hours=1)  # between two while each is missed, where the interval is not longer
REMOVE_AGAIN_AFTER = timedelta(minutes=10)
MOST_LEFT = 3  # seen and not removed: then no more are put there
MOST_OLD = 32

Call = Callable[..., Awaitable[Any]]


class Control:
    """The control canaries of one mailbox. Does nothing before ``load``, and puts nothing there before ``begin``."""

    def __init__(
        self, scheme: Scheme, *, books: Books, clock: Clock, journal: Journal, keyring: Keyring, chance: random.Random
    ) -> None:
        self.scheme = scheme
        self.mark = control_mark(scheme.prober, scheme.mailbox)
        self._books = books
        self._clock = clock
        self._journal = journal
        self._keyring = keyring
        self._chance = chance
        self._record: Record | None = None
        self._next: Record | None = None  # what the read under way makes of it, until that is durable
        self._begun = False
        self._placed = self._remove_at = clock.now()
        self._there_since: Instant | None = None  # the mailbox took the one that is out; None: nobody knows
        self._refused = ""
        self._stuck = ""

    @property
    def _key(self) -> str:
        return f"control:{self.scheme.mailbox}"

    def load(self, queries: Queries) -> None:
        """Take over what the last run, or configuration, left."""
        now = self._clock.now()
        self._record = record = parsed(queries.meta(self._key), now)
        self._placed = now + -_nanoseconds(max(0, now.wall - record.placed))  # a clock set back holds nothing up long
        self._remove_at = now

    def begin(self) -> None:
        """From here on put messages there."""
        self._begun = True

    # What others want to know.

    @property
    def wanted(self) -> bool:
        """Whether this mailbox has control canaries."""
        return self.scheme.every is not None

    @property
    def last_success(self) -> float:
        """When one was seen last, as unix seconds; 0.0: never."""
        return 0.0 if self._record is None else self._record.success / NANOSECONDS

    @property
    def shown(self) -> float:
        """For the metric: the last success, or since when there could have been one."""
        return 0.0 if self._record is None else (self._record.success or self._record.since) / NANOSECONDS

    @property
    def missed_since(self) -> Instant | None:
        """When the one was put there that was missed last; None while none is missed."""
        record = self._record
        return None if record is None or not self.unseen() else Instant(record.placed, 0, "")

    def unseen(self) -> str:
        """Why the reads of this mailbox prove nothing, "" while they do."""
        record = self._record
        if record is None or not record.missed or not self.wanted:
            return ""
        when = Instant(record.placed, 0, "").isoformat()
        return f"the control canary put into the mailbox at {when} was not seen by complete reads"

    @property
    def problem(self) -> str:
        """What is wrong, in a sentence; "" where nothing is."""
        return self.unseen() or self._refused or self._stuck

    # Putting and removing: in the watcher's loop.

    def next_run(self) -> Instant | None:
        """When something is to be done; None: nothing, as far as is known now."""
        return earliest(self._removal_due(), self._placing_due())

    def _removal_due(self) -> Instant | None:
        record = self._record
        return self._remove_at if record is not None and record.left and self.scheme.removable else None

    def _placing_due(self) -> Instant | None:
        record, every = self._record, self.scheme.every
        if record is None or every is None or not self._begun or len(record.left) >= MOST_LEFT:
            return None
        if record.id and self._there_since is not None:
            return None  # it is out: a read will show it, or show that it is missed
        wait: timedelta = min(every * 2 ** min(12, max(0, record.missed - 1)), max(every, LONGEST_WAIT))
        return self._placed + wait

    async def run(self, mailbox: Mailbox, call: Call) -> None:
        """Do what is due. Raises MailboxError, LedgerUnwritable."""
        now = self._clock.now()
        if _passed(self._removal_due(), now):
            await self._remove(mailbox, call)
        if _passed(self._placing_due(), now):
            await self._place(mailbox, call)

    async def _place(self, mailbox: Mailbox, call: Call) -> None:
        record = self._known()
        if not isinstance(mailbox, Placing):
            self._begun = False
            self._refuse("this kind of mailbox cannot take one")
            return
        now, scheme = self._clock.now(), self.scheme
        control_id = new_canary_id(self._chance.randbytes(8))
        token = control_token(self._keyring, control_id=control_id, mark=self.mark, sent_ms=now.wall // 1_000_000)
        message = compose_control(
            token=token, prober=scheme.prober, mailbox=scheme.mailbox, host=scheme.host, date=now.utc
        )
        old = (*record.old, record.id)[-MOST_OLD:] if record.id else record.old
        await self._write(replace(record, placed=now.wall, id=control_id, old=old))
        self._placed, self._there_since = now, None
        problem: str = await call(mailbox.place, message)
        if problem:
            await self._write(replace(self._known(), id=""))
            self._refuse(problem)
            return
        self._there_since, self._refused = self._clock.now(), ""

    def _refuse(self, problem: str) -> None:
        """Said once, until one was taken again."""
        if not self._refused:
            self._journal.control_refused(self.scheme.mailbox, problem)
        self._refused = f"no control canary could be put there: {problem}"
        self._books.owe(counters.PROBE_ERRORS, ("control", "refused"))

    async def _remove(self, mailbox: Mailbox, call: Call) -> None:
        self._remove_at = self._clock.now() + REMOVE_AGAIN_AFTER
        problem = ""
        by_place = sorted(self._known().left, key=lambda one: (one.name, one.epoch))
        for (name, epoch), group in groupby(by_place, key=lambda one: (one.name, one.epoch)):
            some = list(group)
            removal: Removal = await call(mailbox.remove, name, epoch, [one.uid for one in some])
            # Under another UIDVALIDITY the numbers mean nothing any more; what is there was, or will be, read again.
            void = "UIDVALIDITY" in removal.problem
            gone = {one for one in some if void or one.uid in removal.removed}
            problem = problem or ("" if void else removal.problem)
            record = self._known()
            await self._write(replace(record, left=tuple(one for one in record.left if one not in gone)))
        if problem and not self._stuck:
            self._journal.warning(f"mailbox {self.scheme.mailbox}: a control canary could not be removed: {problem}")
        if problem:
            self._books.owe(counters.PROBE_ERRORS, ("control", "remove"))
        self._stuck = f"control canaries could not be removed: {problem}" if problem else ""

    # Seeing: with the reads.

    def seen(self, control_id: str, name: str, epoch: int, uid: int, at: Instant, batch: Batch) -> None:
        """A message with a signature of ours lies there. What the record does not name is a copy: nothing."""
        record = self._next or self._record
        if record is None:
            return
        place = Left(control_id, name, epoch, uid)
        others = [one for one in record.left if one.id != control_id]
        known = [one for one in record.left if one.id == control_id]
        if control_id == record.id:
            record = replace(record, id="", success=at.wall, missed=0, left=(*others, place))
        elif control_id in record.old:
            old = tuple(one for one in record.old if one != control_id)
            record = replace(record, old=old, left=(*others, place))
        elif known and known[0].epoch != epoch:
            record = replace(record, left=(*others, place))  # the numbers changed, not the message
        elif place not in known:
            return
        self._next = record
        batch.note(self._key, record.text())

    async def looked(self, reads: Sequence[FolderRead | None], first: str) -> None:
        """These reads, and what ``seen`` made of them, are in the ledger. ``first``: the folder it is put into.

        Raises LedgerUnwritable.
        """
        before, after, self._next = self._record, self._next, None
        if before is None:
            return
        if after is not None:
            self._record = after
            self._remove_at = self._clock.now()
            if after.success != before.success:
                self._there_since = None
                if before.missed:
                    gap = (after.success - (before.success or before.since)) / NANOSECONDS
                    self._journal.control_seen(self.scheme.mailbox, gap)
            return
        since = self._there_since
        if since is None or not before.id:
            return
        late = since + MISSED_AFTER
        if any(r and r.folder == first and r.complete and r.began.since(late) >= timedelta(0) for r in reads):
            await self._write(replace(before, missed=before.missed + 1))
            self._there_since = None
            self._books.owe(counters.PROBE_ERRORS, ("control", "missed"))
            self._journal.control_missed(self.scheme.mailbox, self.unseen())

    # The record.

    def _known(self) -> Record:
        assert self._record is not None, "not loaded"
        return self._record

    async def _write(self, record: Record) -> None:
        """Durable first, then ours. Raises LedgerUnwritable."""
        batch = Batch()
        batch.note(self._key, record.text())
        await self._books.commit(batch)
        self._record = record


def _passed(due: Instant | None, now: Instant) -> bool:
    return due is not None and now.since(due) >= timedelta(0)


def _nanoseconds(count: int) -> timedelta:
    return timedelta(microseconds=count / 1000)
