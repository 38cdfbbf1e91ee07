"""A runbook for each alert, in one form, with commands that exist; and the page for operators is the rules' own."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.alerts.reference import PAGE, renewed, table
from tests.alerts.rule_files import ALERTS, RUNBOOKS, alerts

NAMES = sorted({rule.name for rule in alerts()})
COMMANDS = PAGE.with_name("commands.md").read_text(encoding="utf-8")
HEADINGS = ["What it means", "What to look at, in this order", "What it is not", "How it ends"]
each_page = pytest.mark.parametrize("name", NAMES)


def runbook(name: str) -> str:
    return (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")


def sections(name: str) -> dict[str, str]:
    parts = re.split(r"^## (.+)$", runbook(name), flags=re.MULTILINE)
    return dict(zip(parts[1::2], (text.strip() for text in parts[2::2]), strict=True))


def commands() -> set[str]:
    """The commands of the program: the headings of its reference."""
    return set(re.findall(r"^## mailcanary ([a-z -]+)$", COMMANDS, flags=re.MULTILINE))


def test_each_alert_has_a_page_and_each_page_an_alert() -> None:
    assert sorted(path.stem for path in RUNBOOKS.iterdir()) == NAMES


@each_page
def test_a_page_has_the_form_that_one_finds_ones_way_in(name: str) -> None:
    assert runbook(name).startswith(f"# {name}\n\n## ")
    found = sections(name)
    assert list(found) == HEADINGS
    assert all(found.values())
    steps = re.findall(r"^(\d+)\. ", found[HEADINGS[1]], flags=re.MULTILINE)
    assert steps == [str(number) for number in range(1, len(steps) + 1)]
    assert len(steps) >= 2
    assert found[HEADINGS[2]].startswith("* ")


@each_page
def test_a_page_is_short(name: str) -> None:
    lines = runbook(name).splitlines()
    assert len(lines) <= 45
    assert max(map(len, lines)) <= 120


@each_page
def test_a_page_names_commands_and_options_that_exist(name: str) -> None:
    for code in re.findall(r"`(mailcanary [^`]*)`", runbook(name)):
        word, *rest = code.removeprefix("mailcanary ").split()
        if rest and f"{word} {rest[0]}" in commands():
            word = f"{word} {rest.pop(0)}"
        assert word in commands(), code
        usage = COMMANDS.partition(f"## mailcanary {word}\n")[2].partition("\n## ")[0]
        for option in (each for each in rest if each.startswith("--")):
            assert f"{option} " in usage or f"{option}\n" in usage, code


@each_page
def test_a_page_refers_to_alerts_that_exist(name: str) -> None:
    assert set(re.findall(r"\bMailCanary[A-Z]\w+", runbook(name))) <= set(NAMES)


def test_the_table_for_operators_is_current() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == renewed(page), "python -m tests.alerts.reference"
    assert table().count("\n") == len(alerts()) + 2


def test_a_page_without_a_place_for_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="lost the lines"):
        renewed("# Alerts\n")


def test_the_links_of_the_page_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)", PAGE.read_text(encoding="utf-8"))
    assert len(links) > len(NAMES)
    assert [link for link in links if not (PAGE.parent / link).exists()] == []


def test_the_configuration_for_prometheus_on_the_page_is_valid(promtool: Path, tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    configuration = tmp_path / "prometheus.yml"
    configuration.write_text(block.replace("/etc/prometheus/mailcanary/", f"{ALERTS}/"))
    done = subprocess.run(
        [promtool, "check", "config", configuration], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(alerts())} rules found" in done.stdout
