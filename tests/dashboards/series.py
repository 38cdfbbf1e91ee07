"""The month as a prober would have shown it: OpenMetrics text for ``promtool tsdb create-blocks-from``.

One sample an hour, and one a minute for the last six hours: what the dashboards look at, in few samples. Every series
of the registry is there from the start, at 0 where nothing is counted.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import product
from math import sqrt
from pathlib import Path

from probe.canary import counters
from probe.canary.counters import DELIVERY_BUCKETS, STAGE_BUCKETS, R
from probe.exposition import registry
from probe.exposition.registry import PREFIX, Metric, Type
from tests.dashboards.month import (
    ALL_CLEAR,
    DAY,
    END,
    HOUR,
    INCIDENTS,
    LEGS,
    MINUTE,
    OVERDUE_AFTER,
    REQUEUED_AT,
    START,
    VARIANTS,
    Leg,
    Month,
    state,
)

TARGET = 'instance="prober:9925",job="mailcanary"'
FINE = END - 6 * HOUR
WINDOWS = {"1h": HOUR, "6h": 6 * HOUR, "1d": DAY, "30d": 30 * DAY}
KINDS = registry.CLOSED[registry.INCIDENT_OPEN.name]["kind"]
# What is counted nowhere in the month and has to be seen: the name of the total, its labels, when (seconds before END).
MISHAPS = (
    ("probe_errors", ("mailbox", "disconnected"), 2 * HOUR),
    ("mailbox_blind_seconds", ("help",), 2 * HOUR),
    ("foreign", ("help", "reply"), HOUR),
)
_VALUES = {
    "mailbox": ("help",), "route": ("inbound",), "variant": VARIANTS, "peer": ("mx1",), "task": ("engine",),
    "version": ("0.2.0",), "prober": ("p1",),
}  # fmt: skip


def write(path: Path) -> Month:
    """Writes the file; the month at its end."""
    month = Month()
    page = Page(month)
    with path.open("w", encoding="utf-8") as file:
        for now in range(START, END + 1, MINUTE):
            if now == REQUEUED_AT:
                month.requeue()
            month.minute(now)
            if now % HOUR == 0 or now >= FINE:
                file.write("".join(f"{name} {float(value)!r} {now}\n" for name, value in page.at(now)))
        file.write("# EOF\n")
    return month


class Page:
    """``/metrics`` at one moment of the month, and what Prometheus adds."""

    def __init__(self, month: Month) -> None:
        self._month = month
        self._seen: list[tuple[int, dict[Leg, tuple[int, int, int]]]] = []
        self._counters = [
            (_series(each, labels), each.total, labels) for each in registry.COUNTERS for labels in _labels(each)
        ]

    def at(self, now: int) -> Iterator[tuple[str, float]]:
        """Every series with its value."""
        for name, total, labels in self._counters:
            yield name, float(self._month.counts[total, labels] + _mishap(total, labels, now))
        yield from self._histograms()
        for leg in LEGS:
            yield from ((_name(name, leg), value) for name, value in self._leg(leg, now))
            yield from self._windows(leg, now)
            yield from _detector(leg, now)
        yield from _prober(now)

    def _histograms(self) -> Iterator[tuple[str, float]]:
        counts = self._month.counts
        for _, mx, _ in LEGS:
            for variant in VARIANTS:
                fast, late = (counts["delivery", ("inbound", mx, variant, after)] for after in ("3", "900"))
                labels = f'route="inbound",mx="{mx}",variant="{variant}"'
                yield from _histogram("delivery_seconds", labels, DELIVERY_BUCKETS, {3: fast, 900: late})
        for stage in counters.STAGES:
            fast, late = (counts["stages", ("inbound", "transit", after)] for after in ("3", "900"))
            yield from _histogram(
                "stage_seconds", f'route="inbound",stage="{stage}"', STAGE_BUCKETS, {3: fast, 900: late}
            )

    def _leg(self, leg: Leg, now: int) -> Iterator[tuple[str, float]]:
        out = self._month.out[leg]
        yield "in_flight", len(out)
        yield "overdue", sum(out.values())
        yield "oldest_outstanding_sent_timestamp_seconds", min(out, default=0)
        yield "last_sent_timestamp_seconds", now
        yield "last_delivery_timestamp_seconds", self._month.arrived[leg]
        yield "latency_uncertainty_seconds", 0.2
        yield "route_state", state(leg, now)
        yield "target_info", 1
        yield "detector_hunting", state(leg, now) == 2
        yield "detector_suspicion_seconds", 20
        yield "detector_noise_ratio", 0.001
        yield "detector_smallest_loss_ratio", 0.01
        yield "detector_false_pages_per_month", 0.2
        yield "all_clear_canaries_needed", 90 if state(leg, now) else 0
        last = next(
            (one for one in reversed(INCIDENTS) if leg in one.legs and one.begin <= now < one.end + ALL_CLEAR), None
        )
        yield "incident_start_timestamp_seconds", last.begin if last else 0
        yield "incident_affected_canaries", (min(now, last.end) - last.begin) // MINUTE // last.each if last else 0
        yield "incident_requeue_start_timestamp_seconds", last.begin - HOUR if last else 0
        yield "incident_requeue_end_timestamp_seconds", min(now, last.end) if last else 0

    def _windows(self, leg: Leg, now: int) -> Iterator[tuple[str, float]]:
        if leg == LEGS[0]:
            self._seen.append((now, {one: self._counted(one) for one in LEGS}))
        for window, span in WINDOWS.items():
            before = self._seen[bisect_left(self._seen, now - span, key=lambda seen: seen[0])][1][leg]
            sent, overdue, lost = (new - old for new, old in zip(self._counted(leg), before, strict=True))
            for which, value in (("sent", sent), ("overdue", overdue), ("lost", lost), ("unknown", 0)):
                yield _name("window_canaries", leg, f'window="{window}",state="{which}"'), value
            for bound, ratio in zip(("estimate", "lower", "upper"), _wilson(lost, max(sent, 1)), strict=True):
                yield _name("loss_ratio", leg, f'window="{window}",bound="{bound}"'), ratio

    def _counted(self, leg: Leg) -> tuple[int, int, int]:
        month = self._month
        return month.total("sent", leg), month.total("overdue", leg), month.total("outcomes", leg, "lost")


def _detector(leg: Leg, now: int) -> Iterator[tuple[str, float]]:
    is_bad = bool(state(leg, now))
    for kind in KINDS:
        mine = any(one.kind == kind and leg in one.legs and one.begin <= now < one.end + ALL_CLEAR for one in INCIDENTS)
        yield _name("incident_open", leg, f'kind="{kind}"'), mine
    for detector, threshold in (("share", 11.0), ("blackout", 7.0)):
        yield _name("detector_threshold", leg, f'detector="{detector}"'), threshold
        yield _name("detector_score", leg, f'detector="{detector}"'), threshold * 1.5 if is_bad else 0.0
    for last in registry.CLOSED[registry.RECENT.name]["last"]:
        yield _name("recent_overdue", leg, f'last="{last}"'), 3 if is_bad else 0


def _prober(now: int) -> Iterator[tuple[str, float]]:
    ones = ["config_last_reload_successful", "ledger_writable"]
    noughts = ["ledger_imbalance", "ledger_reset_timestamp_seconds", "clock_offset_seconds", "scheduler_lag_seconds"]
    for name, value in [*((each, 1) for each in ones), *((each, 0) for each in noughts)]:
        yield f"{PREFIX}{name}{{{TARGET}}}", value
    yield f"{PREFIX}heartbeat_last_success_timestamp_seconds{{{TARGET}}}", now - 30
    yield f'{PREFIX}build_info{{version="{"0.1.0" if now < END - HOUR else "0.2.0"}",prober="p1",{TARGET}}}', 1
    for name, value in (("interval", 60), ("overdue_threshold", OVERDUE_AFTER)):
        yield f'{PREFIX}{name}_seconds{{route="inbound",{TARGET}}}', value
    yield f'{PREFIX}paused{{route="inbound",{TARGET}}}', 0
    yield f'{PREFIX}paging{{route="inbound",{TARGET}}}', 1
    for name, value in (
        ("mailbox_last_read_timestamp_seconds", now - 5),
        ("control_last_success_timestamp_seconds", now - 200),
        ("mailbox_blind", END - 2 * HOUR <= now < END - 2 * HOUR + 5 * MINUTE),
        ("mailbox_messages", 1200),
    ):
        yield f'{PREFIX}{name}{{mailbox="help",{TARGET}}}', value
    for _, mx, _ in LEGS:
        yield f'{PREFIX}scheduler_last_slot_timestamp_seconds{{route="inbound",mx="{mx}",{TARGET}}}', now
        yield f'{PREFIX}tls_certificate_expiry_timestamp_seconds{{peer="smtp",mx="{mx}",{TARGET}}}', END + 60 * DAY
        yield f'{PREFIX}insecure{{peer="smtp",mx="{mx}",{TARGET}}}', 0
    yield f"up{{{TARGET}}}", 1
    yield f"scrape_samples_scraped{{{TARGET}}}", 450
    yield f"scrape_duration_seconds{{{TARGET}}}", 0.02
    yield f"process_cpu_seconds_total{{{TARGET}}}", (now - START) * 0.01
    yield f"process_resident_memory_bytes{{{TARGET}}}", 6e7
    yield 'ALERTS{alertname="MailCanaryWatchdog",alertstate="firing"}', 1
    yield 'alertmanager_notifications_failed_total{integration="pagerduty",job="alertmanager"}', 0


def _labels(metric: Metric) -> list[tuple[str, ...]]:
    """The label values of a counter that a prober with these legs shows."""
    tails = registry.tails(metric.total)
    front = metric.labels[: len(metric.labels) - len(tails[0])]
    heads: list[tuple[str, ...]] = list(LEGS) if front[:3] == R else [()]
    rest = [_VALUES[label] for label in front[len(heads[0]) :]]
    return [(*head, *middle, *tail) for head in heads for middle in product(*rest) for tail in tails]


def _series(metric: Metric, labels: tuple[str, ...]) -> str:
    inside = [f'{name}="{value}"' for name, value in zip(metric.labels, labels, strict=True)]
    assert metric.type is Type.COUNTER
    return f"{metric.name}{{{','.join([*inside, TARGET])}}}"


def _name(name: str, leg: Leg, more: str = "") -> str:
    route, mx, mailbox = leg
    return f'{PREFIX}{name}{{route="{route}",mx="{mx}",mailbox="{mailbox}",{more + "," if more else ""}{TARGET}}}'


def _histogram(
    name: str, labels: str, bounds: tuple[float, ...], counts: dict[int, int]
) -> Iterator[tuple[str, float]]:
    for bound in bounds:
        within = sum(count for value, count in counts.items() if value <= bound)
        yield f'{PREFIX}{name}_bucket{{{labels},le="{bound!r}",{TARGET}}}', within
    yield f'{PREFIX}{name}_bucket{{{labels},le="+Inf",{TARGET}}}', sum(counts.values())


def _mishap(total: str, labels: tuple[str, ...], now: int) -> int:
    return sum(7 for name, mine, before in MISHAPS if (name, mine) == (total, labels) and now >= END - before)


def _wilson(lost: int, of: int) -> tuple[float, float, float]:
    """Estimate and 95 % bounds; the prober has exact ones."""
    centre, width = (lost + 1.92) / (of + 3.84), 1.96 * sqrt(lost * (of - lost) / of + 0.9604) / (of + 3.84)
    return lost / of, max(0.0, centre - width), centre + width
