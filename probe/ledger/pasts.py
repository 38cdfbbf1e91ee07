"""What became of a leg's canaries, in the order they were sent: a few columns, a slice at a time."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import select

from probe.canary.record import State
from probe.ledger import schema
from probe.ledger.asking import Asking

_JUDGED = tuple(state.value for state in (State.DELIVERED, State.LATE, State.LOST))


class Sent(NamedTuple):
    """A canary accepted at its first attempt that has come or is lost. ``sent``: ns; ``latency``: us, None where it
    did not come or nobody can tell."""

    sent: int
    latency: int | None
    state: State


class Pasts(Asking):
    """Questions about one leg's past."""

    @classmethod
    def beside(cls, other: Asking) -> Pasts:
        """With the connections of ``other``."""
        return cls(other._engine)

    def judged(self, route: str, mx: str, since: int, limit: int) -> list[Sent]:
        """At most ``limit`` canaries of the leg sent after ``since`` (ns), oldest first. Raises LedgerError."""
        table = schema.canaries
        query = (
            select(table.c.sent_at, table.c.latency_us, table.c.state)
            .where(table.c.route == route, table.c.mx == mx, table.c.sent_at > since)
            .where(table.c.attempts == 1, table.c.state.in_(_JUDGED))
            .order_by(table.c.sent_at)
            .limit(limit)
        )
        with self._asking() as connection:
            return [Sent(row[0], row[1], State(row[2])) for row in connection.execute(query)]
