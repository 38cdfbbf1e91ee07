"""The table of ``make prove-page``: what is late or did not come is a miss, and a miss is an exit code."""

from __future__ import annotations

from tests.page.acts import play
from tests.page.outcome import Row, check, lines, within
from tests.page.scale import FULL


def test_a_time_within_its_bar_passes_and_one_that_never_came_is_a_miss() -> None:
    assert within("loss", "page", 180.0, 180).verdict == "PASS"
    assert within("loss", "page", 180.1, 180).verdict == "MISS"
    assert within("loss", "page", None, 180).verdict == "MISS"
    assert within("loss", "page", None, 180).measured == "never"


def test_the_table_has_a_line_a_row_and_no_verdict_where_there_is_no_bar() -> None:
    head, first, second = lines([check("loss", "queue", "0", "0", True), Row("loss", "note", "12 s", seconds=12.0)])
    assert head.split() == ["act", "what", "measured", "bar"]
    assert first.split() == ["loss", "queue", "0", "0", "PASS"]
    assert second.split() == ["loss", "note", "12", "s"]


def test_an_act_that_cannot_be_played_is_a_miss_and_no_crash() -> None:
    (row,) = play("no such act", 1, FULL)
    assert row.met is False
    assert "KeyError" in row.measured
