"""The ledger as the engine holds it: open, commit, prune, close."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Connection, delete, select

from probe.canary.record import OUTCOMES
from probe.clock import Clock
from probe.ledger import schema
from probe.ledger.batch import Batch
from probe.ledger.history import History
from probe.ledger.opening import open_ledger, sqlite_engine
from probe.ledger.queries import Queries
from probe.ledger.totals import Totals
from probe.ledger.writer import Writer

KEPT_OPEN = 2  # connections of those who ask
PRUNE_CHUNK = 250  # rows a transaction, so that pruning never delays a commit by more than a moment


class Ledger:
    """The durable record, locked by this process until ``close``."""

    def __init__(self, path: Path, clock: Clock, *, inline: bool = False) -> None:
        now = clock.now()
        opened = open_ledger(path, now)
        self.path = path
        self.set_aside = opened.set_aside
        self.damage = opened.damage
        self.created = opened.created
        self._clock = clock
        self._engine = opened.engine
        self._lock = opened.lock
        # A new connection costs as much as twenty questions, and a start with a thousand legs asks two of each.
        asking = sqlite_engine(path, kept=KEPT_OPEN)
        self.queries, self.history = Queries(asking), History(asking)
        self.totals = Totals(self.queries.totals())
        self.created_at = self.queries.created_at()
        self._writer = Writer(self._engine, self.totals, inline=inline)

    @property
    def writable(self) -> bool:
        """Whether the last commit worked."""
        return self._writer.writable

    @property
    def commits(self) -> int:
        """Transactions since the start."""
        return self._writer.commits

    async def commit(self, batch: Batch, on_durable: Callable[[], None] | None = None) -> None:
        """Durable when it returns; see ``Writer.commit``. Raises LedgerUnwritable."""
        await self._writer.commit(batch, on_durable)

    async def prune(self, keep: timedelta) -> int:
        """Forget canaries settled longer than ``keep`` ago, with all that is theirs; totals stay. Returns how many."""
        before = self._clock.now().wall - int(keep.total_seconds() * 1_000_000_000)
        pruned = 0
        while True:
            removed, more = 0, False

            def chunk(connection: Connection) -> None:
                nonlocal removed, more
                removed, more = _prune_chunk(connection, before)

            await self._writer.run(chunk)
            pruned += removed
            if not more:
                return pruned

    def close(self) -> None:
        """Write what is queued, release the lock. Idempotent."""
        if self._lock < 0:
            return
        self._writer.close()
        self.queries.close()
        self._engine.dispose()
        os.close(self._lock)
        self._lock = -1


def _prune_chunk(connection: Connection, before: int) -> tuple[int, bool]:
    """Canaries removed, and whether there may be more of anything to remove."""
    settled = [state.value for state in OUTCOMES]
    table = schema.canaries
    ids = list(
        connection.execute(
            select(table.c.id)
            .where(table.c.settled_at < before, table.c.state.in_(settled))
            .order_by(table.c.settled_at)
            .limit(PRUNE_CHUNK)
        ).scalars()
    )
    for start in range(0, len(ids), 500):
        some = ids[start : start + 500]
        for child in (schema.moves, schema.attempts, schema.copies):
            connection.execute(delete(child).where(child.c.canary.in_(some)))
        connection.execute(delete(table).where(table.c.id.in_(some)))
    most = len(ids)
    for table, moment in ((schema.reads, schema.reads.c.began_at), (schema.events, schema.events.c.at)):
        old = select(table.c.n).where(moment < before).limit(PRUNE_CHUNK)
        most = max(most, connection.execute(delete(table).where(table.c.n.in_(old))).rowcount)
    return len(ids), most >= PRUNE_CHUNK
