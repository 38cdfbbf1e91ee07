"""An inbound SMTP host of the sandbox: says 250 and puts the message into the spool. No TLS, no AUTH, no relaying.

Two of the faults live here: a bad host, which says 250 and keeps nothing, and greylisting.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from email.utils import format_datetime

from aiosmtpd.smtp import Envelope, Session

from probe.clock import Clock
from probe.sandbox.faults import FaultBoard, FaultName
from probe.sandbox.greylist import Greylist
from probe.sandbox.intake_protocol import Connection
from probe.sandbox.spool import Spool, SpoolFull
from probe.sandbox.stores import StoredMessage, in_header

_NOT_A_HOST_NAME = re.compile(r"[^A-Za-z0-9.:_\[\]-]")


class Intake:
    """One MX host: ``host`` is its name in the greeting and in Received; ``port`` is known after ``start``.

    ``knows`` says whether a recipient exists here; ``new_id`` makes the queue id told to the sender. ``accepted``
    counts what was answered 250, ``lost`` what of it a bad host did not keep.
    """

    def __init__(
        self,
        host: str,
        address: str = "127.0.0.1",
        *,
        clock: Clock,
        spool: Spool,
        faults: FaultBoard,
        greylist: Greylist,
        knows: Callable[[str], bool],
        new_id: Callable[[], str],
    ) -> None:
        self.host = host
        self.address = address
        self.port = 0
        self.accepted = 0
        self.lost = 0
        self._clock = clock
        self._spool = spool
        self._faults = faults
        self._greylist = greylist
        self._knows = knows
        self._new_id = new_id
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()

    async def start(self, port: int = 0) -> None:
        """Listen on ``port``, or on a free one. Raises OSError where the address cannot be bound."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, self.address, port)
        self.port = self._server.sockets[0].getsockname()[1]

    def _connection(self) -> Connection:
        return Connection(self, self.host, self._connections)

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

    async def handle_EHLO(
        self, server: Connection, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        """Offers DSN (RFC 3461 section 4)."""
        session.host_name = hostname
        return [*responses[:-1], "250-DSN", responses[-1]]

    async def handle_RCPT(
        self, server: Connection, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """RFC 5321 4.1.1.3."""
        if not self._knows(address):
            return "550 5.1.1 User unknown in the sandbox"
        if len(envelope.rcpt_tos) >= 100:
            return "452 4.5.3 Too many recipients"
        who = (self.host, _peer(session), _reverse_path(envelope), address.lower(), server.mail_request.envelope_id)
        if self._greylist.holds(who, self._greylists):
            return "450 4.7.1 Greylisted, try again later"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 Ok"

    def _greylists(self) -> bool:
        return self._faults.hit(FaultName.GREYLIST, self.host) is not None

    async def handle_DATA(self, server: Connection, session: Session, envelope: Envelope) -> str:
        """RFC 5321 4.1.1.4: 250 is said after the message is in the spool, and not before; but by a bad host."""
        content = envelope.content
        if not isinstance(content, bytes):
            raise TypeError("aiosmtpd gave text although decode_data is off")
        queue_id = self._new_id()
        message = StoredMessage(
            queue_id=queue_id,
            intake=self.host,
            mail_from=_reverse_path(envelope),
            rcpt_to=tuple(envelope.rcpt_tos),
            accepted=self._clock.now(),
            content=self._received(queue_id, session, envelope) + content,
            mail_request=server.mail_request,
            rcpt_requests=tuple(server.rcpt_requests),
        )
        if self._faults.hit(FaultName.BAD_HOST, self.host) is not None:
            self.lost += 1
        else:
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
        protocol = "ESMTP" if session.extended_smtp else "SMTP"
        one = f"\r\n\tfor <{in_header(envelope.rcpt_tos[0])}>" if len(envelope.rcpt_tos) == 1 else ""
        stamp = format_datetime(self._clock.now().utc)
        peer = _peer(session)
        literal = f"IPv6:{peer}" if ":" in peer else peer  # RFC 5321 4.1.3
        return (
            f"Received: from {helo} ([{literal}])\r\n\tby {self.host} (mailcanary sandbox) with {protocol} "
            f"id {queue_id}{one};\r\n\t{stamp}\r\n"
        ).encode("ascii")


def _peer(session: Session) -> str:
    return str(session.peer[0]) if isinstance(session.peer, tuple) else "unknown"


def _reverse_path(envelope: Envelope) -> str:
    """Empty for the null sender, which aiosmtpd gives as ``<>``."""
    return "" if envelope.mail_from in (None, "<>") else envelope.mail_from
