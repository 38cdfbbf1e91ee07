"""The engine of a command: one route, nothing else is sent, and what others left behind is left to the daemon."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from probe.canary import counters
from probe.canary.record import State
from probe.config.model import Heartbeat
from probe.engine.lone import Ask, LoneEngine
from probe.errors import LedgerLocked, MailCanaryError, UnreachableError
from probe.exposition.journal import Journal
from probe.options import Secret
from tests.engine import fakes
from tests.engine.world import HOUR, MINUTE, SECOND, World
from tests.jumping import JumpingClock, Virtual

DAY = 24 * HOUR


@asynccontextmanager
async def lone(world: World, told: asyncio.Event | None = None, route: str = "in") -> AsyncIterator[Ask]:
    journal = Journal(io.StringIO(), world.clock)
    engine = LoneEngine(world.config, route, world.clock, journal, inline=True)
    try:
        async with engine.running(told or asyncio.Event(), 30 * SECOND) as asked:
            yield asked
    finally:
        journal.close()


async def outcome(asked: Ask, canary_id: str) -> str:
    seen = 0
    while True:
        answer = await asked({"command": "follow", "id": canary_id, "seen": seen})
        seen = answer["version"]
        if answer["canary"]["outcome"]:
            return str(answer["canary"]["outcome"])


def two_routes(world: World) -> None:
    """A second route to the same mailbox, which has much to send."""
    one = world.config.routes["in"]
    other = replace(one, name="busy", every=SECOND)
    world.config = replace(world.config, routes={"in": one, "busy": other})


def test_one_canary_is_sent_and_booked_and_nothing_else(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.delivers(20 * SECOND))
        two_routes(world)
        async with lone(world) as asked:
            begun = await asked({"command": "trace", "route": "in", "mx": None})
            assert await outcome(asked, begun["id"]) == "delivered"
            await clock.sleep(5 * MINUTE)
            assert len(world.sender.handed) == 1
            with pytest.raises(MailCanaryError, match="there is no route 'busy'"):
                await asked({"command": "trace", "route": "busy", "mx": None})
        async with world.running():
            assert [canary.id for canary in world.canaries()] == [begun["id"]]
            world.check_books()

    virtual.run(main)


def test_what_others_left_behind_waits_for_the_daemon(virtual: Virtual, tmp_path: Path) -> None:
    """A deferred canary is not tried again, one cut in its content stays, one that has arrived is booked."""

    async def main(clock: JumpingClock) -> None:
        ways = (fakes.defers, fakes.hangs_after_data, fakes.drops, fakes.delivers())
        world = World(clock, tmp_path, fakes.in_turn(*ways), every=DAY, retry=(MINUTE,), lost_after=HOUR)
        await world.start()
        await world.until(lambda: world.daemon.watchers["inbox"].seen_once.is_set())
        for _ in range(3):
            world.daemon.legs[0]._launch(clock.now())
        await world.until(lambda: len(world.states()) == 3)
        await world.kill()
        world.account.put(world.sender.handed[2].message)
        async with lone(world) as asked:
            begun = await asked({"command": "trace", "route": "in", "mx": None})
            assert await outcome(asked, begun["id"]) == "delivered"
            await clock.sleep(5 * MINUTE)
            assert len(world.sender.handed) == 4
        await world.start()
        states = [canary.state for canary in world.canaries()]
        assert states[2:] == [State.DELIVERED, State.DELIVERED]
        assert states[1] is State.UNSURE  # rule 4, at the start of the daemon
        await world.until(lambda: len(world.sender.handed) == 5)  # the deferred one
        await world.until(world.settled(4))
        world.check_books()
        await world.kill()

    virtual.run(main)


def test_a_retry_goes_on_with_the_daemon_after_the_end(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        way = fakes.in_turn(fakes.defers, fakes.delivers())
        world = World(clock, tmp_path, way, every=DAY, retry=(MINUTE,), lost_after=HOUR)
        async with lone(world) as asked:
            begun = await asked({"command": "trace", "route": "in", "mx": None})
            await clock.sleep(10 * SECOND)
            answer = await asked({"command": "follow", "id": begun["id"], "seen": 0})
            assert answer["phase"] == "retry"
        async with world.running():
            await world.until(world.settled(1))
            assert len(world.sender.handed) == 2
            assert world.canaries()[0].attempts == 2
            world.check_books()

    virtual.run(main)


def test_it_ends_where_it_cannot_begin(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, every=DAY)
        world.account.refuse_login()
        with pytest.raises(UnreachableError, match="inbox could not be read: the password was refused"):
            async with lone(world):
                raise AssertionError("it began")
        told = asyncio.Event()
        told.set()
        with pytest.raises(MailCanaryError, match="stopped before anything was sent"):
            async with lone(world, told):
                raise AssertionError("it began")
        world.account.trouble = None
        async with world.running():
            with pytest.raises(LedgerLocked):
                async with lone(world):
                    raise AssertionError("it began")
            assert world.sender.handed == []

    virtual.run(main)


def test_it_puts_no_control_canary_and_makes_no_call_but_books_what_it_sees(virtual: Virtual, tmp_path: Path) -> None:
    """What the daemon had put there is seen by a read that moves the cursor, so it is removed here, or never."""

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, every=DAY, control=MINUTE)
        world.config = replace(world.config, heartbeat=Heartbeat(url=Secret(b"http://127.0.0.1:9/never")))
        await world.start()
        await world.until(lambda: world.account.placed)
        await world.kill()
        async with lone(world) as asked:
            begun = await asked({"command": "trace", "route": "in", "mx": None})
            assert await outcome(asked, begun["id"]) == "delivered"
            await clock.sleep(10 * MINUTE)
        assert len(world.account.placed) == 1
        left = world.account.folders["INBOX"].messages.values()
        assert [raw for raw, _ in left if raw in world.account.placed] == []
        async with world.running():
            assert world.daemon.watchers["inbox"].control.last_success > 0
            assert world.total(counters.PROBE_ERRORS, "heartbeat") == 0

    virtual.run(main)
