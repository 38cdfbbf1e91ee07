"""From the name to the connection: the resolver's answers, several addresses, this machine's own limits."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable, Iterator

import pytest

from probe.senders.base import Result, Stage, SubmissionLabel
from probe.senders.resolve import Family, ResolveError, addresses
from tests.senders.scripted_server import ScriptedServer, submit

Found = list[tuple[socket.AddressFamily, int, int, str, tuple[str, int]]]


def resolving(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Awaitable[Found]]) -> None:
    async def getaddrinfo(host: str, port: int, **how: object) -> Found:
        return await answer()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


def found(*sockaddrs: tuple[str, int]) -> Found:
    kinds = (socket.AF_INET6 if ":" in address[0] else socket.AF_INET for address in sockaddrs)
    return [(kind, socket.SOCK_STREAM, 6, "", address) for kind, address in zip(kinds, sockaddrs, strict=True)]


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port whose queue of connections is full: the kernel drops each further SYN."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    port = listener.getsockname()[1]
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(("127.0.0.1", port))
    yield port
    for sock in (*fillers, listener):
        sock.close()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), "dns_temp"),
        (socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure"), "dns_temp"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "dns_perm"),
        (socket.gaierror(socket.EAI_NODATA, "No address associated with hostname"), "dns_perm"),
        (UnicodeError("label too long"), "dns_perm"),
        (OSError(errno.EMFILE, "Too many open files"), "dns_temp"),
    ],
)
async def test_no_address(monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str) -> None:
    async def failing() -> Found:
        raise error

    resolving(monkeypatch, failing)
    ended = await submit(25, host="mx.example.org")
    assert (ended.result, ended.reason, ended.stage) == (Result.UNSENT, reason, Stage.DNS)
    assert ended.label is SubmissionLabel.DNS_ERROR
    assert ended.detail.startswith("mx.example.org (dns): ")
    assert set(ended.phases) == {Stage.DNS}


async def test_an_empty_answer_is_permanent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def empty() -> Found:
        return []

    resolving(monkeypatch, empty)
    assert (await submit(25, host="mx.example.org")).reason == "dns_perm"


async def test_a_resolver_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent() -> Found:
        await asyncio.Event().wait()
        raise AssertionError

    resolving(monkeypatch, silent)
    ended = await submit(25, host="mx.example.org", short=0.1)
    assert (ended.result, ended.reason, ended.stage) == (Result.UNSENT, "dns_temp", Stage.DNS)


@pytest.mark.fault("S06")
async def test_connection_refused(closed_port: int) -> None:
    ended = await submit(closed_port)
    assert (ended.result, ended.reason, ended.stage) == (Result.UNSENT, "connect", Stage.CONNECT)
    assert ended.label is SubmissionLabel.CONNECT_ERROR
    assert ended.detail == (f"127.0.0.1 [127.0.0.1]:{closed_port} (connect): connection refused (ECONNREFUSED)")
    assert [line.reply for line in ended.dialogue] == ["connection refused (ECONNREFUSED)"]


@pytest.mark.fault("S05")
async def test_a_dead_address_is_named_and_the_next_one_tried(
    monkeypatch: pytest.MonkeyPatch, closed_port: int, black_hole: int
) -> None:
    async with ScriptedServer() as server:

        async def three() -> Found:
            return found(("127.0.0.1", black_hole), ("127.0.0.1", closed_port), ("127.0.0.1", server.port))

        resolving(monkeypatch, three)
        ended = await submit(25, host="mx.example.org", short=0.3)
    assert ended.result is Result.ACCEPTED
    assert [(line.sent, line.reply) for line in ended.dialogue if line.stage is Stage.CONNECT] == [
        (f"connect [127.0.0.1]:{black_hole}", "timed out"),
        (f"connect [127.0.0.1]:{closed_port}", "connection refused (ECONNREFUSED)"),
        (f"connect [127.0.0.1]:{server.port}", "connected"),
    ]


async def test_a_black_hole_alone_is_a_timeout(black_hole: int) -> None:
    ended = await submit(black_hole, short=0.1)
    assert (ended.result, ended.reason, ended.stage) == (Result.UNSENT, "timeout", Stage.CONNECT)
    assert ended.label is SubmissionLabel.TIMEOUT
    assert "timed out after 0.1 s" in ended.detail


async def test_an_address_that_took_the_connection_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedServer({"BANNER": b"421 4.3.2 sick\r\n"}) as sick, ScriptedServer() as well:

        async def two() -> Found:
            return found(("127.0.0.1", sick.port), ("127.0.0.1", well.port))

        resolving(monkeypatch, two)
        ended = await submit(25, host="mx.example.org")
        assert well.connections == 0
    assert (ended.result, ended.stage, ended.code) == (Result.DEFERRED, Stage.BANNER, 421)


def failing_for(monkeypatch: pytest.MonkeyPatch, family: socket.AddressFamily, number: int) -> None:
    loop = asyncio.get_running_loop()
    connect = loop.sock_connect

    async def sock_connect(sock: socket.socket, address: tuple[str, int]) -> None:
        if sock.family == family:
            raise OSError(number, os.strerror(number))
        await connect(sock, address)

    monkeypatch.setattr(loop, "sock_connect", sock_connect)


async def test_a_family_without_a_route_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedServer() as server:

        async def both() -> Found:
            return found(("2001:db8::1", 25), ("127.0.0.1", server.port))

        resolving(monkeypatch, both)
        failing_for(monkeypatch, socket.AF_INET6, errno.ENETUNREACH)
        ended = await submit(25, host="mx.example.org")
    assert ended.result is Result.ACCEPTED
    assert ended.dialogue[0].reply == "no route from here: network is unreachable (ENETUNREACH)"


@pytest.mark.fault("S06", "S40")
@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EADDRNOTAVAIL, "bind"),
        (errno.EADDRINUSE, "bind"),
        (errno.EMFILE, "local"),
        (errno.EPERM, "local"),
        (errno.ENETUNREACH, "connect"),
        (errno.EHOSTUNREACH, "connect"),
        (errno.ECONNRESET, "connect"),
        (errno.ETIMEDOUT, "timeout"),
    ],
)
async def test_what_the_errno_says(monkeypatch: pytest.MonkeyPatch, number: int, reason: str) -> None:
    failing_for(monkeypatch, socket.AF_INET, number)
    ended = await submit(25)
    assert (ended.result, ended.reason, ended.stage) == (Result.UNSENT, reason, Stage.CONNECT)
    assert f"({errno.errorcode[number]})" in ended.detail


async def test_the_family_that_is_asked_for() -> None:
    assert [address.ip for address in await addresses("127.0.0.1", 25, Family.IPV4)] == ["127.0.0.1"]
    assert str((await addresses("2001:db8::1", 25, Family.ANY))[0]) == "[2001:db8::1]:25"
    with pytest.raises(ResolveError, match="not an ipv6 address"):
        await addresses("127.0.0.1", 25, Family.IPV6)


async def test_a_name_is_resolved_by_the_system() -> None:
    found_here = await addresses("localhost", 25, Family.IPV4)
    assert {address.ip for address in found_here} == {"127.0.0.1"}
    assert len(found_here) == len(set(found_here))
