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
    _gauge("route_state", R, "0 ok, 1 suspected, 2 open, 3 recovering, 4 unknown, 5 paused."),
    _gauge("window_canaries", (*R, "window", "state"), "Canaries sent in a window, by state."),
    _gauge("loss_ratio", (*R, "window", "bound"), "Lost canaries of a window: estimate and 95 % bounds."),
    _gauge("recent_overdue", (*R, "last"), "Overdue among the last judged canaries."),
    _gauge("detector_score", (*R, "detector"), "The detector's score."),
    _gauge("detector_threshold", (*R, "detector"), "It pages at this score."),
    _gauge("detector_hunting", R, "1 while extra canaries are sent."),
    _gauge("detector_suspicion_seconds", R, "Learned: the age that makes a canary suspect."),
    _gauge("detector_noise_ratio", R, "Learned: share of healthy canaries that are suspect."),
    _gauge("detector_smallest_loss_ratio", R, "The smallest loss that the detector looks for."),
    _gauge("detector_false_pages_per_month", R, "Projected from the leg's own history."),
    _gauge("all_clear_canaries_needed", R, "Punctual canaries that the all-clear needs."),
    _gauge("incident_open", (*R, "kind"), "1 while an incident of this kind is open."),
    _gauge(
        "incident_start_timestamp_seconds", R, "When the first affected canary of the open incident was sent; else 0."
    ),
    _gauge("incident_affected_canaries", R, "Affected canaries of the open incident; else 0."),
    _gauge("incident_requeue_start_timestamp_seconds", R, "Begin of the window to re-queue; else 0."),
    _gauge("incident_requeue_end_timestamp_seconds", R, "End of the window to re-queue; else 0."),
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
