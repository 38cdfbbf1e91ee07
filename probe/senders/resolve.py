"""From a host's name to a connected socket: the addresses of a host, and one TCP connection to one of them.

It does not choose between hosts and does not look up MX, and it asks only the system (mx.py asks other resolvers). We
do both steps ourselves because a library that walks the addresses within one time-out lets a black-holed IPv6 address
hide a good IPv4 one, and tells neither apart in time.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import re
import socket
from dataclasses import dataclass
from enum import StrEnum

# Nothing out there answered: this machine has no way to that family, or no address to come from.
_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
_BIND = frozenset({errno.EADDRNOTAVAIL, errno.EADDRINUSE})
_LOCAL = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EACCES, errno.EPERM, errno.EAFNOSUPPORT}
)
_DNS_PORT = 53
_SERVER = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([0-9]{1,5})")
_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_ADDRFAMILY})


class Family(StrEnum):
    """Which addresses of a host to use."""

    ANY = "any"
    IPV4 = "ipv4"
    IPV6 = "ipv6"


_FAMILIES = {Family.ANY: socket.AF_UNSPEC, Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}


@dataclass(frozen=True, slots=True)
class Address:
    """One address of a host, as the socket module wants it."""

    family: socket.AddressFamily
    sockaddr: tuple[str, int] | tuple[str, int, int, int]

    @property
    def ip(self) -> str:
        return self.sockaddr[0]

    def __str__(self) -> str:
        return f"[{self.sockaddr[0]}]:{self.sockaddr[1]}"


class ResolveError(Exception):
    """A name leads to nothing for us. ``reason`` is dns_temp (ask again later), dns_perm, or null_mx (RFC 7505)."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


async def addresses(host: str, port: int, family: Family) -> list[Address]:
    """The addresses of ``host`` in the system's order (RFC 6724). Raises ResolveError; waits as the system does."""
    known = literal(host, port, family)
    if known is not None:
        return [known]
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, family=_FAMILIES[family], type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        reason = "dns_perm" if error.errno in _NO_SUCH_NAME else "dns_temp"
        raise ResolveError(reason, str(error.strerror or error).lower()) from error
    except UnicodeError as error:
        raise ResolveError("dns_perm", "not a host name") from error
    except OSError as error:
        raise ResolveError("dns_temp", explain(error)) from error
    # The kernel's flow label and scope travel in an IPv6 sockaddr; both are kept.
    unique = dict.fromkeys(Address(kind, sockaddr) for kind, _, _, _, sockaddr in found)  # type: ignore[arg-type]
    if not unique:
        raise ResolveError("dns_perm", "no address")
    return list(unique)


def literal(host: str, port: int, family: Family) -> Address | None:
    """The address that ``host`` itself is: it needs no resolver, so no thread. None for a name; raises ResolveError for
    an address of another family than the one asked for."""
    try:
        if ":" in host:
            socket.inet_pton(socket.AF_INET6, host)
            found = Address(socket.AF_INET6, (host, port, 0, 0))
        else:
            socket.inet_pton(socket.AF_INET, host)
            found = Address(socket.AF_INET, (host, port))
    except OSError:
        return None
    if family is not Family.ANY and found.family != _FAMILIES[family]:
        raise ResolveError("dns_perm", f"not an {family} address")
    return found


def server(text: str) -> tuple[str, int]:
    """A resolver as it is configured, ``127.0.0.1``, ``127.0.0.1:5353``, ``::1`` or ``[::1]:5353``, as IP address and
    port. Raises ValueError with the rule that it breaks."""
    match = _SERVER.fullmatch(text)
    ip, port = (match[1] or match[2], int(match[3])) if match else (text, _DNS_PORT)
    try:
        return str(ipaddress.ip_address(ip)), _in_range(port)
    except ValueError:
        rule = f"{text!r} must be an IP address, with a port or without, such as 127.0.0.1:5353 or [::1]:5353"
        raise ValueError(rule) from None


def _in_range(port: int) -> int:
    if not 0 < port < 65536:
        raise ValueError("no such port")
    return port


async def connected(address: Address, seconds: float) -> socket.socket:
    """A socket connected to ``address``. Raises OSError, or TimeoutError after ``seconds``."""
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().sock_connect(sock, address.sockaddr)
    except BaseException:  # cancellation included: the socket is ours until it is returned
        sock.close()
        raise
    return sock


def explain(error: OSError) -> str:
    """An operating system error as people say it: ``connection refused (ECONNREFUSED)``."""
    if isinstance(error, TimeoutError) and error.errno is None:
        return "timed out"
    if error.errno is None or error.errno not in errno.errorcode:
        return str(error) or type(error).__name__
    return f"{os.strerror(error.errno).lower()} ({errno.errorcode[error.errno]})"


def connect_reason(error: OSError) -> str:
    """The reason of an ``unsent`` for a connection that failed so: timeout, bind, local or connect."""
    if isinstance(error, TimeoutError):
        return "timeout"
    if error.errno in _BIND:
        return "bind"
    return "local" if error.errno in _LOCAL else "connect"


def no_route(error: OSError) -> bool:
    """Whether this machine has no route for the family of the address that failed so."""
    return error.errno in _NO_ROUTE
