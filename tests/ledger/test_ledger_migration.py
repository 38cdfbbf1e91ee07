"""Migration: forward, a step a transaction; a step that fails leaves the file as it was."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from probe.errors import LedgerError
from probe.ledger import opening, schema
from probe.ledger.batch import Batch
from tests.ledger.ledgers import delivered, look, opened

NOW = schema.VERSION


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite3"


async def filled(path: Path, many: int) -> None:
    """A ledger of the present schema with ``many`` canaries."""
    ledger = opened(path)
    batch = Batch()
    for number in range(many):
        delivered(batch, number)
    await ledger.commit(batch)
    ledger.close()


def _add_column(connection: Connection) -> None:
    connection.exec_driver_sql("ALTER TABLE events ADD COLUMN weight INTEGER")


def _fail_half_way(connection: Connection) -> None:
    connection.exec_driver_sql("ALTER TABLE events ADD COLUMN half INTEGER")
    connection.exec_driver_sql("DELETE FROM canaries")
    raise OperationalError("second half", None, sqlite3.OperationalError("disk full"))


@pytest.mark.fault("P32")
async def test_migration_forward_keeps_everything(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(path, 4)
    canaries = look(path, "SELECT * FROM canaries")
    totals = look(path, "SELECT * FROM totals")
    monkeypatch.setattr(schema, "VERSION", NOW + 1)
    monkeypatch.setattr(opening, "MIGRATIONS", {NOW: _add_column})
    for _ in range(2):  # the second opening has nothing to do: a second ALTER would fail
        ledger = opened(path)
        assert not ledger.created
        ledger.close()
        assert look(path, "SELECT value FROM meta WHERE key = 'version'") == [(str(NOW + 1),)]
    assert look(path, "SELECT * FROM canaries") == canaries
    assert look(path, "SELECT * FROM totals") == totals
    assert look(path, "SELECT name FROM pragma_table_info('events') WHERE name = 'weight'") == [("weight",)]


@pytest.mark.fault("P07")
async def test_a_failed_migration_leaves_data_schema_and_version(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(path, 4)
    dump = "SELECT name, sql FROM sqlite_master"
    schema_before, canaries = look(path, dump), look(path, "SELECT * FROM canaries")
    with monkeypatch.context() as patched:
        patched.setattr(schema, "VERSION", NOW + 1)
        patched.setattr(opening, "MIGRATIONS", {NOW: _fail_half_way})
        with pytest.raises(LedgerError, match=f"from schema {NOW} to {NOW + 1} failed"):
            opened(path)
    assert look(path, dump) == schema_before
    assert look(path, "SELECT * FROM canaries") == canaries
    assert look(path, "SELECT value FROM meta WHERE key = 'version'") == [(str(NOW),)]
    opened(path).close()


async def test_of_two_steps_the_first_stays_when_the_second_fails(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(path, 1)
    monkeypatch.setattr(schema, "VERSION", NOW + 2)
    monkeypatch.setattr(opening, "MIGRATIONS", {NOW: _add_column, NOW + 1: _fail_half_way})
    with pytest.raises(LedgerError, match=f"from schema {NOW + 1} to {NOW + 2} failed"):
        opened(path)
    assert look(path, "SELECT value FROM meta WHERE key = 'version'") == [(str(NOW + 1),)]
    monkeypatch.setattr(opening, "MIGRATIONS", {NOW + 1: lambda connection: None})
    opened(path).close()
    assert look(path, "SELECT count(*) FROM canaries") == [(1,)]


async def test_a_step_that_is_missing_is_an_error_not_a_crash(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(path, 1)
    monkeypatch.setattr(schema, "VERSION", NOW + 1)
    with pytest.raises(LedgerError, match="unchanged"):
        opened(path)


async def test_the_first_schema_gets_the_indices_of_the_present_one(path: Path) -> None:
    await filled(path, 4)
    indices = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql > '' ORDER BY name"
    now, canaries = look(path, indices), look(path, "SELECT * FROM canaries")
    connection = sqlite3.connect(path)
    for statement in (
        "DROP INDEX canaries_outcome",
        "DROP INDEX events_at",
        "DROP INDEX reads_began",
        "CREATE INDEX reads_began ON reads (mailbox, began_at)",
        "UPDATE meta SET value = '1' WHERE key = 'version'",
    ):
        connection.execute(statement)
    connection.commit()
    connection.close()
    assert look(path, indices) != now
    ledger = opened(path)
    assert not ledger.created
    ledger.close()
    assert look(path, indices) == now
    assert look(path, "SELECT * FROM canaries") == canaries
    assert look(path, "SELECT value FROM meta WHERE key = 'version'") == [(str(NOW),)]


def test_every_version_has_its_step() -> None:
    assert set(opening.MIGRATIONS) == set(range(1, schema.VERSION))
