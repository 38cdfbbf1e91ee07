"""The heartbeat in virtual time: what must be seen before a call is made, and that a call holds nothing up."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from probe.canary import counters
from probe.config.model import Config, Heartbeat, Route
from probe.engine.generation import Generation
from probe.engine.heartbeat import control_allowance, route_allowance
from probe.engine.pauses import EVERY as EVERY_ROUTE
from probe.engine.pauses import Pause
from probe.exposition.heartbeat import Failure
from probe.options import Secret
from tests.engine import fakes
from tests.engine.world import HOUR, MINUTE, SECOND, World
from tests.jumping import JumpingClock, Virtual

URL = "https://switch.example.net/ping/very-secret"
ON = Heartbeat(url=Secret(URL.encode()))


class Switch:
    """A dead man's switch: when it was called, and what it answers."""

    def __init__(self, clock: JumpingClock) -> None:
        self.clock = clock
        self.calls: list[float] = []
        self.answer: Failure | None = None
        self.hangs = False

    async def __call__(self, url: str, within: timedelta) -> Failure | None:
        assert url == URL
        self.calls.append(self.clock.now().wall / 1e9)
        if self.hangs:
            await self.clock.sleep(within)
            return Failure("timeout", "no answer")
        return self.answer

    def quiet_for(self) -> float:
        return self.clock.now().wall / 1e9 - (self.calls[-1] if self.calls else 0.0)


class Paged:
    """A generation whose routes page, all but ``slow``, as the heartbeat sees it; no detector runs for it."""

    def __init__(self, generation: Generation) -> None:
        routes = {name: replace(one, paging=name != "slow") for name, one in generation.config.routes.items()}
        self.config: Config = replace(generation.config, routes=routes)
        self.watchers = generation.watchers


async def started(world: World) -> Switch:
    """The world, running, with a switch in place of the network."""
    world.config = replace(world.config, heartbeat=ON)
    await world.start()
    switch = Switch(world.clock)
    world.daemon.heart.call = switch
    world.daemon.heart._watched = lambda: Paged(world.daemon.generation)
    return switch


def test_it_beats_while_canaries_and_controls_are_seen(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, control=5 * MINUTE)
        switch = await started(world)
        await clock.sleep(HOUR)
        assert 55 <= len(switch.calls) <= 60
        assert world.daemon.view.snapshot().heartbeat_at == switch.calls[-1]
        assert world.said.getvalue().count("event=heartbeat_sent") == 1
        assert "very-secret" not in world.said.getvalue()
        await world.kill()

    virtual.run(main)


def test_nothing_is_called_before_all_was_seen_once(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops)
        switch = await started(world)
        await clock.sleep(HOUR)
        assert switch.calls == []
        assert world.said.getvalue().count("event=heartbeat_silent") == 1
        assert "route in: no canary was delivered in time" in world.said.getvalue()
        assert world.daemon.view.snapshot().heartbeat_at == 0
        await world.kill()

    virtual.run(main)


def test_one_lost_canary_does_not_silence_it_and_a_dead_path_does(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path)
        route = world.config.routes["in"]
        switch = await started(world)
        await clock.sleep(10 * MINUTE)
        world.sender.way = fakes.in_turn(fakes.drops, fakes.delivers())
        await clock.sleep(10 * MINUTE)
        assert max(b - a for a, b in zip(switch.calls, switch.calls[1:], strict=False)) < 70
        world.sender.way = fakes.drops
        dead = clock.now().wall / 1e9
        await clock.sleep(HOUR)
        allowed = route_allowance(route).total_seconds()
        assert allowed - 120 <= switch.calls[-1] - dead <= allowed
        world.sender.way = fakes.delivers()
        await clock.sleep(5 * MINUTE)
        assert switch.quiet_for() < 70
        await world.kill()

    virtual.run(main)


def test_late_canaries_are_not_in_time(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path)
        switch = await started(world)
        await clock.sleep(10 * MINUTE)
        assert switch.calls
        world.sender.way = fakes.delivers(2 * MINUTE)
        await clock.sleep(HOUR)
        assert world.states()["late"] > 50
        assert switch.quiet_for() > 50 * 60
        await world.kill()

    virtual.run(main)


@pytest.mark.parametrize("trouble", ["refuses", "swallows"])
def test_a_control_that_is_refused_or_missed_silences_it(virtual: Virtual, tmp_path: Path, trouble: str) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, control=5 * MINUTE)
        switch = await started(world)
        await clock.sleep(10 * MINUTE)
        assert switch.quiet_for() < 70
        setattr(world.account, trouble, "no")
        began = clock.now().wall / 1e9
        await clock.sleep(HOUR)
        assert switch.calls[-1] - began <= control_allowance(5 * MINUTE, 30 * SECOND).total_seconds()
        assert "mailbox inbox: no control canary was seen" in world.said.getvalue()
        setattr(world.account, trouble, "")
        await world.until(lambda: switch.quiet_for() < 70)
        await world.kill()

    virtual.run(main)


