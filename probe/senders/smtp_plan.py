"""What one SMTP attempt is given: the options once worked out, and the shape of a connection. No behaviour."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from probe.senders.resolve import Address, Family
from probe.senders.smtp_record import Reply


class TlsPolicy(StrEnum):
    """When to encrypt."""

    IMPLICIT = "implicit"
    STARTTLS = "starttls"
    OPPORTUNISTIC = "opportunistic"
    NONE = "none"


class Wire(Protocol):
    """One connection to a server. Every method raises Broken, and nothing else but cancellation."""

    @property
    def is_connected(self) -> bool: ...
    async def ask(self, *words: bytes) -> Reply:
        """Send one command, await its reply."""
        ...

    async def secure(self, context: ssl.SSLContext, host: str, seconds: float) -> Reply:
        """Send STARTTLS and, after 220, shake hands. Any other reply is returned and leaves the connection in clear."""
        ...

    def send(self, content: bytes, written: Callable[[], None]) -> None:
        """Write content; ``written`` is called when its last byte has gone to the kernel."""
        ...

    async def reply(self) -> Reply:
        """Await the greeting, or the reply to what ``send`` wrote."""
        ...

    def security(self) -> tuple[str, int | None] | None:
        """TLS version, and the certificate's end in seconds since the epoch where it can be read; None in clear."""
        ...

    def hang_up(self, *, politely: bool) -> None:
        """Close at once, after a QUIT where ``politely``."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What an attempt needs of the options. Times in seconds. ``verified`` is None where verification is off.

    ``resolve``: a host's addresses, as resolve.addresses; raises ResolveError.
    """

    port: int
    family: Family
    tls: TlsPolicy
    verified: ssl.SSLContext | None
    unverified: ssl.SSLContext | None
    helo: bytes
    login: tuple[bytes, bytes] | None
    connect: float
    command: float
    dot: float
    total: float
    resolve: Callable[[str, int, Family], Awaitable[list[Address]]]
    dial: Callable[[socket.socket, ssl.SSLContext | None, str, float], Awaitable[Wire]]
