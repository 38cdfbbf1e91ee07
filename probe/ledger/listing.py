"""The newest canaries that a filter lets through, in time that does not grow with the ledger.

The running totals name every leg, and every leg with every outcome, that ever was. Each of them is a short walk down an
index that is in order of time; the walks are merged, and only as many steps are taken as canaries are wanted. So a
filter that almost nothing passes costs no more than one that everything does.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, select

from probe.canary.counters import OUTCOMES, SENT
from probe.canary.record import OUTCOMES as OUTCOME_STATES
from probe.canary.record import Canary
from probe.clock import NANOSECONDS
from probe.ledger import schema
from probe.ledger.rows import canary_of, labels_of
from probe.ledger.statements import Statement, compiled

_AT_ONCE = 500  # rows fetched by one statement
_OUTCOMES = frozenset(state.value for state in OUTCOME_STATES)
_TABLE = schema.canaries
_WALK = (
    select(_TABLE.c.sent_at, _TABLE.c.n)
    .where(_TABLE.c.sent_at >= bindparam("since"))
    .order_by(_TABLE.c.sent_at.desc(), _TABLE.c.n.desc())
)
_LEG = _WALK.where(_TABLE.c.route == bindparam("of_route"), _TABLE.c.mx == bindparam("of_mx"))
WALKS: dict[str, Statement] = {
    "all": compiled(_WALK),
    "in_flight": compiled(
        _WALK.where(
            schema.IS_IN_FLIGHT,
            _TABLE.c.state == bindparam("of_state"),
            _TABLE.c.route == func.coalesce(bindparam("of_route"), _TABLE.c.route),
            _TABLE.c.mx == func.coalesce(bindparam("of_mx"), _TABLE.c.mx),
        )
    ),
    "leg": compiled(_LEG),
    "outcome": compiled(_LEG.where(schema.HAS_OUTCOME, _TABLE.c.state == bindparam("of_state"))),
}


@dataclass(frozen=True, slots=True)
class Filter:
    """What ``canaries`` lists: newest first, at most ``limit``."""

    route: str | None = None
    mx: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    limit: int = 100


def newest(connection: Connection, wanted: Filter) -> list[Canary]:
    """At most ``limit`` of them, newest first."""
    numbers: list[int] = []
    for _, number in heapq.merge(*_walks(connection, wanted), reverse=True):
        if len(numbers) == wanted.limit:
            break
        numbers.append(number)
    found = dict(_fetch(connection, numbers))
    return [found[number] for number in numbers if number in found]


def _walks(connection: Connection, wanted: Filter) -> Iterator[Iterable[tuple[int, int]]]:
    since = 0 if wanted.since is None else int(wanted.since.timestamp() * NANOSECONDS)
    state = wanted.outcome
    if state is None and wanted.route is None and wanted.mx is None:
        yield _walk(connection, "all", {"since": since})
    elif state is not None and state not in _OUTCOMES:
        values = {"since": since, "of_route": wanted.route, "of_mx": wanted.mx, "of_state": state}
        yield _walk(connection, "in_flight", values)
    else:
        for route, mx in sorted(_legs(connection, wanted)):
            values = {"since": since, "of_route": route, "of_mx": mx, "of_state": state}
            yield _walk(connection, "leg" if state is None else "outcome", values)


def _walk(connection: Connection, name: str, values: Mapping[str, int | str | None]) -> Iterable[tuple[int, int]]:
    """Through the driver's own cursor, which is as lazy as the merge."""
    statement = WALKS[name]
    cursor = connection.connection.cursor()
    cursor.execute(statement.sql, [values[each] for each in statement.names])
    return cursor  # type: ignore[return-value]  # every cursor of the drivers in question can be iterated


def _legs(connection: Connection, wanted: Filter) -> set[tuple[str, str]]:
    """Every (route, mx) that the filter lets through and that has, or had, such a canary."""
    totals = schema.totals
    name = SENT if wanted.outcome is None else OUTCOMES
    found = set()
    for text in connection.execute(select(totals.c.labels).where(totals.c.name == name)).scalars():
        labels = labels_of(text)
        route, mx = labels[:2]
        if wanted.outcome in (None, labels[-1]) and wanted.route in (None, route) and wanted.mx in (None, mx):
            found.add((route, mx))
    return found


def _fetch(connection: Connection, numbers: Sequence[int]) -> Iterator[tuple[int, Canary]]:
    for start in range(0, len(numbers), _AT_ONCE):
        some = numbers[start : start + _AT_ONCE]
        for row in connection.execute(select(_TABLE).where(_TABLE.c.n.in_(some))).mappings():
            yield row["n"], canary_of(dict(row))
