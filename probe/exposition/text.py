"""Families of samples as text: the Prometheus text format 0.0.4 and OpenMetrics 1.0.

Not the library's writer, for its cost: it escapes every name and label of every sample anew, some 10 µs each, which at
a thousand legs would be a tenth of a core for scrapes alone (docs/decisions/0101-metrics-writer.md). The tests read
all that is written here back with the library's parsers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from probe.exposition.live import Exemplar
from probe.exposition.registry import Metric, Type

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_VERSIONS = frozenset({"0.0.1", "1.0.0"})  # 0.0.1 is what Prometheus called it before it was published

# One OpenMetrics family cannot hold the counter mailcanary_overdue_total and the gauge mailcanary_overdue, and two
# families may not share the name: there the counter goes out as type "unknown" under its full name (decision 0102).
AS_UNKNOWN = frozenset({"mailcanary_overdue_total"})


@dataclass(frozen=True, slots=True)
class Sample:
    """A counter's or gauge's sample: label values in the metric's order."""

    labels: tuple[str, ...]
    value: float
    exemplar: Exemplar | None = None


@dataclass(frozen=True, slots=True)
class Bucket:
    """A histogram's bucket: its upper bound as text, the cumulative count."""

    bound: str
    count: float
    exemplar: Exemplar | None = None


@dataclass(frozen=True, slots=True)
class Histogram:
    """A histogram's series; the last bucket is ``+Inf``."""

    labels: tuple[str, ...]
    buckets: Sequence[Bucket]
    sum: float


@dataclass(frozen=True, slots=True)
class Family:
    """A metric with what it shows now."""

    metric: Metric
    samples: list[Sample] = field(default_factory=list)
    histograms: list[Histogram] = field(default_factory=list)


def wants_openmetrics(accept: str) -> bool:
    """Whether the ``Accept`` header (RFC 9110 section 12.5.1) names OpenMetrics in a version that can be had here, and
    does not refuse it by q=0. It is preferred wherever it is taken at all: only it has exemplars."""
    for part in accept[:1000].lower().split(","):
        kind, *pieces = (piece.strip() for piece in part.split(";"))
        parameters = dict(piece.split("=", 1) for piece in pieces if "=" in piece)
        refused = parameters.get("q", "1").rstrip("0") in ("", "0.", "0")
        if kind == "application/openmetrics-text" and parameters.get("version", "1.0.0") in _VERSIONS and not refused:
            return True
    return False


def number(value: float) -> str:
    """A sample's value."""
    if math.isfinite(value):
        return repr(float(value))
    return "NaN" if math.isnan(value) else ("+Inf" if value > 0 else "-Inf")


def escape(value: str) -> str:
    """A label value between its quotes."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


class Writer:
    """Writes families in one of the two formats. ``created``: of every counter, unix seconds (OpenMetrics only)."""

    def __init__(self, *, openmetrics: bool, created: float) -> None:
        self._openmetrics = openmetrics
        self._created = number(created)
        self._escaped: dict[str, str] = {}
        self._out: list[str] = []

    def text(self) -> str:
        """What was written, without the end mark of OpenMetrics."""
        return "".join(self._out)

    def family(self, family: Family) -> None:
        """Write one family."""
        metric = family.metric
        self._head(metric)
        if metric.type is Type.HISTOGRAM:
            for histogram in family.histograms:
                self._histogram(metric, histogram)
            return
        out = self._out
        line = _template(metric.name, metric.labels) + " %s%s\n"
        stamped = self._openmetrics and metric.type is Type.COUNTER and metric.name not in AS_UNKNOWN
        created = _template(metric.family + "_created", metric.labels) + f" {self._created}\n"
        for sample in family.samples:
            labels = self._labels(sample.labels)
            exemplar = _exemplar(sample.exemplar) if stamped and sample.exemplar else ""
            out.append(line % (*labels, number(sample.value), exemplar))
            if stamped:
                out.append(created % labels)

    def _head(self, metric: Metric) -> None:
        name, kind = metric.name, metric.type.value
        if self._openmetrics:
            name, kind = (name, "unknown") if name in AS_UNKNOWN else (metric.family, kind)
        elif metric.type is Type.INFO:
            kind = "gauge"
        self._out.append(f"# HELP {name} {metric.help}\n# TYPE {name} {kind}\n")
        if self._openmetrics and metric.unit and name not in AS_UNKNOWN:
            self._out.append(f"# UNIT {name} {metric.unit}\n")

    def _histogram(self, metric: Metric, histogram: Histogram) -> None:
        labels = self._labels(histogram.labels)
        names = metric.labels
        line = _template(metric.family + "_bucket", (*names, "le")) + " %s%s\n"
        for bucket in histogram.buckets:
            exemplar = _exemplar(bucket.exemplar) if self._openmetrics and bucket.exemplar else ""
            self._out.append(line % (*labels, bucket.bound, number(bucket.count), exemplar))
        count, total = histogram.buckets[-1].count, histogram.sum
        self._out.append((_template(metric.family + "_count", names) + " %s\n") % (*labels, number(count)))
        self._out.append((_template(metric.family + "_sum", names) + " %s\n") % (*labels, number(total)))
        if self._openmetrics:
            self._out.append((_template(metric.family + "_created", names) + " %s\n") % (*labels, self._created))

    def _labels(self, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple([self._known(value) for value in values])

    def _known(self, value: str) -> str:
        found = self._escaped.get(value)
        if found is None:
            found = self._escaped[value] = escape(value)
        return found


def _template(name: str, labels: Sequence[str]) -> str:
    return name + "{" + ",".join(f'{label}="%s"' for label in labels) + "}" if labels else name


def _exemplar(exemplar: Exemplar) -> str:
    return f' # {{canary_id="{escape(exemplar.canary)[:80]}"}} {number(exemplar.value)}'
