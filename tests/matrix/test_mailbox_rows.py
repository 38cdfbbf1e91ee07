"""The mailbox: throttled, half readable, emptied, skewed; what is seen of it is never more than it shows."""

from __future__ import annotations

import itertools
import os
import socket
import struct
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from probe.canary import counters
from probe.canary.record import State
from probe.errors import MailboxError
from probe.mailboxes.base import FolderRead, FolderRequest
from probe.mailboxes.imap import ImapMailbox
from tests.engine import fakes
from tests.engine.world import HOUR, MINUTE, SECOND, World
from tests.jumping import JumpingClock, Virtual
from tests.mailboxes.scripted_imap import SINCE, ScriptedImap
from tests.matrix.launching import accepted


@pytest.mark.fault("R02", "R03", "R15")
@pytest.mark.parametrize("reason", ["throttled", "auth_temporary", "connect"])
def test_blind_for_a_while_is_asked_again_gently(reason: str, virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.in_turn(fakes.drops, fakes.delivers()))
        async with world.running():
            await accepted(world)
            world.account.went_down(reason)
            world.account.drop_connections = True
            before = len(world.account.connects)
            await clock.sleep(20 * MINUTE)
            assert world.total(counters.OUTCOMES) == world.total(counters.OVERDUE) == 0
            tried = [at.boot / 1e9 for at in world.account.connects[before:]]
            waits = [b - a for a, b in itertools.pairwise(tried)]
            assert waits[:3] == sorted(waits[:3])
            assert all(7.4 < wait < 10.1 for wait in waits[8:])
            assert len(set(waits[8:])) > 20  # they vary, so that many watchers do not come back together
            world.account.trouble = None
            await world.until(world.settled(20))
            assert world.canaries()[0].state is State.LOST
            assert world.states()["lost"] == 1
            assert 19 * 60 < world.total(counters.BLIND_SECONDS) < 21 * 60
            assert world.total(counters.PROBE_ERRORS, "mailbox", reason) >= 100
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("R03")
def test_a_host_that_cannot_be_resolved_is_blindness(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    server = ScriptedImap()
    try:
        mailbox = server.mailbox()
        monkeypatch.setattr(socket, "getaddrinfo", nowhere)
        with pytest.raises(MailboxError) as caught:
            mailbox.connect()
        assert caught.value.reason == "connect"
        monkeypatch.undo()
        mailbox.connect()
        mailbox.close()
    finally:
        server.close()


@pytest.mark.fault("R05")
def test_a_reset_in_idle_is_found_at_once(scripted_idle: Callable[..., tuple[ScriptedImap, ImapMailbox]]) -> None:
    def reset(connection: socket.socket, tag: bytes) -> None:
        connection.sendall(b"+ idling\r\n")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(connection.detach())

    _, mailbox = scripted_idle(reset)
    with pytest.raises(MailboxError) as caught:
        mailbox.wait(timedelta(minutes=5))
    assert caught.value.reason == "disconnected"
    assert not mailbox.hints


@pytest.fixture
def scripted_idle(request: pytest.FixtureRequest) -> Callable[..., tuple[ScriptedImap, ImapMailbox]]:
    """A factory of servers with this answer to IDLE, and a mailbox that has read INBOX."""

    def make(idle: Callable[[socket.socket, bytes], None]) -> tuple[ScriptedImap, ImapMailbox]:
        server = ScriptedImap({"IDLE": idle}, capabilities="IMAP4rev1 UIDPLUS IDLE")
        mailbox = server.mailbox()
        request.addfinalizer(server.close)
        request.addfinalizer(mailbox.close)
        mailbox.connect()
        mailbox.read(FolderRequest("INBOX", SINCE))
        return server, mailbox

    return make


@pytest.mark.fault("R05")
def test_connections_that_break_at_once_make_no_busy_loop(virtual: Virtual, tmp_path: Path) -> None:
    """The login works each time, and the first command after it meets a closed connection."""

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, every=24 * HOUR)
        async with world.running():
            await accepted(world)
            mailbox = world.daemon.watchers["inbox"].mailbox

            def broken(request: FolderRequest) -> FolderRead:
                raise MailboxError("disconnected", "closed by the server")

            whole, mailbox.read = mailbox.read, broken  # type: ignore[method-assign]
            before = len(world.account.connects)
            await clock.sleep(10 * MINUTE)
            assert 20 < len(world.account.connects) - before < 90
            assert world.total(counters.OUTCOMES) == 0
            mailbox.read = whole  # type: ignore[method-assign]
            await world.until(world.settled())
            assert world.states() == {"lost": 1}
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("R09")
def test_a_full_mailbox_is_refused_and_not_lost(virtual: Virtual, tmp_path: Path) -> None:
    """452 4.2.2 while there is hope, then the last code."""

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.defers, retry=(MINUTE,), every=10 * MINUTE)
        async with world.running():
            await world.until(world.settled(3))
            assert set(world.states()) <= {"refused", "deferred"}
            world.sender.way = fakes.delivers()
            await world.until(lambda: world.states()["delivered"] >= 2)
            assert world.no_loss()
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("R11")
def test_an_emptied_mailbox_proves_nothing_of_what_was_on_its_way(virtual: Virtual, tmp_path: Path) -> None:
    """One canary came and went with all the rest, unseen; those that were seen stay delivered."""

    async def main(clock: JumpingClock) -> None:
        way = fakes.in_turn(fakes.delivers(), fakes.delivers(), fakes.drops, fakes.delivers())
        world = World(clock, tmp_path, way, exclusive=False, lost_after=10 * MINUTE)
        async with world.running():
            await world.until(lambda: world.states()["delivered"] == 2 and world.states()["accepted"])
            inbox = world.account.folders["INBOX"]
            inbox.put(world.sender.handed[2].message, clock.now().utc)
            inbox.messages.clear()
            await world.until(world.settled(12))
            gone = world.canaries()[2]
            assert (gone.state, gone.label) == (State.UNKNOWN, "uid_gap")
            assert [one.state for one in world.canaries()[:2]] == [State.DELIVERED] * 2
            assert world.no_loss()
            assert world.total(counters.UID_GAPS) == 1
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("R16")
@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
def test_a_mailbox_whose_clock_is_wrong_judges_nothing(ahead: timedelta, virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.delivers(7 * SECOND), every=MINUTE, watch_for=3 * HOUR)
        inbox = world.account.folders["INBOX"]
        world.account.put = lambda raw, folder="INBOX": inbox.put(  # type: ignore[method-assign]
            raw, (clock.now().utc + ahead).replace(microsecond=0)
        )
        async with world.running():
            await world.until(world.settled(5))
            for one in world.canaries()[:5]:
                assert one.state is State.DELIVERED
                assert one.latency is not None
                assert 7 * SECOND <= one.latency <= 8 * SECOND
            # Blind over the deadline: the mailbox's own time decides, by the offset that was learned from the others.
            await world.until(lambda: world.states()["accepted"])
            blind = [one.id for one in world.canaries() if one.state is State.ACCEPTED]
            world.account.went_down()
            world.account.drop_connections = True
            await clock.sleep(50 * SECOND)
            world.account.trouble = None
            await world.until(world.settled(8))
            found = {one.id: one for one in world.canaries()}
            assert {found[each].state for each in blind} == {State.DELIVERED}
            assert world.states().keys() <= {"delivered", "accepted"}
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("R23")
def test_an_old_canary_put_there_again_is_no_arrival(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.in_turn(fakes.delivers(), fakes.drops), every=20 * MINUTE)
        async with world.running():
            await world.until(world.settled())
            old = world.sender.handed[0].message
            world.account.put(old)
            await world.until(lambda: world.total(counters.DUPLICATES) == 1)
            await clock.sleep(HOUR)
            world.account.put(old)
            await world.until(lambda: world.total(counters.FOREIGN, "expired") == 1)
            assert world.total(counters.ARRIVALS) == world.total(counters.DUPLICATES) == 1
            assert world.states()["delivered"] == 1
            world.check_books()

    virtual.run(main)
