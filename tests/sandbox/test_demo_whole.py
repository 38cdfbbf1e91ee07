"""The demo as a user starts it: a process, its page, its faults, and the incident of 2015 as it shows itself."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientConnectionError, ClientSession

HEADERS = {"X-Mailcanary": "1"}


@dataclass
class Demo:
    """A running ``mailcanary demo`` and a client to its web side."""

    process: asyncio.subprocess.Process
    url: str
    http: ClientSession

    async def get(self, path: str) -> Any:
        async with self.http.get(self.url + path) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json() if path.startswith("/api/") else await answer.text()

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        async with self.http.post(self.url + path, json=body, headers=HEADERS) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

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

    async def with_outcome(self, outcome: str, route: str) -> list[dict[str, Any]]:
        path = f"/api/canaries?outcome={outcome}&route={route}&limit=1000"
        found: list[dict[str, Any]] = (await self.until(path, lambda answer: answer["canaries"]))["canaries"]
        return found


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.fixture
async def demo(tmp_path: Path) -> AsyncIterator[Demo]:
    port = _free_port()
    arguments = ["--listen", f"127.0.0.1:{port}", "--state-dir", str(tmp_path / "state")]
    times = ["--every", "200ms", "--overdue-after", "1s", "--lost-after", "2s"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "probe.cli.main", "demo", *arguments, *times),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        limit=2**24,
    )
    async with ClientSession() as http:
        yield Demo(process, f"http://127.0.0.1:{port}", http)
    if process.returncode is None:
        process.kill()
        await process.communicate()


async def test_the_incident_of_2015_shows_while_the_queue_is_empty(demo: Demo) -> None:
    await demo.until("/api/sandbox", lambda state: state["delivered"] >= 4)
    delivered = await demo.with_outcome("delivered", "demo-mx2")
    assert all(one["queued_as"] for one in delivered)

    # One sick inbound server: its route shows loss, the route beside it stays clean, the queue figure says nothing.
    await demo.post("/api/sandbox/faults", {"fault": "backup-db", "intake": "mx2.sandbox.test"})
    lost = await demo.with_outcome("lost", "demo-mx2")
    assert all(one["reason"] for one in lost)
    state = await demo.get("/api/sandbox")
    assert state["dropped"] >= len(lost)
    assert state["queue"] <= 2  # what was being worked on at that moment, not a backlog
    clean = await demo.get("/api/canaries?outcome=lost&route=demo-mx1")
    assert clean["canaries"] == []
    assert "mailcanary_outcomes_total{" in await demo.get("/metrics")
    assert "dropped after the 250" in await demo.get("/")

    # What was dropped comes back, and each is matched to its canary.
    await demo.post("/api/sandbox/faults", {"fault": "off"})
    await demo.post("/api/sandbox/requeue", {})
    first = lost[0]["id"]
    await demo.until(f"/api/canaries/{first}", lambda one: one["recovered_at"])

    demo.process.send_signal(signal.SIGTERM)
    output, _ = await demo.process.communicate()
    text = output.decode()
    assert demo.process.returncode == 0, text
    assert "state/ledger.sqlite" in text
    assert "Stopped." in text
    assert "Traceback" not in text
