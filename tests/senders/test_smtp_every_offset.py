"""A server that closes or falls silent at any byte of its replies: never accepted, and the right label each time."""

from __future__ import annotations

import asyncio

import pytest

from probe.senders.base import Result, Stage, Submission, SubmissionLabel
from tests.senders.scripted_server import NORMAL, ScriptedServer, submit

STEPS = ("BANNER", "EHLO", "MAIL", "RCPT", "DATA", "DOT")


def _replies() -> list[tuple[str, bytes]]:
    return [(verb, step) for verb in STEPS if isinstance(step := NORMAL[verb], bytes)]


def _cuts() -> list[tuple[str, int]]:
    """Each step with how many bytes of its reply are said."""
    return [(verb, size) for verb, reply in _replies() for size in range(len(reply))]


class _Cutting(ScriptedServer):
    """Says ``size`` bytes of its reply at ``verb``, then closes, or waits for the client to go."""

    def __init__(self, verb: str, size: int, *, stalls: bool) -> None:
        super().__init__()
        self._at = verb
        self._size = size
        self._stalls = stalls

    async def _do(self, verb: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if verb != self._at:
            return await super()._do(verb, reader, writer)
        writer.write(dict(_replies())[verb][: self._size])
        await writer.drain()
        while self._stalls and await reader.read(65536):
            pass
        return False


async def _ended(verb: str, size: int, *, stalls: bool) -> Submission:
    async with _Cutting(verb, size, stalls=stalls) as server:
        return await submit(server.port, short=2.0 if stalls else None)


@pytest.mark.fault("S22")
@pytest.mark.parametrize("stalls", [False, True], ids=["closes", "stalls"])
async def test_a_cut_at_every_byte(stalls: bool) -> None:
    cuts = _cuts()
    assert len(cuts) == sum(len(reply) for _, reply in _replies())
    ends: list[Submission] = []
    for first in range(0, len(cuts), 60):  # side by side, as each silence lasts its whole time-out
        group = cuts[first : first + 60]
        ends += await asyncio.gather(*(_ended(verb, size, stalls=stalls) for verb, size in group))
    label = SubmissionLabel.TIMEOUT if stalls else SubmissionLabel.CONNECT_ERROR
    wrong = []
    for (verb, size), end in zip(cuts, ends, strict=True):
        if verb == "DOT":
            due = (Result.UNSURE, SubmissionLabel.UNSURE, Stage.DOT)
        else:
            due = (Result.UNSENT, label, Stage(verb.lower()))
        if (end.result, end.label, end.stage) != due or (end.clock_started is None) is (verb == "DOT"):
            wrong.append((verb, size, end.result, end.label, end.stage, end.detail))
    assert wrong == []
