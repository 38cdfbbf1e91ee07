"""The books: canaries in flight in memory, and every step of theirs through the ledger first.

A step is computed by ``life``, written in one transaction, and only then taken over in memory (``on_durable``). Steps
of one canary never overlap: whoever takes one holds it. What memory says is therefore what the ledger says.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from probe.canary import counters, life
from probe.canary.life import Effect, Move
from probe.canary.observations import CopySeen, DelayReported, Observation
from probe.canary.record import Canary, Leg, State
from probe.clock import Clock
from probe.engine.flying import Flying
from probe.errors import LedgerUnwritable
from probe.exposition.journal import Journal
from probe.exposition.live import Exemplar
from probe.ledger.batch import Batch
from probe.ledger.store import Ledger

Listener = Callable[[Canary, Move], None]


@dataclass(slots=True)
class _Hold:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """A canary before a move, the observation, and the move."""

    before: Canary
    observation: Observation
    move: Move


class Books:
    """In-flight canaries and their steps."""

    def __init__(self, ledger: Ledger, clock: Clock, journal: Journal) -> None:
        self.ledger = ledger
        self._clock = clock
        self._journal = journal
        self._holds: dict[str, _Hold] = {}
        self._owed = Batch()  # counts that a failed commit could not write; they go with the next one
        self._was_writable = True
        self.in_flight = Flying()
        self.exemplars: dict[tuple[str, ...], Exemplar] = {}
        self.last_sent: dict[Leg, float] = {}
        self.last_arrival: dict[Leg, float] = {}
        self.last_uncertainty: dict[Leg, float] = {}
        self.listeners: list[Listener] = []
        self.watchers: dict[str, list[Listener]] = {}  # by mailbox: each hears of its own canaries only

    def load(self) -> None:
        """Take over what the ledger says is in flight."""
        gc.disable()  # nothing of a hundred thousand canaries can be collected, and it would look again and again
        try:
            self.in_flight = Flying(self.ledger.queries.in_flight())
        finally:
            gc.freeze()
            gc.enable()

    def find(self, canary_id: str) -> Canary | None:
        """The canary as it is now, in flight or settled; None where the ledger has none."""
        return self.in_flight.get(canary_id) or self.ledger.queries.canary(canary_id)

    @asynccontextmanager
    async def holding(self, ids: Iterable[str]) -> AsyncIterator[None]:
        """Nobody else takes a step of these canaries meanwhile. Taken in one order: no two wait on each other."""
        wanted = sorted(set(ids))
        taken: list[str] = []
        for canary_id in wanted:
            hold = self._holds.get(canary_id)
            if hold is None:
                hold = self._holds[canary_id] = _Hold()
            hold.users += 1
        try:
            for canary_id in wanted:
                await self._holds[canary_id].lock.acquire()
                taken.append(canary_id)
            yield
        finally:
            for canary_id in taken:
                self._holds[canary_id].lock.release()
            for canary_id in wanted:
                hold = self._holds[canary_id]
                hold.users -= 1
                if not hold.users:
                    del self._holds[canary_id]

    def step(self, before: Canary, observation: Observation, batch: Batch) -> Step:
        """Compute a move and put it with its counts into ``batch``; the caller holds the canary and commits."""
        move = life.apply(before, observation)
        at = getattr(observation, "at", None) or getattr(observation, "seen", None) or self._clock.now()
        batch.move(before, move, type(observation).__name__, at)
        for name, labels, by in counters.counts_of(before, move):
            batch.count(name, labels, by)
        return Step(before, observation, move)

    async def observe(self, canary_id: str, observation: Observation, batch: Batch | None = None) -> Canary | None:
        """One step of one canary, durable when it returns; None where the canary is not known.

        Raises LedgerUnwritable (nothing changed then), IllegalMove.
        """
        async with self.holding([canary_id]):
            before = self.find(canary_id)
            if before is None:
                return None
            batch = batch or Batch()
            step = self.step(before, observation, batch)
            await self.commit(batch, [step])
            return step.move.canary

    async def commit(self, batch: Batch, steps: Sequence[Step] = ()) -> None:
        """Write, then take the steps over. Raises LedgerUnwritable."""
        owed, self._owed = self._owed, Batch()
        batch.merge(owed)

        def durable() -> None:
            for step in steps:
                self._take_over(step)

        try:
            await self.ledger.commit(batch, durable)
        except LedgerUnwritable as problem:
            self._owed.merge(owed)
            self._owe_error("store", "write")
            if self._was_writable:
                self._journal.ledger_unwritable(str(problem))
            self._was_writable = False
            raise
        if not self._was_writable:
            self._was_writable = True
            self._journal.ledger_writable()
        for step in steps:
            self._tell(step)

    def owe(self, name: str, labels: tuple[str, ...] = (), by: float = 1) -> None:
        """Count something that needs no commit of its own: it goes with the next one, or with ``settle_debts``."""
        self._owed.count(name, labels, by)

    def _owe_error(self, component: str, reason: str) -> None:
        self._owed.count(counters.PROBE_ERRORS, (component, reason))

    async def settle_debts(self) -> None:
        """Write what is owed, if anything. Raises LedgerUnwritable."""
        if self._owed:
            await self.commit(Batch())

    def adopt(self, canary: Canary) -> None:
        """A planned canary enters the books in memory, so that its first step can find it."""
        self.in_flight.put(canary)

    def forget(self, canary_id: str) -> None:
        """A planned canary whose intent could not be written never existed."""
        self.in_flight.drop(canary_id)

    def _take_over(self, step: Step) -> None:
        after = step.move.canary
        if after.state.in_flight:
            self.in_flight.put(after)
        else:
            self.in_flight.drop(after.id)
        self._remember(step)
        for listener in (*self.watchers.get(after.leg.mailbox, ()), *self.listeners):
            listener(step.before, step.move)

    def _remember(self, step: Step) -> None:
        after, leg = step.move.canary, step.move.canary.leg
        for effect in step.move.effects:
            if effect is Effect.SENT:
                self.last_sent[leg] = after.sent.wall / 1e9
            elif effect is Effect.OVERDUE:
                self.exemplars[(counters.OVERDUE, *counters.leg_labels(leg), after.variant)] = Exemplar(after.id)
            elif effect is Effect.OUTCOME:
                key = (counters.OUTCOMES, *counters.leg_labels(leg), after.variant, after.state.value)
                self.exemplars[key] = Exemplar(after.id)
            elif effect is Effect.ARRIVAL and after.arrived is not None:
                self.last_arrival[leg] = after.arrived.wall / 1e9
                self._remember_latency(after)

    def _remember_latency(self, canary: Canary) -> None:
        if canary.latency is None or canary.uncertainty is None:
            return
        leg = canary.leg
        self.last_uncertainty[leg] = canary.uncertainty.total_seconds()
        seconds = canary.latency.total_seconds()
        bounds = counters.delivery_buckets(canary.deadlines.overdue_after.total_seconds())
        key = (counters.DELIVERY_BUCKET, leg.route, leg.mx, canary.variant, counters.bucket_of(seconds, bounds))
        self.exemplars[key] = Exemplar(canary.id, seconds)

    def _tell(self, step: Step) -> None:
        """One line in the journal for what people want to read."""
        before, after, effects = step.before, step.move.canary, step.move.effects
        journal = self._journal
        if Effect.OVERDUE in effects and after.state is State.ACCEPTED:
            journal.canary_overdue(after)
        if Effect.OUTCOME in effects:
            journal.canary_settled(after, step.move.reason)
        elif Effect.RECOVERED in effects:
            journal.canary_recovered(after, step.move.reason)
        elif isinstance(step.observation, CopySeen):
            journal.canary_copy(after, step.observation.kind, step.observation.folder)
        elif isinstance(step.observation, DelayReported):
            journal.canary_delayed(after, step.move.reason)
        elif after.state is State.ACCEPTED and before.state is State.DATA_STARTED:
            journal.canary_sent(after)
        elif after.state is State.DEFERRED and before.state is not State.DEFERRED:
            journal.canary_deferred(after, step.move.reason)
