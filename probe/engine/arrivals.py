"""From a message in a folder to an observation: who is it, is it the first copy, and when did it arrive?

Nothing here is believed without a signature (message.recognise). What is counted and not believed goes into
``foreign``; mail that is none of our business leaves no trace at all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from probe.canary import counters
from probe.canary import observations as seen
from probe.canary.coverage import Cursor
from probe.canary.identity import Keyring
from probe.canary.record import Canary
from probe.clock import Clock, Instant
from probe.engine.books import Books, Step
from probe.engine.controlling import Control
from probe.exposition.journal import Journal
from probe.ledger.batch import Batch, Copy
from probe.ledger.queries import StoredCopy
from probe.mailboxes.base import Message
from probe.message.recognise import Kind, Recognition, RouteExpectation, recognise

# A body is fetched only where the headers cannot tell; a flood of such mail must not cost a round trip each.
BODIES_A_READ = 20
LONGEST_BODY = 64 * 1024
LEARNED_FROM = 100
WIDEST = 30.0  # seconds

_FOREIGN = {
    Kind.FORGED: "forged",
    Kind.EXPIRED: "expired",
    Kind.REPLAYED: "replayed",
    Kind.REPLY: "reply",
}

Present = Callable[[str, int, Sequence[int]], Awaitable[frozenset[int]]]
Body = Callable[[str, int, int, int], Awaitable[bytes]]
Hold = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Hands:
    """What taking a message may need of others: a look for earlier copies, a body, and the hold of a canary."""

    present: Present
    body: Body
    hold: Hold


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message lies and when it can have come: after ``after`` (None: unknown), not after ``seen``."""

    folder: str
    name: str
    epoch: int
    after: Instant | None
    seen: Instant
    watched: bool = True


class MailboxClock:
    """What the mailbox's clock is ahead of ours, as bounds in seconds, learned from arrivals (rule 9)."""

    def __init__(self) -> None:
        self._bounds: deque[tuple[float, float]] = deque(maxlen=LEARNED_FROM)
        self._known = 0.0, 0.0

    def learn(self, stamped: datetime, after: Instant, seen_at: Instant) -> None:
        """An arrival between two instants of ours was stamped so; INTERNALDATE is cut to whole seconds."""
        low = (stamped - seen_at.utc).total_seconds()
        high = (stamped - after.utc).total_seconds() + 1.0
        if high - low > WIDEST:
            return  # seen after blindness: it says next to nothing, and would push out what does
        if not self._fits(low, high):
            self._bounds.clear()  # the server's clock was set: what was learned before is void
        self._bounds.append((low, high))
        self._known = max(low for low, _ in self._bounds), min(high for _, high in self._bounds)

    def _fits(self, low: float, high: float) -> bool:
        known_low, known_high = self.bounds()
        return not self._bounds or max(low, known_low) <= min(high, known_high)

    def bounds(self) -> tuple[float, float]:
        """(low, high): the intersection of all; (0, 0) while nothing was learned."""
        return self._known


