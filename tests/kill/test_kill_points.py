"""Kills and failed writes at points of a life that chance draws, and the proof that the checker would see a violation.

All points: ``make kill``.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.kill.campaign import KEYRING, campaign
from tests.kill.checker import Checker, read_rows
from tests.kill.points import FAIL_AT, KILL_AT, Mode, sample
from tests.kill.receiving import Mail, Servers
from tests.kill.rig import Rig

POINTS, SEED = 150, 20261124


@pytest.fixture(scope="module")
def tracing() -> None:
    """strace, and the right to trace."""
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        tracer = ["timeout", "0.5", "strace", "-p", str(sleeper.pid)]
        said = subprocess.run(tracer, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30).stderr
    finally:
        sleeper.communicate(b"\n", timeout=30)
    if "attached" not in said:
        pytest.skip(f"needs the right to trace: {said.strip()}")


@pytest.mark.timeout(600)
def test_a_sample_of_all_points(tracing: None, tmp_path: Path) -> None:
    seen, verdicts = campaign(
        tmp_path, lambda seen: sample(seen.points, POINTS, SEED), jobs=2, tell=lambda verdict: None
    )
    assert {str(each.point): each.violations for each in verdicts if each.violations} == {}
    assert not seen.others, f"acts that are no points yet: {seen.others}"
    assert len(verdicts) == POINTS
    reached = [each for each in verdicts if each.reached]
    assert len(reached) > 0.9 * POINTS, "the points mean nothing: the lives differ too much from those that were traced"
    assert {each.point.mode for each in reached} == set(Mode)
    assert all(each.code == -9 for each in reached if each.point.mode is Mode.KILL)
    assert all(each.code != -9 for each in verdicts if each.point.mode is not Mode.KILL)
    made = {(each.mode, each.call) for each in seen.points}
    assert {"pwrite64", "fdatasync", "fsync", "rename", "unlink", "sendto", "connect", "close"} <= {
        call for mode, call in made if mode is Mode.KILL
    }
    assert {call for _, call in made} <= {*KILL_AT, *FAIL_AT}


@dataclass(frozen=True)
class Past:
    """A whole life and its restart, without any fault."""

    ledger: Path
    mails: Sequence[Mail]

    def judged(self) -> list[str]:
        checker = Checker(self.mails, KEYRING)
        checker.after_restart(read_rows(self.ledger, self.ledger.parent / "copy"))
        return checker.finding.violations

    def canary(self, state: str) -> str:
        with closing(sqlite3.connect(self.ledger)) as connection:
            found = connection.execute("SELECT id FROM canaries WHERE state = ? ORDER BY n", (state,)).fetchone()
            return str(found[0])


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    servers = Servers()
    with Rig(servers, tmp_path_factory.mktemp("healthy") / "rig") as rig:
        world = rig.world()
        life, _, _ = rig.trace(world, [])
        again = rig.restart(world)
        log = (world.folder / "life.log").read_text()
        assert (life.code, again.code) == (0, 0), log
        yield Past(world.folder / "ledger.sqlite", list(world.account.mails))
    servers.close()


@pytest.fixture
def past(healthy: Past, tmp_path: Path) -> Past:
    """A copy to spoil."""
    shutil.copy(healthy.ledger, tmp_path / "ledger.sqlite")
    return replace(healthy, ledger=tmp_path / "ledger.sqlite")


def _spoil(past: Past, *statements: str, state: str = "delivered") -> list[str]:
    """``?`` is a canary in ``state``."""
    canary = past.canary(state)
    with closing(sqlite3.connect(past.ledger)) as connection:
        for statement in statements:
            assert connection.execute(statement.replace("?", f"'{canary}'")).rowcount > 0, statement
        connection.commit()
    return past.judged()


def test_a_life_without_faults_has_no_violation(past: Past) -> None:
    assert past.judged() == []
    assert len(past.mails) == 5
    assert past.canary("lost")


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("DELETE FROM canaries WHERE id = ?", "that the ledger does not know"),
        ("DELETE FROM attempts WHERE canary = ?", "that the ledger does not know"),
        ("DELETE FROM moves WHERE canary = ? AND after = 'data_started'", "before data_started was entered"),
        ("UPDATE moves SET at = at + 60000000000 WHERE canary = ?", "before data_started was entered"),
        ("UPDATE attempts SET started_at = started_at + 60000000000 WHERE canary = ?", "entered after its content"),
        ("UPDATE canaries SET state = 'lost' WHERE id = ?", "lost, and it is in the mailbox"),
        ("UPDATE canaries SET state = 'unsent' WHERE id = ?", "unsent, and the server accepted it"),
        ("UPDATE canaries SET state = 'accepted' WHERE id = ?", "still accepted after the restart"),
        ("UPDATE canaries SET arrived_at = NULL WHERE id = ?", "arrived is False, in the mailbox is True"),
        ("UPDATE canaries SET settled_at = NULL WHERE id = ?", "settled_at does not fit"),
        ("UPDATE canaries SET attempts = attempts + 1 WHERE id = ?", "its row says"),
        ("UPDATE canaries SET duplicates = 1 WHERE id = ?", "total duplicates"),
        ("UPDATE canaries SET overdue = 1 WHERE id = ?", "total overdue"),
        ("DELETE FROM copies WHERE canary = ?", "are not those stored"),
        ("UPDATE totals SET value = value + 1 WHERE name = 'sent'", "total sent"),
        ("UPDATE totals SET value = value - 1 WHERE name = 'outcomes'", "total outcomes"),
        ("UPDATE totals SET value = 0 WHERE name = 'arrivals'", "total arrivals"),
        ("UPDATE totals SET value = value + 1 WHERE name = 'attempts'", "total attempts"),
        ("DELETE FROM totals WHERE name = 'submissions'", "total submissions"),
    ],
)
def test_the_checker_sees_what_is_wrong_with_a_ledger(past: Past, statement: str, found: str) -> None:
    assert any(found in each for each in _spoil(past, statement)), past.judged()


def test_it_sees_a_second_outcome(past: Past) -> None:
    columns = "canary, at, before, after, observation, reason"
    again = f"INSERT INTO moves ({columns}) SELECT canary, at, before, after, observation, reason FROM moves"
    violations = _spoil(past, f"{again} WHERE canary = ? ORDER BY n DESC LIMIT 1")
    assert any("2 outcomes" in each for each in violations), violations


def test_it_sees_a_false_arrival(past: Past) -> None:
    violations = _spoil(past, "UPDATE canaries SET state = 'delivered' WHERE id = ?", state="lost")
    assert any("delivered, and it is not in the mailbox" in each for each in violations), violations


def test_it_sees_a_loss_of_what_was_never_answered(past: Past) -> None:
    unsure = "UPDATE moves SET after = 'unsure' WHERE canary = ? AND after = 'accepted'"
    violations = _spoil(past, unsure, state="lost")
    assert any("lost, and its 250 was never heard" in each for each in violations), violations
    assert any("lost, although it was unsure" in each for each in violations), violations


def test_it_sees_a_second_sending(past: Past) -> None:
    twice = replace(past, mails=[*past.mails, past.mails[0]])
    assert any("sent 2 times" in each for each in twice.judged())


def test_it_sees_a_content_begun_before_its_entry(past: Past) -> None:
    first = past.mails[0]
    early = replace(past, mails=[replace(first, at=first.at - 60_000_000_000, whole=False), *past.mails[1:]])
    assert any("before data_started was entered" in each for each in early.judged())


def test_it_sees_a_ledger_that_is_gone(past: Past) -> None:
    past.ledger.unlink()
    assert past.judged() == ["there is no ledger after the restart"]
    checker = Checker(past.mails, KEYRING)
    checker.before_restart(None)
    assert checker.finding.violations == ["mail was sent, and there is no ledger"]


def test_it_sees_mail_that_is_no_canary(past: Past) -> None:
    foreign = replace(past, mails=[*past.mails, Mail("nonsense", 0, whole=True, stored=True)])
    assert any("what is no canary" in each for each in foreign.judged())
