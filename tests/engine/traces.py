"""Tracing in virtual time: the orders of the control socket, and all that a follower is told."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from tests.engine.world import HOUR, World

DAY = 24 * HOUR


async def order(world: World, command: str, **fields: Any) -> dict[str, Any]:
    return dict(await world.daemon.tracing.handlers[command]({"command": command, **fields}))


async def read_once(world: World) -> None:
    await world.until(lambda: world.daemon.watchers["inbox"].seen_once.is_set())


async def followed(world: World, canary_id: str, within: timedelta = HOUR) -> list[Mapping[str, Any]]:
    """Every answer until the outcome."""
    began = world.clock.now()
    answers: list[Mapping[str, Any]] = []
    while world.clock.now().since(began) < within:
        seen = answers[-1]["version"] if answers else 0
        answers.append(await order(world, "follow", id=canary_id, seen=seen))
        if answers[-1]["canary"]["outcome"]:
            return answers
    raise AssertionError(f"no outcome: {answers[-1]}")


def phases(answers: list[Mapping[str, Any]]) -> list[str]:
    """In their order, each once."""
    return list(dict.fromkeys(answer["phase"] for answer in answers))
