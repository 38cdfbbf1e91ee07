"""The whole prober over a Maildir: delivered, lost with its proof, unknown where the proof cannot be had, restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from probe.canary import counters
from probe.canary.record import State
from probe.clock import SystemClock
from probe.mailboxes.cleanup import Cleanup, CleanupMode
from probe.senders.base import BeforeData, ContentSent, Submission
from tests.engine import fakes
from tests.engine.world import HOUR, MINUTE, SECOND, World
from tests.jumping import JumpingClock, Virtual
from tests.mailboxes.conformance_worlds import mail
from tests.mailboxes.maildir_help import connected, index_of, options, read
from tests.worlds.dovecot import Account, Dovecot
from tests.worlds.maildir import Maildir


def delivers(maildir: Maildir, folder: str = "INBOX", after: timedelta = SECOND / 10) -> fakes.Way:
    """250 at once; in the Maildir ``after``."""

    async def way(sender: fakes.FakeSender, one: fakes.Handed, before: BeforeData, sent: ContentSent) -> Submission:
        await before()
        dot = sender.clock.now()
        sent(dot)
        asyncio.get_running_loop().call_later(after.total_seconds(), maildir.deliver, one.message, folder)
        return fakes.taken(dot)

    return way


def over(maildir: Maildir, clock: JumpingClock, folder: Path, way: fakes.Way, **more: Any) -> World:
    """A prober whose mailbox is the Maildir. ``kind``: options of the kind."""
    kind = more.pop("kind", {})
    world = World(clock, folder, way, **more)
    given = options(maildir, **({"cleanup": Cleanup(mode=CleanupMode.OFF)} | kind))
    world.config = replace(world.config, mailboxes={"inbox": given})
    return world


def test_delivered_by_a_maildir(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        maildir = Maildir(tmp_path / "Maildir", clock)
        maildir.deliver(mail("foreign"))
        async with over(maildir, clock, tmp_path, delivers(maildir)).running() as world:
            await world.until(world.settled(3))
            assert world.states()["delivered"] >= 3
            first = world.canaries()[0]
            assert first.arrived is not None
            assert timedelta(milliseconds=100) <= first.arrived.since(first.zero) < timedelta(milliseconds=125)
            world.check_books()

    virtual.run(main)


def test_lost_with_its_proof_where_the_maildir_is_exclusive(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        maildir = Maildir(tmp_path / "Maildir", clock)
        async with over(maildir, clock, tmp_path, fakes.drops, every=HOUR).running() as world:
            await world.until(lambda: world.states()["accepted"])
            maildir.deliver(mail("foreign"))
            await world.until(world.settled())
            canary = world.canaries()[0]
            assert canary.state is State.LOST
            assert "every number from 1 to 1 of" in canary.reason
            assert world.total(counters.UID_GAPS) == 0
            world.check_books()

    virtual.run(main)


def test_never_lost_where_others_may_delete(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        maildir = Maildir(tmp_path / "Maildir", clock)
        way = fakes.in_turn(fakes.drops, delivers(maildir), fakes.drops, delivers(maildir))
        world = over(maildir, clock, tmp_path, way, exclusive=False, kind={"exclusive": False})
        async with world.running():
            await world.until(world.settled(8), within=3 * HOUR)
            dropped = [world.canaries()[0], world.canaries()[2]]
            assert [(one.state, one.label) for one in dropped] == [(State.UNKNOWN, "uid_gap")] * 2
            assert world.canaries()[1].state is State.DELIVERED
            assert world.no_loss()
            assert [len(state.gaps) for state in world.daemon.watchers["inbox"].folders.values()] == [1]
            world.check_books()

    virtual.run(main)


def test_a_restart_loses_no_proof_and_makes_no_loss(virtual: Virtual, tmp_path: Path) -> None:
    """One canary arrives while the prober is down and is moved to cur by a reader; the other never comes."""

    async def main(clock: JumpingClock) -> None:
        maildir = Maildir(tmp_path / "Maildir", clock)
        way = fakes.in_turn(delivers(maildir, after=MINUTE), fakes.drops)
        world = over(maildir, clock, tmp_path, way, every=2 * SECOND, overdue_after=2 * MINUTE)
        async with world.running():
            await world.until(lambda: world.states()["accepted"] == 2)
            world.reroute(every=HOUR)
            await world.kill()
            await clock.sleep(90 * SECOND)
            (path,) = maildir.files()
            maildir.flag(path)
            await world.start()
            await world.until(world.settled(2))
            came, never = world.canaries()[:2]
            assert (came.state, never.state) == (State.DELIVERED, State.LOST)
            assert (world.total(counters.DUPLICATES), world.total(counters.MOVED)) == (0, 0)
            await world.restart()
            await clock.sleep(MINUTE)
            assert [copy.kind for copy in world.ledger.queries.copies(came.id)] == ["first"]
            world.check_books()

    virtual.run(main)


def test_a_lost_index_costs_the_proof_and_says_so(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        maildir = Maildir(tmp_path / "Maildir", clock)
        way = fakes.in_turn(delivers(maildir, after=MINUTE), fakes.drops)
        world = over(maildir, clock, tmp_path, way, every=2 * SECOND, overdue_after=2 * MINUTE)
        async with world.running():
            await world.until(lambda: world.states()["accepted"] == 2)
            world.reroute(every=HOUR)
            await world.kill()
            await clock.sleep(90 * SECOND)
            index = index_of(maildir)
            index.with_name("inbox.maildir.sqlite").unlink()
            await world.start()
            await world.until(world.settled(2))
            came, never = world.canaries()[:2]
            assert came.state is State.DELIVERED
            assert (never.state, never.label) == (State.UNKNOWN, "uidvalidity")
            assert world.no_loss()

    virtual.run(main)


def test_what_cannot_be_read_is_no_proof(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        maildir = Maildir(tmp_path / "Maildir", clock)
        async with over(maildir, clock, tmp_path, fakes.drops, every=HOUR).running() as world:
            await world.until(lambda: world.states()["accepted"])
            maildir.deliver(b"\x1f\x8b compressed by the mail server")
            await world.until(world.settled())
            canary = world.canaries()[0]
            assert (canary.state, canary.label) == (State.UNKNOWN, "unreadable")

    virtual.run(main)


def test_a_sweep_finds_it_in_another_folder_and_clean_up_takes_ours_alone(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        maildir = Maildir(tmp_path / "Maildir", clock)
        maildir.make("Elsewhere")
        for folder in ("INBOX", "Elsewhere"):
            maildir.deliver(mail("foreign"), folder)
        way = fakes.in_turn(delivers(maildir, "Elsewhere"), delivers(maildir))
        cleanup = Cleanup(mode=CleanupMode.DELETE, after=HOUR)
        world = over(maildir, clock, tmp_path, way, every=30 * MINUTE, kind={"cleanup": cleanup})
        async with world.running():
            await world.until(world.settled(2))
            strayed = world.canaries()[0]
            assert strayed.arrived is not None
            assert strayed.folder == "Elsewhere"
            assert len(maildir.files("Elsewhere")) == 2
            world.reroute(every=24 * HOUR)
            await world.restart()
            await world.until(lambda: len(maildir.files() + maildir.files("Elsewhere")) == 2, within=3 * HOUR)
            assert (maildir.subjects(), maildir.subjects("Elsewhere")) == (["foreign"], ["foreign"])
            world.check_books()

    virtual.run(main)


def test_a_maildir_that_dovecot_delivers_into(
    dovecot: Dovecot, fresh_user: Callable[[], Account], tmp_path: Path
) -> None:
    """Dovecot's own files, its moves from new to cur and its flags; other people read the same account by IMAP."""
    account = fresh_user()
    dovecot.deliver(account.address, mail("before"))
    home = Maildir(dovecot.folder / "mail" / account.address / "Maildir", SystemClock())
    state = tmp_path / "state"
    state.mkdir()
    mailbox = connected(home, index=state)
    try:
        start = read(mailbox, None)
        assert start.total == 1
        for n in range(3):
            dovecot.deliver(account.address, mail(f"number {n}"))
        seen = read(mailbox, start.cursor)
        assert [message.header.count(f"Subject: number {n}\n".encode()) for n, message in enumerate(seen.messages)] == [
            1,
            1,
            1,
        ]
        with dovecot.imap(account) as client:
            client.select_folder("INBOX")
            client.add_flags(client.search(), [b"\\Seen", b"\\Flagged"])
            client.create_folder("Archive")
            client.move([1], "Archive")
        after = read(mailbox, seen.cursor)
        assert (after.messages, after.total, after.cursor) == ((), 3, seen.cursor)
        archived = read(mailbox, None, "Archive")
        assert archived.total == 1
        arrived = seen.messages[0].arrived
        assert arrived is not None
        assert abs(arrived - SystemClock().now().utc) < timedelta(minutes=1)
    finally:
        mailbox.close()
