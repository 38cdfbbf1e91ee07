"""The DNS of the sandbox: an authoritative server for its own domain, over UDP and TCP on one port of loopback.

It is no resolver: whatever lies outside its domain is refused (RFC 8499 section 6, "authoritative server").
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from probe.sandbox.loopback import on_one_port

TTL = 1  # seconds: the addresses are new at each start
PREFERENCE = 10  # of every MX host: a sender has no reason to leave one out
MOST_CONNECTIONS = 50
LONGEST_SILENCE = 10.0  # seconds, of a TCP client

_PLAIN_UDP = 512  # bytes (RFC 1035 section 4.2.1)
_MOST = 65535  # bytes

_Key = tuple[dns.name.Name, dns.rdatatype.RdataType]


@dataclass(frozen=True, slots=True)
class Host:
    """An MX host of the domain: ``name`` without a trailing dot, ``address`` IPv4 or IPv6."""

    name: str
    address: str


class Zone:
    """Serves ``domain`` with one MX record for each of ``hosts``, all of one preference, from ``start`` to ``stop``.

    The hosts are of ``domain`` too. ``port`` is known after ``start``.
    """

    def __init__(self, domain: str, hosts: Sequence[Host], address: str = "127.0.0.1") -> None:
        self.address = address
        self.port = 0
        self._origin = dns.name.from_text(domain)
        self._records = self._made(hosts)
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def resolver(self) -> str:
        """As a sender's option ``resolver`` names it."""
        return f"{self.address}:{self.port}"

    async def start(self) -> None:
        """Listen. Raises OSError where the address cannot be bound; then nothing is left open."""
        self.port = await on_one_port(self._start_tcp, self._start_udp, self.stop)

    async def _start_tcp(self) -> int:
        self._tcp = await asyncio.start_server(self._connected, self.address, 0, limit=_MOST)
        port: int = self._tcp.sockets[0].getsockname()[1]
        return port

    async def _start_udp(self, port: int) -> None:
        self._udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Datagrams(self), local_addr=(self.address, port)
        )

    async def stop(self) -> None:
        """Stop listening and cut every connection. Safe to call twice."""
        if self._udp is not None:
            self._udp.close()
            self._udp = None
        if self._tcp is None:
            return
        self._tcp.close()
        connections = dict(self._connections)
        for task, writer in connections.items():
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*connections, return_exceptions=True)
        await self._tcp.wait_closed()
        self._tcp = None

    def answer(self, wire: bytes, *, room: int | None = None) -> bytes | None:
        """The message to send back, or None for what is no question at all. ``room``: the most bytes that it may have
        where the question names no more (RFC 6891 section 6.2.5); None over TCP."""
        try:
            query = dns.message.from_wire(wire)
            response = dns.message.make_response(query)
        except (dns.exception.DNSException, ValueError):
            return None
        response.set_rcode(self._fill(query, response))
        try:
            return response.to_wire(max_size=_MOST if room is None else max(room, query.payload))
        except dns.exception.TooBig:
            for section in (response.answer, response.authority, response.additional):
                section.clear()
            response.flags |= dns.flags.TC
            return response.to_wire()

    def _fill(self, query: dns.message.Message, response: dns.message.Message) -> dns.rcode.Rcode:
        if query.opcode() != dns.opcode.QUERY:
            return dns.rcode.NOTIMP
        if len(query.question) != 1:
            return dns.rcode.FORMERR
        question = query.question[0]
        name, kind = question.name, question.rdtype
        # A zone transfer or "any" is nobody's question here (RFC 8482 lets a server say so).
        foreign = not name.is_subdomain(self._origin) or question.rdclass != dns.rdataclass.IN
        if foreign or dns.rdatatype.is_metatype(kind):
            return dns.rcode.REFUSED
        response.flags |= dns.flags.AA
        found = self._records.get((name, kind))
        if found is not None:
            response.answer.append(found)
            if kind == dns.rdatatype.MX:
                response.additional += self._addresses(found)
            return dns.rcode.NOERROR
        response.authority.append(self._records[self._origin, dns.rdatatype.SOA])  # RFC 2308 section 3
        known = any(each.is_subdomain(name) for each, _ in self._records)
        return dns.rcode.NOERROR if known else dns.rcode.NXDOMAIN

    def _addresses(self, found: dns.rrset.RRset) -> list[dns.rrset.RRset]:
        keys = [(each.exchange, kind) for each in found for kind in (dns.rdatatype.A, dns.rdatatype.AAAA)]
        return [self._records[key] for key in keys if key in self._records]

    def _made(self, hosts: Sequence[Host]) -> dict[_Key, dns.rrset.RRset]:
        server = dns.name.from_text("ns", self._origin)
        contact = dns.name.from_text("hostmaster", self._origin)
        written: list[tuple[dns.name.Name, str, list[str]]] = [
            (self._origin, "SOA", [f"{server} {contact} 1 3600 600 86400 {TTL}"]),
            (self._origin, "NS", [str(server)]),
            (self._origin, "MX", [f"{PREFERENCE} {host.name}." for host in hosts]),
            (server, _address_type(self.address), [self.address]),
        ]
        written += [(dns.name.from_text(host.name), _address_type(host.address), [host.address]) for host in hosts]
        records = [dns.rrset.from_text(name, TTL, "IN", kind, *texts) for name, kind, texts in written]
        return {(each.name, each.rdtype): each for each in records}

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= MOST_CONNECTIONS:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._connections[task] = writer
        task.add_done_callback(self._connections.pop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Each message has its length before it (RFC 1035 section 4.2.2)."""
        try:
            while True:
                async with asyncio.timeout(LONGEST_SILENCE):
                    length = int.from_bytes(await reader.readexactly(2), "big")
                    reply = self.answer(await reader.readexactly(length))
                    if reply is None:
                        return
                    writer.write(len(reply).to_bytes(2, "big") + reply)
                    await writer.drain()
        except (TimeoutError, EOFError, OSError):
            return
        finally:
            writer.close()


def _address_type(address: str) -> str:
    return "A" if ip_address(address).version == 4 else "AAAA"


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, zone: Zone) -> None:
        self._zone = zone
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not asked of isinstance: asyncio's own is none before Python 3.12.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = self._zone.answer(data, room=_PLAIN_UDP)
        if reply is not None and self._transport is not None:
            self._transport.sendto(reply, addr)
