"""A drill of the alert path: a gauge for a bounded time, and nothing else in the daemon hears of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from probe.errors import MailCanaryError, UsageError
from tests.engine import fakes
from tests.engine.world import MINUTE, SECOND, World
from tests.jumping import JumpingClock, Virtual


async def order(world: World, command: str, **fields: object) -> dict[str, Any]:
    return dict(await world.daemon.drills.handlers[command]({"command": command, **fields}))


def test_a_drill_ends_by_itself_and_touches_no_canary(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, fakes.delivers(2 * SECOND), paging=True).running() as world:
            await world.until(lambda: world.states()["delivered"])
            begun = await order(world, "drill", route="in", seconds=300)
            assert "nothing is wrong" in str(begun["says"])
            snapshot = world.daemon.view.snapshot()
            assert snapshot.drilled == "in"
            assert any("a drill of the alert path of route in" in note for note in snapshot.notes)
            await clock.sleep(299 * SECOND)
            assert world.daemon.view.snapshot().drilled == "in"
            await clock.sleep(2 * SECOND)
            assert world.daemon.view.snapshot().drilled == ""
            assert await order(world, "drill_state", drill=begun["drill"]) == {"on": False}
            await clock.sleep(10 * MINUTE)
            states = world.states()
            assert states["delivered"] >= 10
            assert not states["lost"] + states["late"] + states["unknown"]
            detector = world.daemon.view.snapshot().legs[0].detector
            assert detector is not None
            assert (detector.share[0], detector.state, detector.kind) == (0, 0, "")
            assert world.daemon.books.ledger.queries.incidents(limit=10) == []
            world.check_books()

    virtual.run(main)


def test_one_at_a_time_and_its_end_is_its_own(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, fakes.delivers(2 * SECOND)).running() as world:
            first = await order(world, "drill", route="in", seconds=300)
            with pytest.raises(MailCanaryError, match="there is a drill of the alert path of route in"):
                await order(world, "drill", route="in", seconds=300)
            assert await order(world, "drill_end", drill=first["drill"]) == {"ended": True}
            second = await order(world, "drill", route="in", seconds=300)
            assert await order(world, "drill_end", drill=first["drill"]) == {"ended": False}
            assert await order(world, "drill_state", drill=second["drill"]) == {"on": True}
            await world.restart(SECOND)
            assert world.daemon.view.snapshot().drilled == ""

    virtual.run(main)


@pytest.mark.parametrize(
    ("command", "fields"),
    [
        ("drill", {"route": "nowhere", "seconds": 60}),
        ("drill", {"route": ["in"], "seconds": 60}),
        ("drill", {"route": "in"}),
        ("drill", {"route": "in", "seconds": True}),
        ("drill", {"route": "in", "seconds": 0.5}),
        ("drill", {"route": "in", "seconds": 3601}),
        ("drill", {"route": "in", "seconds": float("nan")}),
        ("drill_state", {}),
        ("drill_end", {"drill": "1"}),
    ],
)
def test_what_is_not_an_order_is_refused(
    command: str, fields: dict[str, object], virtual: Virtual, tmp_path: Path
) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, fakes.delivers(2 * SECOND)).running() as world:
            with pytest.raises(UsageError):
                await order(world, command, **fields)
            assert world.daemon.view.snapshot().drilled == ""

    virtual.run(main)
