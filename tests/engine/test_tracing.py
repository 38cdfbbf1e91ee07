"""Tracing: one canary by an operator's word, in the same books and limits, found in whatever folder it was put."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from probe.canary import counters
from probe.config.model import Limits
from probe.engine.pacing import Pace
from probe.engine.tracing import MOST
from probe.errors import LedgerUnwritable, MailCanaryError, UsageError
from probe.options import Rate
from probe.senders.base import SoFar, Stage, Submission
from tests.engine import fakes
from tests.engine.traces import DAY, followed, order, phases, read_once
from tests.engine.world import HOUR, MINUTE, SECOND, World
from tests.jumping import JumpingClock, Virtual


def test_a_traced_canary_is_one_like_any_other(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, every=DAY).running() as world:
            await read_once(world)
            begun = await order(world, "trace", route="in", mx=None)
            assert (begun["mx"], begun["mailbox"], begun["overdue_after"]) == ("any", "inbox", 30.0)
            assert world.ledger.queries.canary(begun["id"]) is not None  # durable when it is answered
            answers = await followed(world, begun["id"])
            assert phases(answers)[-1] == "ended"
            canary = answers[-1]["canary"]
            assert (canary["id"], canary["outcome"], canary["folder"]) == (begun["id"], "delivered", "INBOX")
            assert [attempt["result"] for attempt in canary["smtp"]] == ["accepted"]
            assert canary["hops"] == []
            assert (world.total(counters.SENT), world.total(counters.OUTCOMES, "delivered")) == (1, 1)
            await clock.sleep(HOUR)
            assert len(world.sender.handed) == 1  # and it was the only one
            world.check_books()

    virtual.run(main)


def test_it_counts_in_the_caps_and_is_capped(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        limits = Limits(per_recipient=(Rate(2, HOUR),))
        async with World(clock, tmp_path, every=DAY, limits=limits).running() as world:
            await read_once(world)
            for _ in range(2):
                await followed(world, (await order(world, "trace", route="in", mx=None))["id"])
            with pytest.raises(MailCanaryError, match=r"per_recipient \(2/h\) has no room.*limits.per_recipient"):
                await order(world, "trace", route="in", mx=None)
            await world.restart()
            await read_once(world)
            with pytest.raises(MailCanaryError, match="nothing was sent"):
                await order(world, "trace", route="in", mx=None)
            assert len(world.sender.handed) == 2
            await clock.sleep(MINUTE)
            assert world.total(counters.CAP_HITS, "per_recipient") >= 1
            await clock.sleep(HOUR)
            assert (await order(world, "trace", route="in", mx=None))["id"]
            world.check_books()

    virtual.run(main)


def test_a_pause_or_an_unread_mailbox_forbids_it(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, every=DAY)
        world.account.refuse_login()
        async with world.running():
            await clock.sleep(SECOND)
            with pytest.raises(MailCanaryError, match=r"inbox was not read yet \(the password was refused\).*check"):
                await order(world, "trace", route="in", mx=None)
            world.account.trouble = None
            await read_once(world)
            pause = {"command": "pause", "route": "*", "seconds": None, "reason": "moving"}
            await world.daemon._orders.handlers["pause"](pause)
            with pytest.raises(MailCanaryError, match="moving; `mailcanary resume --all`"):
                await order(world, "trace", route="in", mx=None)
            assert world.sender.handed == []
            assert world.total(counters.SENT) == 0

    virtual.run(main)


def test_nothing_is_sent_while_the_ledger_cannot_be_written(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, every=DAY).running() as world:
            await read_once(world)
            world.refuses = lambda _: True
            with pytest.raises(LedgerUnwritable, match="nothing was sent"):
                await order(world, "trace", route="in", mx=None)
            world.refuses = None
            assert world.sender.handed == []
            assert (await order(world, "trace", route="in", mx=None))["id"]
            world.check_books()

    virtual.run(main)


def test_the_leg_is_chosen_by_its_host(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, every=DAY, mxs=("mx2.example", "mx1.example")).running() as world:
            await read_once(world)
            assert (await order(world, "trace", route="in", mx=None))["mx"] == "mx2.example"
            assert (await order(world, "trace", route="in", mx="MX1.example."))["mx"] == "mx1.example"
            with pytest.raises(UsageError, match=r"'mx3.example'; it goes to mx2.example, mx1.example"):
                await order(world, "trace", route="in", mx="mx3.example")
            with pytest.raises(UsageError, match="no route 'out'; there is in"):
                await order(world, "trace", route="out", mx=None)
            wrongs: tuple[object, ...] = ([], {"a": 1}, 7)
            for wrong in wrongs:
                with pytest.raises(UsageError):
                    await order(world, "trace", route=wrong, mx=wrong)
                with pytest.raises(UsageError):
                    await order(world, "follow", id=wrong, seen=wrong)
            await world.until(world.settled(2))
            assert sorted(one.mx for one in world.sender.handed) == ["mx1.example", "mx2.example"]

    virtual.run(main)


def slowly(world: World, *, defer: bool) -> fakes.Way:
    """Three seconds before each step of an attempt: the 4xx, or the content, the dot and the answer."""

    async def way(sender: fakes.FakeSender, one: fakes.Handed, before: Any, sent: Any) -> Submission:
        await world.clock.sleep(3 * SECOND)
        if defer:
            return await fakes.defers(sender, one, before, sent)
        await before()
        await world.clock.sleep(3 * SECOND)
        dot = world.clock.now()
        sent(dot)
        await world.clock.sleep(3 * SECOND)
        asyncio.get_running_loop().call_later(4.0, world.account.put, one.message)
        return fakes.taken(dot)

    return way


def test_each_step_is_told_when_it_is_taken(virtual: Virtual, tmp_path: Path) -> None:
    """A refusal for now, its retry, a server that thinks about the dot, and the way to the mailbox."""

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, every=DAY, retry=(10 * SECOND,), overdue_after=MINUTE)
        world.sender.way = fakes.in_turn(slowly(world, defer=True), slowly(world, defer=False))
        async with world.running():
            await read_once(world)
            begun = await order(world, "trace", route="in", mx=None)
            answers = await followed(world, begun["id"])
            assert phases(answers) == ["smtp", "retry", "content", "answer", "arrival", "ended"]
            seconds = {phase: [a["seconds"] for a in answers if a["phase"] == phase] for phase in phases(answers)}
            assert 9 < seconds["retry"][0] <= 10
            assert seconds["retry"] == sorted(seconds["retry"], reverse=True)
            assert 0 <= seconds["answer"][0] <= 1 < seconds["answer"][-1] <= 3
            assert 0 <= seconds["smtp"][0] <= 1 < max(seconds["smtp"]) <= 3.1
            assert max(seconds["content"]) <= 6.1  # since the attempt began
            last = answers[-1]["canary"]
            assert [attempt["result"] for attempt in last["smtp"]] == ["deferred", "accepted"]
            assert (last["outcome"], last["attempts"], len(world.sender.handed)) == ("delivered", 2, 2)
            world.check_books()

    virtual.run(main)


def test_it_is_followed_through_a_reload_and_a_restart(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, every=DAY, overdue_after=10 * MINUTE, lost_after=HOUR, pace=Pace())
        world.account.folders["Filed"] = fakes.Folder()
        async with world.running():
            await read_once(world)
            canary_id = (await order(world, "trace", route="in", mx=None))["id"]
            assert (await order(world, "follow", id=canary_id, seen=0))["phase"] == "arrival"
            assert await world.daemon.reload(lambda: world.config)
            assert (await order(world, "follow", id=canary_id, seen=0))["phase"] == "arrival"
            await world.restart(MINUTE)
            assert (await order(world, "follow", id=canary_id, seen=0))["phase"] == "arrival"
            world.account.put(world.sender.handed[0].message, "Filed")
            answers = await followed(world, canary_id, within=2 * MINUTE)
            assert (answers[-1]["canary"]["outcome"], answers[-1]["canary"]["folder"]) == ("delivered", "Filed")
            assert len(world.sender.handed) == 1
            world.check_books()

    virtual.run(main)


def test_only_so_many_are_followed_at_a_time(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, fakes.drops, every=DAY).running() as world:
            await read_once(world)
            ids = [(await order(world, "trace", route="in", mx=None))["id"] for _ in range(MOST)]
            with pytest.raises(MailCanaryError, match="followed already"):
                await order(world, "trace", route="in", mx=None)
            assert len(world.sender.handed) == MOST == len(set(ids))
            await clock.sleep(2 * MINUTE)  # nobody asks for them any more
            assert (await order(world, "trace", route="in", mx=None))["id"]
            assert (await order(world, "follow", id=ids[0], seen=0))["overdue"] is True
            world.check_books()

    virtual.run(main)


def test_the_attempt_under_way_is_shown_where_the_sender_can(virtual: Virtual, tmp_path: Path) -> None:
    class Shows(fakes.FakeSender):
        def so_far(self, envelope_id: str) -> SoFar | None:
            known = [one.envelope.envelope_id for one in self.handed]
            return SoFar(Stage.BANNER, {Stage.BANNER: 1.5}, "192.0.2.1") if envelope_id in known else None

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, every=DAY)
        world.sender = Shows(clock, world.account, slowly(world, defer=False))
        world.config = replace(world.config, senders={"relay": world.sender})
        async with world.running():
            await read_once(world)
            begun = await order(world, "trace", route="in", mx=None)
            began = clock.now()
            seen = [await order(world, "follow", id=begun["id"], seen=2) for _ in range(4)]
            assert seen[-1]["attempt"] == {"stage": "banner", "phases": {"banner": 1.5}, "address": "192.0.2.1"}
            assert clock.now().since(began) < 3 * SECOND  # asked four times a second, not once
            answers = await followed(world, begun["id"])
            assert answers[-1]["attempt"] is None
            world.check_books()

    virtual.run(main)


def test_a_daemon_that_stops_sends_no_more(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, every=DAY).running() as world:
            await read_once(world)
            world.daemon._stopping.set()
            with pytest.raises(MailCanaryError, match="is stopping"):
                await order(world, "trace", route="in", mx=None)
            assert world.sender.handed == []

    virtual.run(main)
