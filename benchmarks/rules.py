"""``python -m benchmarks.rules [--quick]``: what the alert rules cost a real Prometheus at 10,000 series.

A page shows every metric of the program's registry for as many legs as make 10,000 series. Prometheus scrapes it every
second and evaluates the shipped rules. What the long windows read is there from the start: a day of history of those
counters, one sample every 15 s (``--quick``: 60 s), written as blocks. The figures are Prometheus' own: the time that
the last evaluation of each rule took, the median of four minutes (``--quick``: of half a minute, in which the
rules with the longest windows have no turn). Nothing is judged.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import count, product
from pathlib import Path
from typing import IO, Any

from benchmarks.report import machine
from probe.canary import counters
from probe.exposition import registry
from probe.exposition.registry import Metric, Type
from tests.worlds.ports import LOOPBACK
from tests.worlds.prometheus import Page, Prometheus

_ALERTS = Path(__file__).parents[1] / "alerts"
_RULES = (_ALERTS / "rules.yaml", _ALERTS / "recording.yaml")
_WANTED = 10_000
_VARIANTS = ("plain", "html")
_DAY = 86400
# These count one a minute; every other counter stands still, as on a good day.
_MOVING = {"sent", "judged", "submissions", "attempts", "outcomes", "arrivals"}
_GOOD = {"result": "accepted", "outcome": "delivered", "folder": "inbox"}
_ONES = {metric.name for metric in (registry.WRITABLE, registry.RELOAD, registry.TARGET, registry.PAGING)}
_LONG = ("mailcanary_overdue_total", "mailcanary_judged_total")
# Recorded series that are read over hours: seconds between two samples, and what they show on a good day.
_RECORDED = {
    "mailcanary:overdue:rate_5m": (60, 0.0),
    "mailcanary:judged:rate_5m": (60, 1 / 60),
    "mailcanary:lost:total": (240, 0.0),
}

Series = tuple[str, tuple[tuple[str, str], ...]]


def _of_a_leg(metric: Metric, leg: Mapping[str, str]) -> Iterator[Series]:
    """The series of one metric that one leg adds; metrics of no leg come with the first."""
    closed = registry.CLOSED.get(metric.name, {})
    tails = registry.tails(metric.total) if metric.type is Type.COUNTER else list(product(*closed.values()))
    names = metric.labels[len(metric.labels) - len(tails[0]) :] if tails[0] else ()
    own = [name for name in metric.labels if name not in names]
    choices = [_VARIANTS if name == "variant" else (leg.get(name, name),) for name in own]
    for values, tail in product(product(*choices), tails):
        labels = (*zip(own, values, strict=True), *zip(names, tail, strict=True))
        if metric.type is Type.HISTOGRAM:
            for bound in (*counters.DELIVERY_BUCKETS, "+Inf"):
                yield f"{metric.name}_bucket", (*labels, ("le", str(bound)))
            yield f"{metric.name}_sum", labels
            yield f"{metric.name}_count", labels
        else:
            yield metric.name, labels


def everything() -> tuple[list[Series], int]:
    """At least 10,000 series, four MX hosts a route, and the number of legs that have them."""
    found: dict[Series, None] = {}
    for number in count():
        route = f"route-{number // 4}"
        leg = {"route": route, "mx": f"mx{number % 4}.example.org", "mailbox": f"mailbox-{number // 4 % 10}"}
        for metric in registry.METRICS:
            found |= dict.fromkeys(_of_a_leg(metric, leg))
        if len(found) >= _WANTED:
            return list(found), number + 1
    raise AssertionError


def value(series: Series, at: float) -> float:
    """What a series shows at a unix time."""
    name, labels = series
    if name == registry.LEDGER_RESET.name:
        return 0.0
    if name.endswith("_timestamp_seconds"):
        return at
    if name in _ONES:
        return 1.0
    if name == registry.PAGES_AT.name:
        return 7.0
    moves = name.removeprefix(registry.PREFIX).removesuffix("_total") in _MOVING
    return float(at // 60) if moves and all(_GOOD.get(label, text) == text for label, text in labels) else 0.0


def written(series: Series, extra: str = "") -> str:
    name, labels = series
    pairs = ",".join(f'{label}="{text}"' for label, text in labels)
    return f"{name}{{{pairs}{extra}}}"


def history(file: IO[str], found: list[Series], port: int, end: float, step: int) -> int:
    """A day of what the long windows read, counters and recorded series, in OpenMetrics; the number of samples."""
    extra = f',job="mailcanary",instance="{LOOPBACK}:{port}"'
    long = [(written(one, extra), one) for one in found if one[0] in _LONG or ("outcome", "lost") in one[1]]
    legs = [labels for name, labels in found if name == registry.TARGET.name]
    moments = range(int(end) - _DAY, int(end), step)
    samples = len(long) * len(moments)
    for at in moments:
        file.writelines(f"{text} {value(one, at)} {at}\n" for text, one in long)
    for name, (apart, shown) in _RECORDED.items():
        for at in range(int(end) - _DAY, int(end), apart):
            file.writelines(f"{written((name, labels), extra)} {shown} {at}\n" for labels in legs)
            samples += len(legs)
    file.write("# EOF\n")
    return samples


def measure(*, quick: bool = False) -> dict[str, Any]:
    """Run it; all times in milliseconds."""
    found, legs = everything()
    names = [(written(one), one) for one in found]
    page = Page()
    prometheus = Prometheus({"mailcanary": page.port}, _RULES)
    try:
        page.series = {text: value(one, time.time()) for text, one in names}
        with tempfile.NamedTemporaryFile("w", suffix=".om") as file:
            samples = history(file, found, page.port, time.time(), 60 if quick else 15)
            file.flush()
            words = ["promtool", "tsdb", "create-blocks-from", "openmetrics", file.name, str(prometheus.data)]
            subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
        prometheus.start()
        rules, groups = _watched(prometheus, page, names, 30 if quick else 260)
        scraped = prometheus.query('scrape_samples_scraped{job="mailcanary"}')[0][1]
        firing = sorted(prometheus.firing())
    finally:
        prometheus.close()
        page.close()
    return {
        "machine": machine(), "series": int(scraped), "legs": legs, "history_samples": samples, "firing": firing,
        "all_rules_ms": round(sum(statistics.median(times) for times in rules.values()), 2),
        "groups_ms": {name: round(statistics.median(times), 2) for name, times in groups.items()},
        "rules_ms": {name: round(statistics.median(times), 2) for name, times in rules.items()},
    }  # fmt: skip


def _watched(
    prometheus: Prometheus, page: Page, names: list[tuple[str, Series]], seconds: float
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    rules: dict[str, list[float]] = defaultdict(list)
    groups: dict[str, list[float]] = defaultdict(list)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        now = time.time()
        page.series = {text: value(one, now) for text, one in names}
        time.sleep(1)
        for group in prometheus.groups():
            if group["lastEvaluation"].startswith("0001"):
                continue  # not yet
            groups[group["name"]].append(group["evaluationTime"] * 1000)
            for number, rule in enumerate(group["rules"]):
                rules[f"{group['name']} {number} {rule['name']}"].append(rule["evaluationTime"] * 1000)
    return rules, groups


def main() -> int:
    """Print a table and JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rules", description="Measure the alert rules.")
    parser.add_argument("--quick", action="store_true", help="a thinner history, half a minute")
    result = measure(quick=parser.parse_args().quick)
    print(f"{result['series']} series, {result['legs']} legs, {result['history_samples']} samples of history")
    for name, took in sorted(result["rules_ms"].items(), key=lambda item: -item[1]):
        print(f"{took:9.2f} ms  {name}")
    print(f"{result['all_rules_ms']:9.2f} ms  all rules, one evaluation each\n")
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
