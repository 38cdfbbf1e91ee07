"""The last of a leg: when its newest canary was sent, and when its newest delivered one was seen.

A start asks for a thousand legs at once. Each answer is a step in an index; taken through SQLAlchemy's Core one by one
they cost a start half a second, so the statements are compiled once and go to the driver.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, bindparam, func, select

from probe.canary.record import State
from probe.ledger import schema
from probe.ledger.statements import compiled

_TABLE = schema.canaries
_OF_LEG = (_TABLE.c.route == bindparam("of_route"), _TABLE.c.mx == bindparam("of_mx"))
_SENT = compiled(select(func.max(_TABLE.c.sent_at)).where(*_OF_LEG))
_ARRIVED = compiled(
    select(_TABLE.c.arrived_at)
    .where(schema.HAS_OUTCOME, _TABLE.c.state == bindparam("of_state"), *_OF_LEG)
    .order_by(_TABLE.c.sent_at.desc())
)  # walks the index, and only the first is fetched
_ARRIVALS = (State.DELIVERED.value, State.LATE.value)
Last = tuple[int | None, int | None]


def last_of(connection: Connection, legs: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], Last]:
    """By (route, mx): the wall ns of its newest intent, and of the arrival of its newest delivered or late canary."""
    cursor = connection.connection.cursor()

    def first(sql: str, values: list[str | int]) -> int | None:
        cursor.execute(sql, values)
        row = cursor.fetchone()
        return None if row is None else row[0]

    def arrived(route: str, mx: str) -> int | None:
        found = []
        for state in _ARRIVALS:
            values: dict[str, str | int] = {"of_state": state, "of_route": route, "of_mx": mx}
            found.append(first(_ARRIVED.sql, [values[name] for name in _ARRIVED.names]))
        return max((each for each in found if each is not None), default=None)

    return {(route, mx): (first(_SENT.sql, [route, mx]), arrived(route, mx)) for route, mx in legs}
