"""What ``/metrics`` shows of one route: counters, histograms and gauges of all its legs.

Every series of a configured leg is there from the start, at 0: a series that first appears with value 1 adds nothing to
``increase()``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple

from probe.canary import counters
from probe.canary.counters import V, leg_labels
from probe.canary.record import Leg
from probe.exposition import registry
from probe.exposition.detected import detection_gauges
from probe.exposition.live import Exemplar, Exemplars, LegView
from probe.exposition.registry import Metric
from probe.exposition.text import Bucket, Family, Histogram, Sample
from probe.exposition.windows import window_gauges
from probe.ledger.totals import Key

Values = Mapping[Key, float]
FAMILIES = tuple(metric for metric in registry.METRICS if metric.labels[:1] == ("route",))
COUNTERS = tuple(metric for metric in FAMILIES if metric.total)
Shape = tuple[object, ...]  # which series a route has; equal ones have the same
_INFINITE = "+Inf"
_STAGE_BOUNDS = tuple(repr(bound) for bound in counters.STAGE_BUCKETS)


class RouteViews(NamedTuple):
    """One route, now: its configured legs, those that are not any more and have canaries in flight, its pause, and
    whether its alert path is being drilled."""

    legs: list[LegView]
    retired: list[LegView]
    paused: bool = False
    drilled: bool = False

    @property
    def frame(self) -> tuple[object, ...]:
        """What the configuration and orders say: it seldom changes."""
        of_legs = [
            (view.leg, view.variants, view.every, view.overdue_after, view.lost_after, view.paging)
            for view in (*self.legs, *self.retired)
        ]
        return (len(self.legs), tuple(of_legs), self.paused, self.drilled)

    def unique(self) -> list[LegView]:
        """Configured legs and retired ones; no leg twice, or Prometheus would refuse the whole scrape."""
        return list({view.leg: view for view in (*self.retired, *self.legs)}.values())


class RouteBook:
    """One route: its totals by name, and the closed sets of labels that are shown of it."""

    def __init__(self, views: RouteViews, totals: Values, exemplars: Exemplars) -> None:
        self.views = views
        self._exemplars = exemplars
        self._by_name: dict[str, dict[tuple[str, ...], float]] = {}
        for (name, labels), value in totals.items():
            self._by_name.setdefault(name, {})[labels] = value
        variants: dict[Leg, dict[str, None]] = {
            view.leg: dict.fromkeys(view.variants) for view in (*views.legs, *views.retired)
        }
        for leg, variant in self._outstanding():
            variants.setdefault(leg, {})[variant] = None
        self._variants = {leg: tuple(known) for leg, known in variants.items()}
        self._legs = {leg_labels(leg): leg for leg in variants}
        self._pairs = {(leg.route, leg.mx) for leg in variants}
        self._routes = dict.fromkeys(leg.route for leg in variants)
        self.shape: Shape = (views.frame, tuple(self._variants.items()))

    @property
    def mailboxes(self) -> Iterator[str]:
        """Those of its legs."""
        return (leg.mailbox for leg in self._variants)

    def families(self, wanted: Collection[Metric]) -> Iterator[Family]:
        """Those of ``FAMILIES`` that are ``wanted``, and maybe others."""
        for metric in COUNTERS:
            if metric in wanted:
                yield self._counter(metric)
        if registry.DELIVERY in wanted:
            yield self._delivery()
        if registry.STAGE in wanted:
            yield self._stages()
        views = self.views.unique()
        yield from _moments(views, self.views.legs)
        if registry.SCORE in wanted:
            yield from detection_gauges(views)
        if registry.WINDOW in wanted:
            yield from window_gauges(views)
        if registry.INTERVAL in wanted:
            yield from _framed(self.views)

    def _outstanding(self) -> Iterator[tuple[Leg, str]]:
        """Legs that by the books still have canaries in flight, configured or not."""
        ended: dict[tuple[str, ...], float] = {}
        for labels, value in self._by_name.get(counters.OUTCOMES, {}).items():
            ended[labels[:-1]] = ended.get(labels[:-1], 0.0) + value
        for labels, value in self._by_name.get(counters.SENT, {}).items():
            if value > ended.get(labels, 0.0):
                yield Leg(*labels[:3]), labels[3]

    def _counter(self, metric: Metric) -> Family:
        found = self._by_name.get(metric.total, {})
        shown = dict.fromkeys(self._expected(metric), 0.0)
        # Series of legs that are gone and of whom nothing is in flight end; the ledger keeps their totals.
        shown.update({labels: value for labels, value in found.items() if labels[:3] in self._legs})
        family = Family(metric)
        for labels, value in shown.items():
            exemplar = self._exemplar((metric.total, *labels), 1.0) if metric.exemplars and value else None
            family.samples.append(Sample(labels, value, exemplar))
        return family

    def _expected(self, metric: Metric) -> Iterable[tuple[str, ...]]:
        heads: Iterable[tuple[str, ...]] = self._legs
        if metric.labels[:4] == V:
            heads = [(*leg_labels(leg), variant) for leg, variants in self._variants.items() for variant in variants]
        return [(*head, *tail) for head, tail in product(heads, registry.tails(metric.total))]

    def _delivery(self) -> Family:
        family = Family(registry.DELIVERY)
        limits = {view.leg: view.overdue_after.total_seconds() for view in self.views.unique()}
        found = _grouped(self._by_name.get(counters.DELIVERY_BUCKET, {}))
        sums = self._by_name.get(counters.DELIVERY_SUM, {})
        wanted: dict[tuple[str, ...], tuple[str, ...]] = {}
        for leg, variants in self._variants.items():
            own = counters.delivery_buckets(limits[leg]) if leg in limits else counters.DELIVERY_BUCKETS
            for variant in variants:
                wanted.setdefault((leg.route, leg.mx, variant), tuple(repr(bound) for bound in own))
        for labels in found:
            if labels[:2] in self._pairs:
                wanted.setdefault(labels, tuple(repr(bound) for bound in counters.DELIVERY_BUCKETS))
        for labels, bounds in wanted.items():
            buckets = self._cumulative(counters.DELIVERY_BUCKET, labels, bounds, found.get(labels, {}))
            family.histograms.append(Histogram(labels, buckets, sums.get(labels, 0.0)))
        return family

    def _stages(self) -> Family:
        family = Family(registry.STAGE)
        found = _grouped(self._by_name.get(counters.STAGE_BUCKET, {}))
        sums = self._by_name.get(counters.STAGE_SUM, {})
        for labels in product(self._routes, counters.STAGES):
            buckets = self._cumulative(counters.STAGE_BUCKET, labels, _STAGE_BOUNDS, found.get(labels, {}))
            family.histograms.append(Histogram(labels, buckets, sums.get(labels, 0.0)))
        return family

    def _cumulative(
        self, name: str, labels: tuple[str, ...], bounds: tuple[str, ...], counts: Mapping[str, float]
    ) -> list[Bucket]:
        """Bounds that only the books know (of an earlier ``overdue_after``) stay, so that nothing counted is lost."""
        if not bounds_cover(bounds, counts):
            bounds = tuple(sorted({*bounds, *counts} - {_INFINITE}, key=float))
        buckets: list[Bucket] = []
        so_far = 0.0
        for bound in (*bounds, _INFINITE):
            here = counts.get(bound, 0.0)
            so_far += here
            stands_at = float(bounds[-1] if bound == _INFINITE else bound)
            exemplar = self._exemplar((name, *labels, bound), stands_at) if here else None
            buckets.append(Bucket(bound, so_far, exemplar))
        return buckets

    def _exemplar(self, key: tuple[str, ...], value: float) -> Exemplar | None:
        found = self._exemplars.get(key)
        return Exemplar(found, value) if isinstance(found, str) else found


def bounds_cover(bounds: tuple[str, ...], counts: Mapping[str, float]) -> bool:
    """Whether every counted bucket is one of ``bounds`` or ``+Inf``."""
    return all(bound in bounds or bound == _INFINITE for bound in counts)


def _grouped(values: Mapping[tuple[str, ...], float]) -> dict[tuple[str, ...], dict[str, float]]:
    grouped: dict[tuple[str, ...], dict[str, float]] = {}
    for labels, value in values.items():
        grouped.setdefault(labels[:-1], {})[labels[-1]] = value
    return grouped


def stale_families(before: RouteViews, now: RouteViews, changed: Collection[str]) -> frozenset[Metric]:
    """What must be written again of a route whose shape is as before. ``changed``: names of totals."""
    stale = {metric for metric in COUNTERS if metric.total in changed}
    if counters.DELIVERY_BUCKET in changed or counters.DELIVERY_SUM in changed:
        stale.add(registry.DELIVERY)
    if counters.STAGE_BUCKET in changed or counters.STAGE_SUM in changed:
        stale.add(registry.STAGE)
    pairs = list(zip((*before.legs, *before.retired), (*now.legs, *now.retired), strict=True))
    if any(old.detector != new.detector for old, new in pairs):
        stale.add(registry.SCORE)
    if any(old.windows != new.windows for old, new in pairs):
        stale.add(registry.WINDOW)
    return frozenset(stale)


def _moments(views: Sequence[LegView], current: Sequence[LegView]) -> Iterator[Family]:
    """Gauges that move with every canary."""

    def by_leg(metric: Metric, values: Iterable[float]) -> Family:
        return Family(metric, [Sample(leg_labels(view.leg), value) for view, value in zip(views, values, strict=True)])

    yield by_leg(registry.IN_FLIGHT, [view.in_flight for view in views])
    yield by_leg(registry.OVERDUE_NOW, [view.overdue_now for view in views])
    yield by_leg(registry.OLDEST, [view.oldest_outstanding for view in views])
    yield by_leg(registry.LAST_SENT, [view.last_sent for view in views])
    yield by_leg(registry.LAST_DELIVERY, [view.last_delivery for view in views])
    yield by_leg(registry.UNCERTAINTY, [view.latency_uncertainty for view in views])
    slots = {(view.leg.route, view.leg.mx): view.last_slot for view in current}
    yield Family(registry.LAST_SLOT, [Sample(labels, value) for labels, value in slots.items()])


def _framed(of: RouteViews) -> Iterator[Family]:
    """Gauges of the configuration and of orders."""
    routes = {view.leg.route: view for view in of.legs}
    for metric, values in (
        (registry.INTERVAL, [view.every for view in routes.values()]),
        (registry.THRESHOLD, [view.overdue_after for view in routes.values()]),
        (registry.DEADLINE, [view.lost_after for view in routes.values()]),
    ):
        pairs = zip(routes, values, strict=True)
        yield Family(metric, [Sample((route,), value.total_seconds()) for route, value in pairs])
    yield Family(registry.PAGING, [Sample((route,), float(view.paging)) for route, view in routes.items()])
    yield Family(registry.PAUSED, [Sample((route,), float(of.paused)) for route in routes])
    yield Family(registry.DRILL, [Sample((route,), float(of.drilled)) for route in routes])
    yield Family(registry.TARGET, [Sample(labels, 1) for labels in dict.fromkeys(leg_labels(v.leg) for v in of.legs)])
