"""A canary in flight as the ledger has it, decoded only when somebody wants all of it.

A start finds as many as a fleet had under way. Of most of them it needs to know only whose they are and when to look at
them next; decoding every fact of a hundred thousand would take longer than all the rest of the start.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from operator import itemgetter
from sys import intern
from typing import Any

from sqlalchemy import ColumnClause, Connection, literal_column, select

from probe.canary.record import Canary, Deadlines
from probe.clock import Instant
from probe.ledger import schema
from probe.ledger.rows import STATES, canary_of, deadlines_of, leg_of
from probe.ledger.statements import compiled

_AT_ONCE = 1000
_TABLE = schema.canaries
_COLUMNS = tuple(_TABLE.columns.keys())
_BOOT: ColumnClause[int] = literal_column("json_extract(facts, '$.sent[1]')")
_WAY: ColumnClause[str] = literal_column(
    "json_extract(facts, '$.deadlines', '$.sent[2]', '$.key', '$.mail_from', '$.judged')"
)
_OUTLINE = ("id", "route", "mx", "mailbox", "prober", "state", "sent_at", "attempts", "overdue")
_facts = itemgetter(*(_COLUMNS.index(name) for name in _OUTLINE))


class StoredCanary:
    """What a start needs of a canary, under the names that ``Canary`` gives it; ``canary()`` has the rest.

    ``sent``: no clock of the canary has begun before it.
    """

    __slots__ = (
        *("_canary", "_row", "attempts", "deadlines", "id", "judged"),
        *("key", "leg", "mail_from", "overdue", "prober", "sent", "state"),
    )

    def __init__(self, row: tuple[Any, ...]) -> None:
        self._row = row
        self._canary: Canary | None = None
        self.id, route, mx, mailbox, self.prober, state, wall, self.attempts, overdue = _facts(row)
        self.leg = leg_of(route, mx, mailbox)
        self.state = STATES[state]
        self.overdue = bool(overdue)
        self.deadlines, boot_id, self.key, self.mail_from, self.judged = _way(row[-1])
        self.sent = Instant(wall, row[-2], boot_id)

    @property
    def overdue_at(self) -> Instant:
        """At the earliest."""
        return self.sent + self.deadlines.overdue_after

    def canary(self) -> Canary:
        """All of it."""
        if self._canary is None:
            self._canary = canary_of(dict(zip(_COLUMNS, self._row, strict=False)))
            self._row = ()
        return self._canary


@lru_cache(maxsize=4096)
def _way(text: str) -> tuple[Deadlines, str, str, str, bool]:
    """Deadlines, boot, key, envelope sender, judged: nearly all canaries of a leg share them."""
    deadlines, boot_id, key, mail_from, judged = json.loads(text)
    return deadlines_of(*deadlines), intern(boot_id), intern(key), intern(mail_from or ""), bool(judged)


_IN_FLIGHT = compiled(select(*_TABLE.columns, _BOOT, _WAY).where(schema.IS_IN_FLIGHT).order_by(_TABLE.c.n))


def in_flight(connection: Connection) -> Iterator[StoredCanary]:
    """Every canary that has no outcome yet, the oldest first, by the driver's own cursor, whose rows are tuples."""
    cursor = connection.connection.cursor()
    cursor.execute(_IN_FLIGHT.sql)
    while rows := cursor.fetchmany(_AT_ONCE):
        yield from map(StoredCanary, rows)
