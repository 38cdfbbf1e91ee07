"""The metrics as data: name, type, labels, unit and meaning of everything ``/metrics`` shows of our own.

One list, from which the exporter, the reference page and the tests of rules and dashboards are made, so that they
cannot differ. It holds no values. Labels of the counters come from ``probe.canary.counters``: what the ledger counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

from probe.canary import counters
from probe.canary.counters import R
from probe.canary.record import OUTCOMES, State
from probe.canary.windows import SPANS
from probe.detection.detector_findings import Kind as Rule
from probe.detection.record import Kind as IncidentKind
from probe.senders.base import SubmissionLabel

PREFIX = "mailcanary_"


class Type(StrEnum):
    """Types of metrics, in the words of both text formats."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One metric; each is there once.

    ``family``: the name without ``_total`` or ``_info``. ``total``: its name in the ledger's totals.
    """

    family: str
    type: Type
    labels: tuple[str, ...]
    help: str
    total: str = ""
    exemplars: bool = False

    @property
    def name(self) -> str:
        """The name of its samples (a histogram's without suffix)."""
        return self.family + {Type.COUNTER: "_total", Type.INFO: "_info"}.get(self.type, "")

    @property
    def unit(self) -> str:
        """``seconds`` or "" - the only unit we have."""
        return "seconds" if self.family.endswith("_seconds") else ""


def _counter(total: str, text: str, *, exemplars: bool = False) -> Metric:
    return Metric(PREFIX + total, Type.COUNTER, counters.LABELS[total], text, total, exemplars)


def _gauge(name: str, labels: tuple[str, ...], text: str) -> Metric:
    return Metric(PREFIX + name, Type.GAUGE, labels, text)


COUNTERS: tuple[Metric, ...] = (
    _counter(counters.SENT, "Canaries whose intent is durable, refused and unsent ones included."),
    _counter(counters.SUBMISSIONS, "Submissions by the result of their last attempt."),
    _counter(counters.ATTEMPTS, "Attempts by result, retries after a 4xx included."),
    _counter(counters.OVERDUE, "Canaries not there at overdue_after, once each, never while blind.", exemplars=True),
    _counter(counters.JUDGED, "Canaries judged at overdue_after: punctual and overdue."),
    _counter(counters.OUTCOMES, "Canaries by their one outcome.", exemplars=True),
    _counter(counters.RECOVERED, "Arrivals after the outcome lost or unknown."),
    _counter(counters.AFTERWARDS, "Any other event after an outcome."),
    _counter(counters.MOVED, "Seen again in another folder, the earlier copy gone."),
    _counter(counters.FOREIGN, "Mail that looked like a canary and was not believed."),
    _counter(counters.CARRIERS, "Arrivals in which this carrier of the identity verified."),
    _counter(counters.DUPLICATES, "Copies beyond the first."),
    _counter(counters.ARRIVALS, "Arrivals by kind of folder."),
    _counter(counters.BLIND_SECONDS, "Time in which the mailbox could not be read."),
    _counter(counters.UID_GAPS, "Numbers below UIDNEXT that were never seen."),
    _counter(counters.CAP_HITS, "Sends that a cap held back."),
    _counter(counters.TASK_CRASHES, "Loops that crashed and were started again."),
    _counter(counters.PROBE_ERRORS, "Faults of the prober or of what it needs, by component."),
    _counter(counters.CLOCK_STEPS, "Steps of the wall clock that were noticed."),
    _counter(counters.LEDGER_RESETS, "Damaged ledgers that were set aside."),
)

DELIVERY = Metric(
    PREFIX + "delivery_seconds",
    Type.HISTOGRAM,
    ("route", "mx", "variant"),
    "From the first final dot to visible in the mailbox; arrivals only.",
    exemplars=True,
)
STAGE = Metric(PREFIX + "stage_seconds", Type.HISTOGRAM, ("route", "stage"), "Where the time goes.")

IN_FLIGHT = _gauge("in_flight", R, "Canaries without an outcome.")
OVERDUE_NOW = _gauge("overdue", R, "Canaries in flight that are overdue now.")
OLDEST = _gauge("oldest_outstanding_sent_timestamp_seconds", R, "When the oldest canary in flight was sent; 0: none.")
LAST_SENT = _gauge("last_sent_timestamp_seconds", R, "When the last canary was sent; 0: never.")
LAST_DELIVERY = _gauge("last_delivery_timestamp_seconds", R, "When a canary last arrived; 0: never.")
UNCERTAINTY = _gauge("latency_uncertainty_seconds", R, "Width of the last arrival's interval.")
LAST_SLOT = _gauge("scheduler_last_slot_timestamp_seconds", ("route", "mx"), "When the scheduler last served the leg.")
INTERVAL = _gauge("interval_seconds", ("route",), "Configured: time between canaries of a leg.")
THRESHOLD = _gauge("overdue_threshold_seconds", ("route",), "Configured: overdue_after.")
DEADLINE = _gauge("loss_deadline_seconds", ("route",), "Configured: lost_after.")
DETECTED = (*R, "detector")
SCORE = _gauge("detector_score", DETECTED, "Points (share) or canaries (blackout); latched while open.")
PAGES_AT = _gauge("detector_threshold", DETECTED, "What pages; +Inf for the share of a leg that is still new.")
SUSPICION = _gauge("detector_suspicion_seconds", R, "From this age on an unseen canary is suspicious (p98 latency).")
NOISE = _gauge("detector_noise_ratio", R, "Healthy canaries that start an overdue run, learned.")
SMALLEST = _gauge("detector_smallest_loss_ratio", R, "The smallest share of loss that is looked for.")
HUNTING = _gauge("detector_hunting", R, "1 while an overdue canary makes the leg send more.")
FALSE_PAGES = _gauge("detector_false_pages_per_month", R, "False pages of this leg that its noise leads to expect.")
RECENT = _gauge("recent_overdue", (*R, "last"), "Overdue ones among the last so many judged canaries.")
NEEDED = _gauge("all_clear_canaries_needed", R, "Clean canaries that the all-clear still needs; 0: no incident.")
ROUTE_STATE = _gauge("route_state", R, "0 ok, 1 suspected, 2 open, 3 recovering, 4 unknown, 5 paused.")
INCIDENT_OPEN = _gauge("incident_open", (*R, "kind"), "1 while an incident of this kind affects the leg.")
INCIDENT_START = _gauge("incident_start_timestamp_seconds", R, "When its first overdue canary was sent; 0: none.")
AFFECTED = _gauge("incident_affected_canaries", R, "Overdue canaries of the open incident.")
REQUEUE_START = _gauge("incident_requeue_start_timestamp_seconds", R, "Queue mail again from then on; 0: none.")
REQUEUE_END = _gauge("incident_requeue_end_timestamp_seconds", R, "Until then; 0: not known yet.")
LAST_READ = _gauge("mailbox_last_read_timestamp_seconds", ("mailbox",), "Last complete read; at first the start.")
BLIND = _gauge(
    "mailbox_blind",
    ("mailbox",),
    "1 from a failed read to the next complete one, and while a control canary is missed.",
)
MESSAGES = _gauge("mailbox_messages", ("mailbox",), "Messages in the watched folders.")
CONTROL = _gauge(
    "control_last_success_timestamp_seconds",
    ("mailbox",),
    "When the control canary was last seen; at first since when there is one. Only where there is one.",
)
HEARTBEAT = _gauge(
    "heartbeat_last_success_timestamp_seconds",
    (),
    "When the heartbeat's URL last answered 2xx; 0: not since the start.",
)
CERTIFICATE = _gauge("tls_certificate_expiry_timestamp_seconds", ("peer", "mx"), "When a server's certificate expires.")
INSECURE = _gauge("insecure", ("peer", "mx"), "1 where verify: false or tls: none is written out.")
IMBALANCE = _gauge("ledger_imbalance", (), "sent - outcomes - in flight; anything but 0 is a bug.")
LEDGER_RESET = _gauge(
    "ledger_reset_timestamp_seconds",
    (),
    "When a damaged ledger was last set aside and this one begun; 0: never.",
)
WRITABLE = _gauge("ledger_writable", (), "1 while commits work; at 0 nothing is sent.")
OFFSET = _gauge("clock_offset_seconds", (), "How far the wall clock moved against the boot clock since the start.")
LAG = _gauge("scheduler_lag_seconds", (), "How late the scheduler is.")
RELOAD = _gauge("config_last_reload_successful", (), "1 unless the last reload was refused.")
PAUSED = _gauge("paused", ("route",), "1 while an operator has paused the route.")
DRILL = _gauge("drill", ("route",), "1 while an operator drills the alert path; nothing is wrong.")
PAGING = _gauge("paging", ("route",), "Configured: 1 where the route may page, 0 where it is only measured.")
WINDOW = _gauge(
    "window_canaries",
    (*R, "window", "state"),
    "Canaries sent, found overdue, proven lost or ended as unknown within the window.",
)
LOSS = _gauge(
    "loss_ratio",
    (*R, "window", "bound"),
    "Lost of those delivered, late or lost within the window; exact 95 % bounds. None where nothing was judged.",
)
BUILD = Metric(PREFIX + "build", Type.INFO, ("version", "prober"), "Always 1.")
TARGET = Metric(PREFIX + "target", Type.INFO, R, "1 for each configured leg, for rules on coverage.")

METRICS: tuple[Metric, ...] = (
    *COUNTERS,
    DELIVERY,
    STAGE,
    IN_FLIGHT,
    OVERDUE_NOW,
    OLDEST,
    LAST_SENT,
    LAST_DELIVERY,
    UNCERTAINTY,
    LAST_SLOT,
    INTERVAL,
    THRESHOLD,
    DEADLINE,
    PAGING,
    SCORE,
    PAGES_AT,
    SUSPICION,
    NOISE,
    SMALLEST,
    HUNTING,
    FALSE_PAGES,
    RECENT,
    WINDOW,
    LOSS,
    NEEDED,
    ROUTE_STATE,
    INCIDENT_OPEN,
    INCIDENT_START,
    AFFECTED,
    REQUEUE_START,
    REQUEUE_END,
    LAST_READ,
    BLIND,
    MESSAGES,
    CONTROL,
    HEARTBEAT,
    CERTIFICATE,
    INSECURE,
    IMBALANCE,
    LEDGER_RESET,
    WRITABLE,
    OFFSET,
    LAG,
    RELOAD,
    PAUSED,
    DRILL,
    BUILD,
    TARGET,
)

_OUTCOME_VALUES = tuple(state.value for state in State if state in OUTCOMES)
_ARRIVES_AFTER = (State.BOUNCED, State.REFUSED, State.UNSENT)  # after lost and unknown it is `recovered`

# The closed sets behind the labels that are not configuration: what follows the leg (and variant), all combinations.
TAILS: dict[str, Sequence[tuple[str, ...]]] = {
    counters.SUBMISSIONS: [(label.value,) for label in SubmissionLabel],
    counters.ATTEMPTS: [(label.value,) for label in SubmissionLabel],
    counters.OUTCOMES: [(value,) for value in _OUTCOME_VALUES],
    counters.RECOVERED: [(State.LOST.value,), (State.UNKNOWN.value,)],
    counters.AFTERWARDS: [
        *((value, "bounce") for value in _OUTCOME_VALUES),
        *((state.value, "arrival") for state in _ARRIVES_AFTER),
    ],
    counters.CARRIERS: [(carrier,) for carrier in ("header", "message_id", "subject", "body")],
    counters.ARRIVALS: [(folder,) for folder in counters.FOLDERS],
    counters.FOREIGN: [(kind,) for kind in counters.FOREIGN_KINDS],
    counters.CAP_HITS: [(limit,) for limit in counters.LIMITS],
}

LASTS = (3, 6, 60, 180, 420)

# The closed sets behind the labels of gauges, and of the histogram of stages: by metric, by label.
CLOSED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    STAGE.name: {"stage": counters.STAGES},
    SCORE.name: {"detector": tuple(Rule)},
    PAGES_AT.name: {"detector": tuple(Rule)},
    RECENT.name: {"last": tuple(str(last) for last in LASTS)},
    INCIDENT_OPEN.name: {"kind": tuple(IncidentKind)},
    WINDOW.name: {"window": tuple(span.name for span in SPANS), "state": ("sent", "overdue", "lost", "unknown")},
    LOSS.name: {"window": tuple(span.name for span in SPANS), "bound": ("estimate", "lower", "upper")},
}

# What the senders and mailboxes name as reasons (senders/base.py, errors.py); shown at 0 from the start.
ERROR_REASONS: dict[str, tuple[str, ...]] = {
    "sender": (
        "connect", "bind", "timeout", "protocol", "tls", "tls_missing", "tls_cert", "auth", "auth_temp", "local",
    ),
    "mailbox": (
        "connect", "tls", "auth", "auth_temporary", "timeout", "protocol", "disconnected", "throttled", "folder",
        "limit", "other",
    ),
    "dns": ("dns_temp", "dns_perm", "null_mx"),
    "store": ("write",),
    "scheduler": ("stalled",),
    "control": ("refused", "missed", "remove"),
    "heartbeat": ("connect", "tls", "timeout", "status", "other"),
}  # fmt: skip


def tails(total: str) -> Sequence[tuple[str, ...]]:
    """The label values after the leg (and variant) that a total shows from the start; one empty tuple if none."""
    if total == counters.PROBE_ERRORS:
        return [pair for part, reasons in ERROR_REASONS.items() for pair in product((part,), reasons)]
    return TAILS.get(total, [()])
