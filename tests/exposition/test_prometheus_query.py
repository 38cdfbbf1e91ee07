"""The question to Prometheus: asked of a real one, and of servers that answer what a real one does not."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from aiohttp import web

from probe.clock import SystemClock
from probe.errors import MailCanaryError, UnreachableError, UsageError
from probe.exposition.prometheus import LARGEST_ANSWER, LONGEST_QUERY, count_mails
from tests.worlds.fixtures import Alerting
from tests.worlds.ports import free_ports, wait_until
from tests.worlds.prometheus import Prometheus

START = datetime(2026, 9, 9, 9, 50, tzinfo=UTC)
END = START + timedelta(hours=1, minutes=30, milliseconds=1)
QUERY = "sum(increase(mails_total[$window]))"
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Scripted:
    """A server that answers as it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[dict[str, str]] = []
        self.logins: list[str | None] = []
        self.answer: Answer = one_sample("41.6")

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append({key: str(value) for key, value in (await request.post()).items()})
        self.logins.append(request.headers.get("Authorization"))
        return await self.answer(request)


def body(data: object, status: int = 200) -> Answer:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=data if isinstance(data, str) else json.dumps(data), status=status)

    return answer


def vector(*values: str) -> dict[str, object]:
    result = [{"metric": {}, "value": [1.0, value]} for value in values]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


def one_sample(value: str) -> Answer:
    return body(vector(value))


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    scripted = Scripted()
    app = web.Application()
    app.router.add_post("/under/api/v1/query", scripted.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    scripted.url = f"http://127.0.0.1:{runner.addresses[0][1]}/under/"
    yield scripted
    await runner.cleanup()


async def test_what_is_asked(server: Scripted) -> None:
    volume = await count_mails(server.url, f"{QUERY} + 0 * x[$window]", START, END)
    assert (volume.mails, volume.window) == (42, "5401s")
    assert server.asked == [
        {
            "query": "sum(increase(mails_total[5401s])) + 0 * x[5401s]",
            "time": f"{END.timestamp():.3f}",
            "timeout": "30s",
        }
    ]
    assert server.logins == [None]


async def test_a_scalar_will_do_and_warnings_are_passed_on(server: Scripted) -> None:
    data = {"resultType": "scalar", "result": [1.0, "7"]}
    server.answer = body({"status": "success", "data": data, "warnings": ["a store is away"]})
    volume = await count_mails(server.url, QUERY, START, END)
    assert (volume.mails, volume.warnings) == (7, ("a store is away",))


async def test_a_login_goes_to_the_host_and_into_no_message(server: Scripted) -> None:
    server.answer = body({"status": "error", "error": "who are you?"}, 401)
    url = server.url.replace("//", "//kim:hunter2@")
    with pytest.raises(MailCanaryError, match=r"HTTP 401: who are you\?; give user:password@") as refused:
        await count_mails(url, QUERY, START, END)
    assert server.logins == ["Basic a2ltOmh1bnRlcjI="]
    assert "hunter2" not in str(refused.value)
    assert "kim" not in str(refused.value)


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (body(vector()), MailCanaryError, "finds no series at the window's end"),
        (body(vector("1", "2")), MailCanaryError, r"finds 2 series .* wrap it in sum\(\)"),
        (one_sample("NaN"), MailCanaryError, "nan is no number of mails"),
        (one_sample("-3"), MailCanaryError, "-3 is no number of mails"),
        (one_sample("+Inf"), MailCanaryError, "inf is no number of mails"),
        (one_sample("many"), MailCanaryError, "not a number"),
        (body({"status": "success", "data": {"resultType": "matrix", "result": []}}), MailCanaryError, "a matrix"),
        (body({"status": "success", "data": []}), MailCanaryError, "not a number"),
        (body({"status": "success", "data": {"resultType": "vector", "result": [3]}}), MailCanaryError, "not a number"),
        (body("<html>"), MailCanaryError, "no answer of its API"),
        (body("[" * 200_000), MailCanaryError, "no answer of its API"),
        (body("gone", 404), MailCanaryError, "HTTP 404.*without /api/v1"),
        (body({"status": "error", "error": "parse\x1b[31m"}, 400), UsageError, r"the query: parse\\x1b\[31m; try it"),
        (body({"status": "error", "error": "too many samples"}, 422), MailCanaryError, "HTTP 422: too many samples"),
        (body("busy", 503), MailCanaryError, "HTTP 503; try again"),
        (body("x" * (LARGEST_ANSWER + 1)), MailCanaryError, "larger than"),
    ],
)
async def test_answers_that_are_none(answer: Answer, kind: type[MailCanaryError], says: str, server: Scripted) -> None:
    server.answer = answer
    with pytest.raises(kind, match=says) as raised:
        await count_mails(server.url, QUERY, START, END)
    assert type(raised.value) is kind
    assert "\x1b" not in str(raised.value)


