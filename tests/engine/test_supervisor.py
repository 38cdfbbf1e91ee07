"""Loops that must not end: restarted with back-off, counted, and watched for progress."""

from __future__ import annotations

import asyncio
import io
import itertools
from collections.abc import Iterator
from datetime import timedelta

import pytest

from probe.engine.supervisor import CRASHES_TOO_MANY, GRACE, Pulse, Supervisor, TooManyCrashes, wait_until
from probe.exposition.journal import Journal
from tests.jumping import JumpingClock, Virtual

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


@pytest.fixture
def said() -> Iterator[io.StringIO]:
    return io.StringIO()


class Bench:
    def __init__(self, clock: JumpingClock, said: io.StringIO) -> None:
        self.crashed: list[str] = []
        self.journal = Journal(said, clock)
        self.supervisor = Supervisor(clock, self.journal, self.crashed.append)


@pytest.mark.fault("P14")
def test_a_loop_that_crashes_starts_again_with_growing_waits(virtual: Virtual, said: io.StringIO) -> None:
    async def main(clock: JumpingClock) -> None:
        bench = Bench(clock, said)
        starts: list[float] = []

        async def loop(pulse: Pulse) -> None:
            starts.append(clock.now().boot / 1e9)
            if len(starts) < 10:
                raise ValueError("what nobody thought of")

        await bench.supervisor.run("watch:support", loop)
        waits = [round(b - a) for a, b in itertools.pairwise(starts)]
        assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
        assert bench.crashed == ["watch"] * 9
        assert bench.supervisor.names == ["watch"]
        bench.journal.close()
        assert said.getvalue().count("ValueError: what nobody thought of at loop:") == 9

    virtual.run(main)


@pytest.mark.fault("P14")
def test_a_loop_that_never_runs_ends_the_daemon(virtual: Virtual, said: io.StringIO) -> None:
    async def main(clock: JumpingClock) -> None:
        bench = Bench(clock, said)

        async def loop(pulse: Pulse) -> None:
            raise ValueError("always")

        with pytest.raises(TooManyCrashes, match="crashed 30 times in a row: ValueError: always"):
            await bench.supervisor.run("prune", loop)
        assert len(bench.crashed) == CRASHES_TOO_MANY
        bench.journal.close()

    virtual.run(main)


def test_a_crash_a_day_is_not_in_a_row(virtual: Virtual, said: io.StringIO) -> None:
    async def main(clock: JumpingClock) -> None:
        bench = Bench(clock, said)
        starts = 0

        async def loop(pulse: Pulse) -> None:
            nonlocal starts
            starts += 1
            if starts <= 50:
                await clock.sleep(timedelta(hours=24))
                raise ValueError("once a day")

        await bench.supervisor.run("prune", loop)
        assert len(bench.crashed) == 50
        bench.journal.close()

    virtual.run(main)


@pytest.mark.fault("P13")
def test_a_loop_that_does_not_come_back_is_stalled(virtual: Virtual, said: io.StringIO) -> None:
    async def main(clock: JumpingClock) -> None:
        bench = Bench(clock, said)

        async def loop(pulse: Pulse) -> None:
            pulse.beat(MINUTE)
            await clock.sleep(10 * MINUTE)
            pulse.beat(MINUTE)
            await clock.sleep(SECOND)

        task = asyncio.ensure_future(bench.supervisor.run("watch:support", loop))
        await clock.sleep(MINUTE + GRACE - SECOND)
        assert bench.supervisor.stalled() == []
        await clock.sleep(2 * SECOND)
        assert bench.supervisor.stalled() == ["watch:support"]
        await clock.sleep(9 * MINUTE - GRACE)
        assert bench.supervisor.stalled() == []
        await task
        await clock.sleep(10 * MINUTE)
        assert bench.supervisor.stalled() == []
        bench.journal.close()

    virtual.run(main)


def test_cancelling_is_no_crash(virtual: Virtual, said: io.StringIO) -> None:
    async def main(clock: JumpingClock) -> None:
        bench = Bench(clock, said)

        async def loop(pulse: Pulse) -> None:
            pulse.beat(SECOND)
            await clock.sleep(timedelta(days=1))

        task = asyncio.ensure_future(bench.supervisor.run("watch:support", loop))
        await clock.sleep(SECOND)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert bench.crashed == []
        await clock.sleep(MINUTE)
        assert bench.supervisor.stalled() == []
        bench.journal.close()

    virtual.run(main)


def test_a_wait_counts_the_time_that_the_machine_slept(virtual: Virtual) -> None:
    async def main(clock: JumpingClock) -> None:
        began = clock.now()
        waiting = asyncio.ensure_future(wait_until(clock, began + timedelta(hours=1), asyncio.Event(), Pulse(clock)))
        await clock.sleep(SECOND)
        clock.suspend(timedelta(hours=8))
        awake = clock.now()
        await waiting
        assert clock.now().since(awake) <= 30 * SECOND

    virtual.run(main)


def test_a_wait_ends_when_woken(virtual: Virtual) -> None:
    async def main(clock: JumpingClock) -> None:
        began, wake = clock.now(), asyncio.Event()
        asyncio.get_running_loop().call_later(5, wake.set)
        await wait_until(clock, began + timedelta(hours=1), wake, Pulse(clock))
        assert clock.now().since(began) == 5 * SECOND

    virtual.run(main)
