"""The metrics of the detector and the incidents, which the dashboards show already and the registry does not have yet.

An entry that the registry has by now fails a test (tests/dashboards), so this list can only shrink; it goes when it
is empty. Names, labels and closed sets of values as the alert rules use them.
"""

from __future__ import annotations

from probe.canary.counters import R
from probe.exposition.registry import PREFIX, Metric, Type


def _gauge(name: str, labels: tuple[str, ...], text: str) -> Metric:
    return Metric(PREFIX + name, Type.GAUGE, labels, text)


METRICS: tuple[Metric, ...] = (
    _gauge("window_canaries", (*R, "window", "state"), "Canaries sent in a window, by state."),
    _gauge("loss_ratio", (*R, "window", "bound"), "Lost canaries of a window: estimate and 95 % bounds."),
)

# Label -> its values, where the set is closed.
VALUES: dict[str, tuple[str, ...]] = {
    "window": ("1h", "6h", "1d", "30d"),
    "state": ("sent", "overdue", "lost", "unknown"),
    "bound": ("estimate", "lower", "upper"),
    "last": ("3", "6", "60", "180", "420"),
    "detector": ("share", "blackout"),
    "kind": ("total_loss", "partial_loss", "delay"),
}
