"""Judging by what reads proved: overdue, lost, unknown, and nothing at all while blind."""

from __future__ import annotations

import itertools
from datetime import timedelta
from pathlib import Path

import pytest

from probe.canary import counters
from probe.canary.record import State
from probe.engine.arrivals import MailboxClock
from probe.engine.pacing import Pace
from probe.errors import MailboxError
from tests.engine import fakes
from tests.engine.world import HOUR, MINUTE, SECOND, World
from tests.jumping import JumpingClock, Virtual


@pytest.mark.fault("R08")
def test_a_canary_is_delivered_and_its_latency_is_close(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, fakes.delivers(7 * SECOND)).running() as world:
            await world.until(world.settled(5))
            for canary in world.canaries()[:5]:
                assert canary.state is State.DELIVERED
                assert canary.latency is not None
                assert canary.uncertainty is not None
                assert 7 * SECOND <= canary.latency <= 7.8 * SECOND
                assert canary.latency - canary.uncertainty <= 7 * SECOND
            assert world.total(counters.OVERDUE) == 0
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("S30")
def test_lost_after_a_fresh_complete_read_begun_after_the_deadline(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, fakes.drops, every=HOUR).running() as world:
            await world.until(lambda: world.states()["accepted"])
            canary = world.canaries()[0]
            await world.until(world.settled())
            lost = world.canaries()[0]
            assert lost.state is State.LOST
            assert "no other folder has it" in lost.reason
            reads = world.account.reads_of("INBOX", fresh=True)
            assert any(timedelta(0) < at.since(canary.lost_at) < SECOND for at in reads)
            assert any(timedelta(0) < at.since(canary.overdue_at) < SECOND for at in reads)
            assert world.total(counters.OVERDUE) == 1
            world.check_books()

    virtual.run(main)


