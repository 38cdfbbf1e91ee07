"""The windows of a daemon: counted as it happens, looked up after a start, and the same both ways."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

from probe.canary.record import State
from probe.canary.windows import SPANS
from probe.detection.bounds import clopper_pearson
from probe.engine import windows
from probe.exposition.live import WindowView
from tests.engine import fakes
from tests.engine.world import HOUR, MINUTE, World
from tests.jumping import JumpingClock, Virtual

DAY = timedelta(days=1)
LATE = 90 * timedelta(seconds=1)
WAYS = (fakes.delivers(), fakes.delivers(), fakes.drops, fakes.delivers(LATE), fakes.breaks)


def mixed() -> fakes.Way:
    """In turn: in time twice, never, late, and a connection that breaks after the content."""
    return fakes.in_turn(*WAYS * 200)


def seen(world: World) -> dict[str, WindowView]:
    """What is shown of the only leg."""
    (leg,) = world.daemon.view.snapshot().legs
    return {one.name: one for one in leg.windows}


def by_hand(world: World) -> tuple[int, ...]:
    """Sent, overdue, lost, unknown and judged, of all canaries that there are."""
    canaries = world.canaries()
    states = [one.state for one in canaries]
    lost, unknown = states.count(State.LOST), states.count(State.UNKNOWN)
    arrived = states.count(State.DELIVERED) + states.count(State.LATE)
    return len(canaries), sum(one.overdue for one in canaries), lost, unknown, lost + arrived


def counts(one: WindowView) -> tuple[int, ...]:
    return one.sent, one.overdue, one.lost, one.unknown, one.judged


def test_it_counts_what_happens_and_a_restart_finds_the_same_in_the_ledger(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, mixed())
        async with world.running():
            assert seen(world) == {}  # not known before the ledger was asked
            await clock.sleep(windows.AFTER_START * 2)
            assert list(seen(world)) == ["1h", "6h", "1d", "30d"]
            await clock.sleep(50 * MINUTE)
            before = seen(world)
            found = by_hand(world)
            assert {counts(one) for one in before.values()} == {found}
            assert all(found), "the mixture brings everything about"
            for one in before.values():
                bounds = clopper_pearson(one.lost, one.judged)
                assert (one.lower, one.upper) == (bounds.lower, bounds.upper)
            await world.restart()
            assert seen(world) == {}
            await clock.sleep(windows.AFTER_START * 2)
            after = seen(world)
            assert {counts(one) for one in after.values()} == {by_hand(world)}
            assert after["30d"].overdue >= before["30d"].overdue > 0

    virtual.run(main)


def test_what_happens_while_the_ledger_is_looked_up_is_counted_once(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, mixed(), every=timedelta(seconds=1))
        async with world.running():
            await clock.sleep(2 * MINUTE)
            await world.restart()
            await clock.sleep(windows.AFTER_START + timedelta(seconds=1))
            assert len(world.canaries()) > 100
            assert counts(seen(world)["1h"]) == by_hand(world)
            await clock.sleep(4 * MINUTE)  # those that were under way at the restart end
            assert {counts(one) for one in seen(world).values()} == {by_hand(world)}

    virtual.run(main)


def test_an_hour_passes_and_a_day_keeps(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, every=MINUTE)
        async with world.running():
            await world.until(world.settled(10))
            lost = world.states()["lost"]
            world.sender.way = fakes.delivers()
            await clock.sleep(HOUR + 10 * MINUTE)
            now = seen(world)
            assert now["1h"].lost == 0
            assert now["1h"].overdue == 0
            assert 59 <= now["1h"].sent <= 63
            assert now["6h"].lost == now["1d"].lost == now["30d"].lost >= lost
            await world.restart()
            await clock.sleep(windows.AFTER_START * 2)
            again = seen(world)
            assert (again["1h"].lost, again["6h"].lost) == (0, now["6h"].lost)

    virtual.run(main)


def test_nothing_new_shows_the_same_object_and_a_still_leg_moves_on_all_the_same(
    virtual: Virtual, tmp_path: Path
) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, every=6 * HOUR)
        async with world.running():
            await world.until(world.settled(1), 7 * HOUR)
            await clock.sleep(MINUTE)
            view = world.daemon.view

            def shown() -> tuple[WindowView, ...]:
                return view.snapshot().legs[0].windows

            first = shown()
            assert first[0].sent == 1
            await clock.sleep(30 * MINUTE)
            assert shown() is first
            await clock.sleep(HOUR - 20 * MINUTE)
            assert shown()[0].sent == 0
            assert shown()[1].sent == 1

    virtual.run(main)


def test_no_window_is_longer_than_the_ledger_remembers(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path)
        world.config = replace(world.config, keep=2 * DAY)
        async with world.running():
            await clock.sleep(MINUTE)
            assert list(seen(world)) == ["1h", "6h", "1d"]

    virtual.run(main)


def test_legs_of_which_nothing_is_left_are_forgotten(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path)
        async with world.running():
            await world.until(world.settled(1))
            known = world.daemon._windows._legs
            assert len(known) == 1
            world.daemon._windows._tidy(clock.now().wall // 10**9)
            assert len(known) == 1
            world.daemon._windows._tidy(clock.now().wall // 10**9 + 31 * 86_400)
            assert known == {}

    virtual.run(main)


def test_the_pieces_leave_no_gap_and_reach_back_to_the_oldest_bucket() -> None:
    for now in (1_764_000_000, 1_764_000_000 + 12_345, 1_764_015_599):
        pieces = list(windows._pieces(now))
        assert pieces[0][1] is None
        for (begin, _, _, _), (_, end, _, _) in pairwise(pieces):
            assert begin == end
        assert [whole for _, _, _, whole in pieces] == sorted(whole for _, _, _, whole in pieces)
        for place, span in enumerate(SPANS, 1):
            mine = [piece for piece in pieces if piece[3] == place]
            assert mine[-1][0] <= (now - span.seconds) // span.bucket * span.bucket
            assert all(begin % span.bucket == 0 and bucket == span.bucket for begin, _, bucket, _ in mine)
