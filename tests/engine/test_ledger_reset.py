"""A ledger that took a damaged one's place says since when, for as long as it lives."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from tests.engine.world import HOUR, World
from tests.jumping import JumpingClock, Virtual


def test_it_says_so_after_a_restart_as_well(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        (tmp_path / "ledger.sqlite").write_bytes(b"not a database" * 1000)
        world = World(clock, tmp_path)
        began = clock.now().wall / 1e9
        async with world.running():
            assert world.daemon.view.snapshot().ledger_reset_at == began
            await world.restart(HOUR)
            assert world.ledger.set_aside == ""
            assert world.daemon.view.snapshot().ledger_reset_at == began

    virtual.run(main)


def test_a_ledger_that_was_never_damaged_says_nothing(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path)
        async with world.running():
            await clock.sleep(timedelta(minutes=5))
            assert world.daemon.view.snapshot().ledger_reset_at == 0.0

    virtual.run(main)
