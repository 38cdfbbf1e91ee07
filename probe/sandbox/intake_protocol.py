"""SMTP as the sandbox speaks it: aiosmtpd, with two things that it lacks.

It forgets its connections, and an intake has to end them; and it refuses the parameters of RFC 3461.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from aiosmtpd.smtp import SMTP, Envelope, syntax

from probe.sandbox.dsn import MailRequest, RcptRequest, mail_request, rcpt_request

LARGEST_MESSAGE = 16 * 1024 * 1024
LONGEST_COMMAND = 1024
MOST_CONNECTIONS = 100

_Asked = TypeVar("_Asked")


class Connection(SMTP):
    """One connection of ``intake``, kept in ``connections`` while it is open.

    ``mail_request`` and ``rcpt_requests`` say what the present mail's sender wants of delivery reports, the latter one
    for each recipient that was taken.
    """

    def __init__(self, intake: object, host: str, connections: set[Connection]) -> None:
        super().__init__(
            intake,
            hostname=host,
            ident="ESMTP mailcanary sandbox",
            data_size_limit=LARGEST_MESSAGE,
            auth_exclude_mechanism=("LOGIN", "PLAIN"),
            loop=asyncio.get_running_loop(),
        )
        self.command_size_limit = LONGEST_COMMAND
        self.mail_request = MailRequest()
        self.rcpt_requests: list[RcptRequest] = []
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

    # aiosmtpd finds its commands by these names, and HELP by the decorator.

    @syntax("MAIL FROM: <address>", extended=" [SP <mail-parameters>]")
    async def smtp_MAIL(self, arg: str | None) -> None:
        """RFC 5321 4.1.1.2, with RET and ENVID."""
        taken = await self._without(arg, mail_request, MailRequest())
        if taken is None:
            return
        begun = self._mail().mail_from
        await super().smtp_MAIL(taken[0])
        if self._mail().mail_from and not begun:
            self.mail_request, self.rcpt_requests = taken[1], []

    @syntax("RCPT TO: <address>", extended=" [SP <mail-parameters>]")
    async def smtp_RCPT(self, arg: str | None) -> None:
        """RFC 5321 4.1.1.3, with NOTIFY and ORCPT."""
        taken = await self._without(arg, rcpt_request, RcptRequest())
        if taken is None:
            return
        count = len(self._mail().rcpt_tos)
        await super().smtp_RCPT(taken[0])
        if len(self._mail().rcpt_tos) > count:
            self.rcpt_requests.append(taken[1])

    async def _without(
        self, argument: str | None, take: Callable[[str], tuple[str, _Asked]], nothing: _Asked
    ) -> tuple[str | None, _Asked] | None:
        """The argument for aiosmtpd, and what was taken out of it; None where it was answered already."""
        if argument is None or self.session is None or not self.session.extended_smtp:
            return argument, nothing
        try:
            return take(argument)
        except ValueError as error:
            await self.push(f"501 5.5.4 {error}")
            return None

    def _mail(self) -> Envelope:
        if self.envelope is None:
            raise RuntimeError("a command before the connection was made")
        return self.envelope
