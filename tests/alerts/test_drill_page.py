"""``mailcanary drill page`` from the command to the pager, on a real Prometheus and Alertmanager with the shipped rules
and routes; the daemon is its control socket and its drills."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from probe.cli.main import main
from probe.clock import SystemClock
from probe.engine.control import ControlSocket
from probe.engine.drills import Drills
from probe.exposition.journal import Journal
from tests.alerts.routing import on_this_machine
from tests.alerts.rule_files import RECORDING, RULES
from tests.exposition.ledger_config import write_config
from tests.worlds.fixtures import Alerting, short_tmp
from tests.worlds.ports import wait_until
from tests.worlds.prometheus import Page

__all__ = ["short_tmp"]


@pytest.fixture
def config(tmp_path: Path, short_tmp: Path) -> Path:
    path = write_config(tmp_path)
    path.write_text(path.read_text() + f"control: {short_tmp}/c.sock\n")
    return path


@contextmanager
def prober(path: Path, page: Page | None = None) -> Iterator[list[str]]:
    """The control socket of a daemon with one route; ``page`` shows its metric. What it was asked, by name."""
    clock = SystemClock()
    drills = Drills(clock, Journal(io.StringIO(), clock), lambda: ["inbound"])
    ready, stop, loops, asked = threading.Event(), asyncio.Event(), [], []

    def show() -> None:
        if page is not None:
            page.series = {'mailcanary_drill{route="inbound"}': float(drills.now(clock.now()) is not None)}

    def shown(name: str) -> Any:
        async def handler(request: Mapping[str, Any]) -> Mapping[str, Any]:
            asked.append(name)
            try:
                return await drills.handlers[name](request)
            finally:
                show()

        return handler

    async def serve() -> None:
        show()
        control = ControlSocket(path, {name: shown(name) for name in drills.handlers})
        await control.start()
        loops.append(asyncio.get_running_loop())
        ready.set()
        await stop.wait()
        await control.stop()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(30)
    try:
        yield asked
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(30)


def run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["drill", "page", "-c", str(config), *arguments])


def test_a_drill_reaches_the_pager_and_ends(alerting: Alerting, config: Path, tmp_path: Path, short_tmp: Path) -> None:
    page, desk = alerting.page(), alerting.desk()
    alertmanager = alerting.alertmanager(on_this_machine(desk.port, tmp_path))
    prometheus = alerting.prometheus({"mailcanary": page.port}, [RULES, RECORDING], alertmanager.port)
    urls = ("--prometheus", prometheus.url, "--alertmanager", alertmanager.url)
    with prober(short_tmp / "c.sock", page) as asked:
        result = run(config, *urls, "--for", "60s", "--json")
        assert (result.exit_code, result.stderr) == (0, ""), result.output
        said = json.loads(result.stdout)
        assert (said["drill"], said["paged"], said["route"], said["receivers"]) == ("page", True, "inbound", ["page"])
        times = [said["steps"][name] for name in ("asked", "scraped", "firing", "ended")]
        assert times == sorted(times)
        assert said["steps"]["scraped"] <= said["steps"]["received"] <= said["steps"]["ended"] < 60
        assert asked[0] == "drill"
        assert asked[-1] == "drill_end"
        # Ended before the group was told: the page comes all the same, marked as what it is.
        wait_until(lambda: len(desk.at("pagerduty")) > 0, 30, "the page")
        payload = desk.at("pagerduty")[0].body["payload"]
        assert "DRILL, nothing is wrong." in payload["summary"]
        assert page.series == {'mailcanary_drill{route="inbound"}': 0.0}
        again = run(config, *urls)
        assert again.exit_code == 1
        assert "an earlier drill of this route still fires" in again.stderr
        assert asked.count("drill") == 1


def test_held_back_by_a_silence_is_not_paged(alerting: Alerting, config: Path, short_tmp: Path) -> None:
    quiet = """
route: {receiver: page, group_wait: 1s}
receivers: [{name: page}]
inhibit_rules:
  - {source_matchers: [alertname = "Source"], target_matchers: [alertname = "MailCanaryDrill"]}
"""
    page, alertmanager = alerting.page(), alerting.alertmanager(quiet)
    alertmanager.tell([{"alertname": "Source"}])
    alerting.prometheus({"mailcanary": page.port}, [RULES, RECORDING], alertmanager.port)
    with prober(short_tmp / "c.sock", page) as asked:
        result = run(config, "--alertmanager", alertmanager.url, "--for", "15s")
    assert result.exit_code == 1, result.output
    assert "Alertmanager has it and holds it back, by inhibited" in result.stdout
    assert "drill_end" in asked


def test_what_nobody_followed_is_not_proven(config: Path, short_tmp: Path) -> None:
    with prober(short_tmp / "c.sock") as asked:
        result = run(config, "--for", "1500ms")
    assert result.exit_code == 1
    assert "not proven: the daemon raised it; name --alertmanager" in result.stdout
    assert asked[0] == "drill"
    assert asked[-1] == "drill_end"


def test_without_a_daemon_and_without_those_to_ask(config: Path, short_tmp: Path) -> None:
    assert run(config).exit_code == 3
    with prober(short_tmp / "c.sock") as asked:
        for name in ("--prometheus", "--alertmanager"):
            result = run(config, name, "http://127.0.0.1:9")
            assert result.exit_code == 3
            assert "nothing answers at http://127.0.0.1:9" in result.stderr
            assert run(config, name, "file:///etc/passwd").exit_code == 2
        assert run(config, "--route", "nowhere").exit_code == 2
        assert run(config, "--for", "2h").exit_code == 2
    assert asked == ["drill"]  # that of the route which is not there: nothing was raised


def started(config: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "probe.cli.main", "drill", "page", "-c", str(config), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_whoever_stops_it_ends_the_drill(number: signal.Signals, config: Path, short_tmp: Path) -> None:
    with prober(short_tmp / "c.sock") as asked:
        process = started(config)
        wait_until(lambda: "drill_state" in asked, 30, "the drill is followed")
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "stopped; the drill is over" in err
    assert asked[-1] == "drill_end"


def test_a_daemon_that_goes_away_is_exit_3(config: Path, short_tmp: Path) -> None:
    with prober(short_tmp / "c.sock") as asked:
        process = started(config)
        wait_until(lambda: "drill_state" in asked, 30, "the drill is followed")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "no daemon answers" in err
