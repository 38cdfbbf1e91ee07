"""docs/commands.md is what the commands say of themselves."""

from pathlib import Path

import pytest

from probe.cli.main import COMMANDS
from probe.cli.reference import reference

COMMITTED = Path(__file__).parents[2] / "docs" / "commands.md"


def test_the_committed_page_is_the_generated_one() -> None:
    assert COMMITTED.read_text(encoding="utf-8") == reference(), "run: python -m probe.cli.reference > docs/commands.md"


def test_every_command_has_its_help_subcommands_too() -> None:
    titles = [line for line in reference().splitlines() if line.startswith("## ")]
    assert [f"## mailcanary {name}" for name in COMMANDS] == [title for title in titles if title.count(" ") == 2]
    assert "## mailcanary demo fault" in titles


def test_the_width_is_not_that_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    before = reference()
    monkeypatch.setenv("COLUMNS", "40")
    assert reference() == before
