"""The way out: servers that are slow, endless or silent, in virtual time where minutes pass."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from probe.canary.record import State
from probe.clock import Clock
from probe.options import Secret
from probe.senders.base import Result, Stage, Submission
from probe.senders.smtp import SmtpTimeouts
from tests.engine import fakes
from tests.engine.world import HOUR, MINUTE, SECOND, World
from tests.jumping import JumpingClock, Virtual
from tests.matrix.launching import launch
from tests.matrix.slow_server import SlowServer
from tests.senders.scripted_server import ENVELOPE, MESSAGE, Act, Step, nothing, options, submit


async def at_pace(clock: Clock, port: int, **given: object) -> Submission:
    """One attempt by the test's own clock."""
    made = options(port, **given).open("test", clock)  # type: ignore[arg-type]
    return await made.submit(ENVELOPE, MESSAGE, mx="any", before_data=nothing)


@pytest.mark.fault("S07")
@pytest.mark.parametrize(("seconds", "result"), [(59, Result.ACCEPTED), (61, Result.UNSENT)])
def test_a_late_banner_is_waited_for(seconds: int, result: Result, virtual: Virtual) -> None:
    async def main(clock: JumpingClock) -> None:
        async with SlowServer(delays={"BANNER": seconds}) as server:
            ended = await at_pace(clock, server.port)
        assert ended.result is result
        assert ended.phases[Stage.BANNER] == pytest.approx(min(seconds, 60), abs=0.1)
        assert (ended.reason, ended.stage) == (
            ("", Stage.DOT) if result is Result.ACCEPTED else ("timeout", Stage.BANNER)
        )

    virtual.run(main)


@pytest.mark.fault("S08")
def test_a_tarpit_holds_up_nobody_else(virtual: Virtual) -> None:
    """One drips its banner, one takes nearly a minute for each answer; the good one beside them is as fast as ever."""

    async def main(clock: JumpingClock) -> None:
        minute = dict.fromkeys(("BANNER", "EHLO", "MAIL", "RCPT", "DATA", "DOT"), 55.0)
        async with (
            SlowServer({"BANNER": b"220 " + b"x" * 5000 + b"\r\n"}, drip=1.0) as drips,
            SlowServer(delays=minute) as slow,
            SlowServer() as good,
        ):
            began = clock.now()
            total = SmtpTimeouts(total=3 * MINUTE)
            tarpits = [
                asyncio.ensure_future(at_pace(clock, server.port, timeouts=limits))
                for server, limits in ((drips, SmtpTimeouts()), (slow, total), (slow, SmtpTimeouts()))
            ]
            assert (await at_pace(clock, good.port)).result is Result.ACCEPTED
            assert clock.now().since(began) < SECOND
            one, two, three = await asyncio.gather(*tarpits)
        assert (one.result, one.reason, one.stage) == (Result.UNSENT, "timeout", Stage.BANNER)
        assert (two.result, two.reason, two.stage) == (Result.UNSENT, "timeout", Stage.RCPT)
        assert "not done within 180 s in all" in two.detail
        assert three.result is Result.ACCEPTED  # slow is not broken: within every limit

    virtual.run(main)


@pytest.mark.fault("S10")
@pytest.mark.parametrize("piece", [b"x" * 65536, b"250-more\r\n" * 1000], ids=["line", "reply"])
@pytest.mark.parametrize("verb", ["BANNER", "EHLO", "MAIL", "RCPT", "DATA", "DOT"])
async def test_an_answer_without_end_is_cut(verb: str, piece: bytes) -> None:
    async with SlowServer({verb: piece}, flood=(verb,)) as server:
        ended = await submit(server.port)
        assert server.written < 8 << 20  # what we read, and what the kernel holds between us
    if verb == "DOT":
        assert ended.result is Result.UNSURE
    else:
        assert (ended.result, ended.reason, ended.stage) == (Result.UNSENT, "protocol", Stage(verb.lower()))
    assert all(len(line.reply) <= 512 for line in ended.dialogue)


