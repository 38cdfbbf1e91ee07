"""The lower half of the prober's dashboard: its loops, its clock, its process, and the way that alerts take."""

from __future__ import annotations

from dashboards.generate.colours import ANY_IS_BAD, GREEN, RED, YELLOW
from dashboards.generate.model import Kind, Panel, Query, Row
from dashboards.generate.promql import age, gained, of_others, of_target, select

_WHO = "{{instance}}"

WORKS = Row(
    "Does it work?",
    (
        Panel(
            Kind.BARS,
            "Errors",
            "Faults of the prober or of what it needs, by component and reason.",
            "short",
            (Query(f"{gained(select('probe_errors_total'), 'component, reason')} > 0", "{{component}} {{reason}}"),),
            12,
            step="5m",
            nothing="no errors",
            runbooks=("MailCanaryStoreErrors",),
        ),
        Panel(
            Kind.BARS,
            "Crashes, caps, clock steps and ledgers set aside",
            "Loops that crashed and were started again, sends that a cap held back, steps of the wall clock.",
            "short",
            (
                Query(gained(select("task_crashes_total"), "task"), "crash {{task}}"),
                Query(gained(select("cap_hits_total"), "limit"), "cap {{limit}}"),
                Query(gained(select("clock_steps_total"), "instance"), "clock step {{instance}}"),
                Query(gained(select("ledger_resets_total"), "instance"), "ledger set aside {{instance}}"),
            ),
            12,
            step="5m",
            runbooks=("MailCanaryProberStalled", "MailCanaryClockSkew", "MailCanaryLedgerReset"),
        ),
        Panel(
            Kind.LINES,
            "Scheduler",
            "How late it is, and the time since it last served the slowest leg.",
            "s",
            (
                Query(select("scheduler_lag_seconds"), f"lag {_WHO}"),
                Query(
                    f"max by (route) ({age(select('scheduler_last_slot_timestamp_seconds'))})", "last slot {{route}}"
                ),
            ),
            8,
            runbooks=("MailCanaryProberStalled",),
        ),
        Panel(
            Kind.LINES,
            "Clock",
            "How far the wall clock moved against the boot clock since the start. Latencies are as wrong.",
            "s",
            (Query(select("clock_offset_seconds"), _WHO),),
            8,
            runbooks=("MailCanaryClockSkew",),
        ),
        Panel(
            Kind.LINES,
            "How exactly arrivals are timed",
            "Width of the interval in which the last canary became visible: the error of the delivery time.",
            "s",
            (Query(f"max by (route) ({select('latency_uncertainty_seconds')})", "{{route}}"),),
            8,
        ),
        Panel(
            Kind.LINES,
            "False pages a month, projected",
            "From each leg's own history. Above the budget: recalibrate.",
            "short",
            (Query(select("detector_false_pages_per_month"), "{{route}} {{mx}}"),),
            8,
            steps=((0, GREEN), (1, RED)),
            runbooks=("MailCanaryNoisy",),
        ),
        Panel(
            Kind.STATES,
            "Extra canaries",
            "The detector sends more canaries: it suspects something.",
            "none",
            (Query(select("detector_hunting"), "{{route}} {{mx}}"),),
            8,
            texts={0: ("no", GREEN), 1: ("hunting", YELLOW)},
            runbooks=("MailCanaryLossSuspected",),
        ),
        Panel(
            Kind.STATES,
            "Paused",
            "An operator has paused the route.",
            "none",
            (Query(select("paused"), "{{route}}"),),
            8,
            texts={0: ("no", GREEN), 1: ("paused", "blue")},
        ),
    ),
)

AROUND = Row(
    "Around it",
    (
        Panel(
            Kind.LINES,
            "Notifications that failed",
            "Alertmanager could not hand over pages, in 5 minutes. It needs a scrape job for Alertmanager.",
            "short",
            (
                Query(
                    f"sum by (integration) (increase({of_others('alertmanager_notifications_failed_total')}[5m]))",
                    "{{integration}}",
                ),
            ),
            8,
            steps=ANY_IS_BAD,
            runbooks=("MailCanaryNotifyFailing", "MailCanaryDrill"),
        ),
        Panel(
            Kind.LINES,
            "Series",
            "Series of a scrape. It grows with routes, hosts and variants only.",
            "short",
            (Query(of_target("scrape_samples_scraped"), _WHO),),
            8,
        ),
        Panel(
            Kind.LINES,
            "Time of a scrape",
            "How long Prometheus waits for the page.",
            "s",
            (Query(of_target("scrape_duration_seconds"), _WHO),),
            8,
        ),
        Panel(
            Kind.LINES,
            "CPU",
            "Cores that the prober uses.",
            "none",
            (Query(f"rate({of_target('process_cpu_seconds_total')}[$__rate_interval])", _WHO),),
            8,
        ),
        Panel(
            Kind.LINES,
            "Memory",
            "Resident memory of the prober.",
            "bytes",
            (Query(of_target("process_resident_memory_bytes"), _WHO),),
            8,
        ),
        Panel(
            Kind.TABLE,
            "Servers and their certificates",
            "Time until the certificate expires, and connections that are not protected because the configuration says "
            "so.",
            "none",
            (
                Query(
                    f"min by (peer, mx) ({select('tls_certificate_expiry_timestamp_seconds')} - time())",
                    "expires in",
                    unit="s",
                ),
                Query(f"max by (peer, mx) ({select('insecure')})", "insecure", unit="bool_yes_no"),
            ),
            8,
            runbooks=("MailCanaryCertificateExpires",),
        ),
    ),
)
