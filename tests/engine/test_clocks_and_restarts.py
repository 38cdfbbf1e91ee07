"""Suspend, clock steps and restarts: no burst, no loss that is none, nothing forgotten, nothing sent twice."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from probe.canary import counters
from probe.canary.identity import SigningKey
from probe.canary.record import State
from probe.errors import ConfigError
from tests.engine import fakes
from tests.engine.world import HOUR, KEY, MINUTE, SECOND, World
from tests.jumping import JumpingClock, Virtual


@pytest.mark.fault("P11")
def test_eight_hours_of_suspend(virtual: Virtual, tmp_path: Path) -> None:
    """P11: what came meanwhile is found before anything is judged, and no burst makes up for the night."""

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.delivers(10 * SECOND), every=5 * SECOND, watch_for=24 * HOUR)
        async with world.running():
            await world.until(world.settled(5))
            flying = [one.id for one in world.canaries() if one.state is State.ACCEPTED]
            assert flying
            for one in world.sender.handed[-len(flying) :]:
                world.account.put(one.message)  # they came while the machine slept
            world.account.drop_connections = True
            clock.suspend(8 * HOUR)
            woke, before = clock.now(), len(world.sender.handed)
            await clock.sleep(2 * MINUTE)
            sent = [one.at.since(woke) for one in world.sender.handed[before:]]
            assert len(sent) <= 25
            assert all(b - a >= 2.4 * SECOND for a, b in itertools.pairwise(sent))
            assert world.states().keys() <= {"delivered", "late", "accepted"}
            assert {world.daemon.books.find(one).state for one in flying} <= {State.DELIVERED, State.LATE}  # type: ignore[union-attr]
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("P10")
@pytest.mark.parametrize("step", [HOUR, -HOUR, timedelta(days=1), -timedelta(days=1)])
def test_a_step_of_the_wall_clock(step: timedelta, virtual: Virtual, tmp_path: Path) -> None:
    """P10: latencies stay right, nothing is lost by it, nothing goes out in a burst, and polls go on."""

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.delivers(7 * SECOND), every=20 * SECOND, watch_for=72 * HOUR)
        async with world.running():
            await world.until(world.settled(2))
            await world.until(lambda: world.states()["accepted"])
            clock.step(step)
            before = len(world.sender.handed)
            await world.until(world.settled(12))
            await clock.sleep(10 * SECOND)
            sent = [one.at.boot for one in world.sender.handed[before - 1 :]]
            assert all(17 * 10**9 < b - a < 23 * 10**9 for a, b in itertools.pairwise(sent))
            for canary in world.canaries():
                if canary.state is State.ACCEPTED:
                    continue
                assert canary.state is State.DELIVERED
                assert canary.latency is not None
                assert 7 * SECOND <= canary.latency <= 8 * SECOND
            assert world.total(counters.OVERDUE) == 0
            assert world.total(counters.CLOCK_STEPS) == 1
            assert "clock_stepped" in world.said.getvalue()
            world.check_books()

    virtual.run(main)


def test_a_suspend_is_no_step(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path).running() as world:
            await clock.sleep(MINUTE)
            clock.suspend(HOUR)
            await clock.sleep(MINUTE)
            assert world.total(counters.CLOCK_STEPS) == 0

    virtual.run(main)


def test_restart_before_any_content_is_unsent(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.hangs_before_data, every=HOUR)
        async with world.running():
            await world.until(lambda: world.states()["intent"])
            await world.restart(SECOND)
            canary = world.canaries()[0]
            assert (canary.state, canary.label) == (State.UNSENT, "restart")
            assert len(world.sender.handed) == 1
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("S25")
@pytest.mark.parametrize("there", [True, False])
def test_restart_after_content_is_unsure_and_never_lost(there: bool, virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.hangs_after_data, every=HOUR)
        async with world.running():
            await world.until(lambda: world.states()["data_started"])
            await world.restart(SECOND)
            assert world.states() == {"unsure": 1}
            if there:
                world.account.put(world.sender.handed[0].message)
            await world.until(world.settled())
            canary = world.canaries()[0]
            assert canary.state is (State.DELIVERED if there else State.UNKNOWN)
            assert len(world.sender.handed) == 1
            world.check_books()

    virtual.run(main)


def test_restart_while_deferred_goes_on_with_the_next_try(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        way = fakes.in_turn(fakes.defers, fakes.delivers())
        world = World(clock, tmp_path, way, retry=(MINUTE, MINUTE), every=HOUR)
        async with world.running():
            await world.until(lambda: world.states()["deferred"])
            await world.restart(5 * SECOND)
            assert world.states() == {"deferred": 1}
            await world.until(world.settled())
            first, second = world.sender.handed
            assert MINUTE <= second.at.since(first.at) <= MINUTE + SECOND
            assert world.canaries()[0].arrived is not None
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("P01", "P26")
def test_kills_in_a_loop_forget_nothing_and_send_nothing_twice(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        way = fakes.answers_late(answer_after=SECOND, mail_after=SECOND / 2)
        world = World(clock, tmp_path, way, every=2 * SECOND)
        async with world.running():
            for number in range(40):
                await clock.sleep(timedelta(milliseconds=700 + 130 * (number % 17)))
                await world.restart(timedelta(milliseconds=90))
            world.reroute(every=24 * HOUR)
            await world.restart()
            await world.until(lambda: not world.daemon.books.in_flight)
            ids = [one.envelope.envelope_id for one in world.sender.handed]
            assert len(ids) == len(set(ids)) > 15
            assert len(world.canaries()) >= len(ids)
            assert world.no_loss()
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("P19")
def test_a_route_that_was_removed_is_followed_to_the_end(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        way = fakes.in_turn(fakes.drops, fakes.defers)
        world = World(clock, tmp_path, way, retry=(HOUR / 2,), every=2 * MINUTE, lost_after=50 * MINUTE)
        async with world.running():
            await world.until(lambda: world.states()["accepted"] and world.states()["deferred"])
            other = replace(world.config.routes["in"], name="other", every=5 * HOUR)
            world.config = replace(world.config, routes={"other": other})
            await world.restart(SECOND)
            await world.until(world.settled(2))
            lost, refused = world.canaries()[0], world.canaries()[1]
            assert refused.state is State.REFUSED
            assert "its sender is no longer configured" in refused.reason
            assert lost.state is State.LOST
            world.check_books()

    virtual.run(main)


@pytest.mark.parametrize("change", ["removed", "mailbox", "watch", "mail_from", "prober"])
def test_what_a_changed_route_had_under_way_is_still_recognised(change: str, virtual: Virtual, tmp_path: Path) -> None:
    """Rule 4: by the new configuration alone it would pass for somebody else's mail, and be called lost."""

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, every=3 * HOUR, lost_after=40 * MINUTE)
        async with world.running():
            await world.until(lambda: world.states()["accepted"])
            await world.kill()
            route, options = world.config.routes["in"], world.config.mailboxes["inbox"]
            other = replace(route, name="other", every=20 * HOUR)
            changed = {
                "removed": (other,),
                "mailbox": (replace(route, mailbox="new"),),
                "watch": (replace(route, lost_after=2 * MINUTE, watch_for=3 * MINUTE),),
                "mail_from": (replace(route, mail_from="new@example.org"),),
                "prober": (route,),
            }[change]
            elsewhere = replace(options, account=fakes.Account(clock, {"INBOX": fakes.Folder()}))
            world.config = replace(
                world.config,
                prober="p2" if change == "prober" else "p1",
                routes={one.name: one for one in changed},
                mailboxes={"inbox": options, "new": elsewhere},
            )
            await world.start()
            await clock.sleep(10 * MINUTE)
            message = world.sender.handed[0].message
            if change == "mail_from":  # only what needs the right sender to be believed is left of it
                head, _, body = message.partition(b"\r\n\r\n")
                kept = [line for line in head.split(b"\r\n") if line.startswith((b"From:", b"Subject:", b"Date:"))]
                message = b"\r\n".join(kept) + b"\r\n\r\n" + body
            world.account.put(message)
            await world.until(world.settled(1))
            assert world.canaries()[0].state is State.LATE
            world.check_books()

    virtual.run(main)


