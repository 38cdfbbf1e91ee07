"""The call of a dead man's switch, against real servers on loopback."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from aiohttp import web

from probe.exposition import heartbeat
from probe.exposition.heartbeat import Failure
from tests.worlds.certificates import Certificates
from tests.worlds.ports import LOOPBACK

SECONDS_5 = timedelta(seconds=5)


@asynccontextmanager
async def serving(
    handler: Callable[[web.Request], Any], tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[str, list[web.Request]]]:
    """A real server on loopback: its URL, and the requests it got."""
    got: list[web.Request] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        got.append(request)
        response: web.StreamResponse = await handler(request)
        return response

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, LOOPBACK, 0, ssl_context=tls)
    await site.start()
    try:
        scheme = "http" if tls is None else "https"
        yield f"{scheme}://{LOOPBACK}:{runner.addresses[0][1]}/ping/very-secret?x=1", got
    finally:
        await runner.cleanup()


async def ok(request: web.Request) -> web.StreamResponse:
    return web.Response(text="OK")


async def test_a_2xx_answer_counts() -> None:
    async with serving(ok) as (url, got):
        assert await heartbeat.call(url, SECONDS_5) is None
        (request,) = got
        assert (request.method, request.path_qs) == ("GET", "/ping/very-secret?x=1")
        assert request.headers["User-Agent"] == "mailcanary"


async def test_a_redirect_is_not_followed() -> None:
    async with serving(ok) as (elsewhere, visited):

        async def redirect(request: web.Request) -> web.StreamResponse:
            return web.Response(status=302, headers={"Location": elsewhere})

        async with serving(redirect) as (url, got):
            failure = await heartbeat.call(url, SECONDS_5)
            assert failure == Failure("status", "the answer was HTTP 302, a redirect, which is not followed")
            assert (len(got), visited) == (1, [])


async def test_any_other_answer_is_a_failure() -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        return web.Response(status=503)

    async with serving(broken) as (url, _):
        assert await heartbeat.call(url, SECONDS_5) == Failure("status", "the answer was HTTP 503")


async def test_a_server_that_hangs_is_left_in_time() -> None:
    async def hangs(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(hangs) as (url, _):
        async with asyncio.timeout(5):
            failure = await heartbeat.call(url, timedelta(milliseconds=200))
        assert failure == Failure("timeout", "no answer within 0.2 s")


async def test_an_endless_body_is_not_read() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)

    async with serving(endless) as (url, _):
        async with asyncio.timeout(5):
            assert await heartbeat.call(url, SECONDS_5) is None


async def test_nobody_there_and_nonsense_are_failures_that_tell_nothing() -> None:
    async with serving(ok) as (url, _):
        pass
    gone = await heartbeat.call(url, SECONDS_5)
    assert gone is not None
    assert gone.reason == "connect"
    for nonsense in ("http://", "http://[::1", "gopher://x/", "http://very-secret.invalid/", "http://\x00/"):
        failure = await heartbeat.call(nonsense, SECONDS_5)
        assert failure is not None, nonsense
        assert "very-secret" not in failure.sentence


async def test_what_is_not_http_is_a_failure() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.net ESMTP\r\n" + b"y" * 100_000)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, LOOPBACK, 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        failure = await heartbeat.call(f"http://{LOOPBACK}:{port}/", SECONDS_5)
    assert failure is not None
    assert failure.reason == "other"


async def test_a_certificate_that_nobody_trusts_is_refused(certificates: Certificates) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    async with serving(ok, context) as (url, got):
        failure = await heartbeat.call(url, SECONDS_5)
        assert failure is not None
        assert failure.reason == "tls"
        assert got == []


async def test_no_proxy_of_the_environment_is_used(monkeypatch: Any) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with serving(ok) as (url, got):
        assert await heartbeat.call(url, SECONDS_5) is None
        assert len(got) == 1
