"""The sandbox's page and API: figures, switches, and who may use them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, web

from probe.sandbox.faults import FaultName
from probe.sandbox.panel import mount, panel

OWN = {"X-Mailcanary": "1"}


@pytest.fixture
async def url(bench: Any) -> AsyncIterator[str]:
    app = web.Application()
    mount(app, bench.sandbox)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


async def test_faults_are_switched_and_shown(bench: Any, url: str, http: ClientSession) -> None:
    async with http.post(
        f"{url}/api/sandbox/faults", json={"fault": "backup-db", "share": 0.25}, headers=OWN
    ) as answer:
        assert answer.status == 200
        body = await answer.json()
        assert body["faults"] == [{"fault": "backup-db", "share": 0.25, "seconds": None, "intake": None}]
    await http.post(f"{url}/api/sandbox/faults", json={"fault": "delay", "seconds": 20}, headers=OWN)
    async with http.get(f"{url}/api/sandbox") as answer:
        assert [one["fault"] for one in (await answer.json())["faults"]] == ["backup-db", "delay"]
    assert "backup-db for 0.25 of the mail; delay 20 s for all mail" in panel(bench.sandbox)()
    await http.post(f"{url}/api/sandbox/faults", json={"fault": "off"}, headers=OWN)
    assert bench.sandbox.snapshot().faults == ()


async def test_the_incident_as_the_api_tells_it(bench: Any, url: str, http: ClientSession) -> None:
    await http.post(f"{url}/api/sandbox/faults", json={"fault": "backup-db"}, headers=OWN)
    await bench.send(3)
    await bench.settled()
    async with http.get(f"{url}/api/sandbox") as answer:
        body = await answer.json()
    assert (body["queue"], body["intakes"][0]["accepted"], body["dropped"], body["delivered"]) == (0, 3, 3, 0)
    async with http.post(f"{url}/api/sandbox/requeue", headers=OWN) as answer:
        assert (await answer.json())["requeued_now"] == 3
    assert len(await bench.mailbox()) == 3


@pytest.mark.parametrize("path", ["faults", "requeue"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Mailcanary": "0"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"},
        {"Host": "evil.example", "Origin": "http://evil.example"},  # DNS rebinding
        {"Host": "evil.example", "X-Mailcanary": "1"},
    ],
)
async def test_a_foreign_page_switches_nothing(
    bench: Any, url: str, http: ClientSession, path: str, headers: dict[str, str]
) -> None:
    bench.sandbox.set_fault("backup-db")
    await bench.send(1)
    await bench.settled()
    async with http.post(f"{url}/api/sandbox/{path}", data={"fault": "off"}, headers=headers) as answer:
        assert answer.status == 403
    state = bench.sandbox.snapshot()
    assert len(state.faults) == 1
    assert state.requeued == 0


@pytest.mark.parametrize("page", ["/", "/sandbox"])
async def test_the_forms_of_the_page_work_and_lead_back(bench: Any, url: str, http: ClientSession, page: str) -> None:
    form = {"fault": "delay", "seconds": "20", "share": "50%", "intake": "mx2.sandbox.test"}
    headers = {"Origin": url, "Referer": f"{url}{page}"}
    async with http.post(f"{url}/api/sandbox/faults", data=form, headers=headers, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/#sandbox" if page == "/" else page)
    fault = bench.sandbox.snapshot().faults[0]
    assert str(fault) == "delay 20 s for 0.5 of the mail through mx2.sandbox.test"
    # A page without referrer: the browser sends "Origin: null" and says where it stands in Sec-Fetch-Site.
    async with http.post(
        f"{url}/api/sandbox/faults",
        data={"fault": "backup-db", "share": "100%", "intake": ""},
        headers={"Origin": "null", "Sec-Fetch-Site": "same-origin"},
        allow_redirects=False,
    ) as answer:
        assert answer.status == 303
    assert len(bench.sandbox.snapshot().faults) == 2


async def test_every_fault_is_switched_by_the_api(bench: Any, url: str, http: ClientSession) -> None:
    for name in FaultName:
        body = {"fault": name, "intake": "mx1.sandbox.test"} | ({"seconds": 5} if name is FaultName.DELAY else {})
        async with http.post(f"{url}/api/sandbox/faults", json=body, headers=OWN) as answer:
            assert answer.status == 200
    assert [(one.name, one.intake) for one in bench.sandbox.snapshot().faults] == [
        (name, "mx1.sandbox.test") for name in sorted(FaultName)
    ]


async def test_the_page_tells_what_a_bad_host_lost(bench: Any, url: str, http: ClientSession) -> None:
    assert "lost by" not in panel(bench.sandbox)()
    form = {"fault": "bad-host", "share": "100%", "intake": "mx2.sandbox.test"}
    await http.post(f"{url}/api/sandbox/faults", data=form, headers={"Origin": url}, allow_redirects=False)
    await bench.send(2, intake=1)
    page = panel(bench.sandbox)()
    assert "<th>lost by mx2.sandbox.test</th><td>2</td>" in page
    assert "bad-host for all mail through mx2.sandbox.test" in page
    async with http.get(f"{url}/api/sandbox") as answer:
        body = await answer.json()
    assert [one["lost"] for one in body["intakes"]] == [0, 2]
    assert body["resolver"] == bench.sandbox.resolver


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{",
        "[" * 4000,
        "{}",
        '{"fault": 1}',
        '{"fault": "nothing"}',
        '{"fault": "backup-db", "share": true}',
        '{"fault": "backup-db", "share": "x%"}',
        '{"fault": "backup-db", "share": 1e999}',
        '{"fault": "backup-db", "share": ' + "9" * 4000 + "}",
        '{"fault": "delay"}',
        '{"fault": "delay", "seconds": -1}',
        '{"fault": "backup-db", "intake": ["mx1"]}',
        '{"fault": "backup-db", "more": 1}',
    ],
)
async def test_a_broken_request_is_answered_400(bench: Any, url: str, http: ClientSession, body: str) -> None:
    headers = {**OWN, "Content-Type": "application/json"}
    async with http.post(f"{url}/api/sandbox/faults", data=body, headers=headers) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]
    assert bench.sandbox.snapshot().faults == ()


async def test_a_large_request_is_refused(bench: Any, url: str, http: ClientSession) -> None:
    headers = {**OWN, "Content-Type": "application/json"}
    async with http.post(f"{url}/api/sandbox/faults", data=b" " * 5000, headers=headers) as answer:
        assert answer.status == 413
    assert bench.sandbox.snapshot().faults == ()


async def test_the_page_has_figures_and_buttons(bench: Any, url: str, http: ClientSession) -> None:
    await bench.send(2, intake=1)
    await bench.settled()
    async with http.get(f"{url}/sandbox") as answer:
        page = await answer.text()
    assert "<th>messages in the queue</th><td>0</td>" in page
    assert "<th>accepted by mx2.sandbox.test</th><td>2</td>" in page
    for switch in (*FaultName, "off"):
        assert page.count(f'<button name="fault" value="{switch}">') == 1
    assert 'action="/api/sandbox/requeue"' in page
    assert "<script" not in page
