"""A small authoritative DNS server on the loopback: the zone that the tests serve, and every way it can answer badly.

It speaks UDP and TCP on one port. Records may change at any time. Not a resolver: it knows its own names only, and what
it was not told of does not exist (NXDOMAIN). Messages are made by dnspython, which real resolvers have to read.
"""

from __future__ import annotations

import socketserver
import struct
import threading
from collections.abc import Iterator

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.worlds.ports import LOOPBACK

_TTL = 1
_PLAIN_UDP = 512  # bytes, the most without EDNS (RFC 1035 section 4.2.1)
_MOST = 65535
_MAX_ALIASES = 8

Records = dict[tuple[dns.name.Name, dns.rdatatype.RdataType], list[str]]


class Zone:
    """Listens on ``host``:``port`` from construction to ``close``. Names are given without a trailing dot.

    ``questions`` holds each (name, type, "udp" or "tcp") that was asked.
    """

    def __init__(self, host: str = LOOPBACK, port: int = 0) -> None:
        self.host = host
        self.questions: list[tuple[str, str, str]] = []
        self._lock = threading.Lock()
        self._records: Records = {}
        self._codes: dict[dns.name.Name, dns.rcode.Rcode] = {}
        self._silent: set[dns.name.Name | tuple[dns.name.Name, dns.rdatatype.RdataType]] = set()
        self._truncated: set[dns.name.Name] = set()
        self._tcp, self._udp = _on_one_port(host, port)
        self.port: int = self._tcp.server_address[1]
        self._tcp.zone = self._udp.zone = self
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(0.02,), name=f"zone {self.port}", daemon=True)
            for server in (self._tcp, self._udp)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def resolver(self) -> str:
        """As ``resolver:`` names it."""
        return f"{self.host}:{self.port}"

    # What there is.

    def mx(self, domain: str, *hosts: tuple[int, str]) -> None:
        """The MX records of ``domain``: (preference, host). ``\\DDD`` in a host is any byte (RFC 1035 section 5.1)."""
        self._set(domain, "MX", [f"{preference} {host}." for preference, host in hosts])

    def null_mx(self, domain: str) -> None:
        """``domain`` takes no mail (RFC 7505)."""
        self._set(domain, "MX", ["0 ."])

    def addresses(self, host: str, *addresses: str) -> None:
        """The A and AAAA records of ``host``, each in this order."""
        self._set(host, "A", [each for each in addresses if ":" not in each])
        self._set(host, "AAAA", [each for each in addresses if ":" in each])

    def alias(self, name: str, target: str) -> None:
        self._set(name, "CNAME", [f"{target}."])

    def exists(self, name: str) -> None:
        """``name`` is there, with nothing that mail asks for."""
        self._set(name, "TXT", ["nothing"])

    def remove(self, name: str) -> None:
        """``name`` is no more, and answers badly no more."""
        key = dns.name.from_text(name)
        with self._lock:
            self._records = {place: texts for place, texts in self._records.items() if place[0] != key}
            self._codes.pop(key, None)
            self._truncated.discard(key)
            self._silent = {each for each in self._silent if key not in (each, each[0])}

    # How it answers.

    def fail(self, name: str, code: str = "SERVFAIL") -> None:
        """Answer every question for ``name`` with this code, REFUSED or FORMERR say."""
        with self._lock:
            self._codes[dns.name.from_text(name)] = dns.rcode.from_text(code)

    def silence(self, name: str, kind: str | None = None) -> None:
        """Do not answer questions for ``name``, of one kind or of any."""
        key = dns.name.from_text(name)
        with self._lock:
            self._silent.add(key if kind is None else (key, dns.rdatatype.from_text(kind)))

    def truncate(self, name: str) -> None:
        """Answer for ``name`` with nothing but "ask by TCP", when asked by UDP."""
        with self._lock:
            self._truncated.add(dns.name.from_text(name))

    def reset(self) -> None:
        """Forget every record, every fault and every question."""
        with self._lock:
            self._records.clear()
            self._codes.clear()
            self._silent.clear()
            self._truncated.clear()
            self.questions.clear()

    def close(self) -> None:
        for server in (self._tcp, self._udp):
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join()

    def _set(self, name: str, kind: str, texts: list[str]) -> None:
        key = (dns.name.from_text(name), dns.rdatatype.from_text(kind))
        with self._lock:
            self._records.pop(key, None)
            if texts:
                self._records[key] = texts

    def answer(self, wire: bytes, way: str) -> bytes | None:
        """The message to send back, or None for silence."""
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return None
        if query.opcode() != dns.opcode.QUERY or len(query.question) != 1:
            return None
        name, kind = query.question[0].name, query.question[0].rdtype
        with self._lock:
            self.questions.append((name.to_text(omit_final_dot=True), dns.rdatatype.to_text(kind), way))
            if name in self._silent or (name, kind) in self._silent:
                return None
            response = dns.message.make_response(query)
            response.flags |= dns.flags.AA | dns.flags.RA
            if way == "udp" and name in self._truncated:
                response.flags |= dns.flags.TC
                return response.to_wire()
            response.set_rcode(self._codes.get(name, dns.rcode.NOERROR))
            if response.rcode() == dns.rcode.NOERROR:
                self._fill(response, name, kind)
        room = _MOST if way == "tcp" else max(_PLAIN_UDP, query.payload)
        try:
            return response.to_wire(max_size=room, want_shuffle=False)  # the order is the test's
        except dns.exception.TooBig:
            response.answer.clear()
            response.flags |= dns.flags.TC
            return response.to_wire()

    def _fill(self, response: dns.message.Message, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> None:
        for alias in self._aliases(name):
            response.answer.append(dns.rrset.from_text(name, _TTL, "IN", "CNAME", alias))
            name = dns.name.from_text(alias)
        texts = self._records.get((name, kind))
        if texts:
            response.answer.append(dns.rrset.from_text(name, _TTL, "IN", kind, *texts))
        elif not any(known.is_subdomain(name) for known, _ in self._records):
            response.set_rcode(dns.rcode.NXDOMAIN)

    def _aliases(self, name: dns.name.Name) -> Iterator[str]:
        for _ in range(_MAX_ALIASES):
            texts = self._records.get((name, dns.rdatatype.CNAME))
            if not texts:
                return
            yield texts[0]
            name = dns.name.from_text(texts[0])


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    zone: Zone


class _Udp(socketserver.UDPServer):
    max_packet_size = _MOST
    zone: Zone


def _on_one_port(host: str, port: int) -> tuple[_Tcp, _Udp]:
    """A port that is free for TCP may be taken for UDP: then another one, where any will do."""
    for last in (False, False, True):
        tcp = _Tcp((host, port), _TcpHandler)
        try:
            return tcp, _Udp((host, tcp.server_address[1]), _UdpHandler)
        except OSError:
            tcp.server_close()
            if last or port:
                raise
    raise AssertionError


class _UdpHandler(socketserver.BaseRequestHandler):
    server: _Udp

    def handle(self) -> None:
        wire, reply_by = self.request
        reply = self.server.zone.answer(wire, "udp")
        if reply is not None:
            reply_by.sendto(reply, self.client_address)


class _TcpHandler(socketserver.StreamRequestHandler):
    """Each message has its length before it (RFC 1035 section 4.2.2)."""

    server: _Tcp

    def handle(self) -> None:
        try:
            while len(head := self.rfile.read(2)) == 2:
                (length,) = struct.unpack("!H", head)
                reply = self.server.zone.answer(self.rfile.read(length), "tcp")
                if reply is not None:
                    self.wfile.write(struct.pack("!H", len(reply)) + reply)
        except ConnectionError:
            return
