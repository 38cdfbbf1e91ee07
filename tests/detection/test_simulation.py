"""The simulation itself: that skipping quiet time changes nothing, and that the detector keeps its promises in it."""

from __future__ import annotations

import random
import statistics

import pytest

from benchmarks.detection import __main__ as program
from benchmarks.detection import cells
from benchmarks.detection.noise import DAY, INET, OWN, Draw, Spells
from benchmarks.detection.world import Fault, Setting, Weather, World
from probe.detection.detector import Kind


def _months(skip: bool, seed: int) -> tuple[int, int, int]:
    rng = random.Random(seed)
    setting = Setting(6, cells.tuning_of("inet", 6, 1), cells.CAPS[20])
    world = World(INET, setting, Weather.of(INET, rng, 2 * DAY, Fault(1.5 * DAY, 0.005)), rng, skip=skip)
    world.run(2 * DAY)
    return world.base, world.extras, world.detector.runs


def test_skipping_quiet_time_changes_nothing() -> None:
    """Other draws, so the same on average: canaries of the schedule to a few, extras and overdue runs by the noise."""
    skipped = [_months(True, seed) for seed in range(12)]
    played = [_months(False, seed) for seed in range(100, 112)]
    for column in (1, 2):
        one, other = [row[column] for row in skipped], [row[column] for row in played]
        error = (statistics.variance(one) / 12 + statistics.variance(other) / 12) ** 0.5
        assert abs(statistics.mean(one) - statistics.mean(other)) < 4 * error
    assert {row[0] for row in skipped} <= {row[0] + n for row in played for n in (-1, 0, 1)}


@pytest.mark.parametrize(("noise", "rate", "most"), [("inet", 1, 1.85), ("own", 1, 1.7), ("inet", 12, 1.12)])
def test_a_total_loss_pages_within_two_minutes(noise: str, rate: int, most: float) -> None:
    minutes = [cells.time_to_page(f"t{n}", noise, rate, 20, 1.0, 40) for n in range(40)]
    assert statistics.mean(minutes) < most


def test_a_loss_of_a_fifth_pages_soon() -> None:
    assert statistics.mean(cells.time_to_page(f"f{n}", "inet", 12, 60, 0.2, 40) for n in range(40)) < 3.2


def test_ten_blind_minutes_in_health_score_exactly_nothing() -> None:
    assert [cells.blind_in_health(f"b{n}", rate) for n in range(10) for rate in (1, 6, 12)] == [(0.0, 0)] * 30


def test_a_total_loss_is_not_hidden_by_a_connection_that_drops() -> None:
    assert max(cells.dropped(f"d{n}", 8.0, 30.0) for n in range(20)) < 5
    assert max(cells.dropped(f"d{n}", 55.0, 65.0) for n in range(20)) < 10
    assert max(cells.blind_at_onset(f"d{n}") for n in range(20)) < 0.4


def test_a_mailbox_that_was_away_does_not_page_and_keeps_its_point() -> None:
    found = [cells.mailbox_down(f"m{n}", rate) for n in range(10) for rate in (1, 6, 12)]
    assert sum(page for page, _ in found) <= 1
    assert all(runs for _, runs in found)


def test_a_stall_of_45_seconds_does_not_page_and_one_of_80_does() -> None:
    assert not any(cells.one_stall(f"s{n}", "inet", 12, 45) for n in range(40))
    assert sum(cells.one_stall(f"s{n}", "inet", 12, 80) for n in range(40)) >= 38


def test_no_cap_is_ever_exceeded() -> None:
    assert cells.over_a_cap("c", 6) == 0


def test_a_loss_is_a_blackout_or_a_share() -> None:
    rng = random.Random(3)
    setting = Setting(12, cells.tuning_of("own", 12, 40), cells.CAPS[60])
    world = World(OWN, setting, Weather(Fault(3_600.0, 1.0)), rng)
    page = world.run(7_200.0, stop_at_page=True)
    assert page is not None
    assert page.kind is Kind.BLACKOUT


def test_rare_latencies_are_drawn_as_often_as_they_come() -> None:
    rng = random.Random(1)
    draw = Draw(INET, rng, 19.0)
    slow = statistics.mean(draw.latency(0.0) > 19 for _ in range(40_000))
    assert draw.rare_share(0.0) == pytest.approx(slow, rel=0.15)
    assert statistics.mean(draw.common(0.0) for _ in range(4_000)) == pytest.approx(1 / draw.rare_share(0.0), rel=0.1)
    draw.clump = 0
    assert all(draw.rare(0.0, 0.0) > 19 for _ in range(200))


def test_spells_are_found_by_their_time() -> None:
    spells = Spells(((10.0, 20.0), (30.0, 40.0)))
    assert spells.at(9.9) is None
    assert spells.at(10.0) == (10.0, 20.0)
    assert spells.at(20.0) is None
    assert (spells.next_begin(0.0), spells.next_begin(15.0), spells.next_begin(20.0)) == (10.0, 10.0, 30.0)
    assert spells.next_begin(40.0) == float("inf")


def test_the_program_prints_a_row_beside_its_bar(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["--quick", "--only", "work", "--seed", "x"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("40 legs at 60 canaries a minute")
    assert printed[0].endswith("met")
    assert printed[-1].startswith("0 bars missed")
