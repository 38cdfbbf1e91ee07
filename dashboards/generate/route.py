"""One route in detail: which host, which variant, which stage, which answer."""

from __future__ import annotations

from dashboards.generate.colours import ANY_IS_BAD, GREEN, RED
from dashboards.generate.model import Board, Kind, Panel, Query, Row
from dashboards.generate.promql import WINDOW, gained, quantile, select

_OVERDUE = select("overdue_total")
_JUDGED = select("judged_total")
_ARRIVED = select("arrivals_total")
_LOST = select("outcomes_total", outcome="lost")


def _share(part: str, whole: str, by: str, window: str) -> str:
    return f"sum by ({by}) (increase({part}[{window}])) / sum by ({by}) (increase({whole}[{window}]))"


_WHERE = Row(
    "Where is it?",
    (
        Panel(
            Kind.CELLS,
            "Overdue, by MX host",
            "One cell a step, 60 of them: the share of the canaries judged in it that were overdue. Empty: none was "
            "judged. One red line is one host; a red column is what all hosts share.",
            "percentunit",
            (Query(f"{gained(_OVERDUE, 'route, mx')} / {gained(_JUDGED, 'route, mx')}", "{{route}} {{mx}}"),),
            24,
            7,
            steps=((0, GREEN), (1e-9, "orange"), (0.5, RED)),
            step="1m",
            runbooks=("MailCanaryLossDetected", "MailCanaryPathDown"),
            legs=True,
        ),
        Panel(
            Kind.LINES,
            "Loss in 24 h, by MX host",
            "Lost canaries of those that were delivered, late or lost, with 95 % bounds (dashed). Two hosts differ "
            "when their bounds do not overlap. Unknown outcomes are left out.",
            "percentunit",
            (Query(select("loss_ratio", window="1d"), "{{route}} {{mx}}, {{bound}}"),),
            12,
            dashed="/, (lower|upper)$/",
            runbooks=("MailCanaryLossDetected",),
            legs=True,
        ),
        Panel(
            Kind.LINES,
            "Overdue in 1 h, by variant",
            "Share of the judged canaries of the last hour that were overdue. Only one variant: look at what reads the "
            "content (filters, size limits, attachments), not at the transport.",
            "percentunit",
            (Query(_share(_OVERDUE, _JUDGED, "route, variant", "1h"), "{{route}} {{variant}}"),),
            12,
            runbooks=("MailCanaryLossDetected",),
        ),
    ),
)

_WAY = Row(
    "The way of the mail",
    (
        Panel(
            Kind.LINES,
            "Time by stage, p95",
            "connect and submit: us to the first server; transit: accepted to delivered; retrieve: delivered to seen "
            "by us. When retrieve is slow, the mailbox or our reads are, not the mail.",
            "s",
            (Query(quantile(0.95, "stage_seconds", "route, stage"), "{{route}} {{stage}}"),),
            12,
            step="1m",
            logarithmic=True,
            runbooks=("MailCanaryDelayed",),
        ),
        Panel(
            Kind.LINES,
            "Delivery time by MX host, p50 and p95",
            "Points are single canaries (exemplars): a click leads to the page of that canary. Arrivals only.",
            "s",
            (
                Query(quantile(0.5, "delivery_seconds", "route, mx"), "p50 {{route}} {{mx}}", exemplar=True),
                Query(quantile(0.95, "delivery_seconds", "route, mx"), "p95 {{route}} {{mx}}", exemplar=True),
            ),
            12,
            step="1m",
            logarithmic=True,
            legs=True,
            runbooks=("MailCanaryDelayed",),
        ),
        Panel(
            Kind.BARS,
            "Answers of the servers",
            "Attempts by result, retries included; exact numbers. Refused mail is not lost mail: the sender knows.",
            "short",
            (Query(gained(select("attempts_total"), "result"), "{{result}}"),),
            12,
            step="5m",
            runbooks=("MailCanaryRefused", "MailCanaryDeferred"),
        ),
        Panel(
            Kind.BARS,
            "Outcomes by MX host",
            "Canaries that did not arrive in time, by outcome and host, in the step in which it was known; exact "
            "numbers.",
            "short",
            (
                Query(
                    gained(select("outcomes_total", outcome="late|lost|bounced|refused|unsent|unknown"), "mx, outcome"),
                    "{{mx}} {{outcome}}",
                ),
            ),
            12,
            step="5m",
            runbooks=("MailCanaryLost", "MailCanaryUnknown"),
            legs=True,
        ),
    ),
)

_ARRIVALS = Row(
    "What arrives",
    (
        Panel(
            Kind.BARS,
            "Folders",
            "Where canaries landed, as a share of the arrivals. Spam is delivered, and nobody looks there.",
            "short",
            (Query(f"sum by (folder) (increase({_ARRIVED}[{WINDOW}]))", "{{folder}}"),),
            8,
            step="5m",
            percent=True,
            runbooks=("MailCanaryInSpam",),
        ),
        Panel(
            Kind.LINES,
            "What survives the way",
            "Share of the arrivals of the last hour in which each carrier of the canary's signed identity verified. "
            "Below 100 %: something on the way rewrites headers, subjects or bodies.",
            "percentunit",
            (
                Query(
                    f"sum by (route, carrier) (increase({select('carrier_survived_total')}[1h]))"
                    f" / on (route) group_left () sum by (route) (increase({_ARRIVED}[1h]))",
                    "{{route}} {{carrier}}",
                ),
            ),
            8,
            runbooks=("MailCanaryDamaged",),
        ),
        Panel(
            Kind.BARS,
            "After the outcome",
            "Recovered: came after it was called lost or unknown, as in a re-queue. Duplicates: came twice, so the "
            "replay is not told apart by Message-ID. Moved: seen again in another folder. Exact numbers.",
            "short",
            (
                Query(gained(select("recovered_total"), "was"), "recovered, was {{was}}"),
                Query(gained(select("duplicates_total"), "route"), "duplicates, {{route}}"),
                Query(gained(select("moved_total"), "route"), "moved, {{route}}"),
                Query(gained(select("afterwards_total"), "outcome, event"), "{{event}} after {{outcome}}"),
            ),
            8,
            step="5m",
            runbooks=("MailCanaryDuplicates", "MailCanaryBounced"),
        ),
        Panel(
            Kind.STAT,
            "Lost in the time range",
            "Canaries called lost, with proof, in the time range shown; exact numbers. Explain every one.",
            "short",
            (Query(f"sum by (route) ({_LOST} - min_over_time({_LOST}[$__range]))", "{{route}}"),),
            24,
            3,
            steps=ANY_IS_BAD,
            runbooks=("MailCanaryLost",),
        ),
    ),
)

BOARD = Board(
    "route",
    "mailcanary / route",
    "Which host, which variant, which stage, which answer?",
    "now-6h",
    (_WHERE, _WAY, _ARRIVALS),
)
