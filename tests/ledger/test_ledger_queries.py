"""What the commands, the pages and a restart ask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from probe.canary import observations as seen
from probe.canary.coverage import Cursor, Span
from probe.canary.record import Leg
from probe.ledger import listing
from probe.ledger.batch import Attempt, Batch, Read
from probe.ledger.queries import Filter
from probe.ledger.store import Ledger
from tests.canary.lives import LEG, OBSERVED, at
from tests.ledger.ledgers import accepted, copy_of, delivered, intended, look, opened, step

OTHER = Leg("sales", "mx2.example.net", "inbox-b")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened_here = opened(tmp_path / "ledger.sqlite3")
    yield opened_here
    opened_here.close()


@pytest.fixture
async def filled(ledger: Ledger) -> Ledger:
    """Five canaries, a minute apart."""
    batch = Batch()
    delivered(batch, 0, 0)
    step(batch, accepted(batch, 1, 60), OBSERVED["ProvenAbsent"])
    accepted(batch, 2, 120)
    delivered(batch, 3, 180, leg=OTHER)
    intended(batch, 4, 240, leg=replace(LEG, mx="mx2.example.net"))
    await ledger.commit(batch)
    return ledger


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (Filter(), [4, 3, 2, 1, 0]),
        (Filter(limit=2), [4, 3]),
        (Filter(route="support"), [4, 2, 1, 0]),
        (Filter(mx="mx2.example.net"), [4, 3]),
        (Filter(route="support", mx="mx2.example.net"), [4]),
        (Filter(outcome="lost"), [1]),
        (Filter(outcome="delivered"), [3, 0]),
        (Filter(outcome="accepted"), [2]),
        (Filter(outcome="accepted", route="support"), [2]),
        (Filter(outcome="accepted", mx="mx2.example.net"), []),
        (Filter(outcome="delivered", route="sales"), [3]),
        (Filter(outcome="delivered", mx="mx1.example.net"), [0]),
        (Filter(outcome="delivered", limit=1), [3]),
        (Filter(outcome="bounced"), []),
        (Filter(mx="mx1.example.net", limit=2), [2, 1]),
        (Filter(since=at(120).utc), [4, 3, 2]),
        (Filter(since=at(120.5).utc), [4, 3]),
        (Filter(route="support", outcome="delivered", since=at(0).utc, limit=1), [0]),
        (Filter(route="nobody"), []),
        (Filter(route="' OR 1=1 --"), []),
    ],
)
async def test_filters(filled: Ledger, wanted: Filter, numbers: list[int]) -> None:
    assert [one.id for one in filled.queries.canaries(wanted)] == [f"canary{n:07}" for n in numbers]


async def test_ids_by_their_first_characters(filled: Ledger) -> None:
    queries = filled.queries
    assert queries.ids_like("canary0000003") == ["canary0000003"]
    assert sorted(queries.ids_like("canary")) == [f"canary{n:07}" for n in range(5)]
    assert len(queries.ids_like("canary", limit=2)) == 2
    assert queries.ids_like("%") == queries.ids_like("_anary") == queries.ids_like("x") == []


async def test_in_flight_and_balance(filled: Ledger) -> None:
    assert [one.id for one in filled.queries.in_flight()] == ["canary0000002", "canary0000004"]
    assert filled.queries.state_counts() == {"delivered": 2, "lost": 1, "accepted": 1, "intent": 1}
    assert filled.queries.balance() == 0


@pytest.mark.parametrize(("name", "off"), [("sent", 1.0), ("outcomes", -1.0)])
async def test_the_balance_shows_a_count_that_is_off(filled: Ledger, name: str, off: float) -> None:
    batch = Batch()
    batch.count(name)
    await filled.commit(batch)
    assert filled.queries.balance() == off


async def test_the_balance_of_an_empty_ledger_is_zero(ledger: Ledger) -> None:
    assert ledger.queries.balance() == 0


async def test_the_last_of_a_leg(filled: Ledger) -> None:
    legs = [("support", "mx1.example.net"), ("support", "mx2.example.net"), ("sales", "mx2.example.net")]
    nobody = ("sales", "mx1.example.net")
    assert filled.queries.last_of([*legs, nobody]) == {
        legs[0]: (at(120).wall, at(5).wall),
        legs[1]: (at(240).wall, None),
        legs[2]: (at(180).wall, filled.queries.canary("canary0000003").arrived.wall),
        nobody: (None, None),
    }


async def test_attempts_for_the_caps(filled: Ledger) -> None:
    asked = filled.queries.attempts_since(at(120).wall)
    assert asked == [
        (at(120).wall, "support", "canary@example.org"),
        (at(180).wall, "sales", "canary@example.org"),
        (at(240).wall, "support", "canary@example.org"),
    ]


async def test_a_life_tells_all_in_order(ledger: Ledger) -> None:
    batch = Batch()
    one = delivered(batch, 1)
    step(batch, one, seen.CopySeen(at(9), "Junk", "duplicate"))
    batch.copy(copy_of(one, 4, at(9), folder="Junk", name="INBOX.Junk", kind="duplicate", mailbox_time=None))
    batch.attempt(
        Attempt(
            one.id, 1, at(0), LEG.route, LEG.mx, "canary@example.org", "accepted", "data", "", 250, "2.0.0", "ok",
            "192.0.2.1", "TLSv1.3", {"connect": 0.25}, [[0.5, "C", "EHLO probe.example"]],
        )
    )  # fmt: skip
    await ledger.commit(batch)
    life = ledger.queries.life(one.id)
    assert life is not None
    assert life.canary.duplicates == 1
    assert [move["observation"] for move in life.moves] == [
        "Intended",
        "DataStarted",
        "SendAccepted",
        "Arrived",
        "CopySeen",
    ]
    assert all(move["reason"] for move in life.moves)
    (attempt,) = life.attempts
    assert (attempt["result"], attempt["code"], attempt["phases"]) == ("accepted", 250, {"connect": 0.25})
    assert attempt["dialogue"] == [[0.5, "C", "EHLO probe.example"]]
    first, second = life.copies
    assert (first.kind, first.epoch, first.uid, first.carriers, first.received) == (
        "first",
        1,
        2,
        ("message_id",),
        ("a",),
    )
    assert first.mailbox_time == at(5).wall
    assert (second.kind, second.folder, second.name, second.mailbox_time) == ("duplicate", "Junk", "INBOX.Junk", None)
    assert ledger.queries.life("nobody") is None


async def test_copies_to_remove(ledger: Ledger) -> None:
    batch = Batch()
    made = [delivered(batch, number, number * 60) for number in range(5)]
    delivered(batch, 9, 0, leg=OTHER)
    await ledger.commit(batch)
    queries = ledger.queries

    def wanted(before: float, limit: int = 10) -> list[str]:
        return [copy.canary for copy in queries.copies_to_remove(LEG.mailbox, at(before).wall, limit)]

    ids = [one.id for one in made]
    assert wanted(1_000) == ids
    assert wanted(1_000, 2) == ids[:2]
    assert wanted(125) == ids[:2]  # the third was seen exactly then
    ended = Batch()
    ended.copy_ended(queries.copies(ids[0])[0].number, removed_at=at(500))
    ended.copy_ended(queries.copies(ids[1])[0].number, removed_at=None)
    await ledger.commit(ended)
    assert wanted(1_000) == ids[2:]
    removed, gone = queries.copies(ids[0])[0], queries.copies(ids[1])[0]
    assert (removed.removed_at, removed.gone) == (at(500).wall, False)
    assert (gone.removed_at, gone.gone) == (None, True)


async def test_one_place_is_recorded_once(ledger: Ledger) -> None:
    batch = Batch()
    one = delivered(batch, 1)
    batch.copy(copy_of(one, 2, at(99), kind="duplicate"))
    await ledger.commit(batch)
    again = Batch()
    again.copy(copy_of(one, 2, at(99), kind="duplicate"))
    again.copy(copy_of(one, 2, at(99), cursor=Cursor(2, 2), kind="reread"))
    await ledger.commit(again)
    assert [(copy.kind, copy.epoch) for copy in ledger.queries.copies(one.id)] == [("first", 1), ("reread", 2)]


async def test_watermarks_reads_and_events(ledger: Ledger, tmp_path: Path) -> None:
    batch = Batch()
    batch.watermark("a", "INBOX", Cursor(1, 5), (), at(1))
    batch.watermark("a", "Junk", Cursor(2, 2**32), (Span(1, 3), Span(9, 2**32 - 1)), at(2))
    await ledger.commit(batch)
    later = Batch()
    later.watermark("a", "INBOX", Cursor(1, 8), (Span(6, 6),), at(3))
    later.read(Read("a", "INBOX", at(3), at(4), True, True, Cursor(1, 8), 2))
    later.read(Read("a", "INBOX", at(5), at(6), True, False, None, 0, "cut"))
    for number in range(3):
        later.event(at(number), "kind", f"event {number}")
    await ledger.commit(later)
    assert ledger.queries.watermarks() == {
        ("a", "INBOX"): (Cursor(1, 8), (Span(6, 6),), at(3).wall),
        ("a", "Junk"): (Cursor(2, 2**32), (Span(1, 3), Span(9, 2**32 - 1)), at(2).wall),
    }
    assert look(tmp_path / "ledger.sqlite3", "SELECT epoch, position, found, problem FROM reads ORDER BY n") == [
        (1, 8, 2, ""),
        (None, None, 0, "cut"),
    ]
    assert [event["detail"] for event in ledger.queries.events(2)] == ["event 2", "event 1"]


def test_an_empty_batch_knows_it_is_empty() -> None:
    assert not Batch()
    for fill in (
        lambda b: b.count("x"),
        lambda b: b.event(at(0), "k", "d"),
        lambda b: b.copy_ended(1, removed_at=None),
        lambda b: b.watermark("a", "b", Cursor(1, 1), (), at(0)),
    ):
        batch = Batch()
        fill(batch)
        assert batch


@pytest.mark.parametrize(
    "question",
    [
        "SELECT max(sent_at) FROM canaries WHERE route = 'r' AND mx = 'm'",
        "SELECT * FROM canaries WHERE id = 'x'",
        "SELECT * FROM attempts WHERE started_at >= 5",
        "SELECT * FROM moves WHERE canary = 'x'",
        "SELECT * FROM copies WHERE canary = 'x'",
        "SELECT id FROM canaries WHERE settled_at < 5",
        "SELECT * FROM reads WHERE mailbox = 'a' AND began_at < 5",
    ],
)
def test_frequent_questions_use_an_index(ledger: Ledger, tmp_path: Path, question: str) -> None:
    plan = " ".join(row[3] for row in look(tmp_path / "ledger.sqlite3", f"EXPLAIN QUERY PLAN {question}"))
    assert "SEARCH" in plan
    assert "SCAN" not in plan


def test_the_ledger_s_age_is_kept(ledger: Ledger) -> None:
    assert ledger.queries.created_at() == ledger.created_at == at(0).wall


async def test_no_question_reads_the_whole_ledger(filled: Ledger) -> None:
    """Each walks an index, by SQLite's own plan: a scan of the canaries would take minutes where there are millions."""
    plans: list[str] = []

    @event.listens_for(filled._engine, "before_cursor_execute")
    @event.listens_for(filled.queries._engine, "before_cursor_execute")
    def explain(connection: Any, _: Any, statement: str, parameters: Any, *__: Any) -> None:
        if statement.startswith(("SELECT", "DELETE")):
            rows = connection.connection.cursor().execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.extend(row[3] for row in rows)

    queries = filled.queries
    queries.balance()
    list(queries.in_flight())
    queries.life("canary0000003")
    queries.ids_like("canary")
    queries.hosts_since("support", 0)
    queries.attempts_since(0)
    queries.copies_to_remove("inbox-a", 0, 10)
    for wanted in (Filter(), Filter(mx="mx2.example.net", since=at(1).utc), Filter(outcome="lost")):
        queries.canaries(wanted)
    await filled.prune(timedelta(0))
    assert len(plans) > 20
    assert [plan for plan in plans if plan.startswith("SCAN") and plan != "SCAN CONSTANT ROW"] == []


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("all", "INDEX canaries_sent (sent_at>?)"),
        ("in_flight", "INDEX canaries_in_flight (state=?)"),
        ("leg", "INDEX canaries_route_sent (route=? AND mx=? AND sent_at>?)"),
        ("outcome", "INDEX canaries_outcome (state=? AND route=? AND mx=? AND sent_at>?)"),
    ],
)
def test_each_walk_has_its_index(ledger: Ledger, name: str, index: str) -> None:
    walk = listing.WALKS[name]
    with ledger.queries._engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {walk.sql}", tuple("x" for _ in walk.names)).all()
    assert plan[0][3].endswith(index)
    assert [row[3] for row in plan[1:]] == ([] if name != "in_flight" else ["USE TEMP B-TREE FOR ORDER BY"])
