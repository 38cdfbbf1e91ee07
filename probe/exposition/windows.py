"""The gauges of windows, by leg: counts, and the loss with its bounds.

They are 28 lines a leg, so their names and labels are put together once a leg and only the numbers are filled in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from probe.canary.counters import leg_labels
from probe.canary.record import Leg
from probe.exposition import registry
from probe.exposition.live import LegView
from probe.exposition.registry import Metric
from probe.exposition.text import Family, line_template, number


def window_gauges(views: Iterable[LegView]) -> Iterator[Family]:
    """Of every leg whose windows are known; no ratio where nothing was judged in the window."""
    counts: list[str] = []
    ratios: list[str] = []
    for view in views:
        templates = _templates(view.leg) if view.windows else {}
        for one in view.windows:
            of_counts, of_ratios = templates[one.name]
            counts.append(of_counts % (number(one.sent), number(one.overdue), number(one.lost), number(one.unknown)))
            if one.judged:
                ratios.append(of_ratios % (number(one.lost / one.judged), number(one.lower), number(one.upper)))
    yield Family(registry.WINDOW, lines=counts)
    yield Family(registry.LOSS, lines=ratios)


@lru_cache(maxsize=4096)
def _templates(leg: Leg) -> Mapping[str, tuple[str, str]]:
    """By window its lines of both metrics, with ``%s`` for each value, in the order of the last label's closed set."""
    of_leg = leg_labels(leg)
    windows = registry.CLOSED[registry.WINDOW.name]["window"]
    return {one: (_lines(registry.WINDOW, of_leg, one), _lines(registry.LOSS, of_leg, one)) for one in windows}


def _lines(metric: Metric, of_leg: tuple[str, ...], window: str) -> str:
    last = registry.CLOSED[metric.name][metric.labels[-1]]
    return "".join([line_template(metric, (*of_leg, window, value)) for value in last])
