"""A ledger of millions of canaries: a minute of a fleet, written by the ledger itself, and repeated by SQL.

The minute holds one life a route (``lives.Author``). Each repetition moves every time in it by a minute, the JSON ones
too, and gives every canary an id of its own; the tables, their columns and their indices are the real ones. Repeated
are canaries, moves, attempts, copies and reads; the totals are multiplied.
"""

from __future__ import annotations

import asyncio
import random
import re
import sqlite3
from datetime import timedelta
from pathlib import Path

from benchmarks.lives import Author, leg_of
from probe.canary.coverage import Cursor
from probe.canary.identity import new_canary_id
from probe.clock import NANOSECONDS, Clock, Instant
from probe.ledger.batch import Read
from probe.ledger.store import Ledger

MINUTE = 60 * NANOSECONDS
_NUMBERS = 16  # instants of a canary, two numbers each, and none to spare
_PRAGMAS = (
    "journal_mode=OFF",
    "synchronous=OFF",
    "locking_mode=EXCLUSIVE",
    "cache_size=-4000000",
    "temp_store=MEMORY",
    "threads=2",
)
_DEAR = ("canaries_route_sent", "moves_canary", "copies_canary")  # a sort at the end costs less than keeping them
_TABLES = ("canaries", "moves", "attempts", "copies", "reads")
_SHIFTED = {
    "sent_at",
    "arrived_at",
    "recovered_at",
    "settled_at",
    "at",
    "started_at",
    "seen_at",
    "began_at",
    "ended_at",
}


def fill(path: Path, clock: Clock, *, routes: int, mailboxes: int, minutes: int, whole: int | None = None) -> None:
    """Make the ledger at ``path``: ``routes`` canaries a minute in the last ``minutes`` minutes; those of the newest
    ``whole`` minutes (None: of all) with their moves, attempts, copies and reads."""
    newest = clock.now() + -timedelta(hours=3)  # every life of it has ended
    first = newest + -timedelta(minutes=minutes)
    asyncio.run(_minute(path, clock, first, routes, mailboxes))
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        _prepare(connection, minutes)
        indices = connection.execute("SELECT name, sql FROM main.sqlite_master WHERE type = 'index' AND sql > ''")
        made_last = [(name, sql) for name, sql in indices if name in _DEAR]
        for name, _ in made_last:
            connection.execute(f"DROP INDEX {name}")
        for table in _TABLES:
            begin = 1 if whole is None or table == "canaries" else max(1, minutes - whole)
            connection.execute(_repeat(connection, table), (begin,))
        for _, sql in made_last:
            connection.execute(sql)
        connection.execute("UPDATE totals SET value = value * ?", (minutes,))
    finally:
        connection.close()


async def _minute(path: Path, clock: Clock, begin: Instant, routes: int, mailboxes: int) -> None:
    chance = random.Random(20261124)
    author = Author(chance)
    for number in range(routes):
        sent = begin + timedelta(seconds=60 * number / routes)
        author.any_end()(leg_of(number, mailboxes), sent)
    for number in range(mailboxes):
        read = Read(f"box{number}", "INBOX", begin, begin + timedelta(milliseconds=2), False, True, Cursor(7, 50), 50)
        author.batch.read(read)
    ledger = Ledger(path, clock)
    try:
        await ledger.commit(author.take())
    finally:
        ledger.close()


def _prepare(connection: sqlite3.Connection, minutes: int) -> None:
    """The minute as templates, and a part of an id for each minute."""
    chance = random.Random(7)
    connection.execute("CREATE TEMP TABLE minutes (k INTEGER PRIMARY KEY, part TEXT NOT NULL)")
    parts = sorted({new_canary_id(chance.randbytes(8))[:7] for _ in range(minutes + minutes // 100 + 10)})
    chance.shuffle(parts)
    connection.executemany("INSERT INTO minutes VALUES (?, ?)", list(enumerate(parts[:minutes])))
    for table in _TABLES:
        connection.execute(f"CREATE TEMP TABLE t_{table} AS SELECT * FROM main.{table}")
    numbers = ", ".join(f"v{index}" for index in range(_NUMBERS))
    for index in range(_NUMBERS):
        connection.execute(f"ALTER TABLE temp.t_canaries ADD COLUMN v{index} INTEGER NOT NULL DEFAULT 0")
    for number, facts in connection.execute("SELECT n, facts FROM temp.t_canaries").fetchall():
        form, values = _form(facts)
        values += [0] * (_NUMBERS - len(values))
        marks = ", ".join("?" * _NUMBERS)
        connection.execute(
            f"UPDATE temp.t_canaries SET (facts, {numbers}) = (?, {marks}) WHERE n = ?", (form, *values, number)
        )


def _form(facts: str) -> tuple[str, list[int]]:
    """The JSON of ``facts`` with ``%lld`` for both clocks of each instant, and their values."""
    values: list[int] = []

    def mark(found: re.Match[str]) -> str:
        values.extend((int(found[1]), int(found[2])))
        return "[%lld,%lld,"

    return re.sub(r'\[(\d{15,}),(\d+),(?=")', mark, facts.replace("%", "%%")), values


def _repeat(connection: sqlite3.Connection, table: str) -> str:
    """INSERT of a table's rows for the minutes from ? on."""
    columns = [row[1] for row in connection.execute(f"PRAGMA main.table_info({table})")]
    chosen = [name for name in columns if name != "n"]
    values = ", ".join(_value(table, name) for name in chosen)
    names = ", ".join(f'"{name}"' for name in chosen)
    return (
        f"INSERT INTO main.{table} ({names}) SELECT {values} "
        f"FROM temp.minutes m CROSS JOIN temp.t_{table} t WHERE m.k >= ? ORDER BY m.k, t.rowid"
    )


def _value(table: str, name: str) -> str:
    if name in ("id", "canary"):
        return f'substr(t."{name}", 1, 6) || m.part'
    if name == "facts":
        return "printf(t.facts, " + ", ".join(f"t.v{index} + m.k * {MINUTE}" for index in range(_NUMBERS)) + ")"
    if name == "uid":
        return "t.uid + m.k * 1000"
    if name in _SHIFTED:
        return f't."{name}" + m.k * {MINUTE}'
    return f't."{name}"'
