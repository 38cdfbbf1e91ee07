"""From the ledger's totals and the engine's snapshot to ``/metrics``; safe off the loop.

What is shown of a route is written again only when something of it has changed: at a thousand routes a scrape would
otherwise cost more than the canaries between two of them. Counters come from the ledger and so survive restarts;
nothing is counted here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, product

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics_format

from probe import __version__
from probe.canary import counters
from probe.clock import NANOSECONDS
from probe.exposition import registry
from probe.exposition.live import Exemplars, MailboxView, Snapshot
from probe.exposition.registry import Metric
from probe.exposition.routes import FAMILIES, RouteBook, RouteViews, Shape, Values, stale_families
from probe.exposition.text import OPENMETRICS, TEXT, Family, Sample, Writer, wants_openmetrics
from probe.ledger.totals import Totals

_openmetrics: Callable[[CollectorRegistry], bytes] = openmetrics_format.generate_latest
_PLACES = {metric: index for index, metric in enumerate(FAMILIES)}


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
    """The body of ``/metrics`` and its content type, in the format that ``accept`` asks for, written anew."""
    exporter = Exporter(openmetrics=wants_openmetrics(accept), created_at=created_at)
    return exporter.body(snapshot, Totals(totals), exemplars, imbalance=imbalance), exporter.content_type


@dataclass(frozen=True, slots=True)
class _Sheet:
    """What was written of a route: one text a family, and what it was written from."""

    views: RouteViews
    shape: Shape
    mailboxes: tuple[str, ...]
    texts: tuple[bytes, ...]


class Exporter:
    """``/metrics`` in one format, for the totals of one ledger. One scrape at a time.

    ``created_at``: when the ledger was made, ns. Exemplars are those of the moment when their series last changed.
    """

    def __init__(self, *, openmetrics: bool, created_at: int) -> None:
        self.content_type = OPENMETRICS if openmetrics else TEXT
        self._process = _openmetrics if openmetrics else generate_latest
        self._writer = Writer(openmetrics=openmetrics, created=created_at / NANOSECONDS)
        self._serial = 0
        self._sheets: dict[str, _Sheet] = {}

    def body(
        self, snapshot: Snapshot, totals: Totals, exemplars: Exemplars, *, imbalance: float | None = None
    ) -> bytes:
        """All of ``families`` in one."""
        return b"".join(chain(*self.families(snapshot, totals, exemplars, imbalance=imbalance)))

    def families(
        self, snapshot: Snapshot, totals: Totals, exemplars: Exemplars, *, imbalance: float | None = None
    ) -> list[list[bytes]]:
        """Each family in pieces, most of them the kept ones: put together only as they go out, they are never there
        twice.

        ``imbalance``: from the ledger, in one statement; without it, it is computed from totals and snapshot, which may
        differ for a moment while a commit passes from one to the other.
        """
        self._renew(snapshot, totals, exemplars)
        if imbalance is None:
            imbalance = books_off_by(snapshot, totals)
        boxes = (box for sheet in self._sheets.values() for box in sheet.mailboxes)
        others = {family.metric.name: family for family in _others(snapshot, totals.group(""), boxes, imbalance)}
        written: list[list[bytes]] = []
        for metric in registry.METRICS:
            parts = [self._writer.head(metric)]
            place = _PLACES.get(metric)
            if place is None:
                parts.append(self._writer.body(others[metric.name]))
            else:
                parts += [sheet.texts[place] for sheet in self._sheets.values()]
            written.append(parts)
        written.append([self._process(_process())])
        return written

    def _renew(self, snapshot: Snapshot, totals: Totals, exemplars: Exemplars) -> None:
        """Write the routes again that have changed; put them in order, configured ones first."""
        before, self._sheets = self._sheets, {}
        views = _by_route(snapshot)
        self._serial, changed = totals.changes(self._serial)
        for route in dict.fromkeys((*views, *totals.groups())):
            sheet, view = before.get(route), views.get(route, RouteViews([], []))
            if sheet is None or route in changed or sheet.views != view:
                book = RouteBook(view, totals.group(route) if route else {}, exemplars)
                sheet = self._sheet(book, sheet, changed.get(route, frozenset()))
            self._sheets[route] = sheet

    def _sheet(self, book: RouteBook, last: _Sheet | None, changed: Collection[str]) -> _Sheet:
        """Only what can have changed since ``last`` is written again. ``changed``: names of totals."""
        stale, texts = frozenset(FAMILIES), [b""] * len(FAMILIES)
        if last is not None and last.shape == book.shape:
            stale, texts = stale_families(last.views, book.views, changed), list(last.texts)
        for family in book.families(stale):
            texts[_PLACES[family.metric]] = self._writer.body(family)
        return _Sheet(book.views, book.shape, tuple(book.mailboxes), tuple(texts))


def _by_route(snapshot: Snapshot) -> dict[str, RouteViews]:
    paused = frozenset(snapshot.paused)
    views = {
        view.leg.route: RouteViews([], [], view.leg.route in paused, view.leg.route == snapshot.drilled)
        for view in (*snapshot.legs, *snapshot.retired)
    }
    for view in snapshot.legs:
        views[view.leg.route].legs.append(view)
    for view in snapshot.retired:
        views[view.leg.route].retired.append(view)
    return views


def books_off_by(snapshot: Snapshot, totals: Totals) -> float:
    """sent - Σ outcomes - in flight (metrics.md 1.4): 0, or the books do not add up."""
    flying = sum(view.in_flight for view in (*snapshot.legs, *snapshot.retired))
    return totals.sum(counters.SENT) - totals.sum(counters.OUTCOMES) - flying


def _others(snapshot: Snapshot, totals: Values, boxes: Iterable[str], imbalance: float) -> Iterator[Family]:
    """Every family that is not by route."""
    names = {
        "mailbox": dict.fromkeys([*(box.name for box in snapshot.mailboxes), *boxes]),
        "task": dict.fromkeys(snapshot.tasks),
    }
    for metric in registry.COUNTERS:
        if metric not in _PLACES:
            yield _counter(metric, totals, names)
    yield from _mailbox_gauges(snapshot.mailboxes)
    yield from _peer_gauges(snapshot)
    yield from _own_gauges(snapshot, imbalance)


def _counter(metric: Metric, totals: Values, names: Mapping[str, Mapping[str, None]]) -> Family:
    first = metric.labels[0] if metric.labels else ""
    heads = [(name,) for name in names[first]] if first in names else [()]
    shown = {(*head, *tail): 0.0 for head, tail in product(heads, registry.tails(metric.total))}
    for (name, labels), value in totals.items():
        if name == metric.total and (first != "mailbox" or labels[0] in names[first]):
            shown[labels] = value
    return Family(metric, [Sample(labels, value) for labels, value in shown.items()])


def _mailbox_gauges(mailboxes: Iterable[MailboxView]) -> Iterator[Family]:
    boxes = {box.name: box for box in mailboxes}.values()
    yield Family(registry.LAST_READ, [Sample((box.name,), box.last_read) for box in boxes])
    yield Family(registry.BLIND, [Sample((box.name,), float(box.blind)) for box in boxes])
    yield Family(registry.MESSAGES, [Sample((box.name,), box.messages) for box in boxes])
    controls = [(box.name, box.control_seen) for box in boxes if box.control_seen is not None]
    yield Family(registry.CONTROL, [Sample((name,), seen) for name, seen in controls])


def _peer_gauges(snapshot: Snapshot) -> Iterator[Family]:
    peers = {(peer.name, peer.mx): peer for peer in snapshot.peers}
    known = {labels: peer for labels, peer in peers.items() if peer.certificate_expires}
    yield Family(registry.CERTIFICATE, [Sample(labels, peer.certificate_expires) for labels, peer in known.items()])
    yield Family(registry.INSECURE, [Sample(labels, float(peer.insecure)) for labels, peer in peers.items()])


def _own_gauges(snapshot: Snapshot, imbalance: float) -> Iterator[Family]:
    for metric, value in (
        (registry.IMBALANCE, imbalance),
        (registry.LEDGER_RESET, snapshot.ledger_reset_at),
        (registry.WRITABLE, float(snapshot.ledger_writable)),
        (registry.OFFSET, snapshot.clock_offset),
        (registry.LAG, snapshot.scheduler_lag),
        (registry.RELOAD, float(snapshot.reload_ok)),
        (registry.HEARTBEAT, snapshot.heartbeat_at),
    ):
        yield Family(metric, [Sample((), value)])
    yield Family(registry.BUILD, [Sample((__version__, snapshot.prober), 1)])
