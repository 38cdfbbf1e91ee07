"""What a look finds: copies told apart, new numbers, slices, and crashes between the look and its commit."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from probe.canary import counters
from probe.canary.record import State
from probe.ledger.batch import Batch
from tests.engine import fakes
from tests.engine.world import HOUR, MINUTE, SECOND, World
from tests.jumping import JumpingClock, Virtual


@pytest.mark.fault("R10")
def test_new_numbers_are_read_again_and_make_no_duplicates(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path).running() as world:
            await world.until(world.settled(3))
            world.account.folders["INBOX"].renumber()
            await world.until(world.settled(6))
            assert world.states()["delivered"] >= 6
            assert world.total(counters.DUPLICATES) == world.total(counters.MOVED) == 0
            copies = world.ledger.queries.copies(world.canaries()[0].id)
            assert copies[0].kind == "first"
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("R10")
def test_an_epoch_that_changed_proves_nothing(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, fakes.drops, every=HOUR).running() as world:
            await world.until(lambda: world.states()["accepted"])
            world.account.folders["INBOX"].renumber()
            await world.until(world.settled())
            canary = world.canaries()[0]
            assert (canary.state, canary.label) == (State.UNKNOWN, "uidvalidity")

    virtual.run(main)


@pytest.mark.fault("S31")
def test_copies_are_told_apart(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        way = fakes.in_turn(fakes.delivers(copies=2), fakes.delivers(), fakes.delivers(), fakes.drops)
        world = World(clock, tmp_path, way, folders=("INBOX", "Archive"))
        async with world.running():
            await world.until(world.settled(3))
            twice, moved, copied = world.canaries()[:3]
            world.account.move(3, "INBOX", "Archive")
            raw, at = world.account.folders["INBOX"].messages[4]
            world.account.folders["Archive"].put(raw, at)
            await clock.sleep(MINUTE)

            def kinds(one: str) -> list[str]:
                return [copy.kind for copy in world.ledger.queries.copies(one)]

            assert kinds(twice.id) == ["first", "duplicate"]
            assert kinds(moved.id) == ["first", "moved"]
            assert kinds(copied.id) == ["first", "copied"]
            assert world.total(counters.DUPLICATES) == 1
            assert world.total(counters.MOVED) == 1
            assert [one.state for one in (twice, moved, copied)] == [State.DELIVERED] * 3
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("S32")
def test_lost_and_then_there_is_recovered(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, fakes.delivers(10 * MINUTE), every=HOUR / 2).running() as world:
            await world.until(world.settled())
            await world.until(lambda: world.canaries()[0].recovered)
            canary = world.canaries()[0]
            assert canary.state is State.LOST
            assert world.total(counters.RECOVERED, "lost") == 1
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("R25")
def test_a_crash_between_read_and_commit_finds_it_again(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, every=HOUR)
        async with world.running():
            await world.until(lambda: world.account.reads)
            tried: list[Batch] = []

            def refuses(batch: Batch) -> bool:
                if batch._watermarks:
                    tried.append(batch)
                return bool(batch._watermarks)

            world.refuses = refuses
            await world.until(lambda: tried)
            assert tried[0]._copies
            assert world.states() == {"accepted": 1}
            await world.restart(SECOND)
            await world.until(world.settled())
            canary = world.canaries()[0]
            assert canary.state is State.DELIVERED
            assert len(world.ledger.queries.copies(canary.id)) == 1
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("P03")
def test_a_full_disk_for_an_hour_costs_no_login_and_loses_nothing(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, every=HOUR, overdue_after=2 * MINUTE).running() as world:
            await world.until(lambda: world.account.reads)
            world.refuses = lambda batch: bool(batch._watermarks)
            await world.until(lambda: world.states()["accepted"])
            world.refuses = lambda _: True
            await clock.sleep(HOUR / 2)
            assert len(world.account.connects) == 1
            world.refuses = None
            await world.until(world.settled())
            assert world.canaries()[0].state is State.DELIVERED
            assert world.total(counters.TASK_CRASHES) == 0
            assert world.said.getvalue().count("event=ledger_unwritable") == 1
            assert world.no_loss()

    virtual.run(main)


@pytest.mark.fault("R22")
def test_many_new_messages_are_read_in_slices_before_anything_is_judged(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(
            clock, tmp_path, fakes.delivers(timedelta()), every=HOUR, watch_for=3 * HOUR
        ).running() as world:
            await world.until(lambda: world.account.reads)
            world.account.went_down()
            world.account.drop_connections = True
            for _ in range(1234):
                world.account.put(b"Subject: hello\r\n\r\nhello\r\n")
            await world.until(lambda: world.states()["accepted"])
            await clock.sleep(10 * MINUTE)
            world.account.trouble = None
            await world.until(world.settled())
            assert world.canaries()[0].state is State.DELIVERED
            assert world.total(counters.OVERDUE) == 0
            watermark = world.ledger.queries.watermarks()[("inbox", "INBOX")]
            assert watermark[0].position == world.account.folders["INBOX"].uidnext == 1236
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("R25")
def test_a_crash_between_two_slices_does_not_make_the_rest_look_late(virtual: Virtual, tmp_path: Path) -> None:
    """The first slice is durable, the second is not: what it holds came before the first slice was read."""

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.delivers(timedelta()), every=HOUR)
        async with world.running():
            await world.until(lambda: world.account.reads)
            world.account.went_down()
            world.account.drop_connections = True
            for _ in range(700):
                world.account.put(b"Subject: hello\r\n\r\nhello\r\n")
            await world.until(lambda: world.states()["accepted"])
            await clock.sleep(3 * MINUTE)
            written: list[Batch] = []

            def second_slice(batch: Batch) -> bool:
                if batch._watermarks:
                    written.append(batch)
                return len(written) > 1

            world.refuses = second_slice
            world.account.trouble = None
            await world.until(lambda: len(written) > 1)
            await world.restart(SECOND)
            await world.until(world.settled())
            canary = world.canaries()[0]
            assert canary.state is State.DELIVERED
            assert world.total(counters.OVERDUE) == 0

    virtual.run(main)


def test_forged_mail_is_counted_and_not_believed(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, fakes.drops, every=HOUR).running() as world:
            await world.until(lambda: world.sender.handed)
            real = world.sender.handed[0].message
            reply = real.replace(b"Subject: ", b"Subject: Re: ").replace(b"Message-ID:", b"In-Reply-To:")
            token = next(line for line in real.split(b"\r\n") if line.lower().startswith(b"x-mailcanary"))
            name, _, value = token.partition(b": ")
            twisted = value[:-1] + (b"a" if value[-1:] != b"a" else b"b")
            world.account.put(b"Subject: x\r\n" + name + b": " + twisted + b"\r\n\r\n")
            world.account.put(reply)
            await world.until(world.settled())
            assert world.states() == {"lost": 1}
            assert world.total(counters.FOREIGN) >= 1
            assert world.account.removed == []

    virtual.run(main)


@pytest.mark.fault("R23")
def test_a_canary_of_another_mailbox_is_replayed_and_its_own_watcher_is_not_held_up(
    virtual: Virtual, tmp_path: Path
) -> None:
    """Mail forwarded from one watched mailbox to another: counted there, never an arrival, and no hold is taken."""

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, every=HOUR)
        other = fakes.Account(clock, {"INBOX": fakes.Folder()})
        world.config = replace(
            world.config,
            mailboxes={**world.config.mailboxes, "other": fakes.MailboxOptions(other)},
        )
        async with world.running():
            await world.until(lambda: world.states()["accepted"])
            canary = world.canaries()[0]
            async with world.daemon.books.holding([canary.id]):
                other.put(world.sender.handed[0].message)
                await world.until(lambda: world.total(counters.FOREIGN, "other", "replayed"), within=2 * MINUTE)
            await world.until(world.settled())
            assert world.states() == {"lost": 1}
            world.check_books()

    virtual.run(main)


def test_reads_that_can_never_prove_anything_end_with_the_watch(virtual: Virtual, tmp_path: Path) -> None:
    """The server's numbering went back (a restored copy): no later read lists what was due, and nothing is lost."""

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, every=50 * MINUTE, lost_after=5 * MINUTE, watch_for=20 * MINUTE)
        world.account.folders["INBOX"].uidnext = 50
        async with world.running():
            await world.until(lambda: world.states()["accepted"])
            world.account.folders["INBOX"].uidnext = 40
            await clock.sleep(15 * MINUTE)
            assert world.states() == {"accepted": 1}
            await world.until(world.settled(1))
            (canary,) = world.canaries()
            assert (canary.state, canary.label) == (State.UNKNOWN, "cut_short")
            assert "went back from 50 to 40" in canary.reason
            world.check_books()

    virtual.run(main)
