"""The sandbox's DNS: what it says of its domain, over UDP and TCP, and to questions that are none."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from typing import Any

import dns.asyncquery
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import pytest

from probe.errors import MailCanaryError
from probe.sandbox import loopback
from probe.sandbox import zone as zone_module
from probe.sandbox.loopback import on_one_port, second_address
from probe.sandbox.zone import Host, Zone

HOSTS = (Host("mx1.sandbox.test", "127.0.0.1"), Host("mx2.sandbox.test", "::1"))


@pytest.fixture
async def zone() -> AsyncIterator[Zone]:
    one = Zone("sandbox.test", HOSTS)
    await one.start()
    yield one
    await one.stop()


@pytest.mark.parametrize("ask", [dns.asyncquery.udp, dns.asyncquery.tcp])
async def test_the_mx_hosts_with_their_addresses(zone: Zone, ask: Any) -> None:
    reply = await ask(dns.message.make_query("Sandbox.TEST", "MX"), zone.address, port=zone.port, timeout=30)
    assert reply.rcode() == dns.rcode.NOERROR
    assert reply.flags & dns.flags.AA
    assert not reply.flags & dns.flags.RA  # it is no resolver
    # Names are compressed towards the question, and so come back in its letters.
    assert sorted(str(each).lower() for each in reply.answer[0]) == ["10 mx1.sandbox.test.", "10 mx2.sandbox.test."]
    assert sorted(str(each[0]) for each in reply.additional) == ["127.0.0.1", "::1"]


@pytest.mark.parametrize(
    ("name", "kind", "code", "answer"),
    [
        ("mx1.sandbox.test", "A", "NOERROR", ["127.0.0.1"]),
        ("mx2.sandbox.test", "AAAA", "NOERROR", ["::1"]),
        ("ns.sandbox.test", "A", "NOERROR", ["127.0.0.1"]),
        ("sandbox.test", "NS", "NOERROR", ["ns.sandbox.test."]),
        ("mx2.sandbox.test", "A", "NOERROR", []),  # a name without such a record
        ("sandbox.test", "TXT", "NOERROR", []),
        ("mx3.sandbox.test", "A", "NXDOMAIN", []),
        ("sandbox.test", "ANY", "REFUSED", []),
        ("sandbox.test", "AXFR", "REFUSED", []),
        ("example.org", "A", "REFUSED", []),
        ("test", "A", "REFUSED", []),
        ("notsandbox.test", "MX", "REFUSED", []),
    ],
)
def test_what_is_there_and_what_is_not(name: str, kind: str, code: str, answer: list[str]) -> None:
    wire = Zone("sandbox.test", HOSTS).answer(dns.message.make_query(name, kind).to_wire(), room=512)
    assert wire is not None
    reply = dns.message.from_wire(wire)
    assert dns.rcode.to_text(reply.rcode()) == code
    assert [str(each) for found in reply.answer for each in found] == answer
    assert bool(reply.authority) == (code != "REFUSED" and not answer)  # the SOA says how long "no" holds


def test_what_is_no_question_is_not_answered() -> None:
    zone = Zone("sandbox.test", HOSTS)
    good = dns.message.make_query("sandbox.test", "MX")
    for wire in (b"", b"\0" * 11, good.to_wire()[:-1], good.to_wire() + b"x", b"\xff" * 600):
        assert zone.answer(wire, room=512) is None
    assert zone.answer(dns.message.make_response(good).to_wire(), room=512) is None  # two servers would never end
    good.set_opcode(dns.opcode.NOTIFY)
    told = zone.answer(good.to_wire(), room=512)
    assert told is not None
    assert dns.message.from_wire(told).rcode() == dns.rcode.NOTIMP


def test_what_does_not_fit_is_cut_and_says_so() -> None:
    zone = Zone("sandbox.test", [Host(f"mail-host-{n}.sandbox.test", "127.0.0.1") for n in range(100)])
    query = dns.message.make_query("sandbox.test", "MX")
    cut = zone.answer(query.to_wire(), room=512)
    assert cut is not None
    assert len(cut) <= 512
    assert dns.message.from_wire(cut).flags & dns.flags.TC
    whole = zone.answer(query.to_wire())
    assert whole is not None
    assert len(dns.message.from_wire(whole).answer[0]) == 100


async def test_garbage_stops_neither_way(zone: Zone) -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=(zone.address, zone.port))
    transport.sendto(b"\xff" * 40)
    reader, writer = await asyncio.open_connection(zone.address, zone.port)
    writer.write(b"\0\x05hello")
    assert await reader.read() == b""  # hung up on
    writer.close()
    transport.close()
    for ask in (dns.asyncquery.udp, dns.asyncquery.tcp):
        reply = await ask(dns.message.make_query("sandbox.test", "MX"), zone.address, port=zone.port, timeout=30)
        assert len(reply.answer[0]) == 2


async def test_a_silent_client_and_one_too_many_are_cut(zone: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zone_module, "MOST_CONNECTIONS", 1)
    first, writer = await asyncio.open_connection(zone.address, zone.port)
    while not zone._connections:
        await asyncio.sleep(0)
    second, other = await asyncio.open_connection(zone.address, zone.port)
    assert await _ended(second)
    query = dns.message.make_query("sandbox.test", "MX").to_wire()
    monkeypatch.setattr(zone_module, "LONGEST_SILENCE", 0.01)
    writer.write(len(query).to_bytes(2, "big") + query)
    assert int.from_bytes(await first.readexactly(2), "big") > len(query)  # the first is served all the same
    assert await _ended(first)  # and cut when it says no more
    writer.close()
    other.close()


async def _ended(reader: asyncio.StreamReader) -> bool:
    try:
        await reader.read()
    except ConnectionError:
        return True
    return reader.at_eof()


async def test_stop_ends_every_connection() -> None:
    zone = Zone("sandbox.test", HOSTS)
    before = asyncio.all_tasks()
    await zone.start()
    reader, writer = await asyncio.open_connection(zone.address, zone.port)
    while asyncio.all_tasks() == before:
        await asyncio.sleep(0)
    await zone.stop()
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    writer.close()
    assert asyncio.all_tasks() == before
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind((zone.address, zone.port))  # free again
    await zone.stop()


def test_the_second_address_is_the_first_that_there_is() -> None:
    assert second_address() in loopback.OTHERS
    assert second_address(("192.0.2.1", "127.0.0.1")) == "127.0.0.1"  # the first is nobody's (RFC 5737)


def test_a_machine_without_a_second_address_is_told_what_to_do() -> None:
    with pytest.raises(MailCanaryError, match=r"nothing can listen at 192\.0\.2\.1 .* ifconfig lo0 alias 192\.0\.2\.1"):
        second_address(("192.0.2.1",))


async def test_a_port_that_is_taken_for_the_second_is_given_up() -> None:
    free, calls = iter([1001, 1002, 1003]), list[str]()

    async def first() -> int:
        return next(free)

    async def second(port: int) -> None:
        if port < 1003:
            raise OSError(errno.EADDRINUSE, "taken")

    async def stop() -> None:
        calls.append("stop")

    assert await on_one_port(first, second, stop) == 1003
    assert calls == ["stop", "stop"]


async def test_no_port_at_all_is_an_error_after_some_tries() -> None:
    calls = list[str]()

    async def first() -> int:
        raise OSError(errno.EACCES, "no")

    async def second(port: int) -> None:
        raise AssertionError

    async def stop() -> None:
        calls.append("stop")

    with pytest.raises(OSError, match="no"):
        await on_one_port(first, second, stop)
    assert len(calls) == loopback.TRIES