@pytest.mark.fault("S21")
@pytest.mark.parametrize("verb", ["BANNER", "EHLO", "MAIL", "RCPT", "DATA", "DOT"])
async def test_421_and_a_close_are_an_answer(verb: str) -> None:
    async with SlowServer({verb: b"421 4.3.2 shutting down\r\n"}) as server:
        ended = await submit(server.port)
        await asyncio.wait_for(server.client_gone.wait(), 5)
        assert server.connections == 1
    assert (ended.result, ended.code, ended.stage) == (Result.DEFERRED, 421, Stage(verb.lower()))


class Dialogue:
    """The engine with the real SMTP sender, to a scripted server that puts what it takes into the mailbox."""

    def __init__(self, clock: JumpingClock, folder: Path, port: int, **route: Any) -> None:
        self.world = World(clock, folder, every=24 * HOUR, watch_for=4 * HOUR, **route)
        self.world.config = replace(self.world.config, senders={"relay": options(port, retry=(MINUTE,))})

    async def settled(self) -> State:
        await self.world.until(self.world.settled(), within=2 * HOUR)
        self.world.check_books()
        return self.world.canaries()[0].state


@pytest.mark.fault("S23")
def test_nine_minutes_of_silence_and_then_250(virtual: Virtual, tmp_path: Path) -> None:
    """The mail is there long before the answer: delivered by then, and the answer is kept beside it."""

    async def main(clock: JumpingClock) -> None:
        async with SlowServer(delays={"DOT": 540}, taken=lambda mail: one.world.account.put(mail)) as server:
            one = Dialogue(clock, tmp_path, server.port)
            async with one.world.running():
                await launch(one.world)
                assert await one.settled() is State.DELIVERED
                assert one.world.canaries()[0].queued_as == ""
                await clock.sleep(10 * MINUTE)
                (canary,) = one.world.canaries()
                assert (canary.state, canary.queued_as, canary.attempts) == (State.DELIVERED, "4Wx9Yz1Qab", 1)
                assert canary.latency is not None
                assert canary.latency < 30 * SECOND
                assert server.connections == 1

    virtual.run(main)


@pytest.mark.fault("S23")
def test_nine_minutes_of_silence_about_mail_that_is_dropped(virtual: Virtual, tmp_path: Path) -> None:
    """While nobody knows whether it was taken nothing is concluded; 250 makes it one that can be lost."""

    async def main(clock: JumpingClock) -> None:
        async with SlowServer(delays={"DOT": 540}) as server:
            one = Dialogue(clock, tmp_path, server.port)
            async with one.world.running():
                await launch(one.world)
                await clock.sleep(8 * MINUTE)  # lost_after, 5 minutes, has passed
                assert one.world.states() == {"data_started": 1}
                assert await one.settled() is State.LOST
                assert server.connections == 1

    virtual.run(main)


@pytest.mark.fault("S22", "S24")
@pytest.mark.parametrize("there", [True, False], ids=["it came", "it came not"])
@pytest.mark.parametrize(("moment", "step"), [("DOT", Act.HANG), ("DOT", Act.DROP), ("CONTENT", Act.DROP)])
def test_no_answer_to_the_content_is_unsure(
    moment: str, step: Step, there: bool, virtual: Virtual, tmp_path: Path
) -> None:
    async def main(clock: JumpingClock) -> None:
        async with SlowServer({moment: step}) as server:
            one = Dialogue(clock, tmp_path, server.port, lost_after=HOUR / 2)
            async with one.world.running():
                await launch(one.world)
                await one.world.until(lambda: one.world.states()["unsure"])
                if step is Act.HANG:
                    assert clock.now().since(one.world.canaries()[0].sent) > 10 * MINUTE
                if there:
                    one.world.account.put(message_of(one.world))
                ended = await one.settled()
                assert ended in ((State.DELIVERED, State.LATE) if there else (State.UNKNOWN,))
                assert one.world.canaries()[0].label == ("" if there else "send")
                await clock.sleep(HOUR)
                assert server.connections == 1  # never sent again

    def message_of(world: World) -> bytes:
        leg, canary = world.daemon.legs[0], world.canaries()[0]
        return leg.attempts.message(canary)

    virtual.run(main)


