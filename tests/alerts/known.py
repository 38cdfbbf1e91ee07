"""Which metrics a rule may name, with their labels, and the values of labels whose set is closed."""

from __future__ import annotations

from collections import defaultdict

from probe.exposition import registry
from probe.exposition.registry import Type
from tests.alerts.expressions import uses
from tests.alerts.rule_files import recordings

# What Prometheus puts on every series that it scrapes.
SCRAPED = frozenset({"job", "instance"})
# Metrics of others: Prometheus' own of a target, and Alertmanager's.
FOREIGN: dict[str, frozenset[str]] = {
    "up": frozenset(),
    "alertmanager_notifications_failed_total": frozenset({"integration"}),
}


def exported() -> dict[str, frozenset[str]]:
    """The samples that the program shows, by name, with their labels."""
    found = {metric.name: frozenset(metric.labels) for metric in registry.METRICS if metric.type is not Type.HISTOGRAM}
    for metric in registry.METRICS:
        if metric.type is Type.HISTOGRAM:
            labels = frozenset(metric.labels)
            found |= {
                f"{metric.name}_bucket": labels | {"le"},
                f"{metric.name}_sum": labels,
                f"{metric.name}_count": labels,
            }
    return found


def metrics() -> dict[str, frozenset[str]]:
    """Every metric that may stand in an alert, recorded ones included, with its labels."""
    found = exported() | FOREIGN
    found = {name: labels | SCRAPED for name, labels in found.items()}
    for rule in recordings():
        read = uses(rule.expr)
        found[rule.name] = frozenset.union(*(found[each.name] for each in read.selectors)) - read.dropped
    return found


def values() -> dict[str, dict[str, frozenset[str]]]:
    """Metric -> label -> its closed set of values."""
    found: dict[str, dict[str, frozenset[str]]] = {}
    for metric in registry.COUNTERS:
        tails = registry.tails(metric.total)
        names = metric.labels[len(metric.labels) - len(tails[0]) :] if tails else ()
        seen: dict[str, set[str]] = defaultdict(set)
        for tail in tails:
            for name, value in zip(names, tail, strict=True):
                seen[name].add(value)
        found[metric.name] = {name: frozenset(those) for name, those in seen.items()}
    for name, labels in registry.CLOSED.items():
        found[name] = {label: frozenset(those) for label, those in labels.items()}
    return found


def is_gauge(name: str) -> bool:
    """Whether the metric is a gauge that is not a point in time (nor configuration shown as one)."""
    gauges = {metric.name for metric in registry.METRICS if metric.type is Type.GAUGE}
    return name in gauges and not name.endswith("_timestamp_seconds")
