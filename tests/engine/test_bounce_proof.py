"""The mailbox of the bounces as a part of the proof of loss, in virtual time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from probe.canary import counters
from probe.canary.record import State
from tests.engine import fakes
from tests.engine.bounces import report, until_accepted
from tests.engine.world import HOUR, MINUTE, SECOND, World
from tests.jumping import JumpingClock, Virtual


def test_no_loss_is_judged_before_the_mailbox_of_its_bounces_was_read(virtual: Virtual, tmp_path: Path) -> None:
    """Rule 3: the bounce that lay there unread would have said what became of it."""

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, every=2 * HOUR, watch_for=HOUR)
        account = world.receive_bounces()
        async with world.running():
            handed = await until_accepted(world)
            account.went_down()
            account.folders["INBOX"].put(report(handed), clock.now().utc)
            await clock.sleep(20 * MINUTE)
            assert world.states() == {"accepted": 1}
            reads = len(world.account.reads)
            await clock.sleep(10 * MINUTE)
            assert len(world.account.reads) - reads < 250  # it does not read itself to death meanwhile
            account.trouble = None
            await world.until(world.settled())
            assert world.canaries()[0].state is State.BOUNCED
            world.check_books()

    virtual.run(main)


def test_a_loss_follows_soon_after_the_bounces_are_read_again(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, every=2 * HOUR)
        account = world.receive_bounces()
        async with world.running():
            await until_accepted(world)
            account.went_down()
            await clock.sleep(20 * MINUTE)
            account.trouble = None
            healed = clock.now()
            await world.until(world.settled())
            assert world.canaries()[0].state is State.LOST
            assert clock.now().since(healed) < 20 * SECOND
            world.check_books()

    virtual.run(main)


def test_a_healthy_bounce_mailbox_holds_no_loss_up(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, every=2 * HOUR)
        account = world.receive_bounces()
        async with world.running():
            await until_accepted(world)
            await world.until(world.settled())
            (canary,) = world.canaries()
            assert canary.state is State.LOST
            assert clock.now().since(canary.lost_at) < 3 * SECOND
            assert any(timedelta(0) < at.since(canary.lost_at) for at in account.reads_of("INBOX"))

    virtual.run(main)


def test_bounces_that_cannot_be_read_until_the_watch_is_over_make_it_unknown(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, every=4 * HOUR)
        account = world.receive_bounces()
        async with world.running():
            await until_accepted(world)
            account.went_down()
            await world.until(world.settled())
            (canary,) = world.canaries()
            assert (canary.state, canary.label) == (State.UNKNOWN, "bounces_unread")
            assert "mailbox reports, where its bounces arrive, was not read" in canary.reason
            assert clock.now().since(canary.watched_until) < MINUTE
            world.check_books()

    virtual.run(main)


def test_nothing_is_sent_before_the_mailbox_of_the_bounces_was_read(virtual: Virtual, tmp_path: Path) -> None:
    """The first read begins at the folder's end: a bounce that came before it would never be looked at."""

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.delivers())
        account = world.receive_bounces()
        account.went_down()
        async with world.running():
            await clock.sleep(5 * MINUTE)
            assert world.sender.handed == []
            account.trouble = None
            await world.until(world.settled())
            assert world.states()["delivered"] == 1

    virtual.run(main)


def test_the_bounce_of_a_removed_route_still_counts(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, every=HOUR)
        account = world.receive_bounces()
        async with world.running():
            handed = await until_accepted(world)
            other = replace(world.config.routes["in"], name="other", rcpt_to="other@example.net")
            world.config = replace(world.config, routes={"other": other})
            assert await world.daemon.reload(lambda: world.config)
            account.put(report(handed))
            await world.until(lambda: world.total(counters.OUTCOMES, "in", "bounced"))
            world.check_books()

    virtual.run(main)
