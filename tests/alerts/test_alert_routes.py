"""Where each alert goes, by Alertmanager's own tool; and that no page depends on mail."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.alerts.routing import SECRETS, configuration, text, ways_out
from tests.alerts.rule_files import ALERTMANAGER, Rule, alerts

ALERTS = alerts()
LEG = {"instance": "prober-1:9925", "route": "support", "mx": "mx1.example.org", "mailbox": "canaries"}
each_alert = pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule.key)


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def receivers(file: Path, labels: dict[str, str]) -> list[str]:
    """Who gets an alert with these labels."""
    pairs = [f"{name}={value}" for name, value in labels.items()]
    done = run("amtool", "config", "routes", "test", f"--config.file={file}", *pairs)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().split(",")


def expected(rule: Rule) -> str:
    if rule.name == "MailCanaryWatchdog":
        return "dead-mans-switch"
    if rule.name == "MailCanaryNotifyFailing":
        return "page-by-pagerduty-alone"
    return {"critical": "page", "warning": "tickets", "info": "nobody"}[rule.severity]


def test_amtool_accepts_the_file(amtool: Path) -> None:
    done = run(amtool, "check-config", ALERTMANAGER)
    assert done.returncode == 0, done.stdout + done.stderr


@each_alert
def test_an_alert_goes_to_its_receiver_and_no_other(amtool: Path, rule: Rule) -> None:
    labels = {"alertname": rule.name, **rule.labels, **LEG}
    assert receivers(ALERTMANAGER, labels) == [expected(rule)]


@pytest.mark.parametrize("component", ["path", "prober", "pipeline", "another"])
@pytest.mark.parametrize(
    ("severity", "receiver"),
    [("critical", "page"), ("warning", "tickets"), ("info", "nobody"), ("unheard-of", "tickets")],
)
def test_severity_decides(amtool: Path, severity: str, component: str, receiver: str) -> None:
    assert receivers(ALERTMANAGER, {"severity": severity, "component": component}) == [receiver]


@pytest.mark.parametrize(
    ("failing", "receiver"),
    [
        ("pagerduty", "page-without-pagerduty"),
        ("slack", "page-by-pagerduty-alone"),
        ("webhook", "page-by-pagerduty-alone"),
    ],
)
def test_a_way_that_fails_is_told_by_another(amtool: Path, failing: str, receiver: str) -> None:
    labels = {"alertname": "MailCanaryNotifyFailing", "severity": "critical", "component": "pipeline"}
    assert receivers(ALERTMANAGER, {**labels, "integration": failing}) == [receiver]
    assert failing not in ways_out(receiver, configuration())


def ends_in_mail(file: Path) -> list[str]:
    """The critical alerts that somebody would hear of by mail alone, or not at all."""
    whole: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    found = []
    for rule in ALERTS:
        if rule.severity == "critical":
            for name in receivers(file, {"alertname": rule.name, **rule.labels, **LEG}):
                if not ways_out(name, whole) - {"email"}:
                    found.append(f"{rule.name} to {name}")
    return found


def test_no_page_ends_in_mail(amtool: Path) -> None:
    assert ends_in_mail(ALERTMANAGER) == []
    assert not any("email" in ways_out(each["name"], configuration()) for each in configuration()["receivers"])


def test_a_page_that_ends_in_mail_would_be_found(amtool: Path, tmp_path: Path) -> None:
    whole = configuration()
    for each in whole["receivers"]:
        if each["name"] == "page":
            each.clear()
            each |= {"name": "page", "email_configs": [{"to": "a@example.org", "from": "b@example.org",
                                                        "smarthost": "mail.example.org:25"}]}  # fmt: skip
    changed = tmp_path / "alertmanager.yml"
    changed.write_text(yaml.safe_dump(whole))
    critical = [rule for rule in ALERTS if rule.severity == "critical" and expected(rule) == "page"]
    assert ends_in_mail(changed) == [f"{rule.name} to page" for rule in critical]


def test_secrets_stand_in_files() -> None:
    whole = configuration()
    for receiver in whole["receivers"]:
        for kind in ways_out(receiver["name"], whole):
            for each in receiver[f"{kind}_configs"]:
                secret = {
                    "pagerduty": lambda one: one["routing_key_file"],
                    "slack": lambda one: one["api_url_file"],
                    "webhook": lambda one: one["http_config"]["authorization"]["credentials_file"],
                }[kind](each)
                assert secret.startswith(SECRETS)
    assert not re.search(r"(routing_key|api_url|credentials|password): ", text())


def test_the_dead_mans_switch_is_told_often_and_never_resolved() -> None:
    whole = configuration()
    (route,) = [each for each in whole["route"]["routes"] if each["receiver"] == "dead-mans-switch"]
    assert (route["group_wait"], route["repeat_interval"]) == ("0s", "50s")
    (receiver,) = [each for each in whole["receivers"] if each["name"] == "dead-mans-switch"]
    assert [each["send_resolved"] for each in receiver["webhook_configs"]] == [False]