def test_what_is_paused_or_measured_only_is_not_waited_for(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, control=5 * MINUTE)
        measured = Route("slow", "relay", "probe@example.org", "x@example.net", "inbox", every=12 * HOUR, paging=False)
        world.config = replace(world.config, routes={**world.config.routes, "slow": measured})
        switch = await started(world)
        await clock.sleep(5 * MINUTE)
        assert switch.quiet_for() < 70
        until = clock.now().wall + 2 * 3600 * 1_000_000_000
        await world.daemon._pauses.begin(Pause(EVERY_ROUTE, clock.now().wall, until, "maintenance"))
        for _ in range(130):  # over the end of the pause too
            await clock.sleep(MINUTE)
            assert switch.quiet_for() < 70
        world.sender.way = fakes.drops
        await clock.sleep(20 * MINUTE)
        assert switch.quiet_for() > 10 * 60
        await world.kill()

    virtual.run(main)


def test_a_route_that_a_reload_brings_gets_time_for_its_first_canary(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path)
        switch = await started(world)
        await clock.sleep(5 * MINUTE)
        new = replace(world.config.routes["in"], name="new", every=10 * MINUTE)
        world.config = replace(world.config, routes={**world.config.routes, "new": new})
        assert await world.daemon.reload(lambda: world.config)
        for _ in range(30):
            await clock.sleep(MINUTE)
            assert switch.quiet_for() < 70
        await world.kill()

    virtual.run(main)


def test_a_restart_takes_the_ledger_s_word_and_a_restart_loop_excuses_nothing(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, control=5 * MINUTE)
        await started(world)
        await clock.sleep(10 * MINUTE)
        await world.kill()
        switch = await started(world)
        await clock.sleep(2 * SECOND)
        await world.until(lambda: switch.calls, within=61 * SECOND)
        world.sender.way = fakes.drops
        last = 0.0
        for _ in range(60):
            await world.kill()
            switch = await started(world)
            await clock.sleep(MINUTE)
            last = switch.calls[-1] if switch.calls else last
        assert clock.now().wall / 1e9 - last > 50 * 60
        await world.kill()

    virtual.run(main)


def test_a_switch_that_fails_or_hangs_is_counted_said_once_and_holds_nothing_up(
    virtual: Virtual, tmp_path: Path
) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path)
        switch = await started(world)
        await clock.sleep(5 * MINUTE)
        success = world.daemon.view.snapshot().heartbeat_at
        switch.answer = Failure("status", "the answer was HTTP 503")
        await clock.sleep(10 * MINUTE)
        switch.hangs = True
        await clock.sleep(10 * MINUTE)
        assert world.daemon.view.snapshot().heartbeat_at == success
        assert world.total(counters.PROBE_ERRORS, "heartbeat", "status") >= 9
        assert world.total(counters.PROBE_ERRORS, "heartbeat", "timeout") >= 9
        assert world.said.getvalue().count("event=heartbeat_failed") == 1
        assert world.daemon.view.snapshot().stalled == []
        assert world.states()["delivered"] >= 23
        switch.hangs, switch.answer = False, None
        await clock.sleep(2 * MINUTE)
        assert world.daemon.view.snapshot().heartbeat_at > success
        assert world.said.getvalue().count("event=heartbeat_sent") == 2
        await world.kill()

    virtual.run(main)


def test_a_stop_does_not_wait_for_a_switch_that_hangs(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path)
        world.config = replace(world.config, heartbeat=ON)
        switch = await started(world)
        await world.until(lambda: switch.calls, within=5 * MINUTE)
        switch.hangs = True
        before = len(switch.calls)
        await world.until(lambda: len(switch.calls) > before, within=2 * MINUTE)
        began = clock.now()
        await world.stop()
        assert clock.now().since(began) < 5 * SECOND

    virtual.run(main)


def test_without_a_url_nothing_is_called(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path)
        await world.start()
        switch = world.daemon.heart.call = Switch(clock)
        await clock.sleep(10 * MINUTE)
        assert switch.calls == []
        assert "heartbeat" not in world.said.getvalue()
        world.config = replace(world.config, heartbeat=ON)
        assert await world.daemon.reload(lambda: world.config)
        await clock.sleep(2 * MINUTE)
        assert switch.calls
        await world.kill()

    virtual.run(main)
