"""Questions to the ledger, read-only: what the commands, the pages and a restart ask. No question loads the whole."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, func, select

from probe.canary.counters import OUTCOMES, SENT
from probe.canary.coverage import Cursor, Span
from probe.canary.record import Canary, State
from probe.ledger import schema, stored
from probe.ledger.asking import Asking
from probe.ledger.batch import IncidentRow
from probe.ledger.lasts import Last, last_of
from probe.ledger.listing import Filter, newest
from probe.ledger.rows import canary_of, gaps_of, labels_of
from probe.ledger.stored import StoredCanary

__all__ = ["REPORT", "Filter", "Life", "Queries", "StoredCopy"]
REPORT = "report"  # the kind, among copies, of a delivery status notification about a canary


@dataclass(frozen=True, slots=True)
class StoredCopy:
    """A copy of a canary, or a report about it (``kind`` "report"), as recorded. ``number`` names it in the ledger."""

    number: int
    mailbox: str
    folder: str
    name: str
    epoch: int
    uid: int
    seen_at: int
    mailbox_time: int | None
    kind: str
    carriers: tuple[str, ...]
    received: tuple[str, ...]
    removed_at: int | None
    gone: bool
    canary: str


@dataclass(frozen=True, slots=True)
class Life:
    """All that the ledger knows of one canary: rows as mappings, in order of time."""

    canary: Canary
    moves: Sequence[Mapping[str, Any]]
    attempts: Sequence[Mapping[str, Any]]
    copies: Sequence[StoredCopy]
    reports: Sequence[StoredCopy] = ()


class Queries(Asking):
    """Questions about canaries, mailboxes, incidents and the ledger itself."""

    def canary(self, canary_id: str) -> Canary | None:
        """One canary by its id."""
        table = schema.canaries
        with self._asking() as connection:
            row = connection.execute(select(table).where(table.c.id == canary_id)).mappings().first()
        return None if row is None else canary_of(dict(row))

    def ids_like(self, prefix: str, limit: int = 10) -> list[str]:
        """Ids that begin with ``prefix``: people type the first characters."""
        table = schema.canaries
        with self._asking() as connection:
            rows = connection.execute(
                select(table.c.id).where(table.c.id >= prefix, table.c.id < prefix + "~").limit(limit)
            )
            return [row[0] for row in rows]

    def canaries(self, wanted: Filter) -> list[Canary]:
        """Canaries, newest first."""
        with self._asking() as connection, connection.begin():
            return newest(connection, wanted)

    def life(self, canary_id: str) -> Life | None:
        """One canary with its moves, attempts, copies and reports; None where the ledger has none."""
        canary = self.canary(canary_id)
        if canary is None:
            return None
        with self._asking() as connection:
            moves = _rows(connection, schema.moves, schema.moves.c.canary == canary_id, schema.moves.c.n)
            attempts = _rows(
                connection, schema.attempts, schema.attempts.c.canary == canary_id, schema.attempts.c.attempt
            )
        for attempt in attempts:
            attempt["phases"] = json.loads(attempt["phases"])
            attempt["dialogue"] = json.loads(attempt["dialogue"])
        return Life(canary, moves, attempts, self.copies(canary_id), self.reports(canary_id))

    def copies(self, canary_id: str) -> list[StoredCopy]:
        """Every copy of a canary, in the order they were seen."""
        return [copy for copy in self._mails(canary_id) if copy.kind != REPORT]

    def reports(self, canary_id: str) -> list[StoredCopy]:
        """Every delivery status notification about a canary, in the order they were seen."""
        return [copy for copy in self._mails(canary_id) if copy.kind == REPORT]

    def _mails(self, canary_id: str) -> list[StoredCopy]:
        table = schema.copies
        with self._asking() as connection:
            return [_copy(row) for row in _rows(connection, table, table.c.canary == canary_id, table.c.n)]

    def copies_to_remove(self, mailbox: str, before: int, limit: int) -> list[StoredCopy]:
        """Copies seen before ``before`` (ns) that are still there, oldest first. A report is no mail of ours."""
        table = schema.copies
        query = (
            select(table)
            .where(
                table.c.mailbox == mailbox,
                table.c.kind != REPORT,
                table.c.seen_at < before,
                table.c.removed_at.is_(None),
                table.c.gone == False,  # noqa: E712 - SQL, not Python
            )
            .order_by(table.c.seen_at)
            .limit(limit)
        )
        with self._asking() as connection:
            return [_copy(dict(row)) for row in connection.execute(query).mappings()]

    def detectors(self) -> dict[str, tuple[int, str]]:
        """What every detector knew when it was written last, by name: (wall ns, state)."""
        table = schema.detectors
        with self._asking() as connection:
            return {row.name: (row.at, row.state) for row in connection.execute(select(table))}

    def incidents(
        self,
        *,
        route: str | None = None,
        active: bool = False,
        states: Collection[str] = (),
        without: Collection[str] = (),
        limit: int = 100,
    ) -> list[IncidentRow]:
        """Incidents, newest first, of one route or of all; with ``active`` only those that are not over (closed ones
        may be opened again). ``states``: only these, ``without``: none of these."""
        table = schema.incidents
        query = select(table).order_by(table.c.opened_at.desc(), table.c.id.desc()).limit(limit)
        if route is not None:
            query = query.where(table.c.route == route)
        if active:
            query = query.where(table.c.state.not_in(("dismissed", "false")))
        if states:
            query = query.where(table.c.state.in_(sorted(states)))
        if without:
            query = query.where(table.c.state.not_in(sorted(without)))
        with self._asking() as connection:
            return [IncidentRow(**row) for row in connection.execute(query).mappings()]

    def incident(self, incident_id: str) -> IncidentRow | None:
        """One incident by its id."""
        table = schema.incidents
        with self._asking() as connection:
            row = connection.execute(select(table).where(table.c.id == incident_id)).mappings().first()
        return None if row is None else IncidentRow(**row)

    def in_flight(self) -> Iterator[StoredCanary]:
        """Every canary that has no outcome yet, the oldest first."""
        with self._asking() as connection:
            yield from stored.in_flight(connection)

    def hosts_since(self, route: str, since: int) -> list[str]:
        """The ``mx`` of every leg of a route that a canary was sent by since a wall ns."""
        table = schema.canaries
        query = select(table.c.mx).where(table.c.route == route, table.c.sent_at >= since).distinct()
        with self._asking() as connection:
            return list(connection.execute(query).scalars())

    def watermarks(self) -> dict[tuple[str, str], tuple[Cursor, tuple[Span, ...], int]]:
        """By (mailbox, folder): cursor, gaps, and when it was last read (ns)."""
        with self._asking() as connection:
            return {
                (row["mailbox"], row["folder"]): (
                    Cursor(row["epoch"], row["position"]),
                    gaps_of(row["gaps"]),
                    row["read_at"],
                )
                for row in connection.execute(select(schema.watermarks)).mappings()
            }

    def unreadable(self) -> dict[tuple[str, str], set[int]]:
        """By (mailbox, folder): the numbers that were listed and never looked at, which no proof may pass over."""
        with self._asking() as connection:
            return {
                (row["mailbox"], row["folder"]): {
                    number for span in gaps_of(row["unreadable"]) for number in range(span.first, span.last + 1)
                }
                for row in connection.execute(select(schema.watermarks)).mappings()
            }

    def totals(self) -> dict[tuple[str, tuple[str, ...]], float]:
        """Every running total."""
        with self._asking() as connection:
            return {
                (row["name"], labels_of(row["labels"])): row["value"]
                for row in connection.execute(select(schema.totals)).mappings()
            }

    def balance(self) -> float:
        """sent - outcomes - in flight by the ledger's own count, in one statement so that no commit falls between."""
        table = schema.totals

        def total(name: str) -> Any:
            return select(func.coalesce(func.sum(table.c.value), 0.0)).where(table.c.name == name).scalar_subquery()

        in_flight = select(func.count()).select_from(schema.canaries).where(schema.IS_IN_FLIGHT).scalar_subquery()
        with self._asking() as connection:
            row = connection.execute(select(total(SENT), total(OUTCOMES), in_flight)).one()
        return float(row[0] - row[1] - row[2])

    def last_of(self, legs: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], Last]:
        """By (route, mx): when its newest canary was sent, and its newest delivered one seen (wall ns); a few steps in
        an index each, however large the ledger."""
        with self._asking() as connection:
            return last_of(connection, legs)

    def attempts_since(self, moment: int) -> list[tuple[int, str, str]]:
        """(started_at ns, route, recipient) of every attempt since ``moment`` (ns), oldest first."""
        table = schema.attempts
        query = (
            select(table.c.started_at, table.c.route, table.c.recipient)
            .where(table.c.started_at >= moment)
            .order_by(table.c.started_at)
        )
        with self._asking() as connection:
            return [(row[0], row[1], row[2]) for row in connection.execute(query)]

    def state_counts(self) -> dict[str, int]:
        """Canaries by state, of those not yet pruned."""
        table = schema.canaries
        with self._asking() as connection:
            rows = connection.execute(select(table.c.state, func.count()).group_by(table.c.state))
            return {str(State(row[0])): row[1] for row in rows}

    def created_at(self) -> int:
        """When the ledger was made (ns)."""
        return int(self.meta("created_at") or 0)

    def meta(self, key: str) -> str | None:
        """A value of the ledger as a whole, as ``Batch.note`` wrote it; None where there is none."""
        query = select(schema.meta.c.value).where(schema.meta.c.key == key)
        with self._asking() as connection:
            return cast("str | None", connection.execute(query).scalar())

    def events(self, limit: int = 100) -> list[dict[str, Any]]:
        """The last events, newest first."""
        table = schema.events
        with self._asking() as connection:
            query = select(table).order_by(table.c.n.desc()).limit(limit)
            return [dict(row) for row in connection.execute(query).mappings()]


def _rows(connection: Connection, table: Any, where: Any, order: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(select(table).where(where).order_by(order)).mappings()]


def _copy(row: Mapping[str, Any]) -> StoredCopy:
    return StoredCopy(
        number=row["n"],
        mailbox=row["mailbox"],
        folder=row["folder"],
        name=row["name"],
        epoch=row["epoch"],
        uid=row["uid"],
        seen_at=row["seen_at"],
        mailbox_time=row["mailbox_time"],
        kind=row["kind"],
        carriers=tuple(filter(None, row["carriers"].split(","))),
        received=tuple(json.loads(row["received"])),
        removed_at=row["removed_at"],
        gone=bool(row["gone"]),
        canary=row["canary"],
    )
