"""One canary's attempts, from its intent to the server's last word.

Order of durable writes and acts (rules 1 and 2): the intent with its attempt, then the network; ``data_started``,
then content; the answer, then the next attempt. A canary whose outcome is unsure is never sent again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from probe.canary import observations as seen
from probe.canary.coverage import Cursor
from probe.canary.identity import Keyring, new_canary_id, route_mark
from probe.canary.record import Canary, Deadlines, Leg, State
from probe.clock import Clock, Instant
from probe.config.model import Route
from probe.engine.books import Books
from probe.engine.caps import Caps
from probe.engine.pauses import Pauses
from probe.engine.submissions import attempt_row, book, never_sent, observation_of
from probe.engine.supervisor import Pulse, wait_until
from probe.errors import IllegalMove, LedgerUnwritable
from probe.ledger.batch import Batch
from probe.message.addresses import tagged
from probe.message.compose import compose
from probe.senders.base import Envelope, Sender, Showing, SoFar, Submission

WRITE_AGAIN_AFTER = timedelta(seconds=1)

Floors = Callable[[], Mapping[str, Cursor] | None]


class Superseded(Exception):
    """The canary left ``intent`` while its attempt was under way (an earlier copy arrived): content must not go out."""


@dataclass(frozen=True, slots=True)
class Prober:
    """Who sends: name, the host in Message-IDs, keys, chance."""

    name: str
    host: str
    keyring: Keyring
    chance: random.Random


class Attempts:
    """The canaries of one leg, each by a coroutine of its own.

    ``in_hand``: those whose coroutine runs. ``dots``: the final dot of each whose answer is awaited.
    ``successor``: who goes on with a canary that is deferred when ``stopping`` is set by a reload.
    """

    def __init__(
        self,
        route: Route,
        leg: Leg,
        sender: Sender,
        *,
        books: Books,
        caps: Caps,
        pauses: Pauses,
        clock: Clock,
        prober: Prober,
        floors: Floors,
        stopping: asyncio.Event,
    ) -> None:
        self.route = route
        self.leg = leg
        self.sender = sender
        self._books = books
        self._caps = caps
        self._pauses = pauses
        self._clock = clock
        self._prober = prober
        self._floors = floors
        self._stopping = stopping
        self._variant = 0
        self.in_hand: set[str] = set()
        self.successor: Callable[[Canary], None] | None = None
        self.dots: dict[str, Instant] = {}
        self.certificate_expires = 0.0
        self.answered: Callable[[Submission], None] = lambda _submission: None  # each answer, once it is durable

    async def go_on(self, canary_id: str) -> None:
        """The further attempts of a canary that an earlier run or generation left deferred."""
        self.in_hand.add(canary_id)
        try:
            await self._retry(canary_id)
        finally:
            self.in_hand.discard(canary_id)

    def new_id(self) -> str:
        """An id for ``first``."""
        return new_canary_id(self._prober.chance.randbytes(8))

    async def first(self, now: Instant, canary_id: str | None = None) -> None:
        """A new canary, until it is deferred no more."""
        canary = Canary(
            id=canary_id or self.new_id(),
            leg=self.leg,
            prober=self._prober.name,
            variant=self._next_variant(),
            deadlines=Deadlines(self.route.overdue_after, self.route.lost_after, self.route.watch_for),
            sent=now,
            floors=dict(self._floors() or {}),
            key=self._prober.keyring.signing_key,
            mail_from=self.route.mail_from,
        )
        self._books.adopt(canary)
        self.in_hand.add(canary.id)
        try:
            if await self._intend(canary, now) and await self._attempt(canary.id, now):
                await self._retry(canary.id)
        finally:
            self.in_hand.discard(canary.id)

    async def _intend(self, canary: Canary, now: Instant) -> bool:
        """Rule 1: the intent on disk; False where it cannot be written."""
        batch = Batch()
        batch.attempt(attempt_row(canary, now, self.route.rcpt_to))
        try:
            await self._books.observe(canary.id, seen.Intended(now), batch)
        except LedgerUnwritable:
            self._books.forget(canary.id)  # nothing was sent, nothing is on disk: it never existed
            return False
        return True

    def _next_variant(self) -> str:
        variant = self.route.variants[self._variant % len(self.route.variants)]
        self._variant += 1
        return variant

    async def _retry(self, canary_id: str) -> None:
        """The further attempts of a deferred canary, until it is deferred no more."""
        while True:
            canary = self._books.find(canary_id)
            if canary is None or canary.state is not State.DEFERRED or canary.retry_at is None:
                return
            await wait_until(self._clock, canary.retry_at, self._stopping, Pulse(self._clock))
            if self._stopping.is_set():
                self.in_hand.discard(canary_id)
                if self.successor is not None:
                    self.successor(canary)
                return
            now = self._clock.now()
            if now.since(canary.zero) >= canary.deadlines.lost_after:
                await self._give_up(canary, now)
                return
            paused = self._pauses.of(self.leg.route, now) is not None
            if paused or self._caps.refuses(now, self.leg.route, self.route.rcpt_to):
                await self._clock.sleep(timedelta(seconds=1))
                continue
            # Before any wait: those that retry at the same moment must see each other.
            self._caps.record(now, self.leg.route, self.route.rcpt_to)
            if not await self._begin_retry(canary_id, now) or not await self._attempt(canary_id, now):
                return

    async def _give_up(self, canary: Canary, now: Instant) -> None:
        """The next try could not begin in time (down, suspended, capped): sent now, it would be called lost at once."""
        lost_after = canary.deadlines.lost_after.total_seconds()
        detail = f"the next try could not begin within lost_after, {lost_after:g} s; {canary.reason}"
        while True:
            try:
                await self._books.observe(canary.id, seen.SendDeferred(now, None, None, detail))
            except LedgerUnwritable:
                await self._clock.sleep(WRITE_AGAIN_AFTER)
            except IllegalMove:
                return  # it arrived meanwhile
            else:
                return

    async def _begin_retry(self, canary_id: str, now: Instant) -> bool:
        canary = self._books.find(canary_id)
        if canary is None or canary.state is not State.DEFERRED:
            return False
        batch = Batch()
        started = seen.AttemptStarted(now, canary.attempts + 1)
        batch.attempt(attempt_row(replace(canary, attempts=started.attempt), now, self.route.rcpt_to))
        try:
            await self._books.observe(canary_id, started, batch)
        except LedgerUnwritable:
            await self._clock.sleep(WRITE_AGAIN_AFTER)
            return True
        except IllegalMove:
            return False  # it arrived meanwhile
        return True

    async def _attempt(self, canary_id: str, started: Instant) -> bool:
        """One attempt, begun at ``started``; True when the canary is deferred now."""
        canary = self._books.find(canary_id)
        if canary is None or canary.state is not State.INTENT:
            return canary is not None and canary.state is State.DEFERRED

        async def before_data() -> None:
            try:
                await self._books.observe(canary_id, seen.DataStarted(self._clock.now()))
            except IllegalMove as cause:
                raise Superseded(canary_id) from cause

        def content_sent(at: Instant) -> None:
            self.dots[canary_id] = at

        try:
            submission = await self.sender.submit(
                self.envelope(canary_id),
                self.message(canary),
                mx=self.leg.mx,
                before_data=before_data,
                content_sent=content_sent,
            )
        except (LedgerUnwritable, Superseded) as cause:
            return await self._record(canary, never_sent(str(cause)), started)
        else:
            if submission.certificate_expires is not None:
                self.certificate_expires = submission.certificate_expires.wall / 1e9
            return await self._record(canary, submission, started)
        finally:
            # Not before the answer is durable: until then it is all that an arrival can be measured from.
            self.dots.pop(canary_id, None)

    def envelope(self, canary_id: str) -> Envelope:
        """The envelope of a canary: the route's addresses, with its tag where the route asks for one."""
        route, tag = self.route, self._prober.keyring.tag(canary_id)
        mail_from = tagged(route.mail_from, tag) if route.envelope_tag else route.mail_from
        rcpt_to = tagged(route.rcpt_to, tag) if route.plus_tag else route.rcpt_to
        return Envelope(mail_from, rcpt_to, tag)

    def so_far(self, canary_id: str) -> SoFar | None:
        """Where the canary's attempt under way stands, where the kind of sender can show it."""
        tag = self._prober.keyring.tag(canary_id)
        return self.sender.so_far(tag) if isinstance(self.sender, Showing) else None

    def message(self, canary: Canary) -> bytes:
        """The message of a canary's present attempt."""
        token = self._prober.keyring.token(
            canary_id=canary.id,
            route=route_mark(self._prober.name, self.leg.route),
            sent_ms=canary.sent.wall // 1_000_000,
            attempt=canary.attempts,
        )
        return compose(
            identity_token=token,
            tag=self._prober.keyring.tag(canary.id),
            mail_from=self.route.mail_from,
            rcpt_to=self.envelope(canary.id).rcpt_to,
            prober_host=self._prober.host,
            date=canary.sent.utc,
            auto_submitted=self.route.auto_submitted,
            prober=self._prober.name,
            route=self.leg.route,
        )

    async def _record(self, canary: Canary, submission: Submission, started: Instant) -> bool:
        """Make the answer durable, however long the ledger takes to be writable again; True when deferred."""
        observation = observation_of(canary, submission, self._clock.now(), self.sender.retry)
        while True:
            batch = Batch()
            book(batch, canary, submission, attempt_row(canary, started, self.route.rcpt_to))
            try:
                after = await self._books.observe(canary.id, observation, batch)
            except LedgerUnwritable:
                await self._clock.sleep(WRITE_AGAIN_AFTER)
                continue
            except IllegalMove:
                return False  # it ended meanwhile in a way that leaves nothing to add
            self.answered(submission)
            return after is not None and after.state is State.DEFERRED
