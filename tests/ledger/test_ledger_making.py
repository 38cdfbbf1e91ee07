"""The making of a ledger: whole under its name or not there, wherever it is cut short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from probe.errors import LedgerError
from probe.ledger import opening, schema
from tests.ledger.ledgers import counting, opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite3"


def _cut(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, error: BaseException) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(owner, name, fail)


class _Killed(BaseException):
    """Stands for a kill: nothing is tidied up by whoever would catch an error."""


async def _made_whole(path: Path) -> None:
    ledger = opened(path)
    assert (ledger.set_aside, ledger.damage, ledger.created) == ("", "", True)
    await ledger.commit(counting("first"))
    ledger.close()
    again = opened(path)
    assert (again.set_aside, again.created, again.totals.get("first")) == ("", False, 1)
    again.close()
    assert [file.name for file in path.parent.iterdir() if ".new" in file.name] == []


@pytest.mark.parametrize(
    ("owner", "name"), [(schema.metadata, "create_all"), (Path, "rename"), (opening, "_make_durable")]
)
async def test_a_start_that_was_killed_in_it_leaves_no_damage(
    path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    _cut(monkeypatch, owner, name, _Killed())
    with pytest.raises(_Killed):
        opened(path)
    monkeypatch.undo()
    whole = path.exists()  # renamed already
    assert whole is (name == "_make_durable")
    if whole:
        ledger = opened(path)
        assert (ledger.set_aside, ledger.damage, ledger.created) == ("", "", False)
        ledger.close()
    else:
        await _made_whole(path)


@pytest.mark.parametrize("error", [OperationalError("", {}, Exception("disk full")), OSError(28, "disk full")])
async def test_one_that_failed_is_told_and_tried_anew(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    _cut(monkeypatch, schema.metadata, "create_all", error)
    with pytest.raises(LedgerError, match=r"cannot be opened: .*disk full"):
        opened(path)
    monkeypatch.undo()
    await _made_whole(path)


async def test_what_an_unfinished_one_left_is_replaced(path: Path) -> None:
    for suffix in ("", "-journal"):
        Path(f"{path}.new{suffix}").write_bytes(b"half a ledger")
    await _made_whole(path)


async def test_a_link_to_a_ledger_that_is_not_there_yet_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    link = tmp_path / "ledger.sqlite3"
    link.symlink_to(tmp_path / "disk" / "real.sqlite3")
    opened(link).close()
    assert link.is_symlink()
    assert (tmp_path / "disk" / "real.sqlite3").is_file()
