"""MX hosts that come and go: each is a leg with its own slots; what a host had under way goes to its end (S01-S04)."""

from __future__ import annotations

from pathlib import Path

import pytest

from probe.canary.record import State
from probe.senders.base import UNRESOLVED, NoHosts
from tests.engine import fakes
from tests.engine.world import HOUR, MINUTE, SECOND, World
from tests.jumping import JumpingClock, Virtual

ONE, TWO = "mx1.example.net", "mx2.example.net"
TEMPORARY = NoHosts("dns_temp", "example.net: SERVFAIL")
PERMANENT = NoHosts("dns_perm", "example.net: NXDOMAIN")


def sent_by(world: World) -> dict[str, int]:
    counts: dict[str, int] = {}
    for one in world.sender.handed:
        counts[one.mx] = counts.get(one.mx, 0) + 1
    return counts


def test_each_host_has_its_own_slots(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, mxs=(ONE, TWO)).running() as world:
            await clock.sleep(20 * MINUTE)
            counts = sent_by(world)
            assert counts.keys() == {ONE, TWO}
            assert all(19 <= count <= 21 for count in counts.values())
            assert {(c.leg.mx, c.state) for c in world.canaries()[:-2]} == {
                (ONE, State.DELIVERED),
                (TWO, State.DELIVERED),
            }
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("S04")
def test_a_host_appears_and_another_leaves(virtual: Virtual, tmp_path: Path) -> None:
    """S04: the old leg drains, its deferred canary is tried to the end, and its series end an hour after."""

    async def main(clock: JumpingClock) -> None:
        async def way(*call: object) -> object:
            handed: fakes.Handed = call[1]  # type: ignore[assignment]
            return await (fakes.defers if handed.mx == ONE else fakes.delivers())(*call)  # type: ignore[arg-type]

        world = World(clock, tmp_path, way, mxs=(ONE,), retry=(10 * MINUTE,), lost_after=HOUR / 2)  # type: ignore[arg-type]
        async with world.running():
            await world.until(lambda: world.states()["deferred"])
            world.sender.mxs = (TWO,)
            await clock.sleep(3 * MINUTE)
            before = sent_by(world)[ONE]
            assert 2 <= sent_by(world)[TWO] <= 3
            snapshot = world.daemon.view.snapshot()
            assert [leg.leg.mx for leg in snapshot.legs] == [TWO]
            assert [leg.leg.mx for leg in snapshot.retired] == [ONE]
            await clock.sleep(30 * MINUTE)
            assert sent_by(world)[ONE] == 2 * before  # each was tried once more, and no further canary went out
            assert all(c.state is State.REFUSED for c in world.canaries() if c.leg.mx == ONE)
            await clock.sleep(2 * HOUR)
            assert not world.daemon.view.snapshot().retired
            world.check_books()
        assert "leg_added" in world.said.getvalue()
        assert "leg_gone" in world.said.getvalue()

    virtual.run(main)


def test_a_host_that_comes_back_goes_on(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, mxs=(ONE, TWO)).running() as world:
            await clock.sleep(5 * MINUTE)
            world.sender.mxs = (TWO,)
            await clock.sleep(10 * MINUTE)
            before = sent_by(world)[ONE]
            world.sender.mxs = (ONE, TWO)
            await clock.sleep(10 * MINUTE)
            assert 8 <= sent_by(world)[ONE] - before <= 11
            assert len(world.daemon.legs) == 2
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("S01")
def test_dns_that_fails_for_a_while_changes_nothing(virtual: Virtual, tmp_path: Path) -> None:
    """Also across a restart: the hosts of the last day are the ones whose mail would be lost."""

    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, mxs=(ONE, TWO)).running() as world:
            await clock.sleep(5 * MINUTE)
            world.sender.mxs = TEMPORARY
            await clock.sleep(10 * MINUTE)
            assert {leg.leg.mx for leg in world.daemon.legs} == {ONE, TWO}
            await world.restart(SECOND)
            assert {leg.leg.mx for leg in world.daemon.legs} == {ONE, TWO}
            before = sum(sent_by(world).values())
            await clock.sleep(10 * MINUTE)
            assert 18 <= sum(sent_by(world).values()) - before <= 22
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("S01", "S02", "S03")
@pytest.mark.parametrize("nothing", [TEMPORARY, PERMANENT, NoHosts("null_mx", "example.net takes no mail")])
def test_a_domain_without_hosts_has_one_leg_that_says_so(nothing: NoHosts, virtual: Virtual, tmp_path: Path) -> None:
    """S01-S03: its canaries are unsent, not lost; once the hosts are known they are sent to."""

    async def way(*call: object) -> object:
        handed: fakes.Handed = call[1]  # type: ignore[assignment]
        return await (fakes.fails if handed.mx == UNRESOLVED else fakes.delivers())(*call)  # type: ignore[arg-type]

    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, way).running() as world:  # type: ignore[arg-type]
            await world.kill()
            world.sender.mxs = nothing
            await world.start()
            await clock.sleep(5 * MINUTE)
            assert {canary.leg.mx for canary in world.canaries()[1:]} == {UNRESOLVED}
            assert world.states().keys() == {"unsent"}
            world.sender.mxs = (ONE,)
            await clock.sleep(5 * MINUTE)
            assert sent_by(world)[ONE] >= 3
            assert world.states()["delivered"] >= 3
            world.check_books()

    virtual.run(main)


def test_a_domain_that_is_no_more_ends_its_legs(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, mxs=(ONE, TWO)).running() as world:
            await clock.sleep(3 * MINUTE)
            world.sender.mxs = PERMANENT
            await clock.sleep(5 * MINUTE)
            assert [leg.leg.mx for leg in world.daemon.view.snapshot().legs] == [UNRESOLVED]
            assert sent_by(world)[UNRESOLVED] >= 2
            world.check_books()

    virtual.run(main)
