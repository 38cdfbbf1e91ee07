"""The web side on a real port: pages, API, health, and clients that mean no good."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from probe.canary import counters
from probe.errors import UnreachableError
from probe.exposition.live import Exemplar
from probe.exposition.web import WebServer, make_app
from tests.exposition.exposition_fakes import EVIL, IDS, LEG, TOKEN, StillLive, four_lives, snapshot


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[StillLive]:
    still = await four_lives(tmp_path / "ledger.sqlite")
    yield still
    still.ledger.close()


def _extension(app: web.Application) -> None:
    async def switched(_: web.Request) -> web.Response:
        return web.Response(text="switched")

    app.router.add_post("/api/sandbox/faults", switched)


@pytest.fixture
async def server(live: StillLive) -> AsyncIterator[WebServer]:
    server = WebServer(
        make_app(live, extensions=[_extension], panels=[lambda: '<section id="sandbox">queue 0</section>'])
    )
    await server.start("127.0.0.1", 0)
    yield server
    await server.stop()


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


class Page(HTMLParser):
    """The text and the tags of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words = ""
        self.outside: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.outside += [value for name, value in attrs if name in ("src", "href") and value and value[0] != "/"]
        assert not [name for name, _ in attrs if name.startswith("on") or name == "style"]

    def handle_data(self, data: str) -> None:
        self.words += data


async def get(http: ClientSession, server: WebServer, path: str) -> tuple[int, str, dict[str, str]]:
    async with http.get(server.url + path) as answer:
        return answer.status, await answer.text(), dict(answer.headers)


async def test_the_status_page_tells_the_state_in_words(server: WebServer, http: ClientSession) -> None:
    status, html, headers = await get(http, server, "/")
    page = Page(html)
    assert status == 200
    for words in ("inbound / mx1.example.org", "overdue", "recovered", "seeing", "queue 0", "a note"):
        assert words in page.words
    assert "script" not in page.tags
    assert page.outside == []
    assert '<meta http-equiv="refresh" content="5">' in html
    assert all(f"/canaries/{canary}" in html for canary in IDS)
    assert "\x1b" not in html
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    assert "refresh" not in (await get(http, server, "/?refresh=off"))[1].split("<body>")[0]


async def test_a_blind_mailbox_shows(server: WebServer, live: StillLive, http: ClientSession) -> None:
    live.view = replace(snapshot(blind=True), ledger_writable=False, not_ready=["support was never read"])
    words = Page((await get(http, server, "/"))[1]).words
    assert "blind" in words
    assert "The ledger cannot be written" in words
    assert "Not ready: support was never read" in words


@pytest.mark.fault("S39")
async def test_a_canarys_page_escapes_what_came_from_outside(server: WebServer, http: ClientSession) -> None:
    status, html, _ = await get(http, server, f"/canaries/{IDS[0]}")
    page = Page(html)
    assert status == 200
    assert "script" not in page.tags
    assert '<script>alert("x")</script>\\x1b[31m\\u202e' in page.words
    assert "queued as 4XYZ" in page.words
    assert "from " + EVIL[:8] in page.words
    assert TOKEN not in html


async def test_what_is_not_there_is_said(server: WebServer, http: ClientSession) -> None:
    for path, status in (
        ("/canaries/zzzz", 404),
        ("/canaries/%3Cscript%3E", 400),
        ("/canaries/aaa", 400),
        ("/nothing", 404),
        ("/api/canaries/zzzz", 404),
        ("/api/canaries?limit=0", 400),
        ("/api/canaries?limit=9999", 400),
        ("/api/canaries?limit=%C2%B2", 400),
        ("/api/canaries?outcome=planned", 400),
        ("/api/canaries?since=yesterday", 400),
        ("/api/canaries?order=up", 400),
    ):
        found, body, headers = await get(http, server, path)
        assert found == status, path
        assert "<script" not in body
        assert "Content-Security-Policy" in headers
        if path.startswith("/api"):
            assert json.loads(body)["error"]


async def test_the_api_lists_and_filters(server: WebServer, http: ClientSession) -> None:
    async def ids(query: str) -> list[str]:
        return [one["id"] for one in json.loads((await get(http, server, "/api/canaries" + query))[1])["canaries"]]

    assert await ids("") == [IDS[3], IDS[2], IDS[1], IDS[0]]
    assert await ids("?outcome=lost") == [IDS[1]]
    assert await ids("?limit=2") == [IDS[3], IDS[2]]
    assert await ids("?route=inbound&mx=mx2.example.org") == []
    assert await ids("?since=5m") == [IDS[3]]
    one = json.loads((await get(http, server, f"/api/canaries/{IDS[2]}"))[1])
    assert (one["outcome"], one["arrived_at"], one["latency_seconds"]) == ("late", "2025-11-24T16:03:20.000000Z", 79.9)


