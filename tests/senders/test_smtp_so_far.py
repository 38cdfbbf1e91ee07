"""An attempt that is under way can be looked at: which phase it is in, and since when."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from probe.senders.base import Result, Showing, SoFar, Stage
from tests.senders.scripted_server import ENVELOPE, MESSAGE, Act, ScriptedServer, nothing, sender


async def test_the_phase_under_way_and_those_before_it() -> None:
    assert ENVELOPE.envelope_id is not None
    async with ScriptedServer({"RCPT": Act.HANG}) as server:
        one = sender(server.port, short=30.0)
        assert isinstance(one, Showing)
        assert one.so_far(ENVELOPE.envelope_id) is None
        attempt = asyncio.ensure_future(one.submit(ENVELOPE, MESSAGE, mx="any", before_data=nothing))
        looks: list[SoFar] = []
        while not looks or looks[-1].stage is not Stage.RCPT or looks[-1].phases[Stage.RCPT] < 0.05:
            await asyncio.sleep(0.01)
            if (look := one.so_far(ENVELOPE.envelope_id)) is not None:
                looks.append(look)
        assert looks[-1].address == "127.0.0.1"
        assert list(looks[-1].phases) == [Stage.DNS, Stage.CONNECT, Stage.BANNER, Stage.EHLO, Stage.MAIL, Stage.RCPT]
        assert one.so_far("another") is None
        attempt.cancel()
        await asyncio.wait([attempt])
        assert one.so_far(ENVELOPE.envelope_id) is None


async def test_an_attempt_that_ended_is_no_longer_shown() -> None:
    async with ScriptedServer() as server:
        one = sender(server.port)
        ended = await one.submit(ENVELOPE, MESSAGE, mx="any", before_data=nothing)
        assert ended.result is Result.ACCEPTED
        assert one.so_far(ENVELOPE.envelope_id or "") is None
        assert timedelta(seconds=ended.phases[Stage.DOT]) >= timedelta(0)
