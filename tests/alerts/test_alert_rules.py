"""The rules as text: they name what the program exports, and carry what a person on call needs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.alerts.expressions import uses
from tests.alerts.known import SCRAPED, is_gauge, metrics, values
from tests.alerts.rule_files import Rule, alerts, recordings, seconds

ROOT = Path(__file__).parents[2]
ALERTS = alerts()
EVERY = [*recordings(), *ALERTS]
METRICS = metrics()
VALUES = values()
RUNBOOKS = "https://runbooks.example.org/mailcanary/"
DASHBOARDS = "https://grafana.example.org/d/mailcanary-"
SCRAPE_INTERVAL = 15.0  # as docs/alerts.md advises
each_alert = pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule.key)
each_rule = pytest.mark.parametrize("rule", EVERY, ids=lambda rule: rule.key)


@each_rule
def test_a_rule_names_only_metrics_and_labels_that_exist(rule: Rule) -> None:
    found = uses(rule.expr)
    assert [each.name for each in found.selectors if each.name not in METRICS] == []
    for each in found.selectors:
        assert {label for label, _ in each.matchers} <= METRICS[each.name], each
    present = frozenset().union(*(METRICS[each.name] for each in found.selectors))
    assert found.labels <= present


@each_rule
def test_a_matcher_names_only_values_that_the_label_can_have(rule: Rule) -> None:
    for each in uses(rule.expr).selectors:
        for label, named in each.matchers:
            possible = VALUES.get(each.name, {}).get(label)
            assert possible is None or named <= possible, f"{each.name} {label}"


@each_rule
def test_no_aggregation_drops_the_prober(rule: Rule) -> None:
    """What Alertmanager inhibits by ``instance`` must have one."""
    assert all(labels >= SCRAPED for labels in uses(rule.expr).by)
    assert "without (job" not in rule.expr
    assert "without (instance" not in rule.expr


def test_every_recorded_metric_is_used() -> None:
    used = {each.name for rule in EVERY for each in uses(rule.expr).selectors}
    assert [rule.name for rule in recordings() if rule.name not in used] == []
    assert all(
        re.fullmatch(r"mailcanary:[a-z_]+:(total|(rate|ratio|increase)_\d+[mhd])", rule.name) for rule in recordings()
    )


@each_alert
def test_an_alert_says_what_the_house_asks_for(rule: Rule) -> None:
    assert re.fullmatch(r"MailCanary([A-Z][a-z]+)+", rule.name)
    marked = {"drill"} if rule.name == "MailCanaryDrill" else set()
    assert set(rule.labels) == {"severity", "component"} | marked
    assert rule.severity in {"critical", "warning", "info"}
    assert rule.component in {"path", "prober", "pipeline"}
    assert set(rule.annotations) == {"summary", "description", "runbook_url", "dashboard_url"}


@each_alert
def test_labels_never_hold_a_value(rule: Rule) -> None:
    """A label that moves makes a new alert at each evaluation, and no ``for`` would ever pass."""
    assert not any("{{" in value or "$" in value for value in rule.labels.values())


@each_alert
def test_the_summary_is_one_static_sentence(rule: Rule) -> None:
    summary = rule.annotations["summary"]
    assert re.fullmatch(r"[A-Z][^.{}]*\.", summary)


@each_alert
def test_the_description_names_labels_that_the_alert_has(rule: Rule) -> None:
    possible = frozenset().union(SCRAPED, *(METRICS[each.name] for each in uses(rule.expr).selectors))
    for text in rule.annotations.values():
        assert set(re.findall(r"\$labels\.(\w+)", text)) <= possible
    assert rule.annotations["description"].endswith(".")


@each_alert
def test_the_links_lead_to_its_runbook_and_a_dashboard(rule: Rule) -> None:
    assert rule.annotations["runbook_url"] == f"{RUNBOOKS}{rule.name}.md"
    assert re.match(
        re.escape(DASHBOARDS) + r"(overview|route|incident|prober)(\?|$)", rule.annotations["dashboard_url"]
    )


@each_alert
def test_there_is_a_comparison(rule: Rule) -> None:
    compared = re.search(r"[<>]|[!=]=", re.sub(r"\{[^}]*\}", "", rule.expr))
    assert bool(compared) is (rule.name != "MailCanaryWatchdog")


@each_alert
def test_absence_waits_for_two_scrapes(rule: Rule) -> None:
    if uses(rule.expr).functions & {"absent", "absent_over_time"}:
        assert seconds(rule.wait) >= 2 * SCRAPE_INTERVAL


def test_one_alert_asks_for_absence() -> None:
    """Or the test above would test nothing."""
    assert [rule.name for rule in ALERTS if "absent" in uses(rule.expr).functions] == ["MailCanaryAbsent"]


@each_alert
def test_one_failed_scrape_does_not_start_the_wait_anew(rule: Rule) -> None:
    """A gauge ends with a failed scrape. Where the alert waits, the gauge has to be looked at over a range; where it
    fires at once, the alert has to be kept. A point in time beside it ends as well, and the wait is for its age."""
    read = uses(rule.expr).selectors
    bare = [each.name for each in read if is_gauge(each.name) and not each.over]
    if not bare or any(each.name.endswith("_timestamp_seconds") for each in read):
        return
    assert not rule.wait
    assert rule.keep, bare


@each_alert
def test_a_page_says_that_it_is_about_mail_or_about_us(rule: Rule) -> None:
    """One name is one component: inhibition goes by it."""
    same = {(other.name, other.component) for other in ALERTS if other.name == rule.name}
    assert same == {(rule.name, rule.component)}


@each_alert
def test_the_dashboard_and_the_variables_of_its_link_exist(rule: Rule) -> None:
    found = re.search(r"/d/([a-z-]+)(?:\?(.*))?$", rule.annotations["dashboard_url"])
    assert found
    whole = json.loads((ROOT / "dashboards" / "json" / f"{found[1].removeprefix('mailcanary-')}.json").read_text())
    assert whole["uid"] == found[1]
    variables = {each["name"] for each in whole["templating"]["list"]}
    assert set(re.findall(r"var-(\w+)=", found[2] or "")) <= variables