def test_a_canary_expires_by_its_own_watch_not_by_the_route_s_longest(virtual: Virtual, tmp_path: Path) -> None:
    """The route's mail is looked at for as long as its longest watch; each canary's time is its own."""

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, every=HOUR, lost_after=40 * MINUTE, watch_for=5 * HOUR)
        async with world.running():
            await world.until(lambda: world.states()["accepted"])
            world.reroute(lost_after=2 * MINUTE, watch_for=3 * MINUTE, every=HOUR)
            await world.restart(SECOND)
            await world.until(lambda: world.states()["lost"] == 2, within=3 * HOUR)
            short = world.canaries()[1]
            assert short.state is State.LOST
            await clock.sleep(10 * MINUTE)
            world.account.put(world.sender.handed[1].message)
            await clock.sleep(MINUTE)
            assert world.total(counters.FOREIGN, "expired") == 1
            assert world.total(counters.RECOVERED) == 0
            world.check_books()

    virtual.run(main)


def test_a_mailbox_that_was_removed_leaves_unknown(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, every=HOUR)
        async with world.running():
            await world.until(lambda: world.states()["accepted"])
            options = world.config.mailboxes["inbox"]
            route = replace(world.config.routes["in"], mailbox="new")
            world.config = replace(world.config, mailboxes={"new": options}, routes={"in": route})
            await world.restart(SECOND)
            canary = world.canaries()[0]
            assert (canary.state, canary.label) == (State.UNKNOWN, "mailbox_removed")
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("P06")
def test_after_a_damaged_ledger_nothing_is_sent_until_the_windows_have_passed(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        (tmp_path / "ledger.sqlite").write_bytes(b"not a database" * 1000)
        world = World(clock, tmp_path, every=5 * SECOND)
        async with world.running():
            began = clock.now()
            await clock.sleep(50 * SECOND)
            assert world.sender.handed == []
            assert world.total(counters.CAP_HITS) > 5
            assert world.total(counters.LEDGER_RESETS) == 1
            await world.until(world.settled())
            assert world.sender.handed[0].at.since(began) >= MINUTE
            assert list(tmp_path.glob("ledger.sqlite?*damaged*")) or world.ledger.set_aside

    virtual.run(main)


@pytest.mark.fault("P20")
def test_a_key_that_canaries_in_flight_need_cannot_be_dropped(virtual: Virtual, tmp_path: Path) -> None:
    """P20: without the key they could never be recognised, so they would all be called lost."""

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, lost_after=30 * MINUTE)
        new = SigningKey("k2", b"n" * 32)
        async with world.running():
            await world.until(lambda: world.states()["accepted"])
            await world.kill()
            world.config = replace(world.config, keys=(new,))
            with pytest.raises(ConfigError, match="key k1 has signed canaries that are in flight"):
                await world.start()
            world._close()
            world.config = replace(world.config, keys=(new, KEY), routes={})
            await world.start()
            await world.until(world.settled(1))
            await world.kill()
            world.config = replace(world.config, keys=(new,))
            await world.start()
            world.check_books()

    virtual.run(main)
