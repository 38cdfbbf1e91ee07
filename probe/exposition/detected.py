"""The gauges of detectors and incidents, by leg. Rules compare them; nothing is computed here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from probe.canary.counters import leg_labels
from probe.exposition import registry
from probe.exposition.live import DetectorView, LegView
from probe.exposition.registry import Metric
from probe.exposition.text import Family, Sample

_RULES = registry.CLOSED[registry.SCORE.name]["detector"]
_KINDS = registry.CLOSED[registry.INCIDENT_OPEN.name]["kind"]


def detection_gauges(views: Iterable[LegView]) -> Iterator[Family]:
    """Of every leg that has a detector."""
    rows = [(leg_labels(view.leg), view.detector) for view in views if view.detector is not None]
    yield _by_rule(registry.SCORE, rows, 0)
    yield _by_rule(registry.PAGES_AT, rows, 1)
    for metric, values in (
        (registry.SUSPICION, [one.suspicion for _, one in rows]),
        (registry.NOISE, [one.noise for _, one in rows]),
        (registry.SMALLEST, [one.smallest_loss for _, one in rows]),
        (registry.HUNTING, [float(one.hunting) for _, one in rows]),
        (registry.FALSE_PAGES, [one.false_pages for _, one in rows]),
        (registry.NEEDED, [float(one.needed) for _, one in rows]),
        (registry.ROUTE_STATE, [float(one.state) for _, one in rows]),
        (registry.INCIDENT_START, [one.incident_start for _, one in rows]),
        (registry.AFFECTED, [float(one.affected) for _, one in rows]),
        (registry.REQUEUE_START, [one.requeue_start for _, one in rows]),
        (registry.REQUEUE_END, [one.requeue_end for _, one in rows]),
    ):
        yield Family(metric, [Sample(labels, value) for (labels, _), value in zip(rows, values, strict=True)])
    recent = [Sample((*labels, str(last)), bad) for labels, one in rows for last, bad in one.recent]
    yield Family(registry.RECENT, recent)
    kinds = [Sample((*labels, kind), float(one.kind == kind)) for labels, one in rows for kind in _KINDS]
    yield Family(registry.INCIDENT_OPEN, kinds)


def _by_rule(metric: Metric, rows: Sequence[tuple[tuple[str, ...], DetectorView]], place: int) -> Family:
    family = Family(metric)
    for labels, one in rows:
        for name, pair in zip(_RULES, (one.share, one.blackout), strict=True):
            family.samples.append(Sample((*labels, name), pair[place]))
    return family
