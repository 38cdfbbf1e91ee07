"""Opening: one prober at a time, nothing lost to damage, nothing written to what is newer."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from probe.errors import LedgerError, LedgerLocked, LedgerMissing, LedgerTooNew
from probe.ledger import schema
from probe.ledger.batch import Batch
from probe.ledger.opening import open_for_reading
from probe.ledger.queries import Queries
from probe.ledger.store import Ledger
from tests.canary.lives import ZERO
from tests.ledger.ledgers import counting, delivered, opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite3"


async def _fill(ledger: Ledger, many: int = 1) -> None:
    batch = Batch()
    for number in range(many):
        delivered(batch, number)
    await ledger.commit(batch)


async def _make(path: Path, many: int = 1) -> None:
    ledger = opened(path)
    await _fill(ledger, many)
    ledger.close()


def _change(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def _bytes(path: Path) -> dict[str, bytes]:
    """The file and its log; ``-shm`` is an index that any reader may rebuild."""
    files = {
        p.name: p.read_bytes() for p in path.parent.glob(f"{path.name}*") if not p.name.endswith((".lock", "-shm"))
    }
    return {name: content for name, content in files.items() if content}


def test_a_new_ledger_is_for_its_owner_only(path: Path) -> None:
    before = os.umask(0)
    try:
        ledger = opened(path)
    finally:
        os.umask(before)
    try:
        assert ledger.created
        assert (ledger.set_aside, ledger.damage, ledger.created_at) == ("", "", ZERO.wall)
        for name in ("", "-wal", "-shm", ".lock"):
            if (file := Path(f"{path}{name}")).exists():
                assert stat.S_IMODE(file.stat().st_mode) == 0o600, name
    finally:
        ledger.close()


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="directory must exist"):
        opened(tmp_path / "nowhere" / "ledger.sqlite3")


@pytest.mark.parametrize("name", ["with space.db", "q?mark&x=1.db", "hash#.db", "per%20cent.db", "ü.db"])
async def test_any_file_name_will_do(tmp_path: Path, name: str) -> None:
    await _make(tmp_path / name)
    assert (tmp_path / name).is_file()
    reading = Queries(open_for_reading(tmp_path / name))
    assert reading.canary("canary0000000") is not None
    reading.close()


@pytest.mark.fault("P24")
async def test_one_prober_at_a_time(path: Path) -> None:
    first = opened(path)
    await _fill(first)
    with pytest.raises(LedgerLocked, match="another mailcanary"):
        opened(path)
    await first.commit(counting("still"))
    first.close()
    first.close()
    second = opened(path)
    assert second.totals.get("still") == 1
    second.close()


def test_a_failed_opening_gives_the_lock_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(path).close()
    monkeypatch.setattr(schema, "VERSION", 0)
    with pytest.raises(LedgerTooNew):
        opened(path)
    monkeypatch.undo()
    opened(path).close()


@pytest.mark.fault("P02")
async def test_what_was_committed_before_a_crash_is_there_after_it(path: Path, tmp_path: Path) -> None:
    """The files as they are on disk while the writer runs: a log not yet carried over."""
    ledger = opened(path)
    await _fill(ledger, 3)
    for case, names in (("shm", ("", "-wal", "-shm")), ("no-shm", ("", "-wal"))):
        crashed = tmp_path / case / path.name
        crashed.parent.mkdir()
        for name in names:
            shutil.copy(f"{path}{name}", f"{crashed}{name}")
        again = opened(crashed)
        assert again.set_aside == ""
        assert again.totals.snapshot() == ledger.totals.snapshot()
        await again.commit(counting("more"))
        again.close()
    ledger.close()


# newer


@pytest.mark.fault("P07", "P32")
@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
async def test_a_newer_ledger_is_refused_and_untouched(path: Path, mode: str) -> None:
    await _make(path)
    _change(path, f"PRAGMA journal_mode={mode}", "UPDATE meta SET value = '99' WHERE key = 'version'")
    before = _bytes(path)
    for attempt in (opened, open_for_reading):
        with pytest.raises(LedgerTooNew, match="schema 99"):
            attempt(path)
    assert _bytes(path) == before


async def test_a_newer_ledger_with_a_log_left_by_a_crash_is_untouched_too(path: Path, tmp_path: Path) -> None:
    ledger = opened(path)
    await _fill(ledger)
    _change(path, "UPDATE meta SET value = '99' WHERE key = 'version'")
    crashed = tmp_path / "crashed" / path.name
    crashed.parent.mkdir()
    for name in ("", "-wal"):
        shutil.copy(f"{path}{name}", f"{crashed}{name}")
    ledger.close()
    before = _bytes(crashed)
    assert len(before) == 2
    with pytest.raises(LedgerTooNew):
        opened(crashed)
    assert _bytes(crashed) == before


# damage


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _garble(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for page in range(2, len(data) // 4096):
        data[page * 4096 : page * 4096 + 200] = b"\xff" * 200
    path.write_bytes(data)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _noise(path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to look like one " * 200)


def _foreign(path: Path) -> None:
    path.unlink()
    _change(path, "CREATE TABLE somebody_elses (x)", "INSERT INTO somebody_elses VALUES (1)")


def _tableless(path: Path) -> None:
    path.unlink()
    _change(path, "PRAGMA user_version=7")


@pytest.mark.fault("P06")
@pytest.mark.parametrize("damage", [_truncate, _garble, _empty, _noise, _foreign, _tableless])
async def test_a_damaged_ledger_is_set_aside_and_never_deleted(path: Path, damage: object) -> None:
    await _make(path, 60)
    damage(path)  # type: ignore[operator]
    before = path.read_bytes()
    ledger = opened(path)
    aside = Path(ledger.set_aside)
    assert aside.read_bytes() == before
    assert aside.name == f"{path.name}.damaged-{ZERO.utc:%Y%m%dT%H%M%SZ}"
    assert ledger.damage
    assert ledger.created
    assert ledger.totals.snapshot() == {}
    await _fill(ledger, 2)
    assert ledger.queries.balance() == 0
    ledger.close()
    again = opened(path)
    assert (again.set_aside, again.totals.sum("sent")) == ("", 2)
    again.close()


def test_nothing_set_aside_earlier_is_overwritten(path: Path) -> None:
    kept = []
    for number in range(3):
        path.write_bytes(b"damage %d" % number)
        ledger = opened(path)
        ledger.close()
        kept.append(Path(ledger.set_aside))
    assert [file.read_bytes() for file in kept] == [b"damage 0", b"damage 1", b"damage 2"]


def test_the_log_of_a_damaged_ledger_goes_with_it(path: Path) -> None:
    path.write_bytes(b"damaged")
    Path(f"{path}-wal").write_bytes(b"its log")
    ledger = opened(path)
    ledger.close()
    assert Path(f"{ledger.set_aside}-wal").read_bytes() == b"its log"


def test_a_directory_in_its_place_is_an_error(path: Path) -> None:
    path.mkdir()
    with pytest.raises(LedgerError, match="not a file"):
        opened(path)
    assert path.is_dir()


# reading


async def test_readers_see_what_is_committed_while_the_daemon_runs(path: Path) -> None:
    ledger = opened(path, inline=False)
    await _fill(ledger, 2)
    reading = Queries(open_for_reading(path))
    assert reading.totals() == ledger.totals.snapshot()
    batch = Batch()
    delivered(batch, 7)
    await ledger.commit(batch)
    assert reading.canary("canary0000007") is not None
    with reading._engine.connect() as connection, pytest.raises(OperationalError, match="readonly"):
        connection.exec_driver_sql("DELETE FROM canaries")
    ledger.close()
    assert reading.state_counts() == {"delivered": 3}
    reading.close()


async def test_readers_need_no_daemon(path: Path) -> None:
    await _make(path, 2)
    before = path.read_bytes()
    reading = Queries(open_for_reading(path))
    assert reading.balance() == 0
    assert reading.state_counts() == {"delivered": 2}
    reading.close()
    assert path.read_bytes() == before
    opened(path).close()


def test_reading_where_there_is_no_ledger_makes_none(path: Path) -> None:
    with pytest.raises(LedgerMissing, match="mailcanary run"):
        open_for_reading(path)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("damage", [_empty, _noise, _foreign])
async def test_reading_what_is_no_ledger_is_one_line(path: Path, damage: object) -> None:
    await _make(path)
    damage(path)  # type: ignore[operator]
    with pytest.raises(LedgerError) as caught:
        open_for_reading(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
