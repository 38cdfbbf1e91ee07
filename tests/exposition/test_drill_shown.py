"""A drill as it is shown: its gauge, of its route alone, at its beginning and at its end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from probe.canary.record import Leg
from probe.exposition import registry
from probe.exposition.metrics import Exporter
from tests.exposition.exposition_fakes import StillLive, four_lives, leg_view


@pytest.fixture
async def live(tmp_path: Path) -> StillLive:
    return await four_lives(tmp_path / "ledger.sqlite")


def test_the_gauge_follows_the_drill_of_its_route(live: StillLive) -> None:
    other = replace(leg_view(), leg=Leg("other", "any", "support"))
    live.view = replace(live.view, legs=(*live.view.legs, other))
    exporter = Exporter(openmetrics=False, created_at=live.created_at)

    def shown(drilled: str) -> list[str]:
        live.view = replace(live.view, drilled=drilled)
        body = exporter.body(live.view, live.totals, live.shown, imbalance=0.0)
        return [line for line in body.decode().splitlines() if line.startswith(registry.DRILL.name)]

    calm = ['mailcanary_drill{route="inbound"} 0.0', 'mailcanary_drill{route="other"} 0.0']
    assert shown("") == calm
    assert shown("other") == [calm[0], 'mailcanary_drill{route="other"} 1.0']
    assert shown("inbound") == ['mailcanary_drill{route="inbound"} 1.0', calm[1]]
    assert shown("") == calm
