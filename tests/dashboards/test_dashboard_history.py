"""Every query on a real Prometheus over a month with three incidents: no panel is empty, and the figures are right."""

from __future__ import annotations

import pytest

from tests.dashboards.known import Asked, asked
from tests.dashboards.month import BACKUP, DAY, END, HOST, HOUR, LEGS, MINUTE, START
from tests.dashboards.past import Past, Points

ASKED = list(asked())
SPANS = {"the last 6 hours": (6 * HOUR, MINUTE), "the month": (31 * DAY, 6 * HOUR)}


def ask(past: Past, board: str, panel: str, letter: str = "A", span: str = "the month") -> Points:
    """One query of one panel, as it was made."""
    (query,) = [each for each in ASKED if (each.board, each.panel, each.letter) == (board, panel, letter)]
    return graph(past, query, span)


def graph(past: Past, query: Asked, span: str) -> Points:
    length, step = SPANS[span]
    return past.graph(query, END - length, END, max(step, query.step))


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("query", ASKED, ids=lambda query: query.key)
def test_no_panel_is_empty(past: Past, query: Asked, span: str) -> None:
    assert [points for _, points in graph(past, query, span) if points], query.expr


def test_every_canary_is_counted_once(past: Past) -> None:
    """The bars of the outcomes over the month are the outcomes, whatever the step."""
    found = {
        labels["outcome"]: sum(value for _, value in points) for labels, points in ask(past, "overview", "Outcomes")
    }
    first = 1  # of each leg: sent and arrived before the first bar begins
    for outcome in ("delivered", "late", "lost", "bounced"):
        happened = sum(past.month.total("outcomes", leg, outcome) for leg in LEGS)
        assert found[outcome] == happened - (first * len(LEGS) if outcome == "delivered" else 0), outcome


def test_the_lost_of_the_month_are_those_that_were_lost(past: Past) -> None:
    ((labels, points),) = ask(past, "route", "Lost in the time range")
    assert labels == {"route": "inbound"}
    assert [value for _, value in points] == [sum(past.month.total("outcomes", leg, "lost") for leg in LEGS)]
    by_the_backup = 2 * (BACKUP.end - BACKUP.begin) // MINUTE // BACKUP.each
    by_the_host = (END - 2 * HOUR - HOST.begin) // MINUTE + 1  # the rest is not called lost yet
    assert points[0][1] == by_the_backup + by_the_host


def test_the_table_has_a_line_for_each_leg_and_kind_of_incident(past: Past) -> None:
    rows = ask(past, "incident", "Incidents in the time range")
    table = {(labels["kind"], labels["mx"]): points[0][1] for labels, points in rows}
    assert table == {
        ("partial_loss", "mx1"): 0,
        ("partial_loss", "mx2"): 0,
        ("delay", "mx1"): 0,
        ("delay", "mx2"): 0,
        ("total_loss", "mx2"): 1,
    }
    for letter in "BCDEFG":
        others = ask(past, "incident", "Incidents in the time range", letter)
        assert {(labels["kind"], labels["mx"]) for labels, _ in others} == set(table), letter
    begins = {
        labels["mx"]: points[0][1] / 1000
        for labels, points in ask(past, "incident", "Incidents in the time range", "B")
    }
    assert begins["mx2"] == HOST.begin


def test_one_red_line_is_one_host(past: Past) -> None:
    """The bad host's canaries are all overdue while it is bad, and the other's none."""
    found = ask(past, "route", "Overdue, by MX host", span="the last 6 hours")
    bad = {
        labels["mx"]: [value for when, value in points if HOST.begin + 300 <= when < HOST.end]
        for labels, points in found
    }
    assert set(bad["mx1"]) == {0.0}
    assert set(bad["mx2"]) == {1.0}


def test_nothing_that_was_sent_vanishes_from_the_incident(past: Past) -> None:
    """Sent since the left edge = arrived + lost + what is on the way more than then."""
    title = "Sent and what came of it, since the left edge"
    last = {letter: ask(past, "incident", title, letter, "the last 6 hours")[0][1][-1][1] for letter in "ABD"}
    waiting = ask(past, "incident", "Backlog", "A", "the last 6 hours")[0][1]
    assert last["A"] == last["B"] + last["D"] + waiting[-1][1] - waiting[0][1]
    assert last["A"] == 2 * 6 * 60


def test_the_backlog_is_seen_to_rise(past: Past) -> None:
    ((_, points),) = ask(past, "incident", "Backlog, change per minute", "A", "the last 6 hours")
    slope = dict(points)[HOST.begin + HOUR]
    assert slope == pytest.approx(1.0)


def test_a_delay_is_seen_in_the_quantiles_and_a_total_loss_is_not(past: Past) -> None:
    """Why no panel of latencies stands alone: they know arrivals only."""
    ((_, points),) = ask(past, "overview", "Delivery time, quantiles", "B")
    slow = [when for when, value in points if value > 600]
    assert slow
    assert all(START + 17 * DAY < when < START + 18 * DAY for when in slow)


def test_the_error_budget_is_what_was_overdue(past: Past) -> None:
    """Of 30 days: 2 x 84 and 2 x 240 and 150 canaries of 86,402, of which 0.5 % may be."""
    ((_, points),) = ask(past, "overview", "Error budget left, 30 d")
    overdue = sum(past.month.total("overdue", leg) for leg in LEGS)
    assert points[0][1] == pytest.approx(1 - overdue / (2 * 30 * 24 * 60) / 0.005, abs=1e-9)


def test_the_annotations_mark_the_incidents(past: Past) -> None:
    (query,) = [each for each in ASKED if (each.board, each.panel) == ("incident", "annotation Incidents")]
    marks = past.graph(query, START, END, HOUR)
    assert {(labels["kind"], labels["mx"]) for labels, _ in marks} == {
        ("partial_loss", "mx1"), ("partial_loss", "mx2"), ("delay", "mx1"), ("delay", "mx2"), ("total_loss", "mx2"),
    }  # fmt: skip
    begins = min(when for labels, points in marks for when, _ in points if labels["kind"] == "partial_loss")
    assert begins == BACKUP.begin
