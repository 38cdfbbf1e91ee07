"""The virtual time itself: if it lied, every test of logic would."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from datetime import timedelta

import pytest

from probe.clock import wait_for_event
from tests.jumping import START, JumpingClock, JumpingLoop, NothingLeftToHappen, TooMuchTime, run_virtual

HOUR = timedelta(hours=1)


def test_two_hours_pass_at_once() -> None:
    async def main(clock: JumpingClock) -> timedelta:
        before = clock.now()
        await clock.sleep(2 * HOUR)
        return clock.now().since(before)

    started = time.monotonic()
    assert run_virtual(main) == 2 * HOUR
    assert time.monotonic() - started < 60  # a factor of 120 below the wait: not a timing of the machine


def test_timers_fire_in_their_order_and_at_their_time() -> None:
    async def main(clock: JumpingClock) -> list[tuple[int, float]]:
        seen: list[tuple[int, float]] = []
        start = clock.now()

        async def after(seconds: int) -> None:
            await clock.sleep(timedelta(seconds=seconds))
            seen.append((seconds, clock.now().since(start).total_seconds()))

        await asyncio.gather(*(after(each) for each in (30, 5, 90000, 5, 17)))
        return seen

    assert run_virtual(main) == [(5, 5.0), (5, 5.0), (17, 17.0), (30, 30.0), (90000, 90000.0)]


def test_wait_for_times_out_and_cancels() -> None:
    async def main(clock: JumpingClock) -> timedelta:
        before = clock.now()
        sleeper = asyncio.ensure_future(clock.sleep(10 * HOUR))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sleeper, timeout=60)
        assert sleeper.cancelled()
        return clock.now().since(before)

    assert run_virtual(main) == timedelta(seconds=60)


def test_an_event_ends_a_wait_early() -> None:
    async def main(clock: JumpingClock) -> tuple[bool, bool, timedelta]:
        before, event = clock.now(), asyncio.Event()
        asyncio.get_running_loop().call_later(3, event.set)
        early = await wait_for_event(clock, event, HOUR)
        late = await wait_for_event(clock, asyncio.Event(), HOUR)
        return early, late, clock.now().since(before)

    assert run_virtual(main) == (True, False, HOUR + timedelta(seconds=3))


def test_work_in_an_executor_is_not_jumped_over() -> None:
    async def main(clock: JumpingClock) -> timedelta:
        before = clock.now()
        ticker = asyncio.ensure_future(clock.sleep(HOUR))
        assert await asyncio.to_thread(time.sleep, 0.02) is None
        passed = clock.now().since(before)
        ticker.cancel()
        return passed

    assert run_virtual(main) == timedelta()


def test_a_thread_with_a_queue_is_not_jumped_over() -> None:
    async def main(clock: JumpingClock) -> timedelta:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, JumpingLoop)
        jobs: queue.Queue[asyncio.Future[str] | None] = queue.Queue()
        loop.busy_while(lambda: jobs.unfinished_tasks > 0)

        def work() -> None:
            while (future := jobs.get()) is not None:
                time.sleep(0.02)
                loop.call_soon_threadsafe(future.set_result, "done")
                jobs.task_done()
            jobs.task_done()

        thread = threading.Thread(target=work)
        thread.start()
        before = clock.now()
        future: asyncio.Future[str] = loop.create_future()
        ticker = asyncio.ensure_future(clock.sleep(HOUR))
        jobs.put(future)
        assert await future == "done"
        passed = clock.now().since(before)
        jobs.put(None)
        thread.join()
        ticker.cancel()
        return passed

    assert run_virtual(main) == timedelta()


def test_a_deadlock_is_an_error() -> None:
    async def main(clock: JumpingClock) -> None:
        await asyncio.Event().wait()

    with pytest.raises(NothingLeftToHappen):
        run_virtual(main)


def test_an_endless_wait_ends_at_the_limit() -> None:
    async def main(clock: JumpingClock) -> None:
        while True:
            await clock.sleep(HOUR)

    with pytest.raises(TooMuchTime, match="1 day"):
        run_virtual(main, limit=timedelta(days=1))


def test_leftover_tasks_are_cancelled() -> None:
    seen: list[str] = []

    async def main(clock: JumpingClock) -> None:
        async def loop_for_ever() -> None:
            try:
                await clock.sleep(HOUR)
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        task = asyncio.ensure_future(loop_for_ever())
        await clock.sleep(timedelta(seconds=1))
        assert not task.done()

    run_virtual(main)
    assert seen == ["cancelled"]


def test_a_step_moves_the_wall_clock_alone() -> None:
    async def main(clock: JumpingClock) -> None:
        before = clock.now()
        assert before.utc == START
        clock.step(-HOUR)
        after = clock.now()
        assert after.utc == START - HOUR
        assert after.since(before) == timedelta()

    run_virtual(main)


def test_suspend_moves_both_clocks_and_no_timer() -> None:
    async def main(clock: JumpingClock) -> None:
        before = clock.now()
        sleeper = asyncio.ensure_future(clock.sleep(timedelta(minutes=1)))
        clock.suspend(8 * HOUR)
        assert clock.now().since(before) == 8 * HOUR
        assert clock.now().utc - before.utc == 8 * HOUR
        await sleeper
        assert clock.now().since(before) == 8 * HOUR + timedelta(minutes=1)

    run_virtual(main)


def test_after_a_reboot_the_wall_clock_decides() -> None:
    async def main(clock: JumpingClock) -> None:
        before = clock.now()
        await clock.sleep(HOUR)
        clock.reboot(timedelta(minutes=5))
        elapsed = clock.now().elapsed_since(before)
        assert (elapsed.time, elapsed.clock) == (HOUR + timedelta(minutes=5), "wall")
        assert clock.now().boot < before.boot

    run_virtual(main)
