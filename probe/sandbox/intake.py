"""An inbound SMTP host of the sandbox: says 250 and puts the message into the spool. No TLS, no AUTH, no relaying."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from email.utils import format_datetime
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

from probe.clock import Clock
from probe.sandbox.spool import Spool, SpoolFull
from probe.sandbox.stores import StoredMessage, in_header

LARGEST_MESSAGE = 16 * 1024 * 1024
LONGEST_COMMAND = 1024
MOST_CONNECTIONS = 100

_NOT_A_HOST_NAME = re.compile(r"[^A-Za-z0-9.:_\[\]-]")


class Intake:
    """One MX host: ``host`` is its name in the greeting and in Received; ``port`` is known after ``start``.

    ``knows`` says whether a recipient exists here; ``new_id`` makes the queue id told to the sender.
    """

    def __init__(
        self,
        host: str,
        address: str = "127.0.0.1",
        *,
        clock: Clock,
        spool: Spool,
        knows: Callable[[str], bool],
        new_id: Callable[[], str],
    ) -> None:
        self.host = host
        self.address = address
        self.port = 0
        self.accepted = 0
        self._clock = clock
        self._spool = spool
        self._knows = knows
        self._new_id = new_id
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()

    async def start(self) -> None:
        """Listen on a free port. Raises OSError where the address cannot be bound."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, self.address, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def _connection(self) -> _Connection:
        return _Connection(self, self._connections)

    async def stop(self) -> None:
        """Stop listening and end the open connections; what was answered 250 is in the spool."""
        if self._server is None:
            return
        self._server.close()
        tasks = [task for connection in list(self._connections) if (task := connection.end()) is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    # aiosmtpd finds its hooks by these names.

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """RFC 5321 4.1.1.3."""
        if not self._knows(address):
            return "550 5.1.1 User unknown in the sandbox"
        if len(envelope.rcpt_tos) >= 100:
            return "452 4.5.3 Too many recipients"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """RFC 5321 4.1.1.4: 250 is said after the message is in the spool, and not before."""
        content = envelope.content
        if not isinstance(content, bytes):
            raise TypeError("aiosmtpd gave text although decode_data is off")
        queue_id = self._new_id()
        message = StoredMessage(
            queue_id=queue_id,
            intake=self.host,
            mail_from=envelope.mail_from or "",
            rcpt_to=tuple(envelope.rcpt_tos),
            accepted=self._clock.now(),
            content=self._received(queue_id, session, envelope) + content,
        )
        try:
            self._spool.put(message)
        except SpoolFull:
            return "452 4.3.1 Insufficient system storage"
        except OSError:
            return "451 4.3.0 Queue file write error"
        self.accepted += 1
        return f"250 2.0.0 Ok: queued as {queue_id}"

    def _received(self, queue_id: str, session: Session, envelope: Envelope) -> bytes:
        """The trace header of RFC 5321 4.4."""
        helo = _NOT_A_HOST_NAME.sub("?", session.host_name or "unknown")[:255]
        peer = session.peer[0] if isinstance(session.peer, tuple) else "unknown"
        protocol = "ESMTP" if session.extended_smtp else "SMTP"
        one = f"\r\n\tfor <{in_header(envelope.rcpt_tos[0])}>" if len(envelope.rcpt_tos) == 1 else ""
        stamp = format_datetime(self._clock.now().utc)
        return (
            f"Received: from {helo} ([{peer}])\r\n\tby {self.host} (mailcanary sandbox) with {protocol} id {queue_id}"
            f"{one};\r\n\t{stamp}\r\n"
        ).encode("ascii")


class _Connection(SMTP):
    """aiosmtpd's protocol, which forgets its connections; the intake has to end them."""

    def __init__(self, intake: Intake, connections: set[_Connection]) -> None:
        super().__init__(
            intake,
            hostname=intake.host,
            ident="ESMTP mailcanary sandbox",
            data_size_limit=LARGEST_MESSAGE,
            auth_exclude_mechanism=("LOGIN", "PLAIN"),
            loop=asyncio.get_running_loop(),
        )
        self.command_size_limit = LONGEST_COMMAND
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connections.add(self)
        if len(self._connections) > MOST_CONNECTIONS and isinstance(transport, asyncio.WriteTransport):
            transport.write(b"421 4.7.0 Too many connections\r\n")
            transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self)
        super().connection_lost(error)

    def end(self) -> asyncio.Task[Any] | None:
        """Cut the connection; the task to wait for."""
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()
        return self._handler_coroutine
