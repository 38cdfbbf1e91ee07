"""Rules with scaled times: each time is scaled, nothing else is, and at full scale the shipped files are used."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.alerts.rule_files import RECORDING, RULES
from tests.page.scale import FULL, SHORT, Scale, expression, routing, rule_files

TENTH = Scale(0.1, 1.0)


@pytest.mark.parametrize(
    ("shipped", "scaled"),
    [
        ("increase(x_total[1h]) > 0.5", "increase(x_total[360000ms]) > 0.5"),
        ("x - x offset 6h", "x - x offset 2160000ms"),
        ("time() - x_timestamp_seconds > 120", "time() - x_timestamp_seconds > 12"),
        ("(time() - (x > 0)) > 900", "(time() - (x > 0)) > 90"),
        ("time() - x > on (route) clamp_min(5 * y, 60)", "time() - x > on (route) clamp_min(5 * y, 6)"),
        ("x - time() < 14 * 86400 and x - time() >= 3 * 86400", "x - time() < 14 * 86400 and x - time() >= 3 * 86400"),
        ("last_over_time(m[10m]) > 50000", "last_over_time(m[60000ms]) > 50000"),
        ("a > 14.4 * 0.005 and n >= 3", "a > 14.4 * 0.005 and n >= 3"),
    ],
)
def test_times_in_an_expression(shipped: str, scaled: str) -> None:
    assert expression(shipped, TENTH) == scaled


def test_at_full_scale_the_shipped_files_are_used(tmp_path: Path) -> None:
    assert rule_files(tmp_path, FULL) == [RULES, RECORDING]
    assert list(tmp_path.iterdir()) == []


def test_scaled_rules_are_the_shipped_ones_but_for_their_times(tmp_path: Path) -> None:
    for made, shipped in zip(rule_files(tmp_path, SHORT), (RULES, RECORDING), strict=True):
        ours = yaml.safe_load(made.read_text())["groups"]
        theirs = yaml.safe_load(shipped.read_text())["groups"]
        assert [group["name"] for group in ours] == [group["name"] for group in theirs]
        for one, other in zip(ours, theirs, strict=True):
            for mine, its in zip(one["rules"], other["rules"], strict=True):
                assert {key for key in mine if mine[key] != its[key]} <= {"expr", "for", "keep_firing_for"}
                assert mine.keys() == its.keys()


def test_prometheus_takes_the_scaled_rules(promtool: Path, tmp_path: Path) -> None:
    words: list[str | Path] = [promtool, "check", "rules", *rule_files(tmp_path, SHORT)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_routes_keep_their_receivers_and_every_receiver_becomes_a_webhook() -> None:
    full = yaml.safe_load(routing(9, FULL))
    assert full["route"]["routes"][0]["repeat_interval"] == "50s"
    assert {one["name"] for one in full["receivers"] if "webhook_configs" not in one} == {"nobody"}
    (switch,) = [one for one in full["receivers"] if one["name"] == "dead-mans-switch"]
    assert switch["webhook_configs"] == [{"url": "http://127.0.0.1:9/dead-mans-switch", "send_resolved": False}]
    short = yaml.safe_load(routing(9, TENTH))
    assert short["inhibit_rules"] == full["inhibit_rules"]
    assert short["route"]["group_wait"] == "3000ms"
