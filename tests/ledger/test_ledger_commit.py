"""The one writer: together or not at all, and every waiter hears how it went."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, event

from probe.clock import Instant
from probe.errors import LedgerUnwritable
from probe.ledger.batch import Batch
from probe.ledger.store import Ledger
from probe.ledger.writer import GROUP_LIMIT
from tests.canary.lives import ZERO
from tests.ledger.ledgers import counting, delivered, look, opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite3"


@pytest.fixture(params=[False, True], ids=["thread", "inline"])
def ledger(path: Path, request: pytest.FixtureRequest) -> Iterator[Ledger]:
    opened_here = opened(path, inline=request.param)
    yield opened_here
    opened_here.close()


@pytest.fixture
def threaded(path: Path) -> Iterator[Ledger]:
    opened_here = opened(path, inline=False)
    yield opened_here
    opened_here.close()


class Gate:
    """Holds the writer inside a transaction until ``open`` is called, so that batches pile up behind it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._go = threading.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Gate:
        inside = asyncio.Event()
        loop = asyncio.get_running_loop()

        def hold(_: Connection) -> None:
            loop.call_soon_threadsafe(inside.set)
            self._go.wait(60)

        self._task = asyncio.create_task(self._ledger._writer.run(hold))
        await inside.wait()
        return self

    def open(self) -> None:
        self._go.set()

    async def __aexit__(self, *_: object) -> None:
        self._go.set()
        assert self._task is not None
        await self._task


@contextmanager
def disk_full(ledger: Ledger) -> Iterator[None]:
    """No page beyond those the file has: SQLite's own answer to a full disk, on new connections."""

    def limit(connection: sqlite3.Connection, _: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}")

    event.listen(ledger._engine, "connect", limit)
    ledger._writer._drop_connection()
    try:
        yield
    finally:
        event.remove(ledger._engine, "connect", limit)


def too_big() -> Batch:
    batch = counting("sent")
    batch.event(ZERO, "kind", "x" * 3_000_000)
    return batch


async def test_committed_is_on_disk_and_in_the_totals(ledger: Ledger, path: Path) -> None:
    batch = Batch()
    delivered(batch, 1)
    await ledger.commit(batch)
    assert look(path, "SELECT id, state FROM canaries") == [("canary0000001", "delivered")]
    assert look(path, "SELECT before, after FROM moves ORDER BY n") == [
        ("planned", "intent"),
        ("intent", "data_started"),
        ("data_started", "accepted"),
        ("accepted", "delivered"),
    ]
    assert ledger.totals.sum("sent") == 1
    assert ledger.totals.snapshot() == ledger.queries.totals()
    assert ledger.queries.balance() == 0


@pytest.mark.fault("P02")
async def test_the_writer_is_durable(ledger: Ledger) -> None:
    """WAL with synchronous=FULL: SQLite fsyncs the log at each commit."""
    with ledger._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


async def test_batches_that_wait_together_are_committed_together(threaded: Ledger) -> None:
    wanted = GROUP_LIMIT + 44
    order: list[int] = []
    async with Gate(threaded) as gate:
        before = threaded.commits
        tasks = [
            asyncio.create_task(threaded.commit(counting("sent"), lambda n=n: order.append(n))) for n in range(wanted)
        ]
        await asyncio.sleep(0)
        gate.open()
        await asyncio.gather(*tasks)
    assert threaded.commits - before == 1 + 2  # the gate, a full group, the rest
    assert threaded.totals.get("sent") == wanted
    assert threaded.queries.totals() == {("sent", ()): wanted}
    assert order == list(range(wanted))


async def test_where_two_batches_write_one_row_the_later_stands(threaded: Ledger) -> None:
    async with Gate(threaded) as gate:
        batches = [Batch(), Batch()]
        for batch, state in zip(batches, ("first", "second"), strict=True):
            one = delivered(batch, 1)
            batch.canary(replace(one, label=state))
        tasks = [asyncio.create_task(threaded.commit(batch)) for batch in batches]
        await asyncio.sleep(0)
        gate.open()
        await asyncio.gather(*tasks)
    found = threaded.queries.canary("canary0000001")
    assert found is not None
    assert found.label == "second"


async def test_on_durable_runs_when_the_batch_can_be_read(ledger: Ledger) -> None:
    seen: list[object] = []
    await ledger.commit(counting("sent"), lambda: seen.append(ledger.queries.totals()))
    assert seen == [{("sent", ()): 1.0}]


async def test_a_cancelled_waiter_changes_nothing_for_the_books(threaded: Ledger) -> None:
    ran: list[str] = []
    async with Gate(threaded) as gate:
        waiter = asyncio.create_task(threaded.commit(counting("sent"), lambda: ran.append("durable")))
        await asyncio.sleep(0)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        assert ran == []
        gate.open()
    await threaded.commit(counting("sent"))
    assert ran == ["durable"]
    assert threaded.queries.totals() == {("sent", ()): 2.0}


async def test_a_cancelled_waiter_of_a_failed_commit_leaves_no_noise(threaded: Ledger) -> None:
    with disk_full(threaded):
        async with Gate(threaded) as gate:
            waiter = asyncio.create_task(threaded.commit(too_big()))
            await asyncio.sleep(0)
            waiter.cancel()
            gate.open()
        with pytest.raises(LedgerUnwritable):
            await threaded.commit(too_big())
    with pytest.raises(asyncio.CancelledError):
        await waiter


