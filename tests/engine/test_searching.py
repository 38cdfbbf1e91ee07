"""A traced canary is searched for in every folder: soon, then ever more rarely, and never longer than somebody asks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from probe.canary import counters
from probe.engine.pacing import Pace
from probe.errors import MailboxError
from tests.engine import fakes
from tests.engine.traces import DAY, followed, order, read_once
from tests.engine.world import HOUR, MINUTE, World
from tests.jumping import JumpingClock, Virtual


def test_a_canary_in_a_folder_that_nobody_watches_is_found_within_seconds(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.delivers(folder="Filed"), every=DAY, pace=Pace())
        world.account.folders["Filed"] = fakes.Folder()
        async with world.running():
            await read_once(world)
            answers = await followed(world, (await order(world, "trace", route="in", mx=None))["id"])
            canary = answers[-1]["canary"]
            assert (canary["outcome"], canary["folder"]) == ("delivered", "Filed")
            assert "not watched" in canary["reason"]
            assert canary["latency_seconds"] <= 4
            assert canary["latency_uncertainty_seconds"] == canary["latency_seconds"]  # and nobody looked there before
            assert len(world.account.sweeps) == 1
            world.check_books()

    virtual.run(main)


def test_the_searches_grow_rare_and_end_with_the_follower(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, every=DAY, lost_after=2 * HOUR, watch_for=DAY, pace=Pace())
        async with world.running():
            await read_once(world)
            canary_id = (await order(world, "trace", route="in", mx=None))["id"]
            began = clock.now()
            with pytest.raises(AssertionError, match="no outcome"):
                await followed(world, canary_id, within=10 * MINUTE)
            ages = [at.since(began).total_seconds() for at, _ in world.account.sweeps]
            assert [round(age) for age in ages[:6]] == [3, 6, 12, 24, 48, 96]
            apart = [late - early for early, late in pairwise(ages[6:])]
            assert all(60 <= each < 61 for each in apart)
            assert not any(at.since(began) < timedelta(0) for at, _ in world.account.sweeps)
            count = len(world.account.sweeps)
            await clock.sleep(HOUR)
            assert len(world.account.sweeps) <= count + 1  # nobody asks any more
            await world.until(world.settled(1), within=2 * HOUR)
            assert world.states() == {"lost": 1}  # and the verdict needed no search of the trace
            world.check_books()

    virtual.run(main)


def test_a_search_that_cannot_look_everywhere_is_told_and_not_pressed(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, every=DAY, lost_after=2 * HOUR, watch_for=DAY, pace=Pace())
        async with world.running():
            await read_once(world)
            watcher = world.daemon.watchers["inbox"]
            tried: list[float] = []

            def sweep(*_: object) -> None:
                tried.append(clock.now().boot / 1e9)
                raise MailboxError("limit", "501 folders to search; the limit is 500")

            watcher.mailbox.sweep = sweep  # type: ignore[method-assign,assignment]
            canary_id = (await order(world, "trace", route="in", mx=None))["id"]
            answers: list[Mapping[str, Any]] = []
            began = clock.now()
            while clock.now().since(began) < 3 * MINUTE:
                answers.append(
                    await order(world, "follow", id=canary_id, seen=answers[-1]["version"] if answers else 0)
                )
            assert answers[-1]["mailbox"]["problem"] == "501 folders to search; the limit is 500"
            assert answers[-1]["mailbox"]["blind"] == ""
            assert 2 <= len(tried) <= 4
            assert min(late - early for early, late in pairwise(tried)) >= 60
            assert world.total(counters.BLIND_SECONDS) == 0

    virtual.run(main)