class Arrivals:
    """Takes the messages of one mailbox to the books."""

    def __init__(
        self,
        mailbox: str,
        *,
        keyring: Keyring,
        known: Mapping[bytes, RouteExpectation],
        books: Books,
        clock: Clock,
        journal: Journal,
        dots: Callable[[Canary], Instant | None],
        control: Control,
    ) -> None:
        self.mailbox = mailbox
        self.control = control
        self._keyring = keyring
        self._known = known
        self._books = books
        self._clock = clock
        self._journal = journal
        self._dots = dots
        self.clock_offset = MailboxClock()
        self.doubtful: set[tuple[str, int]] = set()  # no proof of loss may pass over these
        self.unnamed: set[tuple[str, int]] = set()  # those of them that are from us and name no canary

    async def take(
        self, place: Place, messages: Sequence[Message], batch: Batch, hands: Hands, earlier: Sequence[Step] = ()
    ) -> list[Step]:
        """The steps that these messages mean, put into ``batch``. Each canary is held (``hands.hold``) before it is
        looked at; the caller lets go after the commit. ``earlier``: steps already in the batch."""
        steps: list[Step] = []
        bodies = BODIES_A_READ
        for message in messages:
            found = self.recognise(message.header)
            if found.kind is Kind.NEEDS_BODY and bodies > 0:
                body = await hands.body(place.name, place.epoch, message.uid, LONGEST_BODY)
                found = self.recognise(message.header, body)
                bodies -= found.kind is not Kind.ARRIVAL  # only mail that is not ours uses the allowance up
            steps += await self._take_one(place, message, found, batch, [*earlier, *steps], hands)
        return steps

    def recognise(self, header: bytes, body: bytes | None = None) -> Recognition:
        """What a message is to this mailbox."""
        return recognise(
            header,
            keyring=self._keyring,
            now_ms=self._clock.now().wall // 1_000_000,
            known=self._known,
            mailbox=self.mailbox,
            body=body,
            control=self.control.mark,
        )

    async def _take_one(
        self, place: Place, message: Message, found: Recognition, batch: Batch, earlier: list[Step], hands: Hands
    ) -> list[Step]:
        if found.kind is Kind.UNNAMED:
            # A gateway that strips every carrier leaves this of a canary: it arrived, and nobody can say which it is.
            self._journal.not_believed(self.mailbox, found.kind.value, found.sentence)
            self.doubtful.add((place.folder, message.uid))
            self.unnamed.add((place.folder, message.uid))
            return []
        if not message.header or found.kind in (Kind.NEEDS_BODY, Kind.UNPARSABLE):
            # Nobody looked at what decides, so it may be a canary: no proof of loss may pass over it.
            batch.count(counters.FOREIGN, (self.mailbox, "unparsable"))
            self.doubtful.add((place.folder, message.uid))
            return []
        if found.kind is Kind.EXPIRED and self._is_waited_for(found.canary_id, earlier):
            # Nobody read until its watch was over (the prober was off): disbelieved now, it would be proven lost.
            found = replace(found, kind=Kind.ARRIVAL)
        if found.kind in _FOREIGN:
            self._disbelieve(batch, _FOREIGN[found.kind], found.sentence)
            return []
        if found.kind is Kind.CONTROL and found.canary_id is not None and place.watched:
            self.control.seen(found.canary_id, place.name, place.epoch, message.uid, place.seen, batch)
        if found.kind is not Kind.ARRIVAL or found.canary_id is None:
            return []
        canary = self._current(found.canary_id, earlier)
        if canary is not None and canary.leg.mailbox == self.mailbox:
            # Only its own mailbox's watcher holds a canary for long: two that hold each other's would wait for ever.
            await hands.hold(found.canary_id)
            canary = self._current(found.canary_id, earlier)
        if canary is None:
            self._disbelieve(batch, "no_ledger_row", f"{found.canary_id}: signed by us, not in this ledger")
            return []
        refused = self._refused(canary)
        if refused:
            self._disbelieve(batch, *refused)
            return []
        return await self._arrived(canary, place, message, found, batch, hands.present)

    def _current(self, canary_id: str, earlier: list[Step]) -> Canary | None:
        """The canary, with the steps of this same batch already taken."""
        for step in reversed(earlier):
            if step.move.canary.id == canary_id:
                return step.move.canary
        return self._books.find(canary_id)

    def _is_waited_for(self, canary_id: str | None, earlier: list[Step]) -> bool:
        canary = None if canary_id is None else self._current(canary_id, earlier)
        return canary is not None and canary.state.in_flight

    def _refused(self, canary: Canary) -> tuple[str, str] | None:
        """What the ledger knows against a signed message: another mailbox, or its time is over."""
        if canary.leg.mailbox != self.mailbox:
            return "replayed", f"{canary.id}: a canary of mailbox {canary.leg.mailbox}"
        if canary.state.terminal and self._clock.now().since(canary.watched_until) > timedelta(0):
            return "expired", f"{canary.id}: its identity has expired"
        return None

    def _disbelieve(self, batch: Batch, kind: str, sentence: str) -> None:
        batch.count(counters.FOREIGN, (self.mailbox, kind))
        self._journal.not_believed(self.mailbox, kind, sentence)

    async def _arrived(
        self, canary: Canary, place: Place, message: Message, found: Recognition, batch: Batch, present: Present
    ) -> list[Step]:
        copies = self._books.ledger.queries.copies(canary.id) if canary.arrived is not None else []
        known = {*((c.name, c.epoch, c.uid) for c in copies), *batch.places_of(canary.id)}
        if (place.name, place.epoch, message.uid) in known:
            return []  # the same message, read again
        if canary.arrived is None:
            kind = "first"
            observation: seen.Observation = self._observation(canary, place, message)
            dot = self._dots(canary)
            if canary.clock_started is None and dot is not None:
                canary = replace(canary, clock_started=dot)
        else:
            kind = await self._kind_of_copy(canary, place, copies, batch, present)
            observation = seen.CopySeen(place.seen, place.folder, kind)
        batch.copy(
            Copy(
                canary=canary.id,
                mailbox=self.mailbox,
                folder=place.folder,
                name=place.name,
                cursor=Cursor(place.epoch, message.uid),
                seen=place.seen,
                mailbox_time=message.arrived,
                kind=kind,
                carriers=sorted(carrier.value for carrier in found.carriers),
                received=found.received,
            )
        )
        if kind == "first":
            for carrier in found.carriers:
                batch.count(counters.CARRIERS, (*counters.leg_labels(canary.leg), carrier.value))
        return [self._books.step(canary, observation, batch)]

    def _observation(self, canary: Canary, place: Place, message: Message) -> seen.Arrived:
        low, high = self.clock_offset.bounds()
        if message.arrived is not None and place.after is not None:
            after = place.after if place.after.since(canary.zero) > timedelta(0) else canary.zero
            self.clock_offset.learn(message.arrived, after, place.seen)
        return seen.Arrived(place.after, place.seen, place.folder, message.arrived, low, high, place.watched)

    async def _kind_of_copy(
        self, canary: Canary, place: Place, copies: Sequence[StoredCopy], batch: Batch, present: Present
    ) -> str:
        """duplicate, moved, copied or reread (docs/how-it-decides.md)."""
        fresh = batch.places_of(canary.id)  # found by this same look, so not in the ledger yet
        epochs = [*((c.name, c.epoch) for c in copies), *((name, epoch) for name, epoch, _ in fresh)]
        older_epoch = [epoch for name, epoch in epochs if name == place.name and epoch != place.epoch]
        same_epoch = [epoch for name, epoch in epochs if name == place.name and epoch == place.epoch]
        if len(older_epoch) > len(same_epoch):
            return "reread"  # the numbers changed, not the mail
        if any(c.removed_at is not None for c in copies):
            return "duplicate"  # we deleted the earlier one, so this is another
        there = False
        for name, epoch, uid in fresh:
            if uid in await present(name, epoch, [uid]):
                there = True
                if name == place.name:
                    return "duplicate"
        for copy in copies:
            if copy.gone:
                continue
            if copy.uid in await present(copy.name, copy.epoch, [copy.uid]):
                there = True
                if copy.name == place.name:
                    return "duplicate"
            else:
                batch.copy_ended(copy.number, removed_at=None)
        return "copied" if there else "moved"
