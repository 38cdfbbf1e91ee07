"""``mailcanary explain`` on a ledger with a few lives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from probe.cli.main import main
from tests.exposition.exposition_fakes import IDS, TOKEN, four_lives
from tests.exposition.ledger_config import write_config


@pytest.fixture
async def config(tmp_path: Path) -> Path:
    (await four_lives(tmp_path / "ledger.sqlite")).ledger.close()
    return write_config(tmp_path)


def run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["explain", "-c", str(config), *arguments])


def test_a_life_is_told_whole(config: Path) -> None:
    result = run(config, IDS[1])
    out = result.stdout
    assert result.exit_code == 0
    assert out.startswith(f"canary {IDS[1]}: lost\n")
    told = [
        "planned → intent",
        "accepted → lost",
        "proven absent; every folder read; no gap",
        "recovered after lost",
        "connect 10 ms, dot 200 ms",
        "dot      > .",
        "dot      < 250 queued as 4XYZ",
        "Copy in INBOX: first",
        "by mx1.example.org",
    ]
    for words in told:
        assert words in out, words


@pytest.mark.fault("S39")
def test_nothing_from_outside_reaches_the_terminal_raw(config: Path) -> None:
    out = run(config, IDS[0]).stdout
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "\\x1b[31m\\u202e" in out
    assert TOKEN not in out


def test_a_unique_beginning_will_do(config: Path) -> None:
    assert run(config, "bb").stdout.startswith(f"canary {IDS[2]}: late")
    ambiguous = run(config, "aaaa")
    assert ambiguous.exit_code == 2
    assert IDS[0] in ambiguous.stderr
    assert run(config, "zz").exit_code == 1
    assert run(config, "not an id").exit_code == 2


def test_json(config: Path) -> None:
    facts = json.loads(run(config, IDS[0], "--json").stdout)
    assert (facts["id"], facts["outcome"], facts["folder"]) == (IDS[0], "delivered", "INBOX")
    assert facts["smtp"][0]["phases"] == {"connect": 0.01, "dot": 0.2}
    assert facts["copies"][0]["carriers"] == ["header", "body"]
    assert len(facts["received"]) == 1
