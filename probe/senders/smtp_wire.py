"""The one door to aiosmtplib: a connection that speaks SMTP, and its exceptions turned into ours.

We build on aiosmtplib's ``SMTPProtocol`` rather than on its client class. The protocol brings what is hard to get
right (replies parsed within limits, replies never paired with the wrong command, STARTTLS injection discarded); the
client has one time-out for TCP, TLS and greeting together, one for DATA and the final dot, and tries a refused login
again by every mechanism.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aiosmtplib import SMTPException, SMTPResponseException, SMTPServerDisconnected
from aiosmtplib.protocol import SMTPProtocol

from probe.senders.certificate import expires
from probe.senders.resolve import connect_reason, explain
from probe.senders.smtp_record import Broken, Reply


class SmtpWire(SMTPProtocol):
    """A ``smtp_session.Wire`` on aiosmtplib's protocol."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._written: Callable[[], None] | None = None

    async def ask(self, *words: bytes) -> Reply:
        with _door():
            if self._buffer:
                # What was not asked for would be taken for the answer to this command.
                raise Broken("protocol", "the server spoke out of turn")
            return _reply(await self.execute_command(*words))

    async def secure(self, context: ssl.SSLContext, host: str, seconds: float) -> Reply:
        with _door(securing=True):
            try:
                return _reply(await self.start_tls(context, server_hostname=host, timeout=seconds))
            except SMTPResponseException as error:
                return _reply((error.code, error.message))

    def send(self, content: bytes, written: Callable[[], None]) -> None:
        with _door():
            transport: Any = self.transport
            # Any byte that waits in the buffer pauses us, and the last one gone resumes us.
            transport.set_write_buffer_limits(high=1, low=0)
            self.write(content)
            if self._paused:
                self._written = written
            else:
                written()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._written is not None:
            self._written()
            self._written = None

    async def reply(self) -> Reply:
        with _door():
            return _reply(await self.read_response())

    def security(self) -> tuple[str, int | None] | None:
        tls = self.transport.get_extra_info("ssl_object") if self.transport else None
        if tls is None:
            return None
        # Decoded (``getpeercert()``) it would be known only of a certificate that was verified.
        return tls.version(), expires(tls.getpeercert(binary_form=True) or b"")

    def hang_up(self, *, politely: bool) -> None:
        transport: Any = self.transport
        if transport is None:
            return
        if politely and not transport.is_closing():
            transport.write(b"QUIT\r\n")
        transport.abort()


async def dial(sock: socket.socket, context: ssl.SSLContext | None, host: str, seconds: float) -> SmtpWire:
    """A wire over a connected socket, which it owns from now on; with ``context``, after a TLS handshake."""
    loop = asyncio.get_running_loop()
    with _door(securing=context is not None):
        if context is None:
            _, wire = await loop.create_connection(lambda: SmtpWire(loop), sock=sock)
        else:
            _, wire = await loop.create_connection(
                lambda: SmtpWire(loop), sock=sock, ssl=context, server_hostname=host, ssl_handshake_timeout=seconds
            )
        return wire


def _reply(response: tuple[int, str]) -> Reply:
    code, text = response
    if not 200 <= code <= 599:  # aiosmtplib gives -1 to what it could not parse
        raise Broken("protocol", f"not an SMTP reply: {text}" if code < 0 else f"reply code {code} does not exist")
    return Reply(code, text)


@contextmanager
def _door(*, securing: bool = False) -> Iterator[None]:
    """The one place where foreign exceptions are turned into Broken, with a reason by class and phase."""
    try:
        yield
    except (SMTPException, OSError, ValueError, RuntimeError) as error:
        raise _broken(error, securing=securing) from error


def _broken(error: Exception, *, securing: bool) -> Broken:
    if isinstance(error, ssl.SSLCertVerificationError):
        return Broken("tls_cert", f"certificate not accepted: {error.verify_message or error}")
    if isinstance(error, ssl.SSLError):
        return Broken("tls", f"TLS failed: {error.reason or error}")
    if isinstance(error, TimeoutError):
        return Broken("timeout", "timed out")
    if isinstance(error, SMTPServerDisconnected):
        cause = error.__cause__
        why = f": {explain(cause)}" if isinstance(cause, OSError) else " by the server"
        return Broken("tls" if securing else "connect", f"connection closed{why}")
    if isinstance(error, OSError):
        return Broken("tls" if securing else connect_reason(error), explain(error))
    if isinstance(error, SMTPResponseException):
        return Broken("protocol", f"not an SMTP reply: {error.message}")
    if isinstance(error, ValueError):
        return Broken("local", f"cannot be sent: {error}")
    return Broken("protocol", str(error) or type(error).__name__)
