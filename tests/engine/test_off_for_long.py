"""The prober was off until a canary's watch was over: what came meanwhile is there to be read, and is no loss."""

from __future__ import annotations

from pathlib import Path

import pytest

from probe.canary import counters
from probe.canary.record import State
from tests.engine import fakes
from tests.engine.world import HOUR, MINUTE, SECOND, World
from tests.jumping import JumpingClock, Virtual


@pytest.mark.parametrize("sent", [fakes.drops, fakes.breaks], ids=["accepted", "unsure"])
def test_mail_of_a_canary_in_flight_is_no_expired_mail(virtual: Virtual, tmp_path: Path, sent: fakes.Way) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, sent, every=HOUR, lost_after=5 * MINUTE, watch_for=10 * MINUTE)
        async with world.running():
            await world.until(lambda: world.states()["accepted"] + world.states()["unsure"] > 0)
            await world.kill()
            world.account.put(world.sender.handed[0].message)
            await clock.sleep(20 * MINUTE)
            await world.start()
            await world.until(world.settled())
            assert world.canaries()[0].state is State.DELIVERED, world.canaries()[0].reason
            assert world.total(counters.FOREIGN) == 0
            # Its outcome is there: a further copy comes after its time, and tells nothing any more.
            world.account.put(world.sender.handed[0].message)
            await clock.sleep(MINUTE)
            assert world.total(counters.FOREIGN, "expired") == 1
            assert world.total(counters.DUPLICATES) == 0
            world.check_books()

    virtual.run(main)


def test_one_that_never_came_is_lost_all_the_same(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, every=HOUR, lost_after=5 * MINUTE, watch_for=10 * MINUTE)
        async with world.running():
            await world.until(lambda: world.states()["accepted"])
            await world.restart(20 * MINUTE)
            await world.until(world.settled())
            assert world.canaries()[0].state is State.LOST
            await clock.sleep(SECOND)
            world.check_books()

    virtual.run(main)
