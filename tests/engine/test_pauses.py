"""Pauses: nothing goes out, what was sent is judged as ever, and a restart ends none of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from probe.canary.record import State
from probe.errors import LedgerError, UsageError
from probe.ledger.batch import Batch
from tests.engine import fakes
from tests.engine.world import HOUR, MINUTE, SECOND, World
from tests.jumping import JumpingClock, Virtual


async def order(world: World, command: str, **fields: object) -> dict[str, object]:
    return dict(await world.daemon._orders.handlers[command]({"command": command, **fields}))


def test_a_paused_route_sends_nothing_until_its_time_is_over(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, fakes.delivers(20 * SECOND)).running() as world:
            await world.until(lambda: world.states()["accepted"])
            answer = await order(world, "pause", route="in", seconds=1800, reason="servers are moved")
            assert "route in is paused until" in str(answer["paused"])
            before = len(world.sender.handed)
            await world.restart(SECOND)
            await clock.sleep(25 * MINUTE)
            assert len(world.sender.handed) == before
            assert world.canaries()[0].state is State.DELIVERED  # what was under way is judged
            snapshot = world.daemon.view.snapshot()
            assert list(snapshot.paused) == ["in"]
            assert any("servers are moved" in note for note in snapshot.notes)
            assert snapshot.taken.wall / 1e9 - snapshot.legs[0].last_slot < 70  # idle by order, not stalled
            await clock.sleep(10 * MINUTE)
            assert 4 <= len(world.sender.handed) - before <= 6  # and nothing makes up for the pause
            assert not world.daemon.view.snapshot().paused
            world.check_books()

    virtual.run(main)


def test_a_retry_waits_for_the_end_of_the_pause(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        way = fakes.in_turn(fakes.defers, fakes.delivers())
        world = World(clock, tmp_path, way, every=HOUR, retry=(MINUTE,), lost_after=HOUR / 2)
        async with world.running():
            await world.until(lambda: world.states()["deferred"])
            await order(world, "pause", route="*", seconds=None, reason="")
            await clock.sleep(10 * MINUTE)
            assert len(world.sender.handed) == 1
            assert (await order(world, "resume", route="*"))["resumed"] is True
            await world.until(world.settled(1))
            assert (world.canaries()[0].state, world.canaries()[0].attempts) == (State.LATE, 2)
            world.check_books()

    virtual.run(main)


def test_resume_ends_the_pause_that_it_names_and_tells_of_others(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path).running() as world:
            await world.until(world.settled(1))
            await order(world, "pause", route="in", seconds=None, reason="")
            await order(world, "pause", route="*", seconds=None, reason="stop")
            answer = await order(world, "resume", route="in")
            assert (answer["resumed"], answer["still"]) == (True, ["every route is paused until it is resumed: stop"])
            before = len(world.sender.handed)
            await clock.sleep(5 * MINUTE)
            assert len(world.sender.handed) == before
            assert (await order(world, "resume", route="in"))["resumed"] is False
            assert (await order(world, "resume", route="*"))["still"] == []
            await clock.sleep(5 * MINUTE)
            assert len(world.sender.handed) > before
            world.check_books()
        assert "event=paused" in world.said.getvalue()
        assert "event=resumed" in world.said.getvalue()

    virtual.run(main)


@pytest.mark.parametrize(
    "fields",
    [
        {"route": "nowhere", "seconds": None, "reason": ""},
        {"route": None, "seconds": None, "reason": ""},
        {"route": "in", "seconds": -1, "reason": ""},
        {"route": "in", "seconds": "soon", "reason": ""},
        {"route": "in", "seconds": None, "reason": "x" * 501},
        {"route": "in", "seconds": None, "reason": None},
    ],
)
def test_what_cannot_be_paused_is_named(fields: dict[str, object], virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path).running() as world:
            with pytest.raises(UsageError):
                await order(world, "pause", **fields)
            assert not world.daemon.view.snapshot().paused

    virtual.run(main)


def test_pauses_that_cannot_be_read_prevent_the_start(virtual: Virtual, tmp_path: Path) -> None:
    """To send although somebody stopped the sending would be worse."""

    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path).running() as world:
            batch = Batch()
            batch.note("pauses", "[{}]")
            await world.ledger.commit(batch)
            await world.kill()
            with pytest.raises(LedgerError, match="pauses cannot be read"):
                await world.start()
            world._close()

    virtual.run(main)
