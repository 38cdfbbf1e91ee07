"""From a metric to a page, with the shipped rules and the shipped routes, on a real Prometheus and Alertmanager.

Only addresses and waits differ from what an operator runs: scrapes, evaluations and group waits of a second.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from pathlib import Path

from tests.alerts.reference import PAGE
from tests.alerts.routing import on_this_machine
from tests.alerts.rule_files import RECORDING, RULES
from tests.worlds.alertmanager import Alertmanager, Desk, Notification
from tests.worlds.fixtures import Alerting
from tests.worlds.ports import wait_until
from tests.worlds.prometheus import Page

PATIENCE = 30.0


def dark(route: str, mx: str, mailbox: str, score: float) -> dict[str, float]:
    """The blackout detector of one leg; it pages from 7."""
    leg = f'route="{route}",mx="{mx}",mailbox="{mailbox}",detector="blackout"'
    return {f"mailcanary_detector_score{{{leg}}}": score, f"mailcanary_detector_threshold{{{leg}}}": 7.0}


def read_at(mailbox: str, when: float) -> dict[str, float]:
    labels = f'mailbox="{mailbox}"'
    return {
        f"mailcanary_mailbox_last_read_timestamp_seconds{{{labels}}}": when,
        f"mailcanary_mailbox_blind{{{labels}}}": float(when < time.time() - 60),
    }


def paged(desk: Desk, word: str) -> list[Notification]:
    """Events that PagerDuty was sent and whose summary has ``word``."""
    return [each for each in desk.at("pagerduty") if word in each.body["payload"]["summary"]]


def suppressed(alertmanager: Alertmanager) -> list[str]:
    """The routes of path alerts that are inhibited."""
    return [each["labels"]["route"] for each in alertmanager.alerts() if each["status"]["state"] == "suppressed"]


def ended(desk: Desk) -> list[Notification]:
    return [each for each in desk.at("pagerduty") if each.body["event_action"] == "resolve"]


def whole_way(alerting: Alerting, folder: Path, page: Page) -> tuple[Desk, Alertmanager]:
    desk = alerting.desk()
    alertmanager = alerting.alertmanager(on_this_machine(desk.port, folder))
    alerting.prometheus({"mailcanary": page.port}, [RULES, RECORDING], alertmanager.port)
    return desk, alertmanager


def test_a_dark_route_pages_once_though_two_legs_are_dark(alerting: Alerting, tmp_path: Path) -> None:
    page = alerting.page()
    legs = [("support", "mx1.example.org"), ("support", "mx2.example.org"), ("sales", "mx1.example.org")]
    for route, mx in legs:
        page.series |= dark(route, mx, "canaries", 0.0)
    desk, _ = whole_way(alerting, tmp_path, page)
    wait_until(lambda: len(desk.at("heartbeat")) > 0, PATIENCE, "the dead man's switch is told")
    assert desk.at("pagerduty") == []
    page.series |= dark("support", "mx1.example.org", "canaries", 7.0) | dark(
        "support", "mx2.example.org", "canaries", 8.0
    )
    wait_until(lambda: len(paged(desk, "support")) > 0, PATIENCE, "the page for support")
    wait_until(lambda: len(desk.at("slack")) > 0, PATIENCE, "the message in the chat")
    page.series |= dark("sales", "mx1.example.org", "canaries", 7.0)
    wait_until(lambda: len(paged(desk, "sales")) > 0, PATIENCE, "the page for sales")

    (support,) = paged(desk, "support")
    assert support.body["event_action"] == "trigger"
    assert support.body["routing_key"] == "secret-of-pagerduty-routing-key"
    assert support.body["payload"]["severity"] == "critical"
    assert support.body["payload"]["summary"] == "support: No canary arrives on a leg any more. (2 firing)"
    firing = support.body["payload"]["custom_details"]["firing"]
    assert firing.count("MailCanaryPathDown: support (mx") == 2
    assert {link["href"].rpartition("/")[2] for link in support.body["links"]} == {
        "MailCanaryPathDown.md",
        "mailcanary-incident?var-route=support&var-mx=mx1.example.org",
    }
    (sales,) = paged(desk, "sales")
    assert sales.body["dedup_key"] != support.body["dedup_key"]
    first = desk.at("slack")[0].body["attachments"][0]
    assert first["title"] == "FIRING support No canary arrives on a leg any more."
    assert desk.at("tickets") == []
    assert {each.authorization for each in desk.at("heartbeat")} == {"Bearer secret-of-heartbeat-token"}
    assert desk.at("heartbeat")[0].body["alerts"][0]["labels"]["alertname"] == "MailCanaryWatchdog"


def test_a_blind_mailbox_silences_its_own_routes_until_it_is_read_again(alerting: Alerting, tmp_path: Path) -> None:
    page = alerting.page()
    now = time.time()
    page.series |= read_at("canaries", now - 300) | read_at("other", now + 300)
    desk, alertmanager = whole_way(alerting, tmp_path, page)
    wait_until(lambda: len(paged(desk, "cannot be read")) > 0, PATIENCE, "the page about the mailbox")
    page.series |= dark("support", "mx1.example.org", "canaries", 7.0) | dark("sales", "mx1.example.org", "other", 7.0)
    wait_until(lambda: len(paged(desk, "sales")) > 0, PATIENCE, "the page for the route of the other mailbox")
    wait_until(lambda: suppressed(alertmanager) == ["support"], PATIENCE, "the route of the blind mailbox is inhibited")
    assert paged(desk, "support") == []

    page.series |= read_at("canaries", now + 300)
    wait_until(
        lambda: len(paged(desk, "support")) > 0, PATIENCE, "the page for the route, now that its mailbox is read"
    )
    actions = [each.body["event_action"] for each in desk.at("pagerduty")]
    assert actions.count("trigger") == 3
    wait_until(lambda: len(ended(desk)) > 0, PATIENCE, "the end of the page about the mailbox")
    assert ended(desk)[0].body["dedup_key"] == paged(desk, "cannot be read")[0].body["dedup_key"]


def test_the_test_page_of_the_instructions_pages(alerting: Alerting, amtool: Path, tmp_path: Path) -> None:
    desk = alerting.desk()
    alertmanager = alerting.alertmanager(on_this_machine(desk.port, tmp_path))
    (command,) = re.findall(r"^    (amtool --alertmanager\.url.*\\\n.*)$", PAGE.read_text(), flags=re.MULTILINE)
    words = shlex.split(command.replace("\\\n", " ").replace("http://127.0.0.1:9093", alertmanager.url))
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: len(paged(desk, "test: A test page.")) == 1, PATIENCE, "the test page", alertmanager.log)
