"""PromQL from the registry: every selector is made here, so that no dashboard can name what the program does not show.

Each selector carries the dashboard's variables for the labels that its metric has.
"""

from __future__ import annotations

from probe.exposition.registry import METRICS, PREFIX, Metric, Type

# Metrics of Prometheus about a target, of the client library about the process: labels beside job and instance.
OF_THE_TARGET: dict[str, tuple[str, ...]] = {
    "up": (),
    "scrape_samples_scraped": (),
    "scrape_duration_seconds": (),
    "process_cpu_seconds_total": (),
    "process_resident_memory_bytes": (),
}
# Series of other jobs: no variable fits them.
OF_OTHERS: dict[str, tuple[str, ...]] = {
    "alertmanager_notifications_failed_total": ("integration",),
    "ALERTS": ("alertname", "alertstate"),
}
KNOWN: dict[str, Metric] = {metric.name: metric for metric in METRICS}

STEP = "$__interval"
WINDOW = "$__rate_interval"


def select(name: str, part: str = "", **matchers: str) -> str:
    """A selector of one of our metrics, by its name without the prefix; ``part``: ``_bucket`` and the like.

    ``a|b`` as a value asks for either. Raises KeyError for a metric, ValueError for a label that does not exist.
    """
    metric = KNOWN[PREFIX + name]
    if strange := set(matchers) - set(metric.labels):
        raise ValueError(f"{metric.name} has no label {', '.join(sorted(strange))}")
    if bool(part) is not (metric.type is Type.HISTOGRAM):
        raise ValueError(f"{metric.name} is a {metric.type}")
    return _selector(metric.name + part, metric.labels, matchers)


def of_target(name: str) -> str:
    """A selector of what Prometheus or the client library knows of the prober."""
    return _selector(name, OF_THE_TARGET[name], {})


def of_others(name: str, **matchers: str) -> str:
    """A selector of another job's metric, without variables."""
    if strange := set(matchers) - set(OF_OTHERS[name]):
        raise ValueError(f"{name} has no label {', '.join(sorted(strange))}")
    inside = ", ".join(_matcher(label, value) for label, value in matchers.items())
    return f"{name}{{{inside}}}" if inside else name


def _selector(name: str, labels: tuple[str, ...], matchers: dict[str, str]) -> str:
    variables = ["job", "instance", *(label for label in ("route", "mx") if label in labels)]
    parts = [f'{label}=~"${label}"' for label in variables if label not in matchers]
    parts += [_matcher(label, value) for label, value in matchers.items()]
    return f"{name}{{{', '.join(parts)}}}"


def _matcher(label: str, value: str) -> str:
    operator = "=~" if "|" in value else "="
    return f'{label}{operator}"{value}"'


def gained(selector: str, by: str) -> str:
    """What a counter rose by in each step, exactly: the ledger's counters do not start anew, and ``increase()`` would
    make fractions of canaries. Below 0 only where a damaged ledger was set aside."""
    return f"clamp_min(sum by ({by}) ({selector}) - sum by ({by}) ({selector} offset {STEP}), 0)"


def since_start(selector: str) -> str:
    """What a counter rose by since the left edge of the graph."""
    return f"sum({selector}) - sum({selector} @ start())"


def age(selector: str) -> str:
    """Seconds since a point in time; nothing where it is 0 (never, none)."""
    return f"time() - ({selector} > 0)"


def quantile(q: float, name: str, by: str) -> str:
    """A quantile of a histogram of ours."""
    buckets = select(name, "_bucket")
    return f"histogram_quantile({q:g}, sum by ({by}, le) (rate({buckets}[{WINDOW}])))"
