"""Opening the ledger: one prober's lock, a check for damage, the schema's version.

A damaged file is set aside beside the new one and never deleted; a newer one is refused and left untouched.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, insert, select, text
from sqlalchemy.exc import DatabaseError, SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool

from probe.clock import Instant
from probe.errors import LedgerError, LedgerLocked, LedgerMissing, LedgerTooNew
from probe.ledger import schema

BUSY_TIMEOUT_MS = 5_000
QUICK_CHECK_LIMIT = 256 * 1024 * 1024  # above it a full check would delay the start by minutes

Migration = Callable[[Connection], None]


def _index_outcomes(connection: Connection) -> None:
    """1 → 2: canaries by outcome, reads and events by time; half a minute of CPU for ten million canaries."""
    outcomes = "'delivered','late','lost','bounced','refused','unsent','unknown'"
    for statement in (
        "DROP INDEX IF EXISTS reads_began",
        "CREATE INDEX reads_began ON reads (began_at)",
        "CREATE INDEX events_at ON events (at)",
        f"CREATE INDEX canaries_outcome ON canaries (state, route, mx, sent_at) WHERE state IN ({outcomes})",
    ):
        connection.exec_driver_sql(statement)


def _add_detection(connection: Connection) -> None:
    """2 → 3: what detectors know, and incidents."""
    schema.detectors.create(connection, checkfirst=True)
    schema.incidents.create(connection, checkfirst=True)


# Version it starts from -> step to the next version.
MIGRATIONS: Mapping[int, Migration] = {1: _index_outcomes, 2: _add_detection}


@dataclass(frozen=True, slots=True)
class Opened:
    """An open ledger: its engine, the file that was set aside ("" if none) and why."""

    engine: Engine
    lock: int
    set_aside: str = ""
    damage: str = ""
    created: bool = False


def sqlite_engine(path: Path, *, read_only: bool = False, kept: int = 0, log: bool = True) -> Engine:
    """An engine on the file; WAL and ``synchronous=FULL`` for the writer. ``kept``: connections that stay open.
    ``log``: False leaves the file without a WAL, whole in itself after each commit."""
    uri = f"file:{quote(str(path.absolute()))}?mode={'ro' if read_only else 'rwc'}"

    def connect() -> sqlite3.Connection:
        # Not by an SQLAlchemy URL: that one is unquoted before SQLite sees it, so a "#" or "?" would name another file.
        return sqlite3.connect(uri, uri=True, check_same_thread=False, timeout=BUSY_TIMEOUT_MS / 1000)

    if kept:
        engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool, pool_size=kept, max_overflow=-1)
    else:
        engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        if not read_only:
            if log:
                cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
        cursor.close()
        # The driver opens no transaction before DDL: a migration that failed half way would leave its half behind.
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def take_lock(path: Path) -> int:
    """The lock that only one prober holds: flock on ``<ledger>.lock``. Raises LedgerLocked."""
    lock_path = path.with_name(path.name + ".lock")
    try:
        descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as cause:
        raise LedgerError(
            f"{lock_path}: {cause.strerror}; the directory must exist and be writable for the user that runs mailcanary"
        ) from cause
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as cause:
        os.close(descriptor)
        raise LedgerLocked(
            f"{path}: another mailcanary holds this ledger (lock {lock_path}); "
            "stop it, or give this one a ledger of its own"
        ) from cause
    return descriptor


def open_ledger(path: Path, now: Instant) -> Opened:
    """Lock, check, set aside what is damaged, migrate forward. Raises LedgerError and its kinds."""
    lock = take_lock(path)
    try:
        damage = _damage(path)
        if path.exists() and not damage:
            open_for_reading(path).dispose()  # a newer one is refused before anything writes to it
        set_aside = _set_aside(path, now) if damage else ""
        engine = sqlite_engine(path)
        created = _prepare(engine, path, now)
    except BaseException:
        os.close(lock)
        raise
    return Opened(engine, lock, set_aside, damage, created)


def open_for_reading(path: Path) -> Engine:
    """A read-only engine, daemon up or down. Raises LedgerMissing, LedgerTooNew."""
    if not path.is_file():
        raise LedgerMissing(f"{path}: no ledger there; has `mailcanary run` been started with this configuration?")
    engine = sqlite_engine(path, read_only=True)
    try:
        with engine.connect() as connection:
            version = _version(connection)
    except SQLAlchemyError as cause:
        raise LedgerError(f"{path}: the ledger cannot be read: {cause}".splitlines()[0]) from cause
    if version > schema.VERSION:
        raise _too_new(path, version)
    return engine


def _damage(path: Path) -> str:
    """What is wrong with the file, or "" (also where there is none)."""
    if not path.exists():
        return ""
    if not path.is_file():
        raise LedgerError(f"{path}: not a file; name a ledger that is one, or that does not exist yet")
    size = path.stat().st_size
    if size == 0:
        return "the file is empty"
    engine = sqlite_engine(path, read_only=True)
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT count(*) FROM sqlite_master"))
            if size <= QUICK_CHECK_LIMIT:
                answer = connection.execute(text("PRAGMA quick_check(1)")).scalar_one()
                if answer != "ok":
                    return str(answer)
            names = {row[0] for row in connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'"))}
            if "meta" not in names:
                return "it is an SQLite file, but not a ledger of mailcanary" if names else "it holds no table"
    except DatabaseError as cause:
        if "locked" in str(cause) or "unable to open" in str(cause) or "readonly" in str(cause):
            raise LedgerError(f"{path}: the ledger cannot be opened: {cause.orig}") from cause
        return str(cause.orig)
    finally:
        engine.dispose()
    return ""


def _set_aside(path: Path, now: Instant) -> str:
    """Rename the file and its side files; nothing is ever deleted. Returns the new name."""
    stamp = now.utc.strftime("%Y%m%dT%H%M%SZ")
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    count = 0
    while aside.exists():
        count += 1
        aside = path.with_name(f"{path.name}.damaged-{stamp}-{count}")
    for suffix in ("-wal", "-shm"):
        side = path.with_name(path.name + suffix)
        if side.exists():
            side.rename(aside.with_name(aside.name + suffix))
    path.rename(aside)
    return str(aside)


def _prepare(engine: Engine, path: Path, now: Instant) -> bool:
    """Create or migrate. True when the ledger is new."""
    old_mask = os.umask(0o077)  # the first connection makes the file; its side files take over its mode
    try:
        created = not path.exists()
        if created:
            _create(path, now)
        with engine.connect() as connection:
            version = _version(connection)
    except (SQLAlchemyError, OSError) as cause:
        raise LedgerError(f"{path}: the ledger cannot be opened: {getattr(cause, 'orig', cause)}") from cause
    finally:
        os.umask(old_mask)
    for step in range(version, schema.VERSION):
        _migrate(engine, path, step)
    return created


def _create(path: Path, now: Instant) -> None:
    """Every table and the version, in a file that takes the ledger's name once it is whole: one that was cut short in
    its making (killed, disk full) would be taken for a damaged ledger at the next start, and its caps for full.

    The change to WAL comes before the name as well: a kill within it leaves a rollback journal, and with that beside
    it no reader could open the file.
    """
    path = path.resolve()  # a link stays a link
    unborn = path.with_name(path.name + ".new")
    for suffix in ("", "-journal", "-wal", "-shm"):
        unborn.with_name(unborn.name + suffix).unlink(missing_ok=True)
    with sqlite_engine(unborn, log=False).begin() as connection:
        schema.metadata.create_all(connection)
        connection.execute(
            insert(schema.meta),
            [{"key": "version", "value": str(schema.VERSION)}, {"key": "created_at", "value": str(now.wall)}],
        )
    with sqlite_engine(unborn).connect():
        pass
    unborn.rename(path)
    _make_durable(path.parent)


def _make_durable(folder: Path) -> None:
    """What was renamed in the folder survives a power cut as well."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _migrate(engine: Engine, path: Path, step: int) -> None:
    """One step forward, in one transaction: a failure leaves the version as it was."""
    try:
        with engine.begin() as connection:
            MIGRATIONS[step](connection)
            connection.execute(schema.meta.update().where(schema.meta.c.key == "version").values(value=str(step + 1)))
    except (SQLAlchemyError, KeyError) as cause:
        raise LedgerError(
            f"{path}: the migration from schema {step} to {step + 1} failed ({cause}); the ledger is unchanged"
        ) from cause


def _version(connection: Connection) -> int:
    value = connection.execute(select(schema.meta.c.value).where(schema.meta.c.key == "version")).scalar()
    return int(value) if value is not None and str(value).isdigit() else 0


def _too_new(path: Path, version: int) -> LedgerTooNew:
    return LedgerTooNew(
        f"{path}: written by a newer mailcanary (schema {version}; this one knows {schema.VERSION}); "
        "install that version again, or name another ledger. The file was left untouched"
    )