def test_overdue_is_counted_once_and_only_after_reads_of_all_folders(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.delivers(90 * SECOND, "Junk"), folders=("INBOX", "Junk"), every=HOUR)
        async with world.running():
            await world.until(lambda: world.total(counters.OVERDUE))
            canary = world.canaries()[0]
            for folder in ("INBOX", "Junk"):
                after = [at for at in world.account.reads_of(folder) if at.since(canary.overdue_at) > timedelta(0)]
                assert len(after) == 1
            await world.until(world.settled())
            late = world.canaries()[0]
            assert late.state is State.LATE
            assert late.folder == "Junk"
            assert world.total(counters.OVERDUE) == world.total(counters.JUDGED) == 1
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("P30")
def test_while_blind_nothing_is_judged_and_then_by_proof(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(
            clock, tmp_path, fakes.in_turn(fakes.drops, fakes.delivers()), every=MINUTE
        ).running() as world:
            await world.until(lambda: world.states()["accepted"])
            world.account.went_down()
            await clock.sleep(20 * MINUTE)
            assert world.total(counters.OVERDUE) == world.total(counters.OUTCOMES) == 0
            assert len(world.sender.handed) >= 20  # the base schedule goes on
            world.account.trouble = None
            await world.until(world.settled(20))
            await clock.sleep(10 * SECOND)
            assert world.canaries()[0].state is State.LOST
            assert world.states()["lost"] == 1
            assert world.states()["delivered"] >= 19
            assert 19 * MINUTE / SECOND < world.total(counters.BLIND_SECONDS) < 21 * MINUTE / SECOND
            assert world.said.getvalue().count("event=blind") == 1
            assert world.said.getvalue().count("event=seeing_again") == 1
            world.check_books()

    virtual.run(main)


def test_mail_that_came_while_blind_is_judged_by_the_mailbox_s_own_time(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, fakes.delivers(5 * SECOND), every=10 * SECOND).running() as world:
            await world.until(world.settled(3))
            before = len(world.canaries())
            world.account.went_down()
            await clock.sleep(2 * MINUTE)
            world.sender.way = fakes.drops
            world.account.trouble = None
            await world.until(world.settled(before + 10))
            there = [one for one in world.canaries() if one.arrived is not None]
            assert {one.state for one in there} == {State.DELIVERED}
            told = [one for one in there if "by the mailbox's own time" in one.reason]
            assert len(told) >= 7
            assert all(one.latency and 4 * SECOND <= one.latency <= 7 * SECOND for one in told)
            assert world.total(counters.OVERDUE) == 0
            world.check_books()

    virtual.run(main)


def test_what_blindness_shows_of_the_mailbox_s_clock_does_not_push_out_what_is_known(virtual: Virtual) -> None:
    async def main(clock: JumpingClock) -> None:
        known, now = MailboxClock(), clock.now()
        known.learn(now.utc, now, now + SECOND / 10)
        for minutes in range(1, 200):
            known.learn(now.utc, now, now + minutes * MINUTE)
        assert known.bounds() == (-0.1, 1.0)
        known.learn((now + HOUR).utc, now, now + SECOND / 10)  # the server's clock was set: what was known is void
        assert known.bounds() == (3599.9, 3601.0)

    virtual.run(main)


def test_watch_for_passed_blind_is_unknown(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, fakes.drops, every=3 * HOUR, watch_for=20 * MINUTE).running() as world:
            await world.until(lambda: world.states()["accepted"], within=3 * HOUR)
            world.account.refuse_login()
            world.account.drop_connections = True
            connects = len(world.account.connects)
            await world.until(world.settled())
            canary = world.canaries()[0]
            assert (canary.state, canary.label) == (State.UNKNOWN, "blind")
            assert "watch_for has passed" in canary.reason
            assert clock.now().since(canary.watched_until) > timedelta(0)
            assert len(world.account.connects) - connects <= 8  # a refused login is not hammered at
            world.check_books()

    virtual.run(main)


def test_what_is_found_in_an_unwatched_folder_is_not_lost(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.delivers(SECOND, "Filed"), every=HOUR)
        world.account.folders["Filed"] = fakes.Folder()
        async with world.running():
            await world.until(world.settled())
            canary = world.canaries()[0]
            assert canary.state is State.LATE
            assert "Filed, a folder that is not watched" in canary.reason
            assert world.no_loss()
            world.check_books()

    virtual.run(main)


def test_a_verdict_waits_for_its_sweep_and_holds_up_no_other_deadline(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        pace = Pace(sweeps_apart=5 * MINUTE)
        world = World(clock, tmp_path, fakes.drops, every=20 * SECOND, lost_after=MINUTE, pace=pace)
        async with world.running():
            await world.until(world.settled(30), within=HOUR)
            sweeps = [at for at, _ in world.account.sweeps]
            for canary in world.canaries()[:30]:
                assert canary.state is State.LOST
                assert canary.settled is not None
                assert any(0 <= canary.settled.since(at).total_seconds() < 1 for at in sweeps)
                reads = world.account.reads_of("INBOX", fresh=True)
                assert any(timedelta(0) < at.since(canary.overdue_at) < SECOND for at in reads)
            distinct = sorted({at.boot for at in sweeps})
            assert all(b - a >= 299 * 10**9 for a, b in itertools.pairwise(distinct))
            world.check_books()

    virtual.run(main)


def test_a_sweep_that_fails_judges_nothing(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, fakes.drops, every=HOUR).running() as world:
            await world.until(lambda: world.states()["accepted"])
            swept = world.daemon.watchers["inbox"].mailbox
            whole = swept.sweep

            def broken(*arguments: object) -> object:
                raise MailboxError("limit", "201 folders to search; the limit is 200")

            swept.sweep = broken  # type: ignore[method-assign,assignment]
            await clock.sleep(10 * MINUTE)
            assert world.states()["accepted"] == 1
            swept.sweep = whole  # type: ignore[method-assign]
            await world.until(world.settled())
            assert world.states()["lost"] == 1

    virtual.run(main)


@pytest.mark.fault("R13")
def test_a_missing_folder_makes_unknown_while_others_go_on(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        way = fakes.in_turn(fakes.delivers(), fakes.drops, fakes.delivers())
        world = World(clock, tmp_path, way, folders=("INBOX", "Junk"))
        del world.account.folders["Junk"]
        async with world.running():
            await world.until(lambda: world.states()["unknown"])
            states = [canary.state for canary in world.canaries()]
            assert states[0] is State.DELIVERED
            unknown = world.canaries()[1]
            assert (unknown.state, unknown.label) == (State.UNKNOWN, "folder_missing")
            assert states.count(State.DELIVERED) >= 4
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("R12")
@pytest.mark.parametrize(("exclusive", "outcome"), [(False, State.UNKNOWN), (True, State.LOST)])
def test_a_number_never_seen_is_a_doubt(exclusive: bool, outcome: State, virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, fakes.drops, every=HOUR, exclusive=exclusive).running() as world:
            await world.until(lambda: world.states()["accepted"])
            world.account.folders["INBOX"].uidnext += 1  # somebody's mail came and went between two looks
            await world.until(world.settled())
            canary = world.canaries()[0]
            assert (canary.state, canary.label) == (outcome, "" if exclusive else "uid_gap")
            assert world.total(counters.UID_GAPS) == 1
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("R19")
@pytest.mark.parametrize("restart", [False, True])
def test_a_message_that_the_server_will_not_show_is_a_doubt(restart: bool, virtual: Virtual, tmp_path: Path) -> None:
    """Also for a daemon that restarts in between: its cursor has passed the message, so it must remember it."""

    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, every=HOUR, exclusive=True).running() as world:
            world.account.hidden.add(1)
            if restart:
                await world.until(lambda: world.total(counters.FOREIGN, "unparsable"))
                await world.restart()
            await world.until(world.settled())
            canary = world.canaries()[0]
            assert (canary.state, canary.label) == (State.UNKNOWN, "unreadable")
            assert world.total(counters.FOREIGN, "unparsable") == 1
            world.check_books()

    virtual.run(main)
