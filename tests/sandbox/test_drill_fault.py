"""``mailcanary drill FAULT`` as a user starts it, on a running demo and on a sandbox of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.demo_process import MX2, Demo, free_port

ROOT = Path(__file__).parents[2]


async def begun(*words: str, scratch: Path | None = None) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "probe.cli.main", "drill", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), **({"TMPDIR": str(scratch)} if scratch else {})},
    )


async def runs(demo: Demo) -> None:
    """It answers, and canaries arrive."""
    await demo.until("/api/sandbox", lambda state: state["delivered"] >= 2)


async def drilled(*words: str, scratch: Path | None = None) -> tuple[int | None, str, str]:
    process = await begun(*words, scratch=scratch)
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


def in_order(steps: dict[str, float]) -> bool:
    names = ("fault_on", "overdue", "paged", "named", "fault_off")
    return [steps[name] for name in names] == sorted(steps[name] for name in names)


async def test_a_total_loss_pages_on_a_running_demo_and_is_taken_away(demo: Demo) -> None:
    await runs(demo)
    code, out, err = await drilled("backup-db", "--url", demo.url, "--for", "60s", "--json")
    assert (code, err) == (0, ""), out
    said: dict[str, Any] = json.loads(out)
    assert (said["drill"], said["paged"]) == ("backup-db", True)
    assert in_order(said["steps"])
    state = await demo.get("/api/sandbox")
    assert state["faults"] == []
    assert state["dropped"] > 0
    incident = await demo.get(f"/api/incidents/{said['incident']}")
    assert incident["detected_at"]
    # The incident is not over yet, so a second drill could not tell its page from the first one's.
    code, _, err = await drilled("bad-host", "--url", demo.url)
    assert code == 1
    assert "the demo has an incident that is not over" in err


async def test_what_is_wrong_already_or_not_understood_is_refused(demo: Demo) -> None:
    await runs(demo)
    code, _, err = await drilled("bad-host", "--url", demo.url, "--share", "200%")
    assert code == 2
    assert "share must be between 0 and 1" in err
    await demo.fault("duplicate")
    code, _, err = await drilled("backup-db", "--url", demo.url)
    assert code == 1
    assert "the demo has a fault on already" in err
    assert [one["fault"] for one in (await demo.get("/api/sandbox"))["faults"]] == ["duplicate"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_whoever_stops_it_leaves_no_fault_behind(number: signal.Signals, demo: Demo) -> None:
    await runs(demo)
    # So little of the mail that it does not page before it is stopped.
    process = await begun("backup-db", "--url", demo.url, "--share", "0.01%")
    await demo.until("/api/sandbox", lambda state: state["faults"])
    process.send_signal(number)
    _, err = await process.communicate()
    assert process.returncode == 1
    assert b"stopped; the drill is over" in err
    assert (await demo.get("/api/sandbox"))["faults"] == []


async def test_a_fault_that_does_not_page_is_exit_1(demo: Demo) -> None:
    await runs(demo)
    code, out, _ = await drilled("backup-db", "--url", demo.url, "--share", "0.01%", "--for", "2s")
    assert code == 1
    assert out.splitlines()[-1].startswith("not paged in 2 s: no canary became overdue")
    assert (await demo.get("/api/sandbox"))["faults"] == []


async def test_a_sandbox_of_its_own_names_the_bad_host_and_is_gone_afterwards(short_tmp: Path) -> None:
    code, out, err = await drilled("bad-host", "--json", scratch=short_tmp)
    assert (code, err) == (0, ""), out
    said = json.loads(out)
    assert said["legs"] == [MX2]
    assert in_order(said["steps"])
    assert list(short_tmp.iterdir()) == []


async def test_no_demo_there_and_times_that_cannot_be() -> None:
    code, _, err = await drilled("delay", "--url", f"http://127.0.0.1:{free_port()}")
    assert code == 3
    assert "no demo answers" in err
    assert (await drilled("delay", "--for", "7h"))[0] == 2
    assert (await drilled("bounce"))[0] == 2
