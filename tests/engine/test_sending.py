"""One canary on its way out: what is written before what is done, retries of a 4xx, and what is never sent again."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from probe.canary import counters
from probe.canary.record import State
from probe.ledger.batch import Batch
from tests.engine import fakes
from tests.engine.world import HOUR, MINUTE, SECOND, World
from tests.jumping import JumpingClock, Virtual

RETRY = (MINUTE, 2 * MINUTE)


def test_nothing_is_sent_before_the_mailbox_was_read_once(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path)
        world.account.went_down()
        async with world.running():
            await clock.sleep(20 * MINUTE)
            assert world.sender.handed == []
            assert not world.daemon.view.summary()["ready"]
            world.account.trouble = None
            await world.until(world.settled())
            assert world.sender.handed[0].at.since(world.account.reads[0][0]) > timedelta(0)
            assert world.daemon.view.summary()["ready"]

    virtual.run(main)


@pytest.mark.fault("P03")
def test_an_intent_that_cannot_be_written_sends_nothing(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path).running() as world:
            await world.until(world.settled())
            before = len(world.sender.handed)
            world.refuses = lambda _: True
            await clock.sleep(10 * MINUTE)
            assert len(world.sender.handed) == before
            assert world.daemon.books.in_flight == {}
            world.refuses = None
            await world.until(world.settled(before + 2))
            assert len(world.sender.handed) <= before + 3  # no burst makes up for it
            assert world.total(counters.PROBE_ERRORS, "store", "write") >= 9
            world.check_books()

    virtual.run(main)


def test_data_started_that_cannot_be_written_sends_no_content(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path).running() as world:

            def refuses(batch: Batch) -> bool:
                return any(move["after"] == State.DATA_STARTED for move in batch._moves)

            world.refuses = refuses
            await world.until(world.settled())
            canary = world.canaries()[0]
            assert canary.state is State.UNSENT
            assert canary.label == "local"
            assert "not sent" in canary.reason
            assert world.account.folders["INBOX"].messages == {}
            world.check_books()

    virtual.run(main)


def test_an_answer_that_cannot_be_written_is_written_as_soon_as_it_can(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, every=HOUR).running() as world:
            world.refuses = lambda batch: len(world.sender.handed) > 0 and not _only_data(batch)
            await world.until(lambda: world.sender.handed and world.account.folders["INBOX"].messages)
            await clock.sleep(10 * SECOND)
            assert world.canaries()[0].state is State.DATA_STARTED
            world.refuses = None
            await world.until(world.settled())
            canary = world.canaries()[0]
            assert canary.state is State.DELIVERED
            assert len(world.sender.handed) == 1
            # Measured from the dot although the ledger could not take it then; it could look again 10 s later only.
            assert canary.latency is not None
            assert canary.latency < 13 * SECOND
            await clock.sleep(5 * SECOND)
            again = world.canaries()[0]
            assert again.queued_as == "Q1"
            assert again.clock_started == again.last_dot
            world.check_books()

    def _only_data(batch: Batch) -> bool:
        return any(move["after"] == State.DATA_STARTED for move in batch._moves)

    virtual.run(main)


@pytest.mark.fault("S19")
def test_a_4xx_is_tried_again_after_each_wait_and_then_refused(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(
            clock, tmp_path, fakes.defers, retry=RETRY, every=HOUR, lost_after=HOUR / 2
        ).running() as world:
            await world.until(world.settled())
            waits = [b.at.since(a.at) for a, b in zip(world.sender.handed, world.sender.handed[1:], strict=False)]
            assert waits == [MINUTE, 2 * MINUTE]
            canary = world.canaries()[0]
            assert canary.state is State.REFUSED
            assert canary.attempts == 3
            assert "451" in canary.reason
            life = world.ledger.queries.life(canary.id)
            assert life is not None
            began = [attempt["started_at"] for attempt in life.attempts]
            assert began == [one.at.wall for one in world.sender.handed]
            ids = [line for one in world.sender.handed for line in one.message.split(b"\r\n") if b"Message-ID" in line]
            assert len(set(ids)) == 3
            assert world.total(counters.SUBMISSIONS) == 1
            assert world.total(counters.ATTEMPTS) == 3
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("S19")
def test_lost_after_ends_the_tries(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        retry = (2 * MINUTE,) * 10
        async with World(clock, tmp_path, fakes.defers, retry=retry, every=HOUR).running() as world:
            await world.until(world.settled())
            assert world.canaries()[0].state is State.REFUSED
            assert len(world.sender.handed) == 3  # at 0, 2 and 4 minutes; the next would be after lost_after, 5 minutes
            world.check_books()

    virtual.run(main)


def test_a_try_that_could_not_begin_within_lost_after_is_not_made(virtual: Virtual, tmp_path: Path) -> None:
    """The daemon was down when the next try was due: sending now would be called lost at once."""

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.defers, retry=RETRY, every=HOUR)
        async with world.running():
            await world.until(lambda: world.states()["deferred"])
            world.sender.way = fakes.delivers(5 * SECOND)
            await world.restart(20 * MINUTE)
            await world.until(world.settled())
            canary = world.canaries()[0]
            assert canary.state is State.REFUSED
            assert "451" in canary.reason
            assert len(world.sender.handed) == 1
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("S18")
def test_greylisting_is_latency_and_two_attempts(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        way = fakes.in_turn(fakes.defers, fakes.delivers())
        async with World(clock, tmp_path, way, retry=RETRY, every=HOUR, overdue_after=2 * MINUTE).running() as world:
            await world.until(world.settled())
            canary = world.canaries()[0]
            assert canary.state is State.DELIVERED
            assert canary.attempts == 2
            assert canary.latency is not None
            assert canary.transit is not None
            assert MINUTE < canary.latency < MINUTE + SECOND
            assert canary.transit < SECOND
            world.check_books()

    virtual.run(main)


@pytest.mark.parametrize(
    ("way", "outcome", "label"),
    [(fakes.refuses, State.REFUSED, ""), (fakes.fails, State.UNSENT, "connect")],
)
def test_a_no_and_a_failure_end_it(
    way: fakes.Way, outcome: State, label: str, virtual: Virtual, tmp_path: Path
) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, way, retry=RETRY, every=HOUR).running() as world:
            await world.until(world.settled())
            await clock.sleep(10 * MINUTE)
            canary = world.canaries()[0]
            assert (canary.state, canary.label) == (outcome, label)
            assert len(world.sender.handed) == 1
            assert world.total(counters.SENT) == 1
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("S22", "S24")
def test_an_unsure_canary_is_never_sent_again(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.breaks, retry=RETRY, every=HOUR)
        async with world.running():
            await world.until(lambda: world.states()["unsure"])
            await world.restart(SECOND)
            await world.until(world.settled())
            canary = world.canaries()[0]
            assert (canary.state, canary.label) == (State.UNKNOWN, "send")
            assert len(world.sender.handed) == 1
            assert world.total(counters.OVERDUE) == 0
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("R28")
def test_an_arrival_before_the_answer_counts_from_the_dot(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        way = fakes.answers_late(answer_after=100 * SECOND, mail_after=2 * SECOND)
        async with World(clock, tmp_path, way, every=HOUR, overdue_after=40 * SECOND).running() as world:
            await world.until(world.settled())
            canary = world.canaries()[0]
            assert canary.state is State.DELIVERED
            assert canary.latency is not None
            assert 2 * SECOND <= canary.latency <= 33 * SECOND
            dot = canary.clock_started
            await clock.sleep(200 * SECOND)
            later = world.canaries()[0]
            assert later.clock_started == later.last_dot == dot
            assert later.queued_as == "Q1"
            assert later.state is State.DELIVERED
            assert world.moves(later)[-2:] == ["delivered", "delivered"]
            world.check_books()

    virtual.run(main)


def test_one_attempt_hanging_does_not_hold_up_the_next_slots(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        way = fakes.in_turn(fakes.hangs_after_data, fakes.delivers())
        async with World(clock, tmp_path, way).running() as world:
            await world.until(lambda: world.states()["delivered"] >= 3)
            assert world.states()["data_started"] == 1
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("P17")
def test_a_stop_waits_for_the_answer_and_starts_nothing_new(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        way = fakes.answers_late(answer_after=8 * SECOND, mail_after=7 * SECOND)
        world = World(clock, tmp_path, way)
        await world.start()
        await world.until(lambda: world.states()["data_started"])
        began = clock.now()
        ledger = world.ledger
        await world.stop()
        assert clock.now().since(began) < 30 * SECOND
        assert len(world.sender.handed) == 1
        assert "canary_sent" in world.said.getvalue() or "canary_settled" in world.said.getvalue()
        assert not ledger.queries.state_counts().get("data_started")

    virtual.run(main)


@pytest.mark.fault("P17")
def test_a_stop_cuts_what_does_not_end(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.hangs_after_data, every=HOUR)
        await world.start()
        await world.until(lambda: world.states()["data_started"])
        began = clock.now()
        await world.stop()
        assert clock.now().since(began) <= 45 * SECOND
        async with world.running():
            assert world.states()["unsure"] == 1
            assert len(world.sender.handed) == 1
            world.check_books()

    virtual.run(main)
