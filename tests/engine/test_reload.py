"""SIGHUP in the middle of everything: nothing forgotten, nothing sent twice, a bad configuration changes nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from probe.canary.identity import SigningKey
from probe.canary.record import State
from probe.config.model import Config
from probe.errors import Breach, ConfigError
from probe.options import Rate
from tests.engine import fakes
from tests.engine.world import HOUR, KEY, MINUTE, SECOND, WIDE, World
from tests.jumping import JumpingClock, Virtual


async def reload(world: World, **changes: object) -> bool:
    world.config = replace(world.config, **changes)  # type: ignore[arg-type]
    return await world.daemon.reload(lambda: world.config)


@pytest.mark.fault("P18")
def test_a_bad_configuration_keeps_the_old_one(virtual: Virtual, tmp_path: Path) -> None:
    """P18."""

    def broken() -> Config:
        raise ConfigError("config.yaml", [Breach("routes.in.every", 7, "is not a duration")])

    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path).running() as world:
            await world.until(world.settled(1))
            assert not await world.daemon.reload(broken)
            assert not world.daemon.view.snapshot().reload_ok
            await world.until(world.settled(3))
            assert await reload(world)
            assert world.daemon.view.snapshot().reload_ok
            await world.until(world.settled(5))
            assert world.states()["delivered"] >= 5
            world.check_books()
        said = world.said.getvalue()
        assert "reload_refused" in said
        assert "routes.in.every" in said

    virtual.run(main)


@pytest.mark.fault("P20")
def test_a_key_that_is_still_needed_cannot_be_reloaded_away(virtual: Virtual, tmp_path: Path) -> None:
    """P20."""

    async def main(clock: JumpingClock) -> None:
        new = SigningKey("k2", b"n" * 32)
        async with World(clock, tmp_path, fakes.delivers(40 * SECOND)).running() as world:
            await world.until(lambda: world.states()["accepted"])
            assert not await reload(world, keys=(new,))
            assert await reload(world, keys=(new, KEY))
            await world.until(world.settled(3))
            assert {canary.key for canary in world.canaries()} == {"k1", "k2"}
            assert world.states()["late"] >= 3
            world.check_books()
        assert "key k1 has signed canaries" in world.said.getvalue()

    virtual.run(main)


def test_the_schedule_goes_on_from_the_last_intent(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, every=MINUTE).running() as world:
            await world.until(world.settled(2))
            for _ in range(20):  # a reload every five seconds sends nothing extra
                before = len(world.sender.handed)
                assert await reload(world)
                await clock.sleep(5 * SECOND)
                assert len(world.sender.handed) - before <= 1
            assert 2 <= len(world.sender.handed) <= 5
            await world.until(world.settled(6))
            assert world.states()["delivered"] >= 6
            world.check_books()

    virtual.run(main)


def test_an_attempt_under_way_ends_in_the_same_books(virtual: Virtual, tmp_path: Path) -> None:
    """Its arrival, seen by the new watcher before the server has answered, still counts from its dot."""

    async def main(clock: JumpingClock) -> None:
        way = fakes.in_turn(fakes.answers_late(60 * SECOND, 20 * SECOND), fakes.drops)
        world = World(clock, tmp_path, way, every=HOUR, watch_for=10 * HOUR, overdue_after=50 * SECOND)
        async with world.running():
            await world.until(lambda: world.states()["data_started"])
            assert await reload(world)
            assert world.states() == {"data_started": 1}
            await world.until(world.settled(1))
            (canary,) = world.canaries()
            assert canary.state is State.DELIVERED
            assert canary.latency is not None
            assert canary.uncertainty is not None
            assert abs(canary.latency - 20 * SECOND) <= canary.uncertainty
            await clock.sleep(2 * MINUTE)
            assert len(world.sender.handed) == 1
            world.check_books()

    virtual.run(main)


@pytest.mark.parametrize("moment", ["waiting", "under way"])
def test_a_deferred_canary_goes_on_after_a_reload(moment: str, virtual: Virtual, tmp_path: Path) -> None:
    """Also where the 4xx comes only after the reload, to an attempt of the old generation."""

    async def slow_4xx(*call: object) -> object:
        sender: fakes.FakeSender = call[0]  # type: ignore[assignment]
        await sender.clock.sleep(10 * SECOND)
        return await fakes.defers(*call)  # type: ignore[arg-type]

    async def main(clock: JumpingClock) -> None:
        way = fakes.in_turn(slow_4xx, fakes.delivers())  # type: ignore[arg-type]
        world = World(clock, tmp_path, way, every=HOUR, retry=(2 * MINUTE,), lost_after=HOUR / 2)
        async with world.running():
            wanted = "deferred" if moment == "waiting" else "intent"
            await world.until(lambda: world.states()[wanted])
            assert await reload(world)
            assert world.states()[wanted] == 1
            await world.until(world.settled(1))
            (canary,) = world.canaries()
            assert (canary.state, canary.attempts) == (State.LATE, 2)
            assert len(world.sender.handed) == 2
            world.check_books()

    virtual.run(main)


@pytest.mark.parametrize("moment", ["waiting", "under way"])
def test_a_leg_that_is_gone_leaves_its_deferred_canary_refused(moment: str, virtual: Virtual, tmp_path: Path) -> None:
    async def slow_4xx(*call: object) -> object:
        sender: fakes.FakeSender = call[0]  # type: ignore[assignment]
        await sender.clock.sleep(10 * SECOND)
        return await fakes.defers(*call)  # type: ignore[arg-type]

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, slow_4xx, every=HOUR, retry=(2 * MINUTE,), lost_after=HOUR / 2)  # type: ignore[arg-type]
        async with world.running():
            await world.until(lambda: world.states()["deferred" if moment == "waiting" else "intent"])
            assert await reload(world, routes={})
            await world.until(world.settled(1), within=5 * MINUTE)
            (canary,) = world.canaries()
            assert canary.state is State.REFUSED
            assert "no longer configured" in canary.reason
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("P19")
def test_a_removed_route_is_followed_and_a_new_one_starts(virtual: Virtual, tmp_path: Path) -> None:
    """P19."""

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.delivers(20 * SECOND), every=HOUR)
        async with world.running():
            await world.until(lambda: world.states()["accepted"])
            other = replace(world.config.routes["in"], name="other", every=MINUTE)
            assert await reload(world, routes={"other": other})
            await world.until(world.settled(3))
            assert {canary.leg.route for canary in world.canaries()} == {"in", "other"}
            assert world.canaries()[0].state is State.DELIVERED
            snapshot = world.daemon.view.snapshot()
            assert [leg.leg.route for leg in snapshot.legs] == ["other"]
            world.check_books()

    virtual.run(main)


def test_a_removed_mailbox_leaves_unknown(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, every=HOUR)
        async with world.running():
            await world.until(lambda: world.states()["accepted"])
            options = world.config.mailboxes["inbox"]
            route = replace(world.config.routes["in"], mailbox="new")
            assert await reload(world, mailboxes={"new": options}, routes={"in": route})
            canary = world.canaries()[0]
            assert (canary.state, canary.label) == (State.UNKNOWN, "mailbox_removed")
            world.check_books()

    virtual.run(main)


def test_an_attempt_under_way_whose_mailbox_is_gone_ends_as_unknown(virtual: Virtual, tmp_path: Path) -> None:
    """Its server answers only after the reload: nobody watches for it then, and it must not stay in flight for ever."""

    async def main(clock: JumpingClock) -> None:
        way = fakes.answers_late(60 * SECOND, 20 * SECOND)
        world = World(clock, tmp_path, way, every=HOUR, watch_for=10 * HOUR)
        async with world.running():
            await world.until(lambda: world.states()["data_started"])
            options = world.config.mailboxes["inbox"]
            route = replace(world.config.routes["in"], mailbox="new")
            assert await reload(world, mailboxes={"new": options}, routes={"in": route})
            assert world.states() == {"data_started": 1}  # it is with the server, and may yet be refused
            await world.until(world.settled(1), within=5 * MINUTE)
            canary = world.canaries()[0]
            assert (canary.state, canary.label) == (State.UNKNOWN, "mailbox_removed")
            world.check_books()

    virtual.run(main)


def test_a_loss_is_proven_across_reloads(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, every=HOUR, lost_after=10 * MINUTE)
        async with world.running():
            await world.until(lambda: world.states()["accepted"])
            for _ in range(4):
                await clock.sleep(MINUTE)
                assert await reload(world)
            assert world.states() == {"accepted": 1}
            await world.until(world.settled(1))
            assert world.canaries()[0].state is State.LOST
            world.check_books()

    virtual.run(main)


def test_limits_change_and_count_what_was_sent_before(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, every=10 * SECOND).running() as world:
            await world.until(world.settled(4))
            tight = replace(WIDE, per_route=(Rate(5, HOUR),))
            assert await reload(world, limits=tight)
            await clock.sleep(10 * MINUTE)
            assert len(world.sender.handed) == 5
            world.check_books()

    virtual.run(main)


def test_what_only_a_restart_can_change_is_said_and_stays(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path).running() as world:
            await world.until(world.settled(1))
            assert await reload(world, prober="p2", ledger=tmp_path / "other.sqlite")
            await world.until(world.settled(3))
            assert {canary.prober for canary in world.canaries()} == {"p1"}
            assert not (tmp_path / "other.sqlite").exists()
            world.check_books()
        said = world.said.getvalue()
        assert "ledger has changed in the configuration: that takes effect at the next restart" in said
        assert "prober has changed" in said

    virtual.run(main)


def test_a_ledger_that_cannot_be_written_during_a_reload(virtual: Virtual, tmp_path: Path) -> None:
    """The new generation starts as soon as it can be; meanwhile nothing is sent and nothing judged."""

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.defers, every=HOUR, retry=(HOUR / 4,), lost_after=HOUR / 2)
        async with world.running():
            await world.until(lambda: world.states()["deferred"])
            world.refuses = lambda _: True
            clock_was = clock.now()

            def heal() -> None:
                world.refuses = None

            asyncio.get_running_loop().call_later(30, heal)
            assert await reload(world, routes={})
            assert clock.now().since(clock_was) >= timedelta(seconds=29)
            assert world.states() == {"refused": 1}
            world.check_books()

    virtual.run(main)
