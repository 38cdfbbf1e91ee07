"""The pages of incidents and their JSON on a real port, over a real ledger."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import ClientSession

from probe.detection.record import Incident
from probe.detection.report import requeue_instruction, status_page
from probe.errors import LedgerError, MailCanaryError
from probe.exposition.incidents import find_incident, legs_text, list_incidents, loss_text, state_text, window_text
from probe.exposition.web import WebServer, make_app
from tests.detection.incidents import paged, suspected
from tests.exposition.exposition_fakes import TOKEN, StillLive
from tests.exposition.incident_ledger import (
    OVER,
    PARTIAL,
    PASSED,
    RUNNING,
    after,
    broken,
    fill,
    over,
    partial_loss,
    passed,
    row,
    running,
)
from tests.exposition.test_web import Page


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[StillLive]:
    still = await fill(tmp_path / "ledger.sqlite", broken())
    yield still
    still.ledger.close()


@pytest.fixture
async def server(live: StillLive) -> AsyncIterator[WebServer]:
    server = WebServer(make_app(live))
    await server.start("127.0.0.1", 0)
    yield server
    await server.stop()


async def get(server: WebServer, path: str) -> tuple[int, str]:
    async with ClientSession() as http, http.get(server.url + path) as answer:
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        return answer.status, await answer.text()


async def test_the_list_links_to_each(server: WebServer) -> None:
    status, html = await get(server, "/incidents")
    page = Page(html)
    assert status == 200
    places = [html.index(f'href="/incidents/{one}"') for one in (RUNNING, OVER, PARTIAL)]
    assert places == sorted(places)
    assert PASSED not in html
    assert "The record of 2026-09-12-inbound-1 cannot be read by this version." in page.words
    assert loss_text(partial_loss()) in page.words
    assert page.outside == []
    assert PASSED in (await get(server, "/incidents?passed=true"))[1]


async def test_a_page_tells_all_of_one(server: WebServer) -> None:
    status, html = await get(server, f"/incidents/{PARTIAL}")
    page = Page(html)
    assert status == 200
    for words in (
        "identified",
        status_page(partial_loss()),
        requeue_instruction(partial_loss()).splitlines()[0],
        "mx3: 2026-09-09 09:50:00 UTC to 2026-09-09 12:00:00 UTC",
        "4bXyZ399",
        "12 more clean canaries",
        "mx3 paged (share)",
        "mailcanary report 2026-09-09-inbound-1 --volume N",
    ):
        assert words in page.words, words
    assert '<meta http-equiv="refresh" content="10">' in html
    assert "refresh" not in (await get(server, f"/incidents/{OVER}"))[1].split("<body>")[0]


async def test_a_page_escapes_what_came_from_outside(server: WebServer) -> None:
    html = (await get(server, f"/incidents/{PARTIAL}"))[1]
    page = Page(html)
    assert "script" not in page.tags
    assert '<script>alert("x")</script>' in page.words
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert TOKEN not in html


async def test_an_incident_without_counts_or_window(server: WebServer) -> None:
    words = Page((await get(server, f"/incidents/{RUNNING}"))[1]).words
    for said in ("No window can be given yet.", "Nothing was counted yet.", "No proof has begun."):
        assert said in words
    assert "No incident" not in words


async def test_json(server: WebServer) -> None:
    _, text = await get(server, "/api/incidents")
    listed = json.loads(text)
    assert [one["id"] for one in listed["incidents"]] == [RUNNING, OVER, PARTIAL]
    assert listed["unreadable"] == ["2026-09-12-inbound-1"]
    assert Incident.from_json(listed["incidents"][1]) == over()
    assert TOKEN not in text
    status, text = await get(server, f"/api/incidents/{PARTIAL}")
    one = json.loads(text)
    assert (status, one["id"], one["real_mail"]) == (200, PARTIAL, None)
    assert one["status_page"] == status_page(partial_loss())
    assert TOKEN not in text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("active=true", [RUNNING, PARTIAL]),
        ("route=inbound&limit=2", [OVER]),
        ("passed=true&route=inbound", [OVER, PARTIAL, PASSED]),
        ("route=nowhere", []),
    ],
)
async def test_filters(query: str, found: list[str], server: WebServer) -> None:
    listed = json.loads((await get(server, f"/api/incidents?{query}"))[1])
    assert [one["id"] for one in listed["incidents"]] == found


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/incidents/nowhere", 404, "no incident &#x27;nowhere&#x27; in the ledger"),
        ("/incidents/%3Cscript%3E%1b", 404, "&lt;script&gt;"),
        ("/incidents/" + "x" * 300, 404, "no incident"),
        ("/incidents/2026-09-12-inbound-1", 503, "The ledger cannot be read"),
        ("/api/incidents/nowhere", 404, "no incident"),
        ("/api/incidents?limit=0", 400, "limit must be"),
        ("/api/incidents?limit=1001", 400, "limit must be"),
        ("/api/incidents?active=yes", 400, "true or false"),
        ("/incidents?colour=red", 400, "unknown: colour; known: route, active, passed, limit"),
    ],
)
async def test_what_is_wrong_is_said(path: str, status: int, says: str, server: WebServer) -> None:
    answer = await get(server, path)
    assert answer[0] == status
    assert says in answer[1]


async def test_the_footer_leads_there(server: WebServer) -> None:
    assert 'href="/incidents"' in (await get(server, "/"))[1]


async def test_those_wanted_are_found_behind_many_others(tmp_path: Path) -> None:
    many = [replace(row(passed(), 1000 + n), id=f"2026-09-13-inbound-{n}") for n in range(500)]
    still = await fill(tmp_path / "ledger.sqlite", *many)
    try:
        listed = list_incidents(still.queries, limit=2)
        assert [one.id for one in listed.incidents] == [RUNNING, OVER]
        assert len(list_incidents(still.queries, limit=1000, passed=True).incidents) == 504
        assert find_incident(still.queries, f" {OVER}\n") == over()
    finally:
        still.ledger.close()


async def test_what_cannot_be_found_or_read(live: StillLive) -> None:
    for text in ("", " ", "nowhere", "x" * 1000):
        with pytest.raises(MailCanaryError, match="no incident"):
            find_incident(live.queries, text)
    with pytest.raises(LedgerError, match="schema 99, not 1"):
        find_incident(live.queries, "2026-09-12-inbound-1")


def test_words() -> None:
    assert (legs_text(suspected()), loss_text(suspected()), window_text(suspected())) == ("-", "-", "-")
    assert legs_text(partial_loss()) == "mx3 of 4"
    assert legs_text(running()) == "any"
    assert state_text(passed()) == "passed without a page"
    assert window_text(partial_loss()) == "2026-09-09 09:50 UTC to 2026-09-09 12:00 UTC"
    assert legs_text(after(suspected(), paged())) == "mx3 of 4 (others not told apart)"
