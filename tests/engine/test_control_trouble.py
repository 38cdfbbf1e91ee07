"""Control canaries that are missed, refused, copied, cut off or not to be removed, in virtual time."""

from __future__ import annotations

from pathlib import Path

import pytest

from probe.canary import counters
from probe.canary.identity import Keyring
from probe.canary.record import State
from probe.clock import Instant
from probe.engine.control_record import Record, parsed
from probe.engine.controlling import LONGEST_WAIT, MISSED_AFTER, MOST_LEFT
from probe.errors import MailboxError
from probe.mailboxes.base import Removal
from probe.message.control import compose_control, control_mark, control_token
from tests.engine import fakes
from tests.engine.controls import EVERY, lying, missed, quiet, send, token_of, view
from tests.engine.world import HOUR, KEY, MINUTE, SECOND, World
from tests.jumping import START, JumpingClock, Virtual


def test_one_that_is_not_seen_is_missed_and_nothing_is_judged_until_one_is(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, control=EVERY, every=12 * HOUR, overdue_after=2 * MINUTE)
        world.account.swallows = True
        async with world.running():
            began = clock.now()
            await world.until(lambda: world.account.placed, within=MINUTE)
            send(world)
            await world.until(lambda: missed(world), within=5 * MINUTE)
            assert view(world).blind
            assert MISSED_AFTER <= clock.now().since(began) <= MISSED_AFTER + 40 * SECOND
            assert "was not seen by complete reads" in view(world).problem
            assert world.total(counters.PROBE_ERRORS, "control", "missed") in (0, 1)
            await clock.sleep(20 * MINUTE)
            assert world.states() == {"accepted": 1}
            assert world.total(counters.OVERDUE) == 0
            assert view(world).blind
            world.account.swallows = False
            await world.until(world.settled(), within=LONGEST_WAIT + 10 * MINUTE)
            assert world.canaries()[0].state is State.LOST
            assert world.total(counters.OVERDUE) == 1
            assert not view(world).blind
            assert world.total(counters.PROBE_ERRORS, "control", "missed") >= 2
            world.check_books()
        said = world.said.getvalue()
        (again,) = (line for line in said.splitlines() if "event=control_seen_again" in line)
        assert " d" not in again.partition(" after=")[2], "counted from the first that there could have been"
        assert "event=control_missed" in said

    virtual.run(main)


def test_while_missed_the_end_of_a_watch_is_unknown_and_no_loop_runs_hot(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, control=EVERY, every=12 * HOUR)
        world.account.swallows = True
        async with world.running():
            await world.until(lambda: world.account.placed, within=MINUTE)
            send(world)
            await world.until(lambda: missed(world), within=5 * MINUTE)
            before = len(world.account.reads)
            await world.until(world.settled())
            unknown = world.canaries()[0]
            assert (unknown.state, unknown.label) == (State.UNKNOWN, "blind"), unknown.reason
            assert "control canary" in unknown.reason
            assert unknown.sent.utc + HOUR <= clock.now().utc
            assert len(world.account.reads) - before < 60 * 60 / 10
            world.check_books()

    virtual.run(main)


