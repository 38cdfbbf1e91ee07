"""The queries as text: they parse, and name what the program exports."""

from __future__ import annotations

import re

import pytest

from dashboards.generate import promql
from probe.exposition import registry
from tests.alerts.expressions import uses
from tests.alerts.known import values
from tests.alerts.rule_files import alerts, recordings
from tests.dashboards.known import Asked, asked, metrics

ASKED = list(asked())
METRICS = metrics()
VALUES = values()
each_query = pytest.mark.parametrize("query", ASKED, ids=lambda query: query.key)
# Shown by no dashboard and asked for by no rule, and why.
NOT_SHOWN = {
    "mailcanary_last_sent_timestamp_seconds",  # the scheduler's last slot says it better
    "mailcanary_loss_deadline_seconds",  # configuration: for those who write rules of their own
}


@each_query
def test_it_parses_and_names_only_metrics_and_labels_that_exist(query: Asked) -> None:
    found = uses(query.at(60, 3600))
    assert found.selectors
    assert [each.name for each in found.selectors if each.name not in METRICS] == []
    for each in found.selectors:
        assert {label for label, _ in each.matchers} <= METRICS[each.name], each
    assert found.labels <= frozenset().union(*(METRICS[each.name] for each in found.selectors))


@each_query
def test_it_names_only_values_that_a_label_can_have(query: Asked) -> None:
    for each in uses(query.at(60, 3600)).selectors:
        for label, named in each.matchers:
            possible = VALUES.get(each.name, {}).get(label)
            assert possible is None or named <= possible, f"{each.name} {label}"


@each_query
def test_it_asks_for_the_chosen_job_prober_route_and_host(query: Asked) -> None:
    """The dashboards work beside other jobs, and a choice above holds for every panel."""
    for name, inside in re.findall(r"([a-zA-Z_:]+)\{([^}]*)\}", query.expr):
        if name in promql.OF_OTHERS:
            continue
        for label in {"job", "instance", "route", "mx"} & METRICS[name]:
            if label != "mx" or "peer" not in METRICS[name]:
                assert f'{label}=~"${label}"' in inside, name


@each_query
def test_a_window_is_of_minutes_or_follows_the_zoom(query: Asked) -> None:
    """Two scrapes must fit into it, whatever the scrape interval and the zoom."""
    assert re.findall(r"\[(\d+s)", query.expr) == []


def test_an_unknown_label_or_metric_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="no label outcome"):
        promql.select("in_flight", outcome="lost")
    with pytest.raises(KeyError):
        promql.select("flight")
    with pytest.raises(ValueError, match="histogram"):
        promql.select("delivery_seconds")
    with pytest.raises(ValueError, match="no label color"):
        promql.of_others("ALERTS", color="red")


def test_every_metric_is_shown_or_guarded() -> None:
    exprs = [query.at(60, 3600) for query in ASKED] + [rule.expr for rule in (*alerts(), *recordings())]
    text = "\n".join(exprs)
    unused = {each.name for each in registry.METRICS if not re.search(rf"\b{each.name}(_bucket|_sum|_count)?\b", text)}
    assert unused == NOT_SHOWN, "show it in dashboards/generate, or say in NOT_SHOWN why not"
