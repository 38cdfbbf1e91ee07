"""The worlds of this folder do what they say, and say why when they cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.worlds.fixtures import Alerting
from tests.worlds.ports import WorldError, wait_until


def test_prometheus_reads_the_page_as_it_is_at_the_moment(alerting: Alerting) -> None:
    page = alerting.page()
    page.series = {'canary{leg="one"}': 1.5}
    prometheus = alerting.prometheus({"here": page.port})
    labels = {"__name__": "canary", "leg": "one", "job": "here", "instance": f"127.0.0.1:{page.port}"}
    wait_until(lambda: prometheus.query("canary") == [(labels, 1.5)], 20, "the value is scraped", prometheus.log)
    page.series = {'canary{leg="one"}': 2.0}
    wait_until(lambda: prometheus.query("canary") == [(labels, 2.0)], 20, "the next value is scraped", prometheus.log)
    assert prometheus.query("absent_metric") == []


def test_prometheus_tells_of_rules_and_what_fires(alerting: Alerting, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "groups: [{name: one, rules: [{alert: Always, expr: vector(1)}, {alert: Never, expr: vector(1) < 1}]}]"
    )
    prometheus = alerting.prometheus({}, [rules])
    wait_until(lambda: prometheus.firing() == {"Always"}, 20, "the rule fires", prometheus.log)
    (group,) = prometheus.groups()
    assert [rule["name"] for rule in group["rules"]] == ["Always", "Never"]


def test_a_configuration_that_is_refused_says_so(alerting: Alerting, tmp_path: Path) -> None:
    broken = tmp_path / "rules.yaml"
    broken.write_text("groups: [{name: one, rules: [{alert: A, expr: 'sum('}]}]")
    with pytest.raises(WorldError, match="unclosed left parenthesis"):
        alerting.prometheus({}, [broken])
    with pytest.raises(WorldError, match="undefined receiver"):
        alerting.alertmanager("route: {receiver: nowhere}")
