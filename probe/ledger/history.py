"""What became of canaries in a span of time, counted by leg and bucket: one pass over one index, however long ago."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, case, func, select

from probe.canary.observations import WentOverdue
from probe.canary.record import Leg, State
from probe.clock import NANOSECONDS
from probe.ledger import schema
from probe.ledger.asking import Asking

_NEVER = 2**63 - 1  # ns; without an upper end the index of what has settled would not be taken


class Happened(NamedTuple):
    """So many ``canaries`` alike. Times are the beginnings of buckets, unix seconds; None: not (yet)."""

    leg: Leg
    state: State
    sent: int
    overdue: int | None
    settled: int | None
    canaries: int


class History(Asking):
    """Questions about spans of time."""

    def settled(self, begin: int, end: int, bucket: int) -> list[Happened]:
        """Canaries with an outcome since ``begin`` and before ``end`` (ns); ``bucket``: seconds."""
        at = schema.canaries.c.settled_at
        with self._asking() as connection:
            return _counted(connection, (at >= begin, at < end), end, bucket)

    def open_before(self, end: int, bucket: int) -> list[Happened]:
        """Canaries sent before ``end`` (ns) and without an outcome until then; nothing that happened later."""
        settled = schema.canaries.c.settled_at
        sent = schema.canaries.c.sent_at + 0  # a sum is looked for in no index: that of what is in flight, or settled
        with self._asking() as connection, connection.begin():  # one picture: none passes from the first to the second
            flying = _counted(connection, (schema.IS_IN_FLIGHT, sent < end), end, bucket)
            return flying + _counted(connection, (settled >= end, settled < _NEVER, sent < end), end, bucket)


def _counted(connection: Connection, where: Sequence[Any], end: int, bucket: int) -> list[Happened]:
    table, moves, size = schema.canaries, schema.moves, bucket * NANOSECONDS
    found: ColumnElement[int | None] = (
        select(func.max(moves.c.at))
        .where(moves.c.canary == table.c.id, moves.c.observation == WentOverdue.__name__, moves.c.at < end)
        .scalar_subquery()
    )
    ended = case((table.c.settled_at < end, table.c.settled_at // size))
    # An arrival or a verdict can be the first to find a canary overdue.
    overdue = case((table.c.overdue, func.coalesce(found // size, ended)))
    columns = (
        table.c.route,
        table.c.mx,
        table.c.mailbox,
        table.c.state,
        (table.c.sent_at // size).label("sent"),
        overdue.label("went"),
        ended.label("ended"),
    )
    query = select(*columns, func.count()).where(*where).group_by(*columns)
    return [
        Happened(Leg(*row[:3]), State(row[3]), row[4] * bucket, _begin(row[5], bucket), _begin(row[6], bucket), row[7])
        for row in connection.execute(query)
    ]


def _begin(number: int | None, bucket: int) -> int | None:
    return None if number is None else number * bucket
