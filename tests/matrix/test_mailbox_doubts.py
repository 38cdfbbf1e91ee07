"""Doubts about a mailbox: half a read, mail that nobody can tell, copies that stay; no verdict passes over them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from probe.canary import counters
from probe.canary.record import State
from probe.errors import MailboxError
from probe.mailboxes.base import FolderRead, FolderRequest, Removal
from probe.mailboxes.imap import Cleanup, CleanupMode
from probe.message import recognise
from tests.engine import fakes
from tests.engine.world import HOUR, MINUTE, SECOND, World
from tests.jumping import JumpingClock, Virtual
from tests.matrix.launching import accepted

MAIL = b"Subject: hello\r\n\r\nhello\r\n"


@pytest.mark.fault("R24")
def test_what_could_not_be_removed_is_removed_later(
    virtual: Virtual, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(clock: JumpingClock) -> None:
        cleanup = Cleanup(mode=CleanupMode.DELETE, after=MINUTE)
        world = World(clock, tmp_path, cleanup=cleanup, every=10 * MINUTE)
        tried: list[int] = []

        def busy(mailbox: object, folder: str, epoch: int, uids: Sequence[int]) -> Removal:
            tried.extend(uids)
            if len(tried) < 3:
                return Removal(frozenset(), "the server is busy")
            raise MailboxError("disconnected", "closed in the middle")

        async with world.running():
            with monkeypatch.context() as patch:
                patch.setattr(fakes.FakeMailbox, "remove", busy)
                await world.until(lambda: len(tried) >= 5)
                assert world.account.removed == []
                strangers = world.account.put(MAIL)
            await world.until(lambda: len(world.account.removed) >= 3)
            assert strangers in world.account.folders["INBOX"].messages
            assert world.states()["delivered"] >= 3
            assert world.total(counters.DUPLICATES) == 0
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("R25")
def test_a_read_that_breaks_in_the_middle_judges_nothing(
    virtual: Virtual, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first slice is written down, the next ones are never read: the canary lies behind 1,000 other mails."""

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, every=24 * HOUR)
        whole = fakes.FakeMailbox.read

        def breaking(mailbox: fakes.FakeMailbox, request: FolderRequest) -> FolderRead:
            read = whole(mailbox, request)
            if request.since is not None and request.since.position > 1 and read.messages:
                raise MailboxError("disconnected", "closed in the middle")
            return read

        async with world.running():
            await accepted(world)
            with monkeypatch.context() as patch:
                patch.setattr(fakes.FakeMailbox, "read", breaking)
                world.account.went_down()
                world.account.drop_connections = True
                for _ in range(1000):
                    world.account.put(MAIL)
                world.account.put(world.sender.handed[0].message)
                world.account.trouble = None
                await clock.sleep(20 * MINUTE)
                assert world.states() == {"accepted": 1}
                assert world.total(counters.OVERDUE) == 0
                assert world.ledger.queries.watermarks()[("inbox", "INBOX")][0].position == 501
            await world.until(world.settled())
            assert world.canaries()[0].state in (State.DELIVERED, State.LATE)
            assert world.no_loss()
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("R26")
@pytest.mark.parametrize("heals", [True, False])
def test_no_loss_while_one_of_two_folders_cannot_be_read(
    heals: bool, virtual: Virtual, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, folders=("INBOX", "Junk"), every=24 * HOUR, watch_for=20 * MINUTE)
        whole = fakes.FakeMailbox.read

        def half(mailbox: fakes.FakeMailbox, request: FolderRequest) -> FolderRead:
            if request.folder == "Junk":
                raise MailboxError("folder", "Junk: permission denied")
            return whole(mailbox, request)

        async with world.running():
            await accepted(world)
            with monkeypatch.context() as patch:
                patch.setattr(fakes.FakeMailbox, "read", half)
                await clock.sleep(15 * MINUTE)
                assert world.states() == {"accepted": 1}
                assert world.total(counters.OVERDUE) == 0
                if not heals:
                    await world.until(world.settled())
            await world.until(world.settled())
            canary = world.canaries()[0]
            assert (canary.state, canary.label) == ((State.LOST, "") if heals else (State.UNKNOWN, "blind"))
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("S37")
@pytest.mark.parametrize("restart", [False, True])
def test_mail_of_ours_without_a_name_is_a_doubt(restart: bool, virtual: Virtual, tmp_path: Path) -> None:
    """A gateway strips whatever names the canary: it arrived, and must not be called lost. Later ones may be."""

    async def main(clock: JumpingClock) -> None:
        way = fakes.in_turn(fakes.drops, fakes.drops, fakes.delivers())
        world = World(clock, tmp_path, way, every=24 * HOUR)
        async with world.running():
            await accepted(world)
            world.account.put(b"From: probe@example.org\r\nTo: canary@example.net\r\nSubject: -\r\n\r\nremoved\r\n")
            await world.until(lambda: "nothing in it names a canary" in world.said.getvalue())
            if restart:
                await world.restart(SECOND)
            later = (await accepted(world)).id
            await world.until(world.settled(2))
            stripped, dropped = world.canaries()
            # Over a restart the doubt is kept, without its cause.
            assert (stripped.state, stripped.label) == (State.UNKNOWN, "unreadable" if restart else "uncorrelatable")
            assert (dropped.id, dropped.state) == (later, State.LOST)
            assert world.account.removed == []
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("R20")
def test_mail_that_trips_the_reader_is_a_doubt(
    virtual: Virtual, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever fault of ours it is: what nobody could judge may be the canary."""

    def trips(*_: object) -> object:
        raise RuntimeError("a fault of ours")

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, every=24 * HOUR)
        async with world.running():
            await accepted(world)
            with monkeypatch.context() as patch:
                patch.setattr(recognise, "_recognise", trips)
                world.account.put(world.sender.handed[0].message)
                await world.until(lambda: world.total(counters.FOREIGN, "unparsable"))
            await world.until(world.settled())
            canary = world.canaries()[0]
            assert (canary.state, canary.label) == (State.UNKNOWN, "unreadable")
            world.check_books()

    virtual.run(main)
