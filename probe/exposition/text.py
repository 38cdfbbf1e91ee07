"""Families of samples as text: the Prometheus text format 0.0.4 and OpenMetrics 1.0.

Not the library's writer, for its cost: it escapes every name and label of every sample anew, some 10 µs each, which at
a thousand legs would be a tenth of a core for scrapes alone (docs/decisions/0101-metrics-writer.md). The tests read
all that is written here back with the library's parsers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from probe.exposition.live import Exemplar
from probe.exposition.registry import Metric, Type

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_VERSIONS = frozenset({"0.0.1", "1.0.0"})  # 0.0.1 is what Prometheus called it before it was published

# One OpenMetrics family cannot hold the counter mailcanary_overdue_total and the gauge mailcanary_overdue, and two
# families may not share the name: there the counter goes out as type "unknown" under its full name (decision 0102).
AS_UNKNOWN = frozenset({"mailcanary_overdue_total"})

_COMMON = {float(count): repr(float(count)) for count in range(100)}  # most values are such counts


class Sample(NamedTuple):
    """A counter's or gauge's sample: label values in the metric's order."""

    labels: tuple[str, ...]
    value: float
    exemplar: Exemplar | None = None


class Bucket(NamedTuple):
    """A histogram's bucket: its upper bound as text, the cumulative count."""

    bound: str
    up_to: float
    exemplar: Exemplar | None = None


class Histogram(NamedTuple):
    """A histogram's series; the last bucket is ``+Inf``."""

    labels: tuple[str, ...]
    buckets: Sequence[Bucket]
    sum: float


@dataclass(frozen=True, slots=True)
class Family:
    """A metric with what it shows now. ``lines``: samples of a gauge that are text already, alike in both formats."""

    metric: Metric
    samples: list[Sample] = field(default_factory=list)
    histograms: list[Histogram] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


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
    found = _COMMON.get(value)
    if found is not None:
        return found
    if math.isfinite(value):
        return repr(float(value))
    return "NaN" if math.isnan(value) else ("+Inf" if value > 0 else "-Inf")


@lru_cache(maxsize=16_384)  # the same few names come again in every sample of a route
def escape(value: str) -> str:
    """A label value between its quotes."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


class Writer:
    """Writes families in one of the two formats. ``created``: of every counter, unix seconds (OpenMetrics only)."""

    def __init__(self, *, openmetrics: bool, created: float) -> None:
        self._openmetrics = openmetrics
        self._created = number(created)
        self._forms: dict[str, _Form] = {}

    def head(self, metric: Metric) -> bytes:
        """What stands before a family's samples."""
        name, kind = metric.name, metric.type.value
        if self._openmetrics:
            name, kind = (name, "unknown") if name in AS_UNKNOWN else (metric.family, kind)
        elif metric.type is Type.INFO:
            kind = "gauge"
        unit = f"# UNIT {name} {metric.unit}\n" if self._openmetrics and metric.unit and name not in AS_UNKNOWN else ""
        return f"# HELP {name} {metric.help}\n# TYPE {name} {kind}\n{unit}".encode()

    def body(self, family: Family) -> bytes:
        """The samples of a family, without the end mark of OpenMetrics."""
        if family.lines:
            return "".join(family.lines).encode()
        form = self._forms.get(family.metric.name)
        if form is None:
            form = self._forms[family.metric.name] = _Form(family.metric, self._openmetrics, self._created)
        if family.metric.type is Type.HISTOGRAM:
            return "".join([form.histogram(histogram) for histogram in family.histograms]).encode()
        return "".join([form.sample(*sample) for sample in family.samples]).encode()


class _Form:
    """How the samples of one metric are written: its names and labels are put together once."""

    def __init__(self, metric: Metric, openmetrics: bool, created: str) -> None:
        self._openmetrics = openmetrics
        self._stamped = openmetrics and metric.type is Type.COUNTER and metric.name not in AS_UNKNOWN
        made = openmetrics and (self._stamped or metric.type is Type.HISTOGRAM)
        self._created = _template(metric.family + "_created", metric.labels) + f" {created}\n" if made else ""
        self._line = _template(metric.name, metric.labels) + " %s%s\n"
        self._bucket = _template(metric.family + "_bucket", (*metric.labels, "le")) + " %s%s\n"
        self._count = _template(metric.family + "_count", metric.labels) + " %s\n"
        self._sum = _template(metric.family + "_sum", metric.labels) + " %s\n"

    def sample(self, labels: tuple[str, ...], value: float, exemplar: Exemplar | None) -> str:
        """A sample's line, and the one that says since when it counts."""
        shown = tuple([escape(label) for label in labels])
        line = self._line % (*shown, number(value), _exemplar(exemplar) if exemplar and self._stamped else "")
        return line + self._created % shown if self._stamped else line

    def histogram(self, histogram: Histogram) -> str:
        """A histogram's lines. Its labels are put in once for all its buckets."""
        labels = tuple([escape(label) for label in histogram.labels])
        line = self._bucket % (*(label.replace("%", "%%") for label in labels), "%s", "%s", "%s")
        lines = [
            line % (bound, number(count), _exemplar(exemplar) if exemplar and self._openmetrics else "")
            for bound, count, exemplar in histogram.buckets
        ]
        lines.append(self._count % (*labels, number(histogram.buckets[-1].up_to)))
        lines.append(self._sum % (*labels, number(histogram.sum)))
        if self._created:
            lines.append(self._created % labels)
        return "".join(lines)


def line_template(metric: Metric, labels: Sequence[str]) -> str:
    """A gauge's line with ``%s`` for its value."""
    return (_template(metric.name, metric.labels) % tuple([escape(one) for one in labels])).replace("%", "%%") + " %s\n"


def _template(name: str, labels: Sequence[str]) -> str:
    return name + "{" + ",".join(f'{label}="%s"' for label in labels) + "}" if labels else name


def _exemplar(exemplar: Exemplar) -> str:
    return f' # {{canary_id="{escape(exemplar.canary)[:80]}"}} {number(exemplar.value)}'
