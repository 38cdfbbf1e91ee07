"""The measurements at full size run, in a tiny form, and yield what the report needs. No figure is asserted."""

from __future__ import annotations

import json
import random
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import fleet, month, report, restart, rows
from benchmarks.lives import Author, leg_of
from benchmarks.multiplied import fill
from probe.clock import SystemClock
from probe.ledger.queries import Filter
from probe.ledger.store import Ledger

FACTS = {"machine": report.machine(), "quick": True, "load_after": 0.0}


def _rendered(name: str, figures: dict[str, Any]) -> str:
    json.dumps(figures)
    return report.document({**FACTS, name: figures})


def test_a_fleet_on_scripted_servers() -> None:
    figures = fleet.measure(tiny=True)
    assert set(figures["windows"]) == {"openmetrics", "plain"}
    for one in figures["windows"].values():
        assert one["canaries"] > 0
        assert one["scrapes"] > 0
        assert one["scrape_samples"] > 500
        assert one["other_outcomes"] == {}
        assert 0 < one["rss_mb"] <= one["rss_most_mb"]
        assert one["core_percent"] > one["core_percent_without_scrapes"] > 0
    assert "| memory, 6 routes, 2 mailboxes, scraped as plain |" in _rendered("fleet", figures)


def test_a_start_with_canaries_in_flight() -> None:
    figures = restart.measure(tiny=True)
    assert [one["mailboxes"] for one in figures["starts"]] == [1, 2]
    for one in figures["starts"]:
        assert one["first_read_seconds"] > one["first_read_cpu_seconds"] / 4 > 0
        assert one["ready_seconds"] >= one["first_read_seconds"]
    assert "| start to first read, 200 in flight, 2 mailboxes, 4 routes |" in _rendered("restart", figures)


def test_questions_to_a_ledger_with_many_rows() -> None:
    figures = rows.measure(tiny=True)
    lines = {one["question"]: one["lines"] for one in figures["answers"]}
    assert lines["canaries"] == 51
    assert lines["canaries --json"] == 50
    assert lines["canaries --route nowhere"] == 0
    assert lines["canaries --mx any"] == 51
    assert lines["explain ID"] > 10
    assert all(one["cold_seconds"] > 0 for one in figures["answers"])
    assert "| `canaries --outcome lost` |" in _rendered("rows", figures)


def test_a_month_in_virtual_time() -> None:
    figures = month.measure(tiny=True)
    assert figures["canaries"] == figures["counted"] == 600
    assert figures["balance"] == 0
    assert 0 < figures["pruned"] < 600
    assert [one["day"] for one in figures["states"]] == [2, 4, 6]
    assert len({one["canaries_held"] for one in figures["states"]}) == 1
    assert "## The ledger in a month" in _rendered("month", figures)


async def test_written_lives_are_those_of_a_daemon(tmp_path: Path) -> None:
    clock = SystemClock()
    author = Author(random.Random(1))
    sent = clock.now() + -timedelta(hours=3)
    for end in (author.delivered, author.late, author.lost, author.refused, author.accepted):
        end(leg_of(1, 2), sent)
    ledger = Ledger(tmp_path / "ledger.sqlite", clock)
    await ledger.commit(author.take())
    states = {"delivered": 1, "late": 1, "lost": 1, "refused": 1, "accepted": 1}
    assert ledger.queries.state_counts() == states
    assert ledger.queries.balance() == 0
    assert ledger.totals.sum("sent") == 5
    ledger.close()


def test_a_repeated_minute_is_as_the_ledger_would_have_written_it(tmp_path: Path) -> None:
    """Every canary can be read back, with its own id, its times a minute after its twin's, and its whole life."""
    path = tmp_path / "ledger.sqlite"
    fill(path, SystemClock(), routes=3, mailboxes=2, minutes=4)
    ledger = Ledger(path, SystemClock())
    queries = ledger.queries
    assert not ledger.set_aside
    assert queries.balance() == 0
    twins = queries.canaries(Filter(route="route-0001"))
    assert len({one.id for one in queries.canaries(Filter())}) == 12
    assert [later.sent.since(one.sent) for later, one in pairwise(twins)] == 3 * [timedelta(minutes=1)]
    for one in twins:
        life = queries.life(one.id)
        assert life is not None
        assert next(move["at"] for move in life.moves) == one.sent.wall == life.attempts[0]["started_at"]
        assert [copy.seen_at for copy in life.copies] == [one.arrived.wall if one.arrived else 0]
    ledger.close()
