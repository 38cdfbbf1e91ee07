"""The prober itself: a ledger that others hold, clocks, leaks, and networks that go away."""

from __future__ import annotations

import asyncio
import itertools
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from probe.canary import counters
from probe.canary.record import State
from probe.errors import LedgerUnwritable
from probe.exposition.metrics import render
from probe.ledger import opening
from tests.engine import fakes
from tests.engine.world import HOUR, MINUTE, SECOND, World
from tests.jumping import JumpingClock, Virtual
from tests.ledger.ledgers import counting, opened
from tests.matrix.launching import accepted


@pytest.mark.fault("P05")
async def test_a_lock_that_somebody_holds_is_waited_for_and_then_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup that copies the file within a transaction, say."""
    monkeypatch.setattr(opening, "BUSY_TIMEOUT_MS", 300)
    ledger = opened(tmp_path / "ledger.sqlite", inline=False)
    other = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.ensure_future(ledger.commit(counting("sent")))
        turns = 0
        while not writing.done():  # the loop goes on meanwhile
            await asyncio.sleep(0.01)
            turns += 1
        assert turns > 10
        with pytest.raises(LedgerUnwritable, match="locked"):
            await writing
        assert [ledger.writable, ledger.queries.totals()] == [False, {}]  # it can be read all the time
        again = asyncio.ensure_future(ledger.commit(counting("sent")))
        await asyncio.sleep(0.05)
        other.execute("ROLLBACK")
        await again
        assert ledger.queries.totals() == {("sent", ()): 1.0}
    finally:
        other.close()
        ledger.close()


@pytest.mark.fault("P06")
@pytest.mark.parametrize("damage", [b"", b"not a database" * 1000], ids=["empty", "garbage"])
def test_what_arrives_after_its_row_is_gone_counts_by_itself(damage: bytes, virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, every=24 * HOUR)
        async with world.running():
            await accepted(world)
            await world.kill()
            for side in ("-wal", "-shm"):
                Path(f"{world.config.ledger}{side}").unlink(missing_ok=True)
            world.config.ledger.write_bytes(damage)
            await world.start()
            await world.until(world.daemon.watchers["inbox"].seen_once.is_set)
            world.account.put(world.sender.handed[0].message)
            await world.until(lambda: world.total(counters.FOREIGN, "no_ledger_row") == 1)
            assert world.total(counters.LEDGER_RESETS) == 1
            assert world.canaries() == []
            assert [path.read_bytes() for path in tmp_path.glob("*.damaged-*")] == [damage]
            assert world.account.removed == []
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("P10")
def test_a_clock_that_drifts_changes_no_latency(virtual: Virtual, tmp_path: Path) -> None:
    """Slewed as by NTP, 500 ppm, for half an hour: nobody sets it, and it is off by a second in the end."""

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.delivers(7 * SECOND))
        async with world.running():
            for _ in range(30):
                await clock.sleep(MINUTE)
                clock.step(timedelta(milliseconds=-30))
            await world.until(lambda: not world.states()["accepted"])
            assert world.daemon.view.snapshot().clock_offset == pytest.approx(-0.9)
            assert world.total(counters.CLOCK_STEPS) == 0
            sent = [one.at.boot / 1e9 for one in world.sender.handed]
            assert all(53 < b - a < 67 for a, b in itertools.pairwise(sent))
            assert len(sent) >= 29
            for canary in world.canaries():
                assert canary.state is State.DELIVERED
                assert canary.latency is not None
                assert 7 * SECOND <= canary.latency <= 8 * SECOND
            world.check_books()

    virtual.run(main)


@pytest.fixture
def zones(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """A function that sets the process's time zone, as it was again after the test."""

    def use(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield use
    monkeypatch.undo()
    time.tzset()


@pytest.mark.fault("P12")
def test_the_time_zone_changes_nothing(virtual: Virtual, tmp_path: Path, zones: object) -> None:
    """The same life in three time zones, one of them changed in the middle: the same rows, to the last byte."""
    dumps = []
    for number, (first, then) in enumerate(
        (("UTC", "UTC"), ("America/New_York", "Pacific/Chatham"), ("XYZ-14", "UTC"))
    ):
        folder = tmp_path / str(number)
        folder.mkdir()

        async def main(clock: JumpingClock, folder: Path = folder, first: str = first, then: str = then) -> None:
            zones(first)  # type: ignore[operator]
            way = fakes.in_turn(fakes.delivers(9 * SECOND), fakes.drops, fakes.delivers(45 * SECOND))
            world = World(clock, folder, way, every=5 * MINUTE)
            async with world.running():
                await world.until(world.settled(2))
                zones(then)  # type: ignore[operator]
                await world.restart(SECOND)
                await world.until(world.settled(5))

        virtual.run(main)
        with sqlite3.connect(folder / "ledger.sqlite") as ledger:
            dumps.append([list(ledger.execute(f"SELECT * FROM {table}")) for table in ("canaries", "moves", "copies")])
        ledger.close()
    assert dumps[0][0]
    assert dumps[0] == dumps[1] == dumps[2]


@pytest.mark.fault("P13")
def test_a_loop_that_stood_still_says_how_late_it_is(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, every=20 * SECOND).running() as world:
            await world.until(world.settled(3))
            assert world.daemon.view.snapshot().scheduler_lag < 1
            before = len(world.sender.handed)
            clock.suspend(30 * SECOND)  # no timer has moved: to the loop it is the same as standing still
            await world.until(lambda: len(world.sender.handed) > before)
            assert world.daemon.view.snapshot().scheduler_lag > 1
            await world.until(world.settled(8))
            assert world.daemon.view.snapshot().scheduler_lag < 1
            assert world.states().keys() <= {"delivered", "accepted"}
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("P15")
def test_reloads_and_restarts_leave_nothing_behind(virtual: Virtual, tmp_path: Path) -> None:
    def held() -> tuple[int, int, int]:
        return len(asyncio.all_tasks()), threading.active_count(), len(os.listdir("/proc/self/fd"))

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.delivers(10 * SECOND))
        async with world.running():
            await world.until(world.settled(2))
            figures = []
            for number in range(24):
                if number % 4 == 3:
                    await world.restart(SECOND)
                else:
                    route = replace(world.config.routes["in"], every=MINUTE + number * SECOND)
                    world.config = replace(world.config, routes={"in": route})
                    assert await world.daemon.reload(lambda: world.config)
                await clock.sleep(2 * MINUTE)
                figures.append(held())
            # What is under way at the moment of counting differs by a few; what is left behind would add up.
            for kind in range(3):
                earlier, later = ([one[kind] for one in half] for half in (figures[:12], figures[12:]))
                assert max(later) <= max(earlier) + 2, figures
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("P30")
def test_an_hour_without_a_network(virtual: Virtual, tmp_path: Path) -> None:
    """Neither the way out nor two mailboxes can be reached. What was under way before is judged after it, by proof."""

    async def main(clock: JumpingClock) -> None:
        way = fakes.in_turn(fakes.delivers(), fakes.drops, fakes.drops, fakes.delivers())
        world = World(clock, tmp_path, way, watch_for=3 * HOUR)
        other = fakes.Account(clock, {"INBOX": fakes.Folder()})
        boxes = {**world.config.mailboxes, "other": fakes.MailboxOptions(other)}
        world.config = replace(world.config, mailboxes=boxes)
        async with world.running():
            await world.until(lambda: world.states()["accepted"] >= 2)
            for account in (world.account, other):
                account.went_down("connect")
                account.drop_connections = True
            working, world.sender.way = world.sender.way, fakes.fails
            came, overdue = world.sender.handed[2].message, world.total(counters.OVERDUE)
            await clock.sleep(20 * MINUTE)
            world.account.put(came)  # one of the two comes while nobody can look
            await clock.sleep(40 * MINUTE)
            assert world.total(counters.OVERDUE) == overdue
            assert world.states().keys() == {"delivered", "accepted", "unsent"}
            world.sender.way = working
            for account in (world.account, other):
                account.trouble = None
            back = clock.now()
            await world.until(lambda: all(w.blind_since is None for w in world.daemon.watchers.values()))
            assert clock.now().since(back) < 11 * SECOND
            await world.until(lambda: not any(one.state is State.ACCEPTED for one in world.canaries()[:60]))
            first, dropped, late = world.canaries()[:3]
            assert [one.state for one in (first, dropped, late)] == [State.DELIVERED, State.LOST, State.LATE]
            assert world.states()["lost"] == 1
            assert {one.label for one in world.canaries() if one.state is State.UNSENT} == {"connect"}
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("P31")
def test_nobody_scrapes_for_six_hours(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        way = fakes.in_turn(*[fakes.delivers()] * 9, fakes.drops, fakes.delivers())
        world = World(clock, tmp_path, way, every=10 * MINUTE)
        async with world.running():
            await clock.sleep(6 * HOUR)
            assert world.total(counters.SENT) >= 35
            assert world.states()["lost"] == 1
            world.check_books()
            snapshot = world.daemon.view.snapshot()
            page = render(snapshot, world.ledger.totals.snapshot(), {}, "")[0].decode()
            lines = dict(line.rsplit(" ", 1) for line in page.splitlines() if line.startswith("mailcanary_sent_total{"))
            assert sum(map(float, lines.values())) == world.total(counters.SENT)

    virtual.run(main)
