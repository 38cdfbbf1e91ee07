"""Forgetting: what is settled and old goes with all that belongs to it; what was counted stays counted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from probe.ledger import store
from probe.ledger.batch import Batch, Read
from probe.ledger.store import Ledger
from tests.canary.lives import ZERO, at
from tests.ledger.ledgers import StillClock, accepted, delivered, intended, look

DAY = 86_400.0
KEEP = timedelta(days=90)


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def ledger(tmp_path: Path, clock: StillClock) -> Iterator[Ledger]:
    opened_here = Ledger(tmp_path / "ledger.sqlite3", clock, inline=True)
    yield opened_here
    opened_here.close()


def _ids(path: Path, table: str, column: str) -> set[str]:
    return {row[0] for row in look(path, f"SELECT {column} FROM {table}")}


async def test_only_the_settled_and_old_go_with_all_that_is_theirs(
    ledger: Ledger, clock: StillClock, tmp_path: Path
) -> None:
    batch = Batch()
    delivered(batch, 1, 0)
    delivered(batch, 2, 50 * DAY)
    accepted(batch, 3, 0)
    intended(batch, 4, 0)
    batch.read(Read("a", "INBOX", at(0), at(1), True, True, None, 0))
    batch.read(Read("a", "INBOX", at(50 * DAY), at(50 * DAY), True, True, None, 0))
    batch.event(at(0), "old", "x")
    batch.event(at(50 * DAY), "new", "x")
    await ledger.commit(batch)
    totals = ledger.totals.snapshot()

    clock.time = at(90 * DAY + 5)  # the first was settled 5 s after it was sent: exactly KEEP ago
    assert await ledger.prune(KEEP) == 0
    clock.time = at(90 * DAY + 6)
    assert await ledger.prune(KEEP) == 1

    path = tmp_path / "ledger.sqlite3"
    left = {"canary0000002", "canary0000003", "canary0000004"}
    assert _ids(path, "canaries", "id") == left
    assert _ids(path, "moves", "canary") == left
    assert _ids(path, "attempts", "canary") == left
    assert _ids(path, "copies", "canary") == {"canary0000002"}
    assert look(path, "SELECT count(*) FROM reads") == [(1,)]
    assert _ids(path, "events", "kind") == {"new"}
    assert ledger.totals.snapshot() == ledger.queries.totals() == totals
    assert ledger.queries.balance() == 0


async def test_a_canary_in_flight_is_never_forgotten(ledger: Ledger, clock: StillClock) -> None:
    batch = Batch()
    accepted(batch, 1, 0)
    await ledger.commit(batch)
    clock.time = at(5_000 * DAY)
    assert await ledger.prune(timedelta(0)) == 0
    assert len(list(ledger.queries.in_flight())) == 1


async def test_pruning_goes_on_in_chunks_until_nothing_old_is_left(
    ledger: Ledger, clock: StillClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PRUNE_CHUNK", 3)
    batch = Batch()
    for number in range(7):
        delivered(batch, number, number)
    for number in range(20):
        batch.read(Read("a", "INBOX", at(number), at(number), True, True, None, 0))
    await ledger.commit(batch)
    commits = ledger.commits
    clock.time = at(200 * DAY)
    assert await ledger.prune(KEEP) == 7
    path = tmp_path / "ledger.sqlite3"
    assert look(path, "SELECT (SELECT count(*) FROM canaries), (SELECT count(*) FROM reads)") == [(0, 0)]
    assert ledger.commits - commits == 7  # 20 reads by 3: no transaction takes more than a chunk
    assert await ledger.prune(KEEP) == 0


async def test_more_canaries_than_one_statement_names(ledger: Ledger, clock: StillClock) -> None:
    batch = Batch()
    for number in range(1_201):
        delivered(batch, number)
    await ledger.commit(batch)
    clock.time = ZERO + timedelta(days=400)
    assert await ledger.prune(KEEP) == 1_201
    assert ledger.queries.state_counts() == {}
    assert ledger.totals.sum("sent") == 1_201
