"""What became of canaries in a span of time: the counts, and that no question reads the whole ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from probe.canary.record import State
from probe.clock import NANOSECONDS
from probe.ledger.store import Ledger
from tests.exposition.exposition_fakes import LEG, START, four_lives

ZERO = START.wall


def after(seconds: float) -> int:
    return ZERO + int(seconds * NANOSECONDS)


@pytest.fixture
async def ledger(tmp_path: Path) -> Ledger:
    """Delivered after 3.2 s; sent at 60 s, lost at 700 s and recovered; sent at 120 s, late at 200 s; sent at 800 s,
    overdue at 850 s."""
    return (await four_lives(tmp_path / "ledger.sqlite")).ledger


async def test_each_outcome_is_in_the_span_in_which_it_was_known(ledger: Ledger) -> None:
    found = ledger.history.settled(ZERO, after(3600), 60)
    begin = ZERO // NANOSECONDS // 60 * 60
    assert {(one.state, one.sent - begin, one.canaries) for one in found} == {
        (State.DELIVERED, 0, 1), (State.LOST, 60, 1), (State.LATE, 120, 1),
    }  # fmt: skip
    assert {one.leg for one in found} == {LEG}
    (lost,) = ledger.history.settled(after(690), after(710), 60)
    assert lost.state is State.LOST
    assert lost.settled is not None
    assert 0 <= after(700) // NANOSECONDS - lost.settled < 60
    assert lost.overdue == lost.settled  # the verdict was the first to find it overdue
    assert ledger.history.settled(after(701), after(3600), 60) == []


async def test_canaries_alike_are_counted_together(ledger: Ledger) -> None:
    found = ledger.history.settled(ZERO, after(3600), 86_400)
    assert sum(one.canaries for one in found) == 3
    assert all(one.sent % 86_400 == 0 for one in found)


async def test_what_is_open_is_told_as_it_was_at_that_moment(ledger: Ledger) -> None:
    (one,) = ledger.history.open_before(after(3600), 1)
    assert (one.state, one.settled, one.overdue) == (State.ACCEPTED, None, after(850) // NANOSECONDS)
    (before,) = ledger.history.open_before(after(840), 1)
    assert before.overdue is None
    then = ledger.history.open_before(after(190), 1)
    assert sorted((one.state, one.settled, one.overdue) for one in then) == [
        (State.LATE, None, None),
        (State.LOST, None, None),
    ]


async def test_no_question_reads_the_whole_table(ledger: Ledger) -> None:
    asked: list[tuple[str, Any]] = []
    engine = ledger.history._engine
    event.listen(engine, "before_cursor_execute", lambda _c, _u, sql, values, _x, _m: asked.append((sql, values)))
    ledger.history.open_before(after(190), 60)
    ledger.history.settled(ZERO, after(3600), 60)
    plans = []
    with engine.connect() as connection:
        for sql, values in [one for one in asked if one[0].startswith("SELECT")]:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)
            plans.append(next(row[3] for row in plan if "canaries" in row[3]))
        assert connection.execute(text("SELECT count(*) FROM canaries")).scalar() == 4
    assert [plan.partition(" (")[0] for plan in plans] == [
        "SEARCH canaries USING INDEX canaries_in_flight",
        "SEARCH canaries USING INDEX canaries_settled",
        "SEARCH canaries USING INDEX canaries_settled",
    ]
