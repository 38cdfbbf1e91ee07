"""The short form of ``make prove-page``: fault to page on a real Prometheus and Alertmanager, all times a twelfth.

Only order and content are judged here, with generous caps: how soon it pages is measured at full scale.
"""

from __future__ import annotations

import asyncio
import shutil

import pytest

from tests.page.acts import ACTS
from tests.page.outcome import Row, lines
from tests.page.scale import SHORT

pytestmark = pytest.mark.real
PLAYED = ("requeue", "bad-host", "kill-prober")


@pytest.fixture(scope="module")
def outcome() -> dict[str, list[Row]]:
    """The acts' rows; they are played at the same time, each on a stage of its own."""
    missing = [name for name in ("prometheus", "prometheus-alertmanager", "setpriv") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} (scripts/install-test-packages)")
    return asyncio.run(_played())


async def _played() -> dict[str, list[Row]]:
    rows = await asyncio.gather(*(ACTS[name](SHORT, 1) for name in PLAYED))
    return dict(zip(PLAYED, rows, strict=True))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("act", PLAYED)
def test_every_bar_of_the_act_is_met(outcome: dict[str, list[Row]], act: str) -> None:
    rows = outcome[act]
    judged = [row for row in rows if row.met is not None]
    assert len(judged) >= 2
    assert all(row.met for row in judged), "\n".join(lines(rows))
