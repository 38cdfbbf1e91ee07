"""From a fault to the alert, in virtual time: the simulated detector as it is scraped, under the shipped rules.

The simulation of benchmarks/detection says when the prober decides; promtool says when the rules speak. Between the two
lie one scrape and one evaluation, and nothing else.
"""

from __future__ import annotations

import math
import random
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.detection import cells
from benchmarks.detection.noise import DAY, INET, NEVER
from benchmarks.detection.world import Fault, Setting, Weather, World
from probe.canary.record import Leg
from probe.detection.calibration import Aim
from probe.detection.detector import Grade
from probe.engine.detection_view import detector_view
from probe.engine.watched import WatchedLeg
from probe.exposition.text import number
from tests.alerts.rule_files import RULES

SCRAPE = 15
LEG = 'instance="prober-1:9925", job="mailcanary", route="support", mx="mx1.example.org", mailbox="canaries"'
ALERTS = ("MailCanaryPathDown", "MailCanaryLossDetected")
Shown = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Played:
    """One run: what each scrape showed from ``begin`` on; the fault and the decision, seconds after ``begin``."""

    scrapes: list[Shown]
    onset: float
    decided: float | None


def play(seed: int, share: float, per_minute: float, minutes: float, *, legs: int = 40, every: int = SCRAPE) -> Played:
    """A leg for some ``minutes`` after two hours of health; with a ``share`` of 0 it stays healthy."""
    rng = random.Random(seed)
    setting = Setting(per_minute, cells.tuning_of("inet", per_minute, legs), cells.CAPS[20], cells.SAVED * per_minute)
    onset = cells.WARM_UP + rng.random() * 60 / per_minute if share else NEVER
    begin, until = cells.WARM_UP - 60, cells.WARM_UP + minutes * 60
    weather = Weather.of(INET, rng, until, Fault(onset, share))
    world = World(INET, setting, weather, rng)
    world.run(begin)
    assert world.detector.open is None
    shown, decided = [scraped(world)], None
    for moment in range(int(begin) + every, int(until), every):
        if decided is None:
            page = world.run(moment, stop_at_page=True)
            decided = None if page is None else page.at - begin
        shown.append(scraped(world))  # after a page it is latched until the all-clear
    assert (decided is None) is not any(each.grade is Grade.PAGE for each in world.findings)
    return Played(shown, onset - begin, decided)


def scraped(world: World) -> Shown:
    """Score and threshold of both rules, by the code that shows them."""
    watched = WatchedLeg(Leg("support", "mx1.example.org", "canaries"), 0.0, Aim(60.0, 50.0, 0.01, 43_200.0, 0.02))
    watched.detector = world.detector
    view = detector_view(watched, None, blind=False, paused=False)
    return view.share, view.blackout


def rules(folder: Path) -> Path:
    """The two alerts alone, as they are shipped: a month under all of them would take minutes."""
    whole = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    for group in whole["groups"]:
        group["rules"] = [rule for rule in group["rules"] if rule["alert"] in ALERTS]
    whole["groups"] = [group for group in whole["groups"] if group["rules"]]
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump(whole))
    return path


def written(values: Iterable[float]) -> str:
    """As promtool reads them: ``VALUExREPEATS``."""
    return " ".join(f"{number(value)}x{len(list(run)) - 1}" for value, run in groupby(values))


def fires(
    folder: Path, promtool: Path, played: Played, looks: dict[int, bool], *, every: int = SCRAPE, since: str = ""
) -> str:
    """Runs it; "" where promtool agrees in each look (seconds: whether any of the two fires, or ``since``, a range such
    as ``[1d]``, has fired)."""
    series = [
        {"series": f'mailcanary_detector_{name}{{{LEG}, detector="{rule}"}}', "values": written(values)}
        for place, rule in enumerate(("share", "blackout"))
        for at, name in enumerate(("score", "threshold"))
        for values in [[scrape[place][at] for scrape in played.scrapes]]
    ]
    firing = f'ALERTS{{alertname=~"{"|".join(ALERTS)}", alertstate="firing"}}'
    if since:
        firing = f"last_over_time({firing}{since})"
    checks: list[dict[str, Any]] = [
        {
            "expr": f"clamp_max(count({firing}) or vector(0), 1)",
            "eval_time": f"{at}s",
            "exp_samples": [{"labels": "{}", "value": int(yes)}],
        }
        for at, yes in looks.items()
    ]
    case = {"interval": f"{every}s", "input_series": series, "promql_expr_test": checks}
    whole = {"rule_files": [str(rules(folder))], "evaluation_interval": f"{every}s", "tests": [case]}
    path = folder / "case.yaml"
    path.write_text(yaml.safe_dump(whole))
    done = subprocess.run([promtool, "test", "rules", path], capture_output=True, text=True, timeout=110, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize(
    ("seed", "share", "per_minute", "within"),
    [
        (1, 1.0, 1, 4.5),
        (2, 1.0, 1, 4.5),
        (3, 1.0, 12, 2.5),
        (4, 0.2, 12, 10.0),
        (7, 0.05, 1, 120.0),
        (8, 0.05, 6, 60.0),
    ],
    ids=lambda value: str(value),
)
def test_the_alert_speaks_at_the_first_evaluation_after_the_decision(
    promtool: Path, tmp_path: Path, seed: int, share: float, per_minute: float, within: float
) -> None:
    """``within``: minutes from the onset of the fault to the alert, with the scrape and the evaluation in it."""
    played = play(seed, share, per_minute, within + 10)
    assert played.decided is not None
    at = math.ceil(played.decided / SCRAPE) * SCRAPE
    assert at - played.onset <= within * 60
    assert at > played.onset
    assert fires(tmp_path, promtool, played, {at - SCRAPE: False, at: True, at + 300: True}) == ""


def test_a_month_of_health_does_not_page(promtool: Path, tmp_path: Path) -> None:
    played = play(11, 0.0, 1, 30 * DAY / 60, every=300)  # a page is latched: no scrape can miss it
    assert played.decided is None
    assert len(played.scrapes) > 8_600
    assert max(share[0] for share, _ in played.scrapes) > 0, "it had its noise"
    assert fires(tmp_path, promtool, played, {30 * 86_400 - 300: False}, every=300, since="[30d]") == ""


def test_promtool_would_see_a_page_that_comes_late(promtool: Path, tmp_path: Path) -> None:
    played = play(1, 1.0, 1, 15)
    assert played.decided is not None
    at = math.ceil(played.decided / SCRAPE) * SCRAPE
    assert "FAILED" in fires(tmp_path, promtool, played, {at - SCRAPE: True})
    assert "FAILED" in fires(tmp_path, promtool, played, {at: False})
    assert "FAILED" in fires(tmp_path, promtool, played, {at + 600: False}, since="[1h]")
