"""``mailcanary plan``: the configuration and the ledger's legs in, the model's figures out."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from probe.canary.record import Leg as RecordLeg
from probe.cli.main import main
from probe.cli.plan_rates import NOISE, Target, installation, outlook
from probe.cli.plan_text import plot_lines
from probe.clock import SystemClock
from probe.config.load import load
from probe.detection.plan import PAGE_DELAY, Leg, needed_rate, see
from probe.ledger.store import Ledger
from tests.exposition.exposition_fakes import START, StillClock, Story
from tests.exposition.ledger_config import write_config

MORE = """\
  busy: {{sender: relay, mail_from: a@example.org, rcpt_to: {to}, mailbox: support, every: {every}, paging: {paging}}}
"""
IDS = ("aaaaaaaaaaaa2", "bbbbbbbbbbbb2", "cccccccccccc2")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path)


def add(config: Path, to: str = "b@example.org", every: str = "5s", paging: str = "true") -> Path:
    config.write_text(config.read_text() + MORE.format(to=to, every=every, paging=paging))
    return config


def run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["plan", "-c", str(config), *arguments])


def asked(config: Path, *arguments: str) -> list[dict[str, Any]]:
    result = run(config, "--json", *arguments)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


async def with_legs(folder: Path, ages: dict[str, float]) -> None:
    """A ledger in which each of these hosts got a canary so many hours ago."""
    ledger = Ledger(folder / "ledger.sqlite", StillClock())
    story = Story(ledger)
    for canary_id, (mx, hours) in zip(IDS, ages.items(), strict=False):
        ago = (SystemClock().now().wall - START.wall) / 1e9 - hours * 3600
        story.accepted(canary_id, ago, RecordLeg("inbound", mx, "support"))
    await story.write()
    ledger.close()


def test_the_figures_are_the_models(config: Path) -> None:
    """One leg, one canary a minute, 20 a minute and 1,000 an hour at the most for the recipient."""
    leg = Leg(1.0, 60.0, 30.0, 48.0, NOISE, 0.65, 0.01, ((20, 60.0), (1000, 3600.0), (120, 60.0), (60, 60.0)))
    route = asked(config)[0]
    assert [one["loss"] for one in route["sees"]] == [1.0, 0.2, 0.05, 0.02, 0.01]
    for one in route["sees"]:
        sight = see(leg, one["loss"])
        assert (one["mean_seconds"], one["within_seconds"], one["canaries"]) == (
            pytest.approx(sight.mean),
            pytest.approx(sight.within),
            sight.canaries,
        )
    assert route["sees"][0]["bound_by"] is None
    assert route["sees"][4]["bound_by"] == "per_recipient 20/min"
    assert route["target"]["met"] is False
    assert route["target"]["rate_per_minute"] is None
    assert route["target"]["sentence"].endswith("; per_recipient 20/min holds it back")


def test_a_target_that_a_higher_rate_meets(config: Path) -> None:
    target = asked(config, "--loss", "5%", "--within", "30m")[0]["target"]
    leg = Leg(1.0, 60.0, 30.0, 48.0, NOISE, 0.65, 0.01, ((20, 60.0), (1000, 3600.0)))
    assert target["rate_per_minute"] == pytest.approx(needed_rate(leg, 0.05, 1800).rate)
    assert target["every_seconds"] == pytest.approx(60 / target["rate_per_minute"])
    sight = see(replace(leg, rate=target["rate_per_minute"]), 0.05)
    assert sight.within + PAGE_DELAY <= 1800
    assert see(replace(leg, rate=0.97 * target["rate_per_minute"]), 0.05).within + PAGE_DELAY > 1800


def test_a_target_that_is_met_already(config: Path) -> None:
    route = asked(config, "--loss", "20%", "--within", "1h")[0]
    assert route["target"]["met"] is True
    assert route["target"]["sentence"].startswith("the present rate will do: one canary every 60 s on each leg finds")
    assert route["target"]["rate_per_minute"] < 1


async def test_the_legs_are_those_of_the_last_day(config: Path, tmp_path: Path) -> None:
    await with_legs(tmp_path, {"mx2.example.org": 1, "mx1.example.org": 20, "mx9.example.org": 30})
    found = installation(load(config, secrets=False), {"inbound": ("mx1", "mx2")})
    route = (await asyncio.to_thread(asked, config))[0]
    assert (route["legs"], route["legs_known"]) == (["mx1.example.org", "mx2.example.org"], True)
    assert route["false_pages_per_month"] == pytest.approx(0.65 / 2)
    # What the other leg's schedule takes of the recipient's 20 a minute and 1,000 an hour is not there for the hunt.
    assert outlook(found, "inbound", Target(0.01, 1800)).leg.caps[:2] == ((19, 60.0), (940, 3600.0))


def test_a_rate_holds_with_every_leg_at_it(config: Path) -> None:
    legs = ("mx1", "mx2", "mx3")
    found = installation(load(config, secrets=False), {"inbound": legs})
    rate = outlook(found, "inbound", Target(0.2, 600)).rate
    alone = outlook(installation(found.config, {}), "inbound", Target(0.2, 600)).rate
    assert rate is not None
    assert alone is not None
    assert alone < rate <= 20 / len(legs)
    caps = [limit.cap for limit in found.limits("inbound", rate)]
    leg = replace(outlook(found, "inbound", Target(0.2, 600)).leg, rate=rate, caps=tuple(caps))
    assert see(leg, 0.2).within + PAGE_DELAY <= 600 * 1.02


def test_too_many_legs_for_any_rate(config: Path) -> None:
    found = installation(load(config, secrets=False), {"inbound": tuple(f"mx{n}" for n in range(40))})
    one = outlook(found, "inbound", Target(0.05, 600))
    assert one.rate is None
    assert one.met is False
    assert "the schedule alone needs more than per_recipient 20/min; canaries wait for it" in one.notes


def test_routes_with_one_recipient_share_its_cap(config: Path) -> None:
    add(config)
    route = asked(config, "--route", "inbound", "--loss", "5%")[0]
    free = asked(write_config(config.parent), "--route", "inbound", "--loss", "5%")[0]
    assert route["sees"][2]["within_seconds"] > free["sees"][2]["within_seconds"]
    assert route["false_pages_per_month"] == pytest.approx(0.65 / 2)


def test_a_route_that_is_only_measured_has_no_share_of_the_pages(config: Path) -> None:
    inbound, busy = asked(add(config, "c@example.org", paging="false"))
    assert (inbound["false_pages_per_month"], busy["paging"]) == (0.65, False)
    assert "it does not page (paging: false); the times are what they would be" in busy["notes"]


def test_noise(config: Path) -> None:
    route = asked(config, "--noise", "40%")[0]
    assert route["score"] is None
    assert route["sees"][4]["within_seconds"] is None
    assert any(note.startswith("too noisy to find 1.00%") for note in route["notes"])
    assert "never" in run(config, "--noise", "40%").stdout


def test_the_table(config: Path) -> None:
    result = run(add(config, "c@example.org"), "--loss", "3%")
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert lines[0].split()[:4] == ["ROUTE", "LEGS", "EACH", "LOSS"]
    assert [line.split()[5] for line in lines[1:7]] == ["100%", "20%", "5%", "3%", "2%", "1%"]
    assert {line.split()[0] for line in lines[1:13]} == {"inbound", "busy"}
    assert "there is no ledger yet, so one leg a route is assumed" in result.stderr
    assert "T the target" not in result.stdout  # no terminal
    assert "\x1b" not in result.stdout


def test_a_plot_on_demand_one_for_routes_that_are_alike(config: Path) -> None:
    out = run(add(config, "c@example.org", every="60s"), "--plot").stdout
    assert out.count("T the target: 1.00% within 30 min") == 1
    assert "inbound, busy" in out
    assert out.isascii()


def test_the_plot_shows_the_times_of_the_model() -> None:
    leg, target = Leg(1.0), Target(0.01, 1800.0)
    lines = plot_lines(leg, target, 60, 16)
    field = [line[10:].ljust(60) for line in lines[:16]]
    assert all(len(line) <= 70 for line in lines[:16])
    means = [next((n for n, line in enumerate(field) if line[column] in "*"), None) for column in range(60)]
    seen = [line for line in means if line is not None]
    assert seen == sorted(seen)  # the more is lost, the sooner
    assert len(seen) > 30
    column = round(math.log(0.01 / 0.002) / math.log(500) * 59)
    row = next(n for n, line in enumerate(field) if line[column] == "T")
    assert any(line[column] in "*+" for line in field[:row])  # the target is faster than what is seen
    assert "1%" in lines[17]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--loss", "0%"], "must be more than 0%"),
        (["--loss", "101%"], "at most 100%"),
        (["--loss", "0.01"], "must be a percentage"),
        (["--within", "soon"], "must be a duration"),
        (["--within", "0s"], "must be more than 0"),
        (["--route", "nowhere"], "there is no route 'nowhere'; there is inbound"),
    ],
)
def test_wrong_calls_exit_2(arguments: list[str], says: str, config: Path) -> None:
    result = run(config, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr


def test_a_damaged_ledger_exits_4(config: Path, tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"no ledger at all" * 100)
    assert run(config).exit_code == 4


def test_within_is_a_duration_of_any_unit(config: Path) -> None:
    assert asked(config, "--within", "90s")[0]["target"]["within_seconds"] == timedelta(seconds=90).total_seconds()