async def test_the_api_tells_the_status(server: WebServer, http: ClientSession) -> None:
    status = json.loads((await get(http, server, "/api/status"))[1])
    leg = status["legs"][0]
    assert (leg["status"], leg["sent"], leg["in_flight"], leg["overdue_now"], leg["overdue"]) == ("overdue", 4, 1, 1, 3)
    assert leg["outcomes"] == {
        "delivered": 1, "late": 1, "lost": 1, "bounced": 0, "refused": 0, "unsent": 0, "unknown": 0,
    }  # fmt: skip
    assert status["mailboxes"][0]["blind"] is False
    assert status["ready"] is True


async def test_health_and_readiness(server: WebServer, live: StillLive, http: ClientSession) -> None:
    assert (await get(http, server, "/healthz"))[:2] == (200, "ok\n")
    assert (await get(http, server, "/readyz"))[:2] == (200, "ok\n")
    live.view = replace(live.view, stalled=["watch support"], not_ready=["support was never read"])
    assert (await get(http, server, "/healthz"))[:2] == (503, "no progress: watch support\n")
    assert (await get(http, server, "/readyz"))[:2] == (503, "support was never read\n")


async def test_metrics_in_both_formats(server: WebServer, http: ClientSession) -> None:
    _, body, headers = await get(http, server, "/metrics")
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "mailcanary_ledger_imbalance 0.0\n" in body
    assert re.search(r"^process_cpu_seconds_total ", body, re.MULTILINE)
    async with http.get(f"{server.url}/metrics", headers={"Accept": "application/openmetrics-text"}) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        assert (await answer.text()).endswith("# EOF\n")


async def test_a_scraper_that_asks_for_openmetrics_gets_the_canaries_by_name(
    server: WebServer, live: StillLive, http: ClientSession
) -> None:
    live.shown = {(counters.DELIVERY_BUCKET, LEG.route, LEG.mx, "plain", "5.0"): Exemplar(IDS[0], 3.1)}
    prometheus = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    async with http.get(f"{server.url}/metrics", headers={"Accept": prometheus}) as answer:
        families = {family.name: family for family in parse_openmetrics(await answer.text())}
    samples = families["mailcanary_delivery_seconds"].samples
    (named,) = [sample for sample in samples if sample.exemplar]
    assert (named.name, named.labels["le"]) == ("mailcanary_delivery_seconds_bucket", "5.0")
    assert named.exemplar == ({"canary_id": IDS[0]}, 3.1, None)
    assert {sample.value for sample in samples if sample.name.endswith("_created")} == {live.created_at / 1e9}
    assert "# {" not in (await get(http, server, "/metrics"))[1]


async def test_a_ledger_that_cannot_be_read_takes_no_metrics_away(
    server: WebServer, live: StillLive, http: ClientSession
) -> None:
    live.queries.close()  # connections that are open would go on reading the file, wherever it is now
    live.ledger.path.rename(live.ledger.path.with_suffix(".away"))
    live.ledger.path.mkdir()
    status, body, _ = await get(http, server, "/metrics")
    assert status == 200
    assert "mailcanary_sent_total" in body
    status, html, _ = await get(http, server, "/")
    assert status == 200
    assert "The ledger cannot be read" in html
    assert (await get(http, server, "/api/canaries"))[0] == 503


async def test_concurrent_scrapes_share_one_rendering(
    server: WebServer, live: StillLive, http: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, begun, rendered = threading.Event(), asyncio.Event(), []
    loop = asyncio.get_running_loop()
    balance = live.queries.balance

    def slow() -> float:
        rendered.append(1)
        loop.call_soon_threadsafe(begun.set)
        gate.wait()
        return balance()

    monkeypatch.setattr(live.queries, "balance", slow)
    first = asyncio.create_task(get(http, server, "/metrics"))
    await begun.wait()
    others = [asyncio.create_task(get(http, server, "/metrics")) for _ in range(5)]
    assert (await get(http, server, "/healthz"))[0] == 200  # the loop is free while one is rendered
    gate.set()
    assert {answer[0] for answer in await asyncio.gather(first, *others)} == {200}
    assert len(rendered) < 6


@pytest.mark.fault("P22")
async def test_silent_and_half_sent_clients_never_hold_up_a_scrape(server: WebServer, http: ClientSession) -> None:
    writers = []
    try:
        for number in range(50):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writers.append(writer)
            if number % 2:
                writer.write(b"GET /metrics HTTP/1.1\r\nHost: exam")
                await writer.drain()
        for _ in range(3):
            status, body, _ = await get(http, server, "/metrics")
            assert status == 200
            assert "mailcanary_sent_total" in body
    finally:
        for writer in writers:
            writer.close()


async def test_large_requests_and_wrong_methods_are_refused(server: WebServer, http: ClientSession) -> None:
    async with http.post(f"{server.url}/metrics") as answer:
        assert answer.status == 405
    async with http.get(f"{server.url}/", headers={"X-Large": "x" * 8000}) as answer:
        assert answer.status == 400
    async with http.post(f"{server.url}/api/sandbox/faults") as answer:
        assert await answer.text() == "switched"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.fault("P21")
async def test_a_busy_port_is_named(server: WebServer, live: StillLive) -> None:
    second = WebServer(make_app(live))
    with pytest.raises(UnreachableError, match=rf"127\.0\.0\.1:{server.port}: the address is in use"):
        await second.start("127.0.0.1", server.port)
    await second.stop()