def test_while_missed_they_come_more_and_more_rarely(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = quiet(clock, tmp_path)
        world.account.swallows = True
        async with world.running():
            await clock.sleep(10 * HOUR)
            assert 8 <= len(world.account.placed) <= 15  # at once, 5, 10, 20, 40 minutes, then each hour

    virtual.run(main)


def test_those_missed_are_removed_when_they_come_to_light(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = quiet(clock, tmp_path)
        world.account.swallows = True
        async with world.running():
            await world.until(lambda: len(world.account.placed) == 3)
            await clock.sleep(2 * MINUTE)
            missed = view(world).control_seen
            world.account.swallows = False
            for raw in world.account.placed[:2]:
                world.account.put(raw)
            await world.until(lambda: not lying(world), within=3 * MINUTE)
            assert view(world).control_seen == missed, "an old one is no success"
            assert view(world).blind
            world.account.put(world.account.placed[2])
            await world.until(lambda: not lying(world), within=3 * MINUTE)
            assert not view(world).blind

    virtual.run(main)


def test_refused_is_said_once_and_makes_nobody_blind(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, control=EVERY)
        world.account.refuses = "APPEND refused: [OVERQUOTA] Quota exceeded"
        async with world.running():
            first = view(world).control_seen
            await clock.sleep(HOUR)
            assert (view(world).blind, view(world).control_seen) == (False, first)
            assert "OVERQUOTA" in view(world).problem
            assert world.states()["delivered"] >= 55
            assert world.said.getvalue().count("event=control_refused") == 1
            assert 11 <= world.total(counters.PROBE_ERRORS, "control", "refused") <= 13
            world.account.refuses = ""
            await world.until(lambda: view(world).control_seen != first, within=EVERY + MINUTE)
            assert view(world).problem == ""
            world.account.refuses = "APPEND refused: read-only"
            await clock.sleep(2 * EVERY)
            assert world.said.getvalue().count("event=control_refused") == 2
            world.check_books()

    virtual.run(main)


@pytest.mark.parametrize("there", [True, False], ids=["it was taken", "it was not"])
def test_a_crash_while_it_is_put_there(
    virtual: Virtual, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    """The record is durable before the mailbox is asked; what is not sure is never called missed."""

    async def main(clock: JumpingClock) -> None:
        world = quiet(clock, tmp_path)
        taken = fakes.FakeMailbox.place

        def breaks(mailbox: fakes.FakeMailbox, message: bytes) -> str:
            if there:
                taken(mailbox, message)
            world.account.placed.append(message)
            raise MailboxError("disconnected", "the connection broke in APPEND")

        with monkeypatch.context() as patch:
            patch.setattr(fakes.FakeMailbox, "place", breaks)
            await world.start()
            await world.until(lambda: world.account.placed, within=MINUTE)
            await world.kill()
        assert token_of(world.account.placed[0])
        await world.start()
        await clock.sleep(3 * MINUTE)
        assert not view(world).blind
        assert lying(world) == []
        seen = world.daemon.watchers["inbox"].control.last_success
        assert bool(seen) is there
        await clock.sleep(3 * MINUTE)
        assert world.daemon.watchers["inbox"].control.last_success > seen
        await world.kill()

    virtual.run(main)


def test_one_that_could_not_be_recorded_is_not_put_there(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = quiet(clock, tmp_path)
        world.refuses = lambda batch: "control:inbox" in batch._notes
        async with world.running():
            await clock.sleep(10 * MINUTE)
            assert world.account.placed == []
            world.refuses = None
            await world.until(lambda: world.account.placed, within=MINUTE)

    virtual.run(main)


def test_copies_forgeries_and_replays_of_it_are_nothing(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = quiet(clock, tmp_path)
        world.account.swallows = True
        async with world.running():
            await world.until(lambda: world.account.placed, within=MINUTE)
            ours = world.account.placed[0]
            forged = ours.replace(token_of(ours).encode(), b"a" * 63)
            strange = compose_control(
                token=control_token(Keyring([KEY]), control_id="a" * 13, mark=control_mark("p1", "other"), sent_ms=1),
                prober="p1",
                mailbox="other",
                host="x.example",
                date=START,
            )
            reply = b"In-Reply-To: <x@y>\r\nReferences: <x@y>\r\nAuto-Submitted: auto-replied\r\n" + ours
            stranger = [world.account.put(raw) for raw in (forged, strange, reply)]
            await clock.sleep(50 * SECOND)
            assert world.daemon.watchers["inbox"].control.last_success == 0
            assert world.total(counters.FOREIGN, "forged") == 1
            first = world.account.put(ours)
            await clock.sleep(40 * SECOND)
            success = world.daemon.watchers["inbox"].control.last_success
            assert success > 0
            copy = world.account.put(ours)
            await clock.sleep(2 * MINUTE)
            assert world.daemon.watchers["inbox"].control.last_success == success
            messages = world.account.folders["INBOX"].messages
            assert first not in messages
            assert {*stranger, copy} <= set(messages)

    virtual.run(main)


def test_what_cannot_be_removed_stops_it(virtual: Virtual, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(clock: JumpingClock) -> None:
        world = quiet(clock, tmp_path)
        refused = Removal(frozenset(), "the server lacks UIDPLUS, so single messages cannot be expunged")
        with monkeypatch.context() as patch:
            patch.setattr(fakes.FakeMailbox, "remove", lambda *_: refused)
            async with world.running():
                await clock.sleep(2 * HOUR)
                assert len(lying(world)) == len(world.account.placed) == MOST_LEFT
                assert "UIDPLUS" in view(world).problem
                assert not view(world).blind
                assert world.said.getvalue().count("could not be removed") == 1
        async with world.running():
            await clock.sleep(HOUR)
            assert lying(world) == []
            assert len(world.account.placed) > MOST_LEFT

    virtual.run(main)


def test_new_numbers_lose_none(virtual: Virtual, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """UIDVALIDITY changes between the sight and the removal: read again by date, and removed then."""

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, control=EVERY, every=12 * HOUR)
        with monkeypatch.context() as patch:
            patch.setattr(fakes.FakeMailbox, "remove", lambda *_: Removal(frozenset(), "busy"))
            async with world.running():
                send(world)  # a canary that is waited for
                await world.until(lambda: len(world.account.placed) == 1, within=MINUTE)
                await clock.sleep(MINUTE)
        world.account.folders["INBOX"].renumber()
        async with world.running():
            await clock.sleep(MINUTE)
            assert lying(world) == []

    virtual.run(main)


def test_a_record_that_cannot_be_read_is_begun_anew() -> None:
    now = Instant(7, 0, "")
    good = Record(since=1, placed=2, success=3, id="a", missed=4, old=("b",))
    assert parsed(good.text(), now) == good
    for bad in (None, "", "[]", "{}", '{"since": 1}', '{"old": [], "left": [{}]}', '{"old": 3, "left": []}'):
        assert parsed(bad, now) == Record(since=7)
