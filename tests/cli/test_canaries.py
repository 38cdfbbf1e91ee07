"""``mailcanary canaries`` on a ledger with a few lives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from probe.cli.main import main
from tests.exposition.exposition_fakes import IDS, four_lives
from tests.exposition.ledger_config import write_config


@pytest.fixture
async def config(tmp_path: Path) -> Path:
    (await four_lives(tmp_path / "ledger.sqlite")).ledger.close()
    return write_config(tmp_path)


def run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["canaries", "-c", str(config), *arguments])


def test_a_table_newest_first_without_colours(config: Path) -> None:
    result = run(config)
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert [line.split()[0] for line in lines] == ["ID", *reversed(IDS)]
    assert "lost, recovered" in lines[3]
    assert "4XYZ" in lines[3]
    assert len({line.index("inbound") for line in lines[1:]}) == 1
    assert "\x1b" not in result.stdout


def test_json_is_one_object_a_line(config: Path) -> None:
    rows = [json.loads(line) for line in run(config, "--json").stdout.splitlines()]
    assert [row["id"] for row in rows] == list(reversed(IDS))
    assert [row["outcome"] for row in rows] == [None, "late", "lost", "delivered"]
    assert rows[3]["latency_seconds"] == 3.1


def test_filters(config: Path) -> None:
    assert IDS[1] in run(config, "--outcome", "lost").stdout
    assert IDS[0] not in run(config, "--outcome", "lost").stdout
    assert len(run(config, "--limit", "1", "--json").stdout.splitlines()) == 1
    assert len(run(config, "--since", "2025-11-24T16:01:30Z", "--json").stdout.splitlines()) == 2
    empty = run(config, "--route", "nowhere")
    assert (empty.exit_code, empty.stdout) == (0, "")
    assert "no canary" in empty.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--since", "yesterday"], 2), (["--outcome", "gone"], 2), (["--limit", "0"], 2), (["--limit", "99999"], 2)],
)
def test_wrong_calls_exit_2(config: Path, arguments: list[str], code: int) -> None:
    assert run(config, *arguments).exit_code == code


def test_no_ledger_exits_4(tmp_path: Path) -> None:
    result = run(write_config(tmp_path))
    assert result.exit_code == 4
    assert "no ledger there" in result.stderr
