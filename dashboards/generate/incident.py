"""An incident while it lasts: since when, how much, is it over, and what to do with the mail that is gone."""

from __future__ import annotations

from dashboards.generate.colours import GREEN, RED, STATE
from dashboards.generate.incident_table import INCIDENTS
from dashboards.generate.model import Board, Kind, Panel, Query, Row
from dashboards.generate.promql import gained, select, since_start

_HERE = "{{route}} {{mx}}"
_IN_FLIGHT = f"sum({select('in_flight')})"


def _estimate(bound: str) -> str:
    return f"max by (route, mx) ({select('loss_ratio', window='6h', bound=bound)}) * $volume"


_WHAT = Row(
    "What is it?",
    (
        INCIDENTS,
        Panel(
            Kind.STATES,
            "State",
            "suspected, open, recovering, ok. It goes back to ok by the all-clear, never by a few good canaries.",
            "none",
            (Query(select("route_state"), _HERE),),
            12,
            texts=STATE,
            runbooks=("MailCanaryLossDetected", "MailCanaryPathDown"),
            legs=True,
        ),
        Panel(
            Kind.LINES,
            "Score, as a share of the threshold",
            "It pages at 1 and stays up until the all-clear.",
            "none",
            (
                Query(
                    f"max by (route, mx, detector) ({select('detector_score')} / {select('detector_threshold')})",
                    "{{detector}} {{route}} {{mx}}",
                ),
            ),
            12,
            steps=((0, GREEN), (1, RED)),
            runbooks=("MailCanaryLossDetected",),
            legs=True,
        ),
    ),
)

_HOW_MUCH = Row(
    "How much?",
    (
        Panel(
            Kind.LINES,
            "Sent and what came of it, since the left edge",
            "Canaries since the begin of the time range: put its left edge at the first affected canary. The gap "
            "between sent and arrived is what is lost or still out; recovered closes it in a re-queue. Exact numbers.",
            "short",
            (
                Query(since_start(select("sent_total")), "sent"),
                Query(since_start(select("outcomes_total", outcome="delivered|late")), "arrived"),
                Query(since_start(select("overdue_total")), "overdue"),
                Query(since_start(select("outcomes_total", outcome="lost")), "lost"),
                Query(since_start(select("outcomes_total", outcome="unknown")), "unknown"),
                Query(since_start(select("recovered_total")), "recovered"),
                Query(since_start(select("duplicates_total")), "duplicates"),
            ),
            12,
            runbooks=("MailCanaryLossDetected", "MailCanaryLost"),
        ),
        Panel(
            Kind.LINES,
            "Lost real mail, estimate and bounds",
            "The loss of the canaries of the last 6 h times the number of real mails (above), with 95 % bounds "
            "(dashed). It covers chance only: real mail may differ from canaries. mailcanary report computes it for "
            "the exact window.",
            "short",
            (
                Query(_estimate("estimate"), f"{_HERE} estimate"),
                Query(_estimate("lower"), f"{_HERE} at least"),
                Query(_estimate("upper"), f"{_HERE} at most"),
            ),
            12,
            dashed="/ at (least|most)$/",
            runbooks=("MailCanaryLost",),
            legs=True,
        ),
    ),
)

_OVER = Row(
    "Is it over?",
    (
        Panel(
            Kind.LINES,
            "Backlog",
            "Canaries without an outcome, and those overdue now. Falling: late ones arrive, or lost ones reach their "
            "deadline.",
            "short",
            (Query(_IN_FLIGHT, "in flight"), Query(f"sum({select('overdue')})", "overdue")),
            8,
            runbooks=("MailCanaryBacklog",),
        ),
        Panel(
            Kind.LINES,
            "Backlog, change per minute",
            "Slope over 10 minutes: below 0 it drains.",
            "short",
            (Query(f"deriv(({_IN_FLIGHT})[10m:1m]) * 60", "canaries per minute"),),
            8,
            runbooks=("MailCanaryBacklog",),
        ),
        Panel(
            Kind.LINES,
            "Canaries that the all-clear needs",
            "So many canaries in a row must be punctual before the old loss is excluded. 0: no incident.",
            "short",
            (Query(f"max by (route, mx) ({select('all_clear_canaries_needed')})", _HERE),),
            8,
            runbooks=("MailCanaryLossDetected",),
            legs=True,
        ),
        Panel(
            Kind.BARS,
            "Punctual and overdue canaries",
            "Judged canaries by host; exact numbers. The all-clear counts the punctual ones since the last overdue "
            "one.",
            "short",
            (
                Query(
                    f"{gained(select('judged_total'), 'mx')} - {gained(select('overdue_total'), 'mx')}",
                    "punctual {{mx}}",
                ),
                Query(gained(select("overdue_total"), "mx"), "overdue {{mx}}"),
            ),
            12,
            step="1m",
            runbooks=("MailCanaryPathDown",),
            legs=True,
        ),
        Panel(
            Kind.BARS,
            "Re-queue: recovered and duplicate canaries",
            "Recovered should climb to what was lost. Duplicates show that the replay is not told apart by Message-ID.",
            "short",
            (
                Query(gained(select("recovered_total"), "mx"), "recovered {{mx}}"),
                Query(gained(select("duplicates_total"), "mx"), "duplicates {{mx}}"),
            ),
            12,
            step="1m",
            runbooks=("MailCanaryDuplicates",),
            legs=True,
        ),
    ),
)

BOARD = Board(
    "incident",
    "mailcanary / incident",
    "Since when, how much, is it over, and what to re-queue?",
    "now-6h",
    (_WHAT, _HOW_MUCH, _OVER),
    volume=True,
)
