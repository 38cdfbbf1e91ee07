"""Every alert fires and does not fire, on both sides of its condition, its ``for`` and its ``keep_firing_for``."""

from __future__ import annotations

import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from tests.alerts.rule_files import CASES, RECORDING, RULES, Case, Check, Rule, alerts, cases

ALERTS = alerts()
EVERY_CASE = list(cases())
ALWAYS = "MailCanaryWatchdog"  # the one that never does not fire
each_alert = pytest.mark.parametrize(
    "rule", [rule for rule in ALERTS if rule.name != ALWAYS], ids=lambda rule: rule.key
)


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=110, check=False)


def test_promtool_accepts_the_rules(promtool: Path) -> None:
    done = run(promtool, "check", "rules", RULES, RECORDING)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(ALERTS)} rules found" in done.stdout


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_cases_hold(promtool: Path, path: Path) -> None:
    done = run(promtool, "test", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_would_see_an_alert_that_waits_longer(promtool: Path, tmp_path: Path) -> None:
    """A wrong ``for`` fails the cases: what the two tests above say means something."""
    text = RULES.read_text(encoding="utf-8")
    start = text.index("alert: MailCanaryProberDown")
    (tmp_path / "rules.yaml").write_text(text[:start] + text[start:].replace("for: 1m", "for: 75s", 1))
    (tmp_path / "recording.yaml").write_text(RECORDING.read_text(encoding="utf-8"))
    (tmp_path / "tests").mkdir()
    changed = tmp_path / "tests" / "prober.yaml"
    changed.write_text(next(path for path in CASES if path.stem == "prober").read_text(encoding="utf-8"))
    done = run(promtool, "test", "rules", changed)
    assert done.returncode == 1
    assert "alertname: MailCanaryProberDown, time: 2m" in done.stdout + done.stderr


def edges(rule: Rule, begin: bool) -> list[tuple[Case, Check, Check]]:
    """Pairs of looks at most one evaluation apart, between which the alert begins to fire, or ends."""
    found = []
    for case in EVERY_CASE:
        for before, after in pairwise(case.of(rule.name)):
            turns = before.fires(rule.severity) is not begin and after.fires(rule.severity) is begin
            if turns and after.at - before.at <= case.step:
                found.append((case, before, after))
    return found


@each_alert
def test_the_moment_it_begins_to_fire_is_proven(rule: Rule) -> None:
    assert edges(rule, begin=True)


@pytest.mark.parametrize("rule", [rule for rule in ALERTS if rule.keep], ids=lambda rule: rule.key)
def test_the_moment_it_stops_to_be_kept_is_proven(rule: Rule) -> None:
    assert edges(rule, begin=False)


def test_the_watchdog_is_shown_to_fire_from_the_first_moment() -> None:
    looks = [check for case in EVERY_CASE for check in case.of(ALWAYS)]
    assert looks[0].at == 0
    assert all(check.firing for check in looks)


def test_the_cases_know_no_other_alert() -> None:
    named = {check.alert for case in EVERY_CASE for check in case.checks}
    assert named == {rule.name for rule in ALERTS}


def test_no_annotation_lacks_a_value() -> None:
    """A label that is not there is written as nothing, or as "<no value>"."""
    for case in EVERY_CASE:
        for check in case.checks:
            for notes in check.annotations:
                text = " ".join(notes.values())
                assert "no value" not in text
                assert "  " not in text
                assert "()" not in text
                assert " ," not in text
