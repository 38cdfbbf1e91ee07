"""One canary of a world's route, sent now: no test waits through hours for a slot."""

from __future__ import annotations

from probe.canary.record import Canary, State
from tests.engine.world import World


async def launch(world: World) -> None:
    """Send the first leg's next canary, once its mailbox was read."""
    await world.until(world.daemon.watchers["inbox"].seen_once.is_set)
    world.daemon.legs[0]._launch(world.clock.now())


async def accepted(world: World) -> Canary:
    """Send one; the canary, once it is taken."""
    before = {one.id for one in world.canaries()}
    await launch(world)

    def new() -> list[Canary]:
        return [one for one in world.canaries() if one.id not in before and one.state is State.ACCEPTED]

    await world.until(new)
    return new()[0]
