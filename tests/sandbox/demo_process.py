"""The demo as a user starts it, and a client to its web side."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientConnectionError, ClientSession

HEADERS = {"X-Mailcanary": "1"}
MX1, MX2 = "mx1.sandbox.test", "mx2.sandbox.test"


@dataclass
class Demo:
    """A running ``mailcanary demo``; ``state``: its state directory."""

    process: asyncio.subprocess.Process
    url: str
    http: ClientSession
    state: Path

    async def get(self, path: str) -> Any:
        async with self.http.get(self.url + path) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json() if path.startswith("/api/") else await answer.text()

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        async with self.http.post(self.url + path, json=body, headers=HEADERS) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def fault(self, name: str, **arguments: Any) -> None:
        await self.post("/api/sandbox/faults", {"fault": name, **arguments})

    async def until(self, path: str, condition: Callable[[Any], Any]) -> Any:
        """Ask until the condition holds, or the demo ends; the test's own timeout is the limit."""
        while True:
            assert self.process.returncode is None, "the demo ended"
            try:
                answer = await self.get(path)
            except ClientConnectionError:
                answer = None  # not listening yet
            if answer is not None and condition(answer):
                return answer
            await asyncio.sleep(0.05)

    async def runs(self) -> None:
        """Canaries arrive through both hosts."""
        for mx in (MX1, MX2):
            await self.some(mx, lambda one: one["outcome"] == "delivered")

    async def some(self, mx: str, is_so: Callable[[dict[str, Any]], Any]) -> list[dict[str, Any]]:
        """The canaries of a leg that are so, as soon as there are any."""

        def chosen(answer: Any) -> list[dict[str, Any]]:
            return [one for one in answer["canaries"] if one["mx"] == mx and is_so(one)]

        return chosen(await self.until("/api/canaries?route=demo&limit=1000", chosen))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


async def started(port: int, state: Path) -> asyncio.subprocess.Process:
    times = ["--every", "200ms", "--overdue-after", "1s", "--lost-after", "2s"]
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "probe.cli.main", "demo", "--listen", f"127.0.0.1:{port}", "--state-dir", str(state), *times),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        limit=2**24,
    )
