"""The control canary in virtual time: put there, seen, removed; over restarts and reloads; and never a canary."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from probe.canary import counters
from probe.canary.record import State
from probe.engine.control_record import Scheme
from probe.mailboxes.imap import Cleanup, CleanupMode
from tests.engine import fakes
from tests.engine.controls import EVERY, OURS, lying, quiet, token_of, view
from tests.engine.world import HOUR, MINUTE, SECOND, World
from tests.jumping import JumpingClock, Virtual


def test_it_is_put_there_every_interval_seen_and_removed(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with quiet(clock, tmp_path).running() as world:
            await clock.sleep(HOUR)
            assert 11 <= len(world.account.placed) <= 13
            assert len({token_of(raw) for raw in world.account.placed}) == len(world.account.placed)
            await world.until(lambda: not lying(world), within=2 * MINUTE)
            seen = view(world)
            assert seen.control_seen is not None
            assert clock.now().wall / 1e9 - seen.control_seen <= EVERY.total_seconds() + 40
            assert (seen.blind, seen.problem) == (False, "")
            assert len(world.account.removed) == len(world.account.placed)

    virtual.run(main)


def test_it_is_never_a_canary(virtual: Virtual, tmp_path: Path) -> None:
    """In no total, no ledger row, no submission, and nothing foreign."""

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, control=30 * SECOND, every=10 * MINUTE)
        async with world.running():
            await clock.sleep(HOUR)
            assert len(world.account.placed) > 50
            assert not [one for one in world.sender.handed if OURS in one.message]
            canaries = world.canaries()
            assert world.total(counters.SENT) == len(canaries) == len(world.sender.handed)
            assert world.total(counters.ARRIVALS) == world.total(counters.OUTCOMES) <= len(canaries)
            assert world.total(counters.FOREIGN) == world.total(counters.DUPLICATES) == 0
            assert world.total(counters.UID_GAPS) == 0
            world.check_books()

    virtual.run(main)


def test_a_loss_is_still_proven_among_controls(virtual: Virtual, tmp_path: Path) -> None:
    """Numbers that were used by controls, and are empty now, are accounted for: with and without ``exclusive``."""

    async def main(clock: JumpingClock) -> None:
        for n, exclusive in enumerate((True, False)):
            folder = tmp_path / str(n)
            folder.mkdir()
            world = World(clock, folder, fakes.drops, control=30 * SECOND, every=HOUR, exclusive=exclusive)
            async with world.running():
                await world.until(world.settled())
                lost = world.canaries()[0]
                assert lost.state is State.LOST, lost.reason
                assert len(world.account.removed) >= 5
                assert world.total(counters.UID_GAPS) == 0
                world.check_books()

    virtual.run(main)


def test_a_restart_loop_puts_none_sooner_and_leaves_none_behind(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = quiet(clock, tmp_path)
        await world.start()
        for _ in range(120):  # half an hour
            await clock.sleep(15 * SECOND)
            assert len(lying(world)) <= 1
            await world.restart()
        assert len(world.account.placed) <= 7
        await clock.sleep(MINUTE)
        assert lying(world) == []
        assert not view(world).blind
        await world.kill()

    virtual.run(main)


@pytest.mark.parametrize("mode", [CleanupMode.OFF, CleanupMode.DELETE])
def test_where_clean_up_is_off_the_mailbox_is_only_read(virtual: Virtual, tmp_path: Path, mode: CleanupMode) -> None:
    async def main(clock: JumpingClock) -> None:
        async with quiet(clock, tmp_path, cleanup=Cleanup(mode=mode, after=24 * HOUR)).running() as world:
            await clock.sleep(HOUR)
            off = mode is CleanupMode.OFF
            assert bool(world.account.placed) is not off
            assert (view(world).control_seen is None) is off

    virtual.run(main)


def test_a_kind_without_the_option_has_none() -> None:
    class Options:
        cleanup = Cleanup()

    assert Scheme.of("p1", "shelf", Options()).every is None


def test_a_reload_goes_on_with_the_record(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with quiet(clock, tmp_path).running() as world:
            for _ in range(20):
                await clock.sleep(30 * SECOND)
                assert await world.daemon.reload(lambda: world.config)
            assert 2 <= len(world.account.placed) <= 3
            await clock.sleep(MINUTE)
            assert lying(world) == []
            seen = view(world).control_seen
            assert seen is not None
            assert clock.now().wall / 1e9 - seen < 6 * 60

    virtual.run(main)


def test_a_clock_that_is_set_back_holds_it_up_for_one_interval(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = quiet(clock, tmp_path)
        await world.start()
        await world.until(lambda: world.account.placed, within=MINUTE)
        clock.step(timedelta(days=-3))
        await world.restart()
        await world.until(lambda: len(world.account.placed) == 2, within=EVERY + MINUTE)
        await world.kill()

    virtual.run(main)
