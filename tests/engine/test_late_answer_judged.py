"""A read that was under way when the server's answer came proves nothing about that canary, whatever its age."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from probe.canary.record import Canary, State
from probe.clock import Instant
from probe.engine.judging import Judge
from probe.senders.base import BeforeData, ContentSent, Submission
from tests.engine.fakes import FakeSender, Handed, Way, defers, in_turn, taken
from tests.engine.world import MINUTE, SECOND, World
from tests.jumping import JumpingClock, Virtual

FIRST_TRY_AGAIN = 4 * MINUTE + 50 * SECOND  # of lost_after, 5 min


class Answer:
    """A server that holds its answer to the dot until ``heard`` is set."""

    def __init__(self) -> None:
        self.asked, self.heard = asyncio.Event(), asyncio.Event()
        self.content = b""
        self.answered: Instant | None = None

    @property
    def way(self) -> Way:
        async def held(sender: FakeSender, one: Handed, before: BeforeData, sent: ContentSent) -> Submission:
            await before()
            dot = sender.clock.now()
            sent(dot)
            self.content = one.message
            self.asked.set()
            await self.heard.wait()
            return taken(dot)

        return held


def _first(world: World) -> Canary:
    return world.canaries()[0]


@pytest.mark.parametrize("arrives", [True, False])
def test_an_answer_that_comes_during_the_read_after_lost_after(
    virtual: Virtual, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arrives: bool
) -> None:
    async def main(clock: JumpingClock) -> None:
        server = Answer()
        world = World(clock, tmp_path, in_turn(defers, server.way), retry=(FIRST_TRY_AGAIN,), every=15 * MINUTE)
        judged = Judge.overdue

        async def overdue(judge: Judge) -> None:
            """The folders were listed. Before anything is judged the mail is put there, and the answer comes."""
            if server.asked.is_set() and not server.heard.is_set():
                if arrives:
                    world.account.put(server.content)
                server.heard.set()
                server.answered = clock.now()
                await world.until(lambda: _first(world).state is State.ACCEPTED, MINUTE)
            await judged(judge)

        async with world.running():
            await world.until(server.asked.is_set, 30 * MINUTE)
            await world.until(lambda: clock.now().since(_first(world).zero) > 5 * MINUTE + SECOND, 10 * MINUTE)
            monkeypatch.setattr(Judge, "overdue", overdue)
            world.account.drop_connections = True  # a new connection begins with a read of everything
            await clock.sleep(MINUTE)
            world.account.drop_connections = False
            await world.until(lambda: _first(world).state.terminal, 10 * MINUTE)
            canary = _first(world)
            assert canary.state is (State.LATE if arrives else State.LOST), canary.reason
            assert server.heard.is_set()
            if not arrives:  # and it had its time
                assert canary.settled is not None
                assert server.answered is not None
                assert canary.settled.since(server.answered) > canary.deadlines.overdue_after
            world.check_books()

    virtual.run(main)
