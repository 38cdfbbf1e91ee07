"""The ledger's writing statements, built by SQLAlchemy Core and compiled once.

A commit of one canary holds three or four statements of one row each. Taken through Core each time they cost as much as
the commit itself, so each is turned into text once and given to the driver with plain tuples; what is written is still
defined by schema.py alone. SQLite and PostgreSQL share the syntax of ON CONFLICT.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Executable, Table, bindparam, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert

from probe.ledger import schema

Row = Mapping[str, Any]


class DriverCursor(Protocol):
    """What is used of a cursor of the driver (PEP 249)."""

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]], /) -> Any: ...


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL text and the names of its parameters, in order."""

    sql: str
    names: tuple[str, ...]

    def run(self, cursor: DriverCursor, rows: Sequence[Row]) -> None:
        """Execute for each row, in the caller's transaction."""
        if rows:
            names = self.names
            cursor.executemany(self.sql, [[row[name] for name in names] for row in rows])


def compiled(statement: Executable, columns: Sequence[str] | None = None) -> Statement:
    """The text and the parameters of a statement of SQLAlchemy Core."""
    text = statement.compile(dialect=sqlite.dialect(), column_keys=columns)  # type: ignore[attr-defined]
    return Statement(str(text), tuple(text.positiontup or ()))


def _columns(table: Table) -> list[str]:
    return [column.name for column in table.columns if column.name != "n"]


def _insert(table: Table, unless: Sequence[str] = ()) -> Statement:
    """INSERT; with ``unless``, nothing where a row with the same values there exists."""
    statement = insert(table)
    if unless:
        statement = statement.on_conflict_do_nothing(index_elements=list(unless))
    return compiled(statement, _columns(table))


def _upsert(table: Table, keys: Sequence[str]) -> Statement:
    """INSERT, or UPDATE of every column but the keys."""
    columns = _columns(table)
    statement = insert(table).values({name: bindparam(name, type_=table.c[name].type) for name in columns})
    changed = {name: statement.excluded[name] for name in columns if name not in keys}
    return compiled(statement.on_conflict_do_update(index_elements=list(keys), set_=changed))


def _add() -> Statement:
    """Add to a running total, from 0 where there is none."""
    statement = insert(schema.totals)
    added = schema.totals.c.value + statement.excluded.value
    statement = statement.on_conflict_do_update(index_elements=["name", "labels"], set_={"value": added})
    return compiled(statement, ["name", "labels", "value"])


CANARY = _upsert(schema.canaries, ["id"])
ATTEMPT = _upsert(schema.attempts, ["canary", "attempt"])
WATERMARK = _upsert(schema.watermarks, ["mailbox", "folder"])
MOVE = _insert(schema.moves)
COPY = _insert(schema.copies, unless=["mailbox", "name", "epoch", "uid"])
READ = _insert(schema.reads)
EVENT = _insert(schema.events)
NOTE = _upsert(schema.meta, ["key"])
DETECTOR = _upsert(schema.detectors, ["name"])
INCIDENT = _upsert(schema.incidents, ["id"])
GONE = compiled(
    update(schema.copies)
    .where(schema.copies.c.n == bindparam("which"))
    .values(removed_at=bindparam("at"), gone=bindparam("is_gone"))
)
ADD = _add()