@pytest.mark.fault("S33")
def test_arrivals_in_reverse_are_matched_and_timed_each_by_its_own(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        after = [170 * SECOND, 100 * SECOND, 30 * SECOND]
        way = fakes.in_turn(*(fakes.delivers(each) for each in after), fakes.delivers())
        world = World(clock, tmp_path, way, overdue_after=4 * MINUTE, lost_after=10 * MINUTE)
        async with world.running():
            await world.until(
                lambda: all(one.state.terminal for one in world.canaries()[:3]) and world.total("sent") > 3
            )
            first = world.canaries()[:3]
            moments = [one.arrived for one in first]
            assert all(moment is not None for moment in moments)
            assert sorted(moments, key=lambda at: at.boot, reverse=True) == moments  # type: ignore[union-attr]
            for one, true in zip(first, after, strict=True):
                assert one.state is State.DELIVERED
                assert one.latency is not None
                assert one.uncertainty is not None
                assert one.latency - one.uncertainty <= true <= one.latency
            assert world.total("duplicates") == 0
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("S32")
def test_what_comes_after_unknown_is_recovered(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.breaks, every=20 * MINUTE)
        async with world.running():
            await world.until(world.settled())
            assert world.states()["unknown"] == 1
            world.account.put(world.sender.handed[0].message)
            await world.until(lambda: world.canaries()[0].recovered)
            assert world.canaries()[0].state is State.UNKNOWN
            assert world.total("recovered", "unknown") == 1
            assert world.total("recovered") == 1
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("S41")
def test_a_relay_that_limits_is_asked_at_the_rate_of_the_tries(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.defers, retry=(MINUTE, 2 * MINUTE), every=10 * MINUTE, lost_after=HOUR / 2)
        async with world.running():
            await clock.sleep(HOUR)
            assert len(world.sender.handed) <= 3 * 7
            assert set(world.states()) <= {"refused", "deferred"}
            assert world.no_loss()
            world.check_books()

    virtual.run(main)


def test_the_waits_of_a_dialogue_are_those_of_the_standard() -> None:
    limits = SmtpTimeouts()
    assert (limits.command, limits.dot) == (timedelta(minutes=1), timedelta(minutes=10))


@pytest.mark.fault("S16")
def test_a_login_that_is_refused_locks_no_account(virtual: Virtual) -> None:
    """An attempt a minute, each counted; few of them try the password. The right one is taken within the pause."""

    async def main(clock: JumpingClock) -> None:
        replies: dict[str, Step] = {"EHLO": b"250-mx\r\n250 AUTH PLAIN\r\n", "AUTH PLAIN": b"535 5.7.8 no\r\n"}
        async with SlowServer(replies) as server:
            login: dict[str, Any] = {"username": "prober", "password": Secret(b"wrong")}
            sender = options(server.port, **login).open("test", clock)

            async def attempt() -> Submission:
                await clock.sleep(MINUTE)
                return await sender.submit(ENVELOPE, MESSAGE, mx="any", before_data=nothing)

            ended = [await attempt() for _ in range(4 * 60)]
            assert {(one.result, one.reason, one.stage) for one in ended} == {(Result.UNSENT, "auth", Stage.AUTH)}
            assert 3 + 5 <= server.heard.count(b"AUTH PLAIN") <= 3 + 5 + 16
            assert server.heard.count(b"AUTH PLAIN") == server.connections
            told = [one.detail for one in ended if one.code is None]
            assert "times in a row; it is not tried again for " in told[-1]
            server._replies["AUTH PLAIN"] = [b"235 2.7.0 ok\r\n"]
            later = [await attempt() for _ in range(20)]
            assert [one.result for one in later[-5:]] == [Result.ACCEPTED] * 5

    virtual.run(main)


@pytest.mark.fault("S16")
def test_what_is_refused_now_and_then_is_tried_each_time(virtual: Virtual) -> None:
    async def main(clock: JumpingClock) -> None:
        async with SlowServer({"EHLO": b"250-mx\r\n250 AUTH PLAIN\r\n"}) as server:
            login: dict[str, Any] = {"username": "prober", "password": Secret(b"right")}
            sender = options(server.port, **login).open("test", clock)
            for number in range(30):
                refused = number % 3 != 2
                server._replies["AUTH PLAIN"] = [b"535 5.7.8 no\r\n" if refused else b"235 2.7.0 ok\r\n"]
                ended = await sender.submit(ENVELOPE, MESSAGE, mx="any", before_data=nothing)
                assert ended.result is (Result.UNSENT if refused else Result.ACCEPTED)
            assert server.connections == 30

    virtual.run(main)
