"""The status page shows what is open before all else, and nothing of incidents where none is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import ClientSession

from probe.detection.moments import to_second
from probe.exposition.incidents import loss_text
from probe.exposition.web import WebServer, make_app
from probe.ledger.batch import Batch
from probe.ledger.store import Ledger
from tests.exposition.exposition_fakes import StillClock, StillLive, snapshot
from tests.exposition.incident_ledger import (
    OVER,
    PARTIAL,
    PASSED,
    RUNNING,
    broken,
    fill,
    over,
    partial_loss,
    passed,
    row,
)
from tests.exposition.test_web import Page


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[StillLive]:
    still = await fill(tmp_path / "ledger.sqlite", broken())
    yield still
    still.ledger.close()


async def front(live: StillLive) -> str:
    server = WebServer(make_app(live))
    await server.start("127.0.0.1", 0)
    try:
        async with ClientSession() as http, http.get(server.url + "/") as answer:
            assert answer.status == 200
            return await answer.text()
    finally:
        await server.stop()


async def test_what_is_open_stands_first_and_links_to_its_page(live: StillLive) -> None:
    html = await front(live)
    page = Page(html)
    begin, end = html.index('<section id="open">'), html.index("<h2>Legs</h2>")
    assert begin < end
    places = [html.index(f'href="/incidents/{one}"') for one in (RUNNING, PARTIAL)]
    assert begin < places[0] < places[1] < end
    assert OVER not in html
    assert PASSED not in html
    partial = partial_loss()
    for words in (
        "inbound",
        "mx3 of 4",
        "partial loss",
        "identified",
        to_second(partial.first_bad),
        loss_text(partial),
    ):
        assert words in page.words
    assert "Incidents that this version cannot read: 2026-09-12-inbound-1." in page.words
    assert page.outside == []


async def test_nothing_where_none_is_open(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite", StillClock())
    batch = Batch()
    for one in (over(), passed()):
        batch.incident(row(one, 0))
    await ledger.commit(batch)
    try:
        html = await front(StillLive(ledger, snapshot()))
    finally:
        ledger.close()
    assert "Open incidents" not in html
    assert "cannot read" not in html


async def test_the_query_narrows_by_route_and_state(live: StillLive) -> None:
    queries = live.queries

    def ids(**asked: object) -> list[str]:
        return [one.id for one in queries.incidents(**asked)]  # type: ignore[arg-type]

    assert ids(route="other") == [RUNNING]
    assert ids(route="nowhere") == []
    assert ids(route="inbound", states=("identified",), limit=1) == [PARTIAL]
    assert PASSED in ids()
    assert PASSED not in ids(without=("dismissed",))


async def test_many_that_are_over_hide_none_that_is_open(live: StillLive) -> None:
    batch = Batch()
    for number in range(300):
        batch.incident(replace(row(over(), 1000 + number), id=f"2026-10-01-inbound-{number}"))
    await live.ledger.commit(batch)
    html = await front(live)
    assert f'href="/incidents/{PARTIAL}"' in html
    assert f'href="/incidents/{RUNNING}"' in html
