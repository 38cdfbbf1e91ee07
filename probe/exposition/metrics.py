"""From the ledger's totals and the engine's snapshot to ``/metrics``: a pure function, safe off the loop.

Every series of a configured leg is there from the start, at 0: a series that first appears with value 1 adds nothing to
``increase()``. Counters come from the ledger and so survive restarts; nothing is counted here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import product

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics_format

from probe import __version__
from probe.canary import counters
from probe.canary.counters import R, V, leg_labels
from probe.canary.record import Leg
from probe.clock import NANOSECONDS
from probe.exposition import registry
from probe.exposition.live import Exemplar, Exemplars, LegView, MailboxView, Snapshot
from probe.exposition.registry import Metric
from probe.exposition.text import OPENMETRICS, TEXT, Bucket, Family, Histogram, Sample, Writer, wants_openmetrics
from probe.ledger.totals import Key

Values = Mapping[Key, float]
_INFINITE = "+Inf"
_openmetrics: Callable[[CollectorRegistry], bytes] = openmetrics_format.generate_latest
_STAGE_BOUNDS = tuple(repr(bound) for bound in counters.STAGE_BUCKETS)


@lru_cache(maxsize=1)
def _process() -> CollectorRegistry:
    """``process_*`` and ``python_*``, in a registry of our own: nothing else can slip in."""
    own = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=own)
    PlatformCollector(registry=own)
    GCCollector(registry=own)
    return own


def render(
    snapshot: Snapshot,
    totals: Values,
    exemplars: Exemplars,
    accept: str,
    *,
    created_at: int = 0,
    imbalance: float | None = None,
) -> tuple[bytes, str]:
    """The body of ``/metrics`` and its content type, in the format that ``accept`` asks for.

    ``created_at``: when the ledger was made, ns. ``imbalance``: from the ledger, in one statement; without it, it is
    computed from totals and snapshot, which may differ for a moment while a commit passes from one to the other.
    """
    openmetrics = wants_openmetrics(accept)
    writer = Writer(openmetrics=openmetrics, created=created_at / NANOSECONDS)
    for family in families(snapshot, totals, exemplars, imbalance):
        writer.family(family)
    if openmetrics:
        return writer.text().encode() + _openmetrics(_process()), OPENMETRICS
    return writer.text().encode() + generate_latest(_process()), TEXT


def families(
    snapshot: Snapshot, totals: Values, exemplars: Exemplars, imbalance: float | None = None
) -> Iterator[Family]:
    """Every family of the registry, in its order."""
    book = _Book(snapshot, totals, exemplars)
    for metric in registry.COUNTERS:
        yield book.counter(metric)
    yield book.delivery()
    yield book.stages()
    yield from _leg_gauges(book.views, snapshot.legs, frozenset(snapshot.paused))
    yield from _mailbox_gauges(snapshot.mailboxes)
    yield from _peer_gauges(snapshot)
    yield from _own_gauges(snapshot, books_off_by(snapshot, totals) if imbalance is None else imbalance)


def books_off_by(snapshot: Snapshot, totals: Values) -> float:
    """sent - Σ outcomes - in flight (metrics.md 1.4): 0, or the books do not add up."""
    sent = sum(value for (name, _), value in totals.items() if name == counters.SENT)
    ended = sum(value for (name, _), value in totals.items() if name == counters.OUTCOMES)
    return sent - ended - sum(view.in_flight for view in (*snapshot.legs, *snapshot.retired))


class _Book:
    """The totals, sorted by name, and the closed sets of labels that are shown."""

    def __init__(self, snapshot: Snapshot, totals: Values, exemplars: Exemplars) -> None:
        self.views = _views(snapshot)
        self._exemplars = exemplars
        self._by_name: dict[str, dict[tuple[str, ...], float]] = {}
        for (name, labels), value in totals.items():
            self._by_name.setdefault(name, {})[labels] = value
        variants: dict[Leg, dict[str, None]] = {
            view.leg: dict.fromkeys(view.variants) for view in (*snapshot.legs, *snapshot.retired)
        }
        for leg, variant in self._outstanding():
            variants.setdefault(leg, {})[variant] = None
        self._variants = {leg: tuple(known) for leg, known in variants.items()}
        self._legs = {leg_labels(leg): leg for leg in variants}
        self._pairs = {(leg.route, leg.mx) for leg in variants}
        self._routes = dict.fromkeys(leg.route for leg in variants)
        self._mailboxes = dict.fromkeys([*(box.name for box in snapshot.mailboxes), *(leg.mailbox for leg in variants)])
        self._tasks = tuple(dict.fromkeys(snapshot.tasks))

    def _outstanding(self) -> Iterator[tuple[Leg, str]]:
        """Legs that by the books still have canaries in flight, configured or not."""
        ended: dict[tuple[str, ...], float] = {}
        for labels, value in self._by_name.get(counters.OUTCOMES, {}).items():
            ended[labels[:-1]] = ended.get(labels[:-1], 0.0) + value
        for labels, value in self._by_name.get(counters.SENT, {}).items():
            if value > ended.get(labels, 0.0):
                yield Leg(*labels[:3]), labels[3]

    def counter(self, metric: Metric) -> Family:
        found = self._by_name.get(metric.total, {})
        shown = dict.fromkeys(self._expected(metric), 0.0)
        shown.update({labels: value for labels, value in found.items() if self._shows(metric, labels)})
        family = Family(metric)
        for labels, value in shown.items():
            exemplar = self._exemplar((metric.total, *labels), 1.0) if metric.exemplars and value else None
            family.samples.append(Sample(labels, value, exemplar))
        return family

    def _expected(self, metric: Metric) -> Iterable[tuple[str, ...]]:
        tails = registry.tails(metric.total)
        heads: Iterable[tuple[str, ...]] = [()]
        if metric.labels[:4] == V:
            heads = [(*leg_labels(leg), variant) for leg, variants in self._variants.items() for variant in variants]
        elif metric.labels[:3] == R:
            heads = list(self._legs)
        elif metric.labels[:1] == ("mailbox",):
            heads = [(name,) for name in self._mailboxes]
        elif metric.labels == ("task",):
            heads = [(name,) for name in self._tasks]
        return [(*head, *tail) for head, tail in product(heads, tails)]

    def _shows(self, metric: Metric, labels: tuple[str, ...]) -> bool:
        """Series of legs that are gone and of whom nothing is in flight end; the ledger keeps their totals."""
        if metric.labels[:3] == R:
            return labels[:3] in self._legs
        if metric.labels[:1] == ("mailbox",):
            return labels[0] in self._mailboxes
        return True

    def delivery(self) -> Family:
        family = Family(registry.DELIVERY)
        limits = {view.leg: view.overdue_after.total_seconds() for view in self.views}
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

    def stages(self) -> Family:
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


def _views(snapshot: Snapshot) -> list[LegView]:
    """Configured legs, then retired ones; no leg twice, or Prometheus would refuse the whole scrape."""
    return list({view.leg: view for view in (*snapshot.retired, *snapshot.legs)}.values())


def _leg_gauges(views: list[LegView], configured: Iterable[LegView], paused: Collection[str]) -> Iterator[Family]:
    def by_leg(metric: Metric, values: Iterable[float]) -> Family:
        return Family(metric, [Sample(leg_labels(view.leg), value) for view, value in zip(views, values, strict=True)])

    yield by_leg(registry.IN_FLIGHT, [view.in_flight for view in views])
    yield by_leg(registry.OVERDUE_NOW, [view.overdue_now for view in views])
    yield by_leg(registry.OLDEST, [view.oldest_outstanding for view in views])
    yield by_leg(registry.LAST_SENT, [view.last_sent for view in views])
    yield by_leg(registry.LAST_DELIVERY, [view.last_delivery for view in views])
    yield by_leg(registry.UNCERTAINTY, [view.latency_uncertainty for view in views])
    current = {leg_labels(view.leg): view for view in configured}
    slots = {(view.leg.route, view.leg.mx): view.last_slot for view in current.values()}
    yield Family(registry.LAST_SLOT, [Sample(labels, value) for labels, value in slots.items()])
    routes = {view.leg.route: view for view in current.values()}
    for metric, values in (
        (registry.INTERVAL, [view.every for view in routes.values()]),
        (registry.THRESHOLD, [view.overdue_after for view in routes.values()]),
        (registry.DEADLINE, [view.lost_after for view in routes.values()]),
    ):
        pairs = zip(routes, values, strict=True)
        yield Family(metric, [Sample((route,), value.total_seconds()) for route, value in pairs])
    yield Family(registry.PAUSED, [Sample((route,), float(route in paused)) for route in routes])
    yield Family(registry.TARGET, [Sample(labels, 1) for labels in current])


def _mailbox_gauges(mailboxes: Iterable[MailboxView]) -> Iterator[Family]:
    boxes = {box.name: box for box in mailboxes}.values()
    yield Family(registry.LAST_READ, [Sample((box.name,), box.last_read) for box in boxes])
    yield Family(registry.BLIND, [Sample((box.name,), float(box.blind)) for box in boxes])
    yield Family(registry.MESSAGES, [Sample((box.name,), box.messages) for box in boxes])


def _peer_gauges(snapshot: Snapshot) -> Iterator[Family]:
    peers = {(peer.name, peer.mx): peer for peer in snapshot.peers}
    known = {labels: peer for labels, peer in peers.items() if peer.certificate_expires}
    yield Family(registry.CERTIFICATE, [Sample(labels, peer.certificate_expires) for labels, peer in known.items()])
    yield Family(registry.INSECURE, [Sample(labels, float(peer.insecure)) for labels, peer in peers.items()])


def _own_gauges(snapshot: Snapshot, imbalance: float) -> Iterator[Family]:
    for metric, value in (
        (registry.IMBALANCE, imbalance),
        (registry.WRITABLE, float(snapshot.ledger_writable)),
        (registry.OFFSET, snapshot.clock_offset),
        (registry.LAG, snapshot.scheduler_lag),
        (registry.RELOAD, float(snapshot.reload_ok)),
    ):
        yield Family(metric, [Sample((), value)])
    yield Family(registry.BUILD, [Sample((__version__, snapshot.prober), 1)])
