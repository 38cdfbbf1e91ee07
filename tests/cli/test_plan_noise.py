"""``mailcanary plan`` takes the noise that the legs have learned, and says whose it is; and rates that people write."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from probe.cli.main import main
from probe.cli.plan_rates import NOISE
from probe.clock import SystemClock
from probe.detection.calibration import PRIOR, QUARTER_PRIOR, Calibration, cautious
from probe.detection.plan import Leg, needed_rate, often
from probe.engine.detecting import name_of
from probe.ledger.batch import Batch
from probe.ledger.store import Ledger
from tests.cli.test_plan_command import with_legs
from tests.exposition.exposition_fakes import StillClock
from tests.exposition.ledger_config import write_config

MX1, MX2 = "mx1.example.org", "mx2.example.org"


def history(judged: int, runs: int) -> str:
    """What a leg has learned from so many canaries of the last hour."""
    one = Calibration()
    one.follow(SystemClock().now().wall / 1e9, judged, runs)
    return json.dumps(one.state())


async def remember(folder: Path, states: dict[str, str]) -> None:
    """A ledger with these legs in the last day, and what they have learned."""
    await with_legs(folder, dict.fromkeys(states, 1.0))
    ledger = Ledger(folder / "ledger.sqlite", StillClock())
    batch = Batch()
    for mx, state in states.items():
        batch.detector(name_of("learned", "inbound", mx), StillClock().now(), state)
    await ledger.commit(batch)
    ledger.close()


def asked(folder: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    """The one route as JSON, and the text."""
    words = ["plan", "-c", str(write_config(folder)), *arguments]
    as_json, text = CliRunner().invoke(main, [*words, "--json"]), CliRunner().invoke(main, words)
    assert (as_json.exit_code, text.exit_code) == (0, 0), as_json.output
    return json.loads(as_json.stdout), text.stdout


def heard(judged: int, runs: int) -> float:
    return max(cautious(runs, judged, PRIOR), cautious(runs, judged, QUARTER_PRIOR))


async def test_the_noisiest_leg_decides_and_is_named(tmp_path: Path) -> None:
    await remember(tmp_path, {MX1: history(12_400, 20), MX2: history(9_000, 5)})
    route, text = await asyncio.to_thread(asked, tmp_path)
    assert route["noise"] == pytest.approx(heard(12_400, 20))
    assert route["noise_origin"] == f"learned from 12,400 canaries of {MX1}, the noisiest leg"
    assert f"inbound: noise {heard(12_400, 20):.2%}, learned from 12,400 canaries of {MX1}" in text
    given, text = await asyncio.to_thread(asked, tmp_path, "--noise", "0.5%")
    assert (given["noise"], given["noise_origin"]) == (0.005, "as you said")
    assert given["sees"][4]["mean_seconds"] > route["sees"][4]["mean_seconds"]


async def test_a_quiet_leg_is_seen_sooner_than_an_assumed_one(tmp_path: Path) -> None:
    assumed, text = await asyncio.to_thread(asked, tmp_path)
    assert (assumed["noise"], assumed["noise_origin"]) == (NOISE, "assumed")
    assert "inbound: noise 0.20%, assumed" in text
    await remember(tmp_path, {MX1: history(40_000, 4)})
    route, _ = await asyncio.to_thread(asked, tmp_path)
    assert route["noise_origin"] == "learned from 40,000 canaries"
    assert route["score"] < assumed["score"]


@pytest.mark.parametrize("state", [history(0, 0), "", "[]", "{}", '{"version": 99}', "[" * 100_000])
async def test_what_says_nothing_is_assumed(state: str, tmp_path: Path) -> None:
    await remember(tmp_path, {MX1: state})
    route, _ = await asyncio.to_thread(asked, tmp_path)
    assert (route["noise"], route["noise_origin"]) == (NOISE, "assumed")


@pytest.mark.parametrize(
    ("rate", "fastest", "seconds"),
    [
        (0.476, 60.0, 126.0),
        (1.0, 60.0, 60.0),
        (1.01, 60.0, 59.0),
        (16.6667, 60.0, 3.5),
        (17.0, 60.0, 3.5),
        (16.6, 16.65, 3.61),  # 3.6 s would be more than the limit bears
        (1000 / 60, 1000 / 60, 3.6),
        (58.0, 60.0, 1.0),
        (60.0, 60.0, 1.0),
    ],
)
def test_a_rate_as_people_write_it(rate: float, fastest: float, seconds: float) -> None:
    assert often(rate, fastest) == seconds


@pytest.mark.parametrize("hundredths", range(2, 6000, 37))
def test_what_is_written_is_never_too_slow_and_hardly_faster(hundredths: int) -> None:
    rate = hundredths / 100
    assert rate <= 60 / often(rate) <= 1.05 * rate + 1e-9


def test_the_sentence_says_it() -> None:
    needed = needed_rate(Leg(1.0), 0.01, 1800)
    assert needed.rate is not None
    assert needed.sentence.startswith(f"one canary every {often(needed.rate):g} s on each leg")
    assert needed.rate <= 60 / often(needed.rate)
