"""Is mail arriving, how late, and how much of it is lost? For the screen on the wall and the first look."""

from __future__ import annotations

from dashboards.generate import incident_table
from dashboards.generate.colours import ANY_IS_WORTH_A_LOOK, GREEN, RED, STATE, YELLOW
from dashboards.generate.model import Board, Kind, Panel, Query, Row
from dashboards.generate.promql import WINDOW, age, gained, quantile, select

# The objective that MailCanaryErrorBudgetBurn guards; a test compares it with alerts/rules.yaml.
BUDGET = 0.005

_BAD_30D = f"sum by (route) ({select('window_canaries', window='30d', state='overdue')})"
_SENT_30D = f"sum by (route) ({select('window_canaries', window='30d', state='sent')})"
_UNKNOWN_30D = f"sum by (route) ({select('window_canaries', window='30d', state='unknown')})"

_NOW = Row(
    "Now",
    (
        Panel(
            Kind.STAT,
            "State",
            "Each leg (route and MX host): ok, suspected (extra canaries are on their way), open, recovering, unknown "
            "(the mailbox cannot be read) or paused.",
            "none",
            (Query(select("route_state"), "{{route}} {{mx}}"),),
            10,
            texts=STATE,
            runbooks=("MailCanaryPathDown", "MailCanaryLossDetected"),
            legs=True,
        ),
        Panel(
            Kind.STAT,
            "Since the last arrival",
            "Time since a canary last arrived, for the leg of each route that has waited longest.",
            "s",
            (Query(f"max by (route) ({age(select('last_delivery_timestamp_seconds'))})", "{{route}}"),),
            4,
            steps=((0, GREEN), (300, YELLOW), (900, RED)),
            nothing="never",
            runbooks=("MailCanaryPathDown", "MailCanaryUncoveredRoute"),
        ),
        Panel(
            Kind.STAT,
            "On the way",
            "Canaries without an outcome, and those of them that are overdue now: lost or late, not yet known.",
            "short",
            (
                Query(f"sum({select('in_flight')})", "in flight"),
                Query(f"sum({select('overdue')})", "overdue"),
            ),
            3,
            steps=((0, GREEN),),
            runbooks=("MailCanaryBacklog",),
        ),
        Panel(
            Kind.STAT,
            "Loss in 24 h",
            "With 95 % confidence some leg loses at least the first figure, and none more than the second. When "
            "nothing was lost the second says what so few canaries can rule out.",
            "percentunit",
            (
                Query(f"max({select('loss_ratio', window='1d', bound='lower')})", "at least"),
                Query(f"max({select('loss_ratio', window='1d', bound='upper')})", "at most"),
            ),
            4,
            runbooks=("MailCanaryLossDetected", "MailCanaryLost"),
        ),
        Panel(
            Kind.STAT,
            "Error budget left, 30 d",
            f"Share of the {BUDGET:.1%} that may be overdue in 30 days. Below 0 the objective is missed.",
            "percentunit",
            (Query(f"1 - {_BAD_30D} / ({_SENT_30D} - {_UNKNOWN_30D}) / {BUDGET}", "{{route}}"),),
            3,
            steps=((-1e9, RED), (0, YELLOW), (0.25, GREEN)),
            runbooks=("MailCanaryErrorBudgetBurn",),
        ),
        Panel(
            Kind.STATES,
            "State over time",
            "The state of each leg. One red line among green ones: that host. All red: what they share.",
            "none",
            (Query(select("route_state"), "{{route}} {{mx}}"),),
            24,
            texts=STATE,
            runbooks=("MailCanaryPathDown", "MailCanaryLossDetected"),
            legs=True,
        ),
    ),
)

_ARRIVALS = Row(
    "What was sent, and what came of it",
    (
        Panel(
            Kind.BARS,
            "Outcomes",
            "Canaries by outcome, in the step in which it was known; exact numbers. Every canary that was sent is here "
            "sooner or later, so what never arrives cannot hide. Lost is known at the deadline only; the dashed line, "
            "overdue, much earlier.",
            "short",
            (
                Query(gained(select("outcomes_total"), "outcome"), "{{outcome}}"),
                Query(gained(select("overdue_total"), "route"), "overdue, {{route}}"),
            ),
            12,
            step="5m",
            dashed="/^overdue/",
            runbooks=("MailCanaryLost", "MailCanaryBounced"),
        ),
        Panel(
            Kind.HEATMAP,
            "Delivery time",
            "From the end of the message to visible in the mailbox. Arrivals only: during total loss it is empty, not "
            "red.",
            "s",
            (Query(f"sum by (le) (increase({select('delivery_seconds', '_bucket')}[{WINDOW}]))", "{{le}}"),),
            12,
            step="1m",
            runbooks=("MailCanaryDelayed",),
        ),
        Panel(
            Kind.LINES,
            "Delivery time, quantiles",
            "Points are single canaries (exemplars): a click leads to the page of that canary. Dashed: overdue_after, "
            "from where a canary counts as overdue. Arrivals only.",
            "s",
            (
                Query(quantile(0.5, "delivery_seconds", "route"), "p50 {{route}}", exemplar=True),
                Query(quantile(0.95, "delivery_seconds", "route"), "p95 {{route}}", exemplar=True),
                Query(quantile(0.99, "delivery_seconds", "route"), "p99 {{route}}", exemplar=True),
                Query(f"max by (route) ({select('overdue_threshold_seconds')})", "overdue_after {{route}}"),
            ),
            12,
            step="1m",
            logarithmic=True,
            dashed="/^overdue_after/",
            runbooks=("MailCanaryDelayed",),
        ),
        Panel(
            Kind.LINES,
            "Oldest canary on the way",
            "Age of the oldest canary without an outcome. It rises with the clock while nothing comes, and falls when "
            "the backlog drains.",
            "s",
            (
                Query(
                    f"max by (route, mx) ({age(select('oldest_outstanding_sent_timestamp_seconds'))})",
                    "{{route}} {{mx}}",
                ),
            ),
            12,
            logarithmic=True,
            legs=True,
            nothing="nothing on the way",
            runbooks=("MailCanaryBacklog",),
        ),
    ),
)

_DETECTOR = Row(
    "Detector and incidents",
    (
        Panel(
            Kind.LINES,
            "Score, as a share of the threshold",
            "The prober pages at 1. Blackout: canaries overdue in a row; share: evidence that a small share is lost. "
            "Where a new leg has no threshold yet it stays at 0.",
            "none",
            (
                Query(
                    f"max by (route, mx, detector) ({select('detector_score')} / {select('detector_threshold')})",
                    "{{detector}} {{route}} {{mx}}",
                ),
            ),
            12,
            steps=((0, GREEN), (1, RED)),
            legs=True,
            runbooks=("MailCanaryLossDetected", "MailCanaryPathDown"),
        ),
        Panel(
            Kind.CELLS,
            "Overdue among the last canaries",
            "Overdue among the last 6, 60 and 420 judged canaries of each leg: evidence without any model.",
            "short",
            (
                Query(
                    f"max by (route, mx, last) ({select('recent_overdue', last='6|60|420')})",
                    "{{route}} {{mx}}, last {{last}}",
                ),
            ),
            12,
            steps=ANY_IS_WORTH_A_LOOK,
            legs=True,
            runbooks=("MailCanaryLossSuspected",),
        ),
        incident_table.INCIDENTS,
    ),
)

BOARD = Board(
    "overview",
    "mailcanary / overview",
    "Is mail arriving, how late, and how much is lost?",
    "now-24h",
    (_NOW, _ARRIVALS, _DETECTOR),
)
