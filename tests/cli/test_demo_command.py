"""``mailcanary demo``: the switches from a second terminal, and how the demo starts and stops."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import smtplib
from collections.abc import AsyncIterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner, Result

from probe.cli.demo import FAULTS, page_of
from probe.cli.main import main
from probe.clock import SystemClock
from probe.config.text import Listen
from probe.errors import ConfigError, MailCanaryError
from probe.exposition.journal import Journal
from probe.sandbox import demo as demo_module
from probe.sandbox.demo import DemoEnded, DemoOptions, DemoStarted, run_demo
from probe.sandbox.faults import FaultName
from probe.sandbox.loopback import second_address
from probe.sandbox.panel import mount
from probe.sandbox.system import Sandbox

CLOCK = SystemClock()
DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)


async def _serve(app: web.Application) -> tuple[web.AppRunner, str]:
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    one = Sandbox(clock=CLOCK, chance=random.Random(1))
    await one.start()
    yield one
    await one.stop()


@pytest.fixture
async def url(sandbox: Sandbox) -> AsyncIterator[str]:
    app = web.Application()
    mount(app, sandbox)
    runner, address = await _serve(app)
    yield address
    await runner.cleanup()


async def _command(*arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, main, ["demo", *arguments])


async def test_faults_are_switched_from_a_second_terminal(sandbox: Sandbox, url: str) -> None:
    done = await _command("fault", "backup-db", "--share", "20%", "--intake", "mx2.sandbox.test", "--url", url)
    assert done.exit_code == 0, done.output
    assert "backup-db share 0.2 through mx2.sandbox.test" in done.output
    await _command("fault", "delay", "--seconds", "20", "--url", url)
    assert [str(one) for one in sandbox.snapshot().faults] == [
        "backup-db for 0.2 of the mail through mx2.sandbox.test",
        "delay 20 s for all mail",
    ]
    done = await _command("fault", "off", "--url", url)
    assert done.exit_code == 0, done.output
    assert sandbox.snapshot().faults == ()


async def test_every_fault_has_its_switch_and_its_line_of_help(sandbox: Sandbox, url: str) -> None:
    assert set(FAULTS) == set(FaultName)
    told = (await _command("fault", "--help")).stdout
    for name in FAULTS:
        assert f"\n  {name} " in told
        seconds = ["--seconds", "1"] if name == "delay" else []
        assert (await _command("fault", name, *seconds, "--url", url)).exit_code == 0
    assert {one.name for one in sandbox.snapshot().faults} == set(FaultName)


async def test_what_a_bad_host_lost_is_told(sandbox: Sandbox, url: str) -> None:
    assert "lost by" not in (await _command("status", "--url", url)).stdout
    await _command("fault", "bad-host", "--url", url)

    def send() -> None:
        with smtplib.SMTP(sandbox.intakes[1].address, sandbox.intakes[1].port) as client:
            client.sendmail("p@prober.example", sandbox.recipient, "Subject: x\r\n\r\n")

    await asyncio.to_thread(send)
    told = (await _command("status", "--url", url)).stdout
    assert re.search(r"lost by mx2\.sandbox\.test +1\n", told)
    assert "lost by mx1" not in told
    assert re.search(r"put off by greylisting +0\n", told)


async def test_status_as_text_and_as_json(sandbox: Sandbox, url: str) -> None:
    text = await _command("status", "--url", url)
    assert "messages in the queue" in text.stdout
    assert "mx1.sandbox.test" in text.stdout
    done = await _command("status", "--json", "--url", url)
    assert json.loads(done.stdout) == sandbox.snapshot().as_json()


async def test_requeue_says_how_many(url: str) -> None:
    done = await _command("requeue", "--url", url)
    assert done.exit_code == 0
    assert "re-queued now: 0" in done.stdout


async def test_what_the_demo_refuses_is_a_usage_error(url: str) -> None:
    done = await _command("fault", "delay", "--url", url)
    assert done.exit_code == 2
    assert "seconds" in done.stderr


@pytest.mark.parametrize("answer", ["404", "text", "list", "other"])
async def test_what_is_no_demo_is_said_to_be_none(answer: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text={"text": "hello", "list": "[]", "other": "{}"}[answer])

    app = web.Application()
    if answer != "404":
        app.router.add_get("/api/sandbox", handler)
    runner, address = await _serve(app)
    done = await _command("status", "--url", address)
    await runner.cleanup()
    assert done.exit_code == 3
    assert "not a demo" in done.stderr


async def test_nobody_there_is_exit_code_3() -> None:
    runner, address = await _serve(web.Application())
    await runner.cleanup()
    done = await _command("status", "--url", address)
    assert done.exit_code == 3
    assert "mailcanary demo" in done.stderr


async def test_an_address_that_is_none_is_a_usage_error() -> None:
    assert (await _command("status", "--url", "file:///etc/passwd")).exit_code == 2


@pytest.mark.parametrize(
    ("host", "page"),
    [("0.0.0.0", "http://127.0.0.1:80"), ("::", "http://[::1]:80"), ("192.0.2.1", "http://192.0.2.1:80")],
)
def test_the_page_has_an_address_that_a_browser_can_open(host: str, page: str) -> None:
    assert page_of(Listen(host, 80)) == page


class FakeDaemon:
    """Waits for the stop; ``trouble`` ends it at once."""

    trouble: Exception | None = None
    stubborn = False

    def __init__(self, config: Any, clock: Any, *, journal: Any, extensions: Any, panels: Any, pace: Any) -> None:
        self.panels = panels
        app = web.Application()
        for extend in extensions:
            extend(app)
        self.paths = {resource.canonical for resource in app.router.resources()}

    async def run(self, stop: asyncio.Event) -> None:
        assert "/api/sandbox/faults" in self.paths
        assert "messages in the queue" in self.panels[0]()
        if self.trouble is not None:
            raise self.trouble
        await stop.wait()
        if self.stubborn:
            await asyncio.Event().wait()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeDaemon]:
    class Own(FakeDaemon):
        pass

    monkeypatch.setattr(demo_module, "Daemon", Own)
    return Own


def _options(folder: Path | None, **changes: Any) -> DemoOptions:
    values: dict[str, Any] = {
        "listen": "127.0.0.1:9925",
        "every": timedelta(seconds=1),
        "overdue_after": timedelta(seconds=5),
        "lost_after": timedelta(seconds=15),
        "run_for": None,
        "state_dir": folder,
    }
    return DemoOptions(**{**values, **changes})


async def _run(options: DemoOptions, *signals: signal.Signals) -> tuple[DemoStarted, DemoEnded]:
    started: list[DemoStarted] = []
    journal = Journal(StringIO(), CLOCK)
    before = {number: signal.getsignal(number) for number in signals}
    running = asyncio.create_task(run_demo(options, CLOCK, journal, started.append))
    try:
        for number in signals:
            while signal.getsignal(number) == before[number]:  # without its handler the signal would end the test run
                await asyncio.sleep(0.002)
            os.kill(os.getpid(), number)
        ended = await running
        return started[0], ended
    finally:
        journal.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_stops_it_cleanly(fake: type[FakeDaemon], tmp_path: Path, number: signal.Signals) -> None:
    before = asyncio.all_tasks()
    started, ended = await _run(_options(tmp_path), number)
    assert ended.ledger == tmp_path / "ledger.sqlite"
    assert started.config_file == ended.config_file == tmp_path / "config.yaml"
    while asyncio.all_tasks() - before:
        await asyncio.sleep(0.002)
    assert signal.getsignal(number) in DEFAULTS


async def test_the_second_signal_stops_it_at_once(fake: type[FakeDaemon], tmp_path: Path) -> None:
    fake.stubborn = True
    with pytest.raises(asyncio.CancelledError):
        await _run(_options(tmp_path), signal.SIGTERM, signal.SIGTERM)


async def test_it_stops_by_itself(fake: type[FakeDaemon], tmp_path: Path) -> None:
    _, ended = await _run(_options(tmp_path, run_for=timedelta(milliseconds=1)))
    assert ended.sandbox.queue == 0


async def test_the_daemons_trouble_comes_through(fake: type[FakeDaemon], tmp_path: Path) -> None:
    fake.trouble = RuntimeError("broken")
    with pytest.raises(RuntimeError, match="broken"):
        await _run(_options(tmp_path))


async def test_a_temporary_folder_stays_after_a_run_and_goes_after_a_refusal(
    fake: type[FakeDaemon], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ConfigError, match="lost_after"):
        await _run(_options(None, lost_after=timedelta(seconds=1)))
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("probe.sandbox.system.second_address", lambda: second_address(("192.0.2.1",)))
    with pytest.raises(MailCanaryError, match="ifconfig lo0 alias"):
        await _run(_options(None))
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    monkeypatch.setattr(demo_module, "Daemon", fake)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    _, ended = await _run(_options(None, run_for=timedelta(milliseconds=1)))
    assert ended.config_file.exists()
    assert list(tmp_path.iterdir()) == [ended.config_file.parent]
