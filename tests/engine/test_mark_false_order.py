"""The order ``mark_false`` is refused with the exit code that the command gives where no daemon runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from probe.errors import MailCanaryError, UsageError
from tests.engine import fakes
from tests.engine.world import SECOND, World
from tests.exposition.incident_ledger import PASSED, fill
from tests.jumping import JumpingClock, Virtual


@pytest.mark.parametrize(("incident", "says"), [("nowhere-1", "no incident 'nowhere-1'"), (PASSED, "only one that")])
def test_what_cannot_be_marked_is_exit_1(incident: str, says: str, virtual: Virtual, tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path / "ledger.sqlite")).ledger.close()

    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, fakes.delivers(2 * SECOND)).running() as world:
            with pytest.raises(MailCanaryError, match=says) as refused:
                await world.daemon.detection.mark_false({"incident": incident, "reason": ""})
            assert refused.value.exit_code == 1

    virtual.run(main)


def test_what_is_not_an_order_is_exit_2(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        async with World(clock, tmp_path, fakes.delivers(2 * SECOND)).running() as world:
            for request in ({}, {"incident": 1}, {"incident": "a", "reason": "x" * 501}):
                with pytest.raises(UsageError) as refused:
                    await world.daemon.detection.mark_false(request)
                assert refused.value.exit_code == 2

    virtual.run(main)
