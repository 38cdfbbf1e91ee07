"""The metric reference as Markdown, from the registry: ``python -m probe.exposition.reference > docs/metrics.md``."""

from __future__ import annotations

import sys

from probe.canary import counters
from probe.exposition import registry
from probe.exposition.registry import Metric, Type
from probe.exposition.text import AS_UNKNOWN

_INTRO = """\
# Metrics

Made from the program's registry by `python -m probe.exposition.reference`; do not edit.

`/metrics` speaks the Prometheus text format and OpenMetrics 1.0. Counters are the ledger's running totals: they survive
restarts and pruning. Every series of a configured leg is there at 0 from the start. A leg that was removed from the
configuration is shown until its last canary has an outcome.

At any time `mailcanary_sent_total` = the sum of `mailcanary_outcomes_total` + `mailcanary_in_flight`; the difference is
`mailcanary_ledger_imbalance` and must be 0.
"""

_WINDOWS = f"""\
`{registry.WINDOW.name}` and `{registry.LOSS.name}` speak of the last hour, six hours, day and 30 days. A canary
counts as sent when it was sent, as overdue when it was found overdue, and by its outcome when that was known: a lost
one is in the window `lost_after` later than one that arrived at the same time. Each window reaches back its span and at
most a sixtieth more, and moves on with the leg's canaries, without any every two minutes. The loss is lost / (delivered
+ late + lost), with the exact 95 % bounds of Clopper and Pearson; unknown is left out, and where nothing was judged
there is no ratio. After a start they come one by one, once the ledger has been looked through, newest first; until then
they are absent. A window longer than `keep` is never shown.
"""


def reference() -> str:
    """The whole page."""
    parts = [_INTRO, "| name | type | labels | meaning |", "|---|---|---|---|"]
    parts += [_row(metric) for metric in registry.METRICS]
    parts += ["", "## Closed sets of label values", "", "| metric | labels | values |", "|---|---|---|"]
    for metric in registry.COUNTERS:
        tails = registry.tails(metric.total)
        if tails and tails[0]:
            names = ", ".join(f"`{label}`" for label in metric.labels[-len(tails[0]) :])
            parts.append(f"| `{metric.name}` | {names} | {', '.join(' + '.join(tail) for tail in tails)} |")
    parts += [
        f"| `{name}` | `{label}` | {', '.join(values)} |"
        for name, labels in registry.CLOSED.items()
        for label, values in labels.items()
    ]
    parts += ["", "## Windows", "", _WINDOWS, "## Buckets", ""]
    parts.append(
        f"`{registry.DELIVERY.name}`: {_bounds(counters.DELIVERY_BUCKETS)} s, and the route's `overdue_after`."
    )
    parts.append("")
    parts.append(f"`{registry.STAGE.name}`: {_bounds(counters.STAGE_BUCKETS)} s.")
    parts += ["", "## OpenMetrics", ""]
    unknown = ", ".join(f"`{name}`" for name in sorted(AS_UNKNOWN))
    parts.append(
        "Exemplars carry `canary_id`, which leads to `/canaries/<id>`; they and `_created` are in OpenMetrics only.\n"
        f"There {unknown} goes out as type `unknown`, without exemplar, because a gauge has the name of its family\n"
        "(docs/decisions/0102-overdue-in-openmetrics.md). The client library adds `process_*` and `python_*`."
    )
    return "\n".join(parts) + "\n"


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels) or "-"
    kind = metric.type.value + (" (exemplar)" if metric.exemplars and metric.name not in AS_UNKNOWN else "")
    unit = " Seconds." if metric.unit and metric.type in (Type.COUNTER, Type.HISTOGRAM) else ""
    return f"| `{metric.name}` | {kind} | {labels} | {metric.help}{unit} |"


def _bounds(bounds: tuple[float, ...]) -> str:
    return ", ".join(f"{bound:g}" for bound in bounds)


if __name__ == "__main__":
    sys.stdout.write(reference())
