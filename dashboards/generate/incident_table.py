"""The table of incidents, shown by two dashboards: one line for each leg and kind of incident."""

from __future__ import annotations

from dashboards.generate.model import Kind, Panel, Query
from dashboards.generate.promql import select

_LEG = "route, mx, mailbox"
_INCIDENT = f"{_LEG}, kind"
_HAD = f"(max by ({_INCIDENT}) (max_over_time({select('incident_open')}[$__range])) > 0)"


def _beside(name: str, **matchers: str) -> str:
    """A gauge of the leg, its largest in the range, beside each kind of incident that the leg had in the range."""
    value = f"max by ({_LEG}) (max_over_time({select(name, **matchers)}[$__range]))"
    return f"{_HAD} * on ({_LEG}) group_left () {value}"


def _moment(name: str) -> str:
    return f"{_beside(name)} * 1000"  # Grafana's dates count milliseconds


INCIDENTS = Panel(
    Kind.TABLE,
    "Incidents in the time range",
    "Legs that had an incident in the time range: whether it is open now, and of the last one since when, how many "
    "canaries it took, and the window to re-queue. The bounds (95 %) are the highest of the loss over 24 h.",
    "none",
    (
        Query(f"max by ({_INCIDENT}) ({select('incident_open')}) and {_HAD}", "open now", unit="bool_yes_no"),
        Query(_moment("incident_start_timestamp_seconds"), "first affected sent", unit="dateTimeAsIso"),
        Query(_beside("incident_affected_canaries"), "affected", unit="short"),
        Query(_beside("loss_ratio", window="1d", bound="lower"), "loss at least", unit="percentunit"),
        Query(_beside("loss_ratio", window="1d", bound="upper"), "loss at most", unit="percentunit"),
        Query(_moment("incident_requeue_start_timestamp_seconds"), "re-queue from", unit="dateTimeAsIso"),
        Query(_moment("incident_requeue_end_timestamp_seconds"), "re-queue to", unit="dateTimeAsIso"),
    ),
    24,
    nothing="no incident",
    runbooks=("MailCanaryLossDetected",),
)