@pytest.mark.fault("P03")
async def test_a_full_disk_is_told_and_overcome(ledger: Ledger, path: Path) -> None:
    await ledger.commit(counting("sent", 5))
    ran: list[str] = []
    with disk_full(ledger):
        for _ in range(2):
            with pytest.raises(LedgerUnwritable, match="full"):
                await ledger.commit(too_big(), lambda: ran.append("durable"))
            assert not ledger.writable
    assert ran == []
    assert ledger.totals.get("sent") == 5
    assert look(path, "SELECT count(*) FROM events") == [(0,)]

    await ledger.commit(too_big(), lambda: ran.append("durable"))
    assert ledger.writable
    assert ran == ["durable"]
    assert ledger.totals.get("sent") == 6
    assert ledger.queries.totals() == {("sent", ()): 6.0}


async def test_every_waiter_of_a_failed_group_hears_of_it(threaded: Ledger) -> None:
    with disk_full(threaded):
        async with Gate(threaded) as gate:
            tasks = [asyncio.create_task(threaded.commit(too_big())) for _ in range(20)]
            await asyncio.sleep(0)
            gate.open()
            answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [LedgerUnwritable] * 20
    assert len({id(answer) for answer in answers}) == 20  # one exception raised twice would grow a shared traceback
    assert threaded.totals.snapshot() == {}
    await threaded.commit(counting("sent"))
    assert threaded.writable


@pytest.mark.fault("P04")
async def test_a_commit_that_fails_at_the_last_moment_counts_for_nothing(ledger: Ledger) -> None:
    def no_commit(action: int, what: str | None, *_: object) -> int:
        ends = action == sqlite3.SQLITE_TRANSACTION and what == "COMMIT"
        return sqlite3.SQLITE_DENY if ends else sqlite3.SQLITE_OK

    driver = ledger._writer._connect().connection.driver_connection
    assert driver is not None
    driver.set_authorizer(no_commit)
    with pytest.raises(LedgerUnwritable, match="not authorized") as caught:
        await ledger.commit(counting("sent"))
    assert "\n" not in str(caught.value)
    assert not ledger.writable
    assert ledger.queries.totals() == {}
    await ledger.commit(counting("sent"))
    assert ledger.totals.get("sent") == 1
    assert ledger.queries.totals() == {("sent", ()): 1.0}


async def test_a_connection_that_cannot_be_had_is_told_too(ledger: Ledger) -> None:
    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("unable to open database file")

    ledger._writer._drop_connection()
    event.listen(ledger._engine, "connect", fail)
    with pytest.raises(LedgerUnwritable, match="unable to open"):
        await ledger.commit(counting("sent"))
    event.remove(ledger._engine, "connect", fail)
    await ledger.commit(counting("sent"))
    assert ledger.writable


@pytest.mark.parametrize("poison", ["a lone surrogate \udc80", 2**70])
async def test_a_value_no_database_takes_fails_its_own_batch_only(ledger: Ledger, poison: str | int) -> None:
    """It once ended the writer's thread, and every later commit would have waited for ever."""
    bad = counting("sent")
    if isinstance(poison, str):
        bad.event(ZERO, "kind", poison)
    else:
        bad.event(Instant(poison, 0, "boot"), "kind", "too late")
    answers = await asyncio.gather(
        ledger.commit(counting("good")), ledger.commit(bad), ledger.commit(counting("good")), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [type(None), LedgerUnwritable, type(None)]
    await ledger.commit(counting("good"))
    assert ledger.writable
    assert ledger.queries.totals() == ledger.totals.snapshot() == {("good", ()): 3.0}


async def test_in_one_group_a_poisoned_batch_does_not_take_the_others_along(threaded: Ledger) -> None:
    bad = Batch()
    bad.event(ZERO, "kind", "\udc80")
    async with Gate(threaded) as gate:
        tasks = [asyncio.create_task(threaded.commit(batch)) for batch in (counting("good"), bad, counting("good"))]
        await asyncio.sleep(0)
        gate.open()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None), LedgerUnwritable, type(None)]
    assert threaded.queries.totals() == {("good", ()): 2.0}


async def test_a_callback_that_fails_is_told_to_its_waiter(ledger: Ledger) -> None:
    def fail() -> None:
        raise ValueError("a bug in the caller")

    with pytest.raises(ValueError, match="a bug in the caller"):
        await ledger.commit(counting("sent"), fail)
    await ledger.commit(counting("sent"))
    assert ledger.totals.get("sent") == 2


async def test_closing_writes_what_is_queued(path: Path) -> None:
    ledger = opened(path, inline=False)
    async with Gate(ledger) as gate:
        tasks = [asyncio.create_task(ledger.commit(counting("sent"))) for _ in range(7)]
        await asyncio.sleep(0)
        closing = asyncio.create_task(asyncio.to_thread(ledger.close))
        gate.open()
        await closing
    await asyncio.gather(*tasks)
    assert look(path, "SELECT value FROM totals") == [(7.0,)]
    ledger.close()
    with pytest.raises(LedgerUnwritable, match="closed"):
        await ledger.commit(counting("sent"))


@pytest.mark.fault("P15")
async def test_the_thread_ends_with_the_ledger(path: Path) -> None:
    ledger = opened(path, inline=False)
    thread = ledger._writer._thread
    assert thread is not None
    assert thread.is_alive()
    ledger.close()
    assert not thread.is_alive()


async def test_totals_survive_a_restart(path: Path) -> None:
    labels = ('r"oute', "mx,1", "ü")
    for _ in range(3):
        ledger = opened(path)
        batch = Batch()
        batch.count("sent", labels, 2)
        batch.count("seconds", (), 0.25)
        await ledger.commit(batch)
        ledger.close()
    ledger = opened(path)
    assert ledger.totals.snapshot() == {("sent", labels): 6.0, ("seconds", ()): 0.75}
    assert not ledger.created
    ledger.close()
