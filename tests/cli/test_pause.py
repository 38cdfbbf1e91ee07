"""``pause``, ``resume``, ``stop-sending`` while no daemon runs: in the ledger, for the next start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from probe.cli.main import main
from probe.ledger.opening import open_for_reading
from probe.ledger.queries import Queries
from tests.exposition.ledger_config import write_config


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path)


def run(config: Path, command: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, [command, "-c", str(config), *arguments])


def kept(config: Path) -> list[str]:
    queries = Queries(open_for_reading(config.parent / "ledger.sqlite"))
    try:
        return [pause["route"] for pause in json.loads(queries.meta("pauses") or "[]")]
    finally:
        queries.close()


def test_a_pause_is_kept_and_ended(config: Path) -> None:
    result = run(config, "pause", "inbound", "--for", "2h", "--reason", "servers are moved")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("route inbound is paused until 20")
    assert result.stdout.rstrip().endswith(": servers are moved")
    assert kept(config) == ["inbound"]
    assert json.loads(run(config, "stop-sending", "--json").stdout) == {
        "paused": "every route is paused until it is resumed"
    }
    ended = run(config, "resume", "inbound")
    assert ended.stdout == "inbound is resumed\n"
    assert "still in force: every route is paused" in ended.stderr
    assert run(config, "resume", "--all", "--json").stdout == '{"resumed": true, "still": []}\n'
    assert kept(config) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["pause", "nowhere"], "there is no route 'nowhere'"),
        (["pause", "inbound", "--for", "soon"], "must be a duration with its unit"),
        (["resume"], "name a route, or --all"),
        (["resume", "inbound", "--all"], "name a route, or --all"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], says: str, config: Path) -> None:
    result = run(config, *arguments)
    assert result.exit_code == 2
    assert says in result.stderr