async def test_a_redirect_is_not_followed(server: Scripted) -> None:
    async def elsewhere(_: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect(server.url + "api/v1/query")

    server.answer = elsewhere
    with pytest.raises(MailCanaryError, match="HTTP 307, a redirect"):
        await count_mails(server.url, QUERY, START, END)
    assert len(server.asked) == 1


async def test_no_answer_in_time(server: Scripted) -> None:
    async def silent(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    server.answer = silent
    with pytest.raises(UnreachableError, match=r"no answer within 0\.2 s"):
        await count_mails(server.url, QUERY, START, END, patience=timedelta(seconds=0.2))


async def test_nobody_listens() -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(UnreachableError, match=r"cannot connect: .*; is the address right"):
        await count_mails(url, QUERY, START, END)


async def test_an_unknown_certificate_is_refused() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    runner = web.AppRunner(web.Application(), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        with pytest.raises(UnreachableError, match="not one to trust"):
            await count_mails(f"https://127.0.0.1:{runner.addresses[0][1]}", QUERY, START, END)
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("url", "query", "says"),
    [
        ("localhost:9090", QUERY, "must be a URL"),
        ("ftp://localhost", QUERY, "must be a URL"),
        ("http://localhost/?a=b", QUERY, "must be a URL"),
        ("http://local\nhost", QUERY, "must be a URL"),
        ("http://[::1", QUERY, "must be a URL"),
        ("http://localhost", "sum(increase(mails_total[]))", r"must hold \$window.*single ones"),
        ("http://localhost", "x" * LONGEST_QUERY + QUERY, "is longer than"),
    ],
)
async def test_what_is_not_even_asked(url: str, query: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        await count_mails(url, query, START, END)


def _scraped(alerting: Alerting) -> Prometheus:
    """A Prometheus that has seen a page of two series."""
    page = alerting.page()
    page.series = {'mails_total{host="mx1"}': 1000.0, 'mails_total{host="mx2"}': 500.0}
    prometheus = alerting.prometheus({"mx": page.port})
    wait_until(lambda: len(prometheus.query("mails_total")) == 2, 30, "the page is scraped", prometheus.log)
    return prometheus


@pytest.mark.real
async def test_a_real_one(alerting: Alerting) -> None:
    prometheus = await asyncio.to_thread(_scraped, alerting)
    now = SystemClock().now().utc
    start = now - timedelta(minutes=5)
    volume = await count_mails(prometheus.url, "sum(max_over_time(mails_total[$window]))", start, now)
    assert (volume.mails, volume.window) == (1500, "300s")
    with pytest.raises(MailCanaryError, match="finds 2 series"):
        await count_mails(prometheus.url, "max_over_time(mails_total[$window])", start, now)
    with pytest.raises(MailCanaryError, match="finds no series"):
        await count_mails(prometheus.url, "sum(increase(mail_total[$window]))", start, now)
    with pytest.raises(UsageError, match=r"does not take the query: .*parse error"):
        await count_mails(prometheus.url, "sum(increase(mails_total[$window])", start, now)
    with pytest.raises(MailCanaryError, match="a matrix, not a number"):
        await count_mails(prometheus.url, "mails_total[$window]", start, now)
