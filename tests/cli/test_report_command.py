"""``mailcanary report`` on a real ledger, with a volume by hand and by a server that speaks Prometheus' API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from click.testing import CliRunner, Result

from probe.cli.main import main
from probe.detection.estimate import estimate_lost
from probe.detection.incident import apply
from probe.detection.incident_observations import WindowFound
from probe.detection.report import status_page
from tests.detection.incidents import at, window
from tests.exposition.exposition_fakes import TOKEN
from tests.exposition.incident_ledger import OVER, PARTIAL, RUNNING, broken, fill, partial_loss, row
from tests.exposition.ledger_config import write_config

QUERY = "sum(increase(mails_total[$window]))"


@pytest.fixture
async def config(tmp_path: Path) -> Path:
    (await fill(tmp_path / "ledger.sqlite", broken())).ledger.close()
    return write_config(tmp_path)


def run(config: Path, *arguments: str, url: str | None = None) -> Result:
    return CliRunner().invoke(main, ["report", "-c", str(config), *arguments], env={"MAILCANARY_PROMETHEUS": url})


def test_markdown_that_can_be_pasted(config: Path) -> None:
    result = run(config, PARTIAL)
    out = result.stdout
    assert result.exit_code == 0, result.output
    assert out.startswith(f"# Incident {PARTIAL}\n")
    assert status_page(partial_loss()) in out
    assert "`2026-09-09T09:50:00.000000Z` to `2026-09-09T12:00:00.000000Z`" in out
    assert "4bXyZ399" in out  # the last lost canary's queue id, to look for
    assert "`--volume N`" in out


def test_nothing_from_outside_reaches_the_terminal_raw(config: Path) -> None:
    out = run(config, PARTIAL).stdout
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert TOKEN not in out
    assert "abcdefgh…" in out


def test_a_volume_makes_an_estimate(config: Path) -> None:
    lost = estimate_lost(partial_loss(), 100_000)
    assert lost is not None
    assert 0 < lost.lower < lost.estimate < lost.upper < 100_000
    out = run(config, PARTIAL, "--volume", "100000").stdout
    assert f"Of 100,000 mails in the window about **{lost.estimate:,}** were lost" in out
    facts = json.loads(run(config, PARTIAL, "--volume", "100000", "--format", "json").stdout)
    assert facts["real_mail"]["lost_estimate"] == lost.estimate
    assert (facts["id"], facts["schema"], facts["requeue"]["confidence"]) == (PARTIAL, 1, 0.99)
    assert facts["instruction"].startswith("Queue again all mail that mx3 took from")


def test_json_without_a_volume_is_one_line_without_tokens(config: Path) -> None:
    out = run(config, OVER, "--format", "json").stdout
    assert out.count("\n") == 1
    assert json.loads(out)["real_mail"] is None
    assert TOKEN not in run(config, PARTIAL, "--format", "json").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["2026-01-01-nowhere-1"], 1, "no incident '2026-01-01-nowhere-1' in the ledger; `mailcanary incidents` lists"),
        (["2026-09-12-inbound-1"], 4, "cannot be read (an incident of schema 99, not 1)"),
        ([PARTIAL, "--volume", "-1"], 2, "-1 is not in the range"),
        ([PARTIAL, "--volume", "5", "--volume-query", QUERY], 2, "not both"),
        ([PARTIAL, "--volume-query", QUERY], 2, "needs --prometheus URL (or MAILCANARY_PROMETHEUS)"),
        ([PARTIAL, "--volume-query", "x", "--prometheus", "http://localhost"], 2, "must hold $window"),
        ([PARTIAL, "--volume-query", QUERY, "--prometheus", "http://127.0.0.1:1"], 3, "cannot connect"),
        ([PARTIAL, "--format", "html"], 2, "html"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], code: int, says: str, config: Path) -> None:
    result = run(config, *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert says in result.stderr


def test_no_ledger_exits_4(tmp_path: Path) -> None:
    assert run(write_config(tmp_path), PARTIAL).exit_code == 4


@pytest.fixture
async def prometheus() -> AsyncIterator[tuple[str, list[dict[str, str]]]]:
    asked: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append({key: str(value) for key, value in (await request.post()).items()})
        result = [{"metric": {}, "value": [1.0, "99999.7"]}]
        data = {"resultType": "vector", "result": result}
        return web.json_response({"status": "success", "data": data, "warnings": ["old \x1b[31m"]})

    app = web.Application()
    app.router.add_post("/api/v1/query", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    await runner.cleanup()


async def test_the_volume_by_prometheus(config: Path, prometheus: tuple[str, list[dict[str, str]]]) -> None:
    url, asked = prometheus
    result = await asyncio.to_thread(run, config, PARTIAL, "--volume-query", QUERY, "--format", "json", url=url)
    assert result.exit_code == 0, result.output
    assert asked[0]["query"] == "sum(increase(mails_total[7800s]))"  # from 09:50 to 12:00
    assert asked[0]["time"] == f"{partial_loss().windows[0][1].end.timestamp():.3f}"  # type: ignore[union-attr]
    assert json.loads(result.stdout)["real_mail"]["volume"] == 100_000
    assert "Prometheus counts 100,000 mails from 2026-09-09 09:50:00 UTC to 2026-09-09 12:00:00 UTC" in result.stderr
    assert "Prometheus warns: old \\x1b[31m" in result.stderr


async def test_while_it_is_not_over_the_volume_is_that_up_to_the_last_overdue_canary(
    tmp_path: Path, prometheus: tuple[str, list[dict[str, str]]]
) -> None:
    url, asked = prometheus
    open_ended = apply(
        replace(partial_loss(), id="2026-09-13-inbound-1"), WindowFound(at(7500), "mx3", window(end=None))
    )
    (await fill(tmp_path / "ledger.sqlite", row(open_ended, 900))).ledger.close()
    result = await asyncio.to_thread(run, write_config(tmp_path), open_ended.id, "--volume-query", QUERY, url=url)
    assert result.exit_code == 0, result.output
    assert asked[0] == {
        "query": "sum(increase(mails_total[4200s]))",  # from -600 s to 3600 s
        "time": f"{at(3600).timestamp():.3f}",
        "timeout": "30s",
    }
    assert "the all-clear (it is not over yet)" in result.stdout


async def test_no_window_no_question(config: Path, prometheus: tuple[str, list[dict[str, str]]]) -> None:
    url, asked = prometheus
    result = await asyncio.to_thread(run, config, RUNNING, "--volume-query", QUERY, "--prometheus", url)
    assert result.exit_code == 0
    assert asked == []
    assert "no re-queue window yet" in result.stderr
    assert "No window can be given yet." in result.stdout
