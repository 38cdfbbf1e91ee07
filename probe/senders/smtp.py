"""The sender kind ``smtp``: its options, and the one door to aiosmtplib. The dialogue itself is in smtp_session.py.

We build on aiosmtplib's ``SMTPProtocol`` rather than on its client class. The protocol brings what is hard to get
right (replies parsed within limits, replies never paired with the wrong command, STARTTLS injection discarded); the
client has one time-out for TCP, TLS and greeting together, one for DATA and the final dot, and tries a refused login
again by every mechanism.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from aiosmtplib import SMTPException, SMTPResponseException, SMTPServerDisconnected
from aiosmtplib.protocol import SMTPProtocol

from probe.clock import Clock
from probe.errors import Breach, ConfigError
from probe.options import Secret, option
from probe.senders.base import BeforeData, ContentSent, Envelope, Submission
from probe.senders.resolve import Family, connect_reason, explain
from probe.senders.smtp_plan import Plan, TlsPolicy
from probe.senders.smtp_record import Broken, Reply
from probe.senders.smtp_session import Session, attempt

KIND = "smtp"

_HOST = re.compile(r"[A-Za-z0-9._:-]{1,253}")
_HELO = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}")


class Via(StrEnum):
    """How the server is found where no host is named."""

    MX = "mx"


def _positive(value: timedelta) -> str | None:
    return None if value > timedelta(0) else "must be longer than 0"


def _port(value: int) -> str | None:
    return None if 0 < value < 65536 else "must be between 1 and 65535"


def _host(value: str | None) -> str | None:
    return None if value is None or _HOST.fullmatch(value) else "is not a host name or an IP address"


def _helo(value: str | None) -> str | None:
    return None if value is None or _HELO.fullmatch(value) else "is not a host name or an address literal"


def _retries(value: tuple[timedelta, ...]) -> str | None:
    return None if all(wait > timedelta(0) for wait in value) else "every wait must be longer than 0"


@dataclass(frozen=True, slots=True)
class SmtpTimeouts:
    """The longest waits of one attempt."""

    connect: timedelta = option(
        "For the resolver, and for each address.", default=timedelta(seconds=30), check=_positive
    )
    command: timedelta = option(
        "For the greeting, the TLS handshake and the answer to each command.",
        default=timedelta(seconds=60),
        check=_positive,
    )
    dot: timedelta = option(
        "For the answer to the final dot; shorter than the 10 minutes of RFC 5321 makes unsure what was accepted.",
        default=timedelta(seconds=600),
        check=_positive,
    )
    total: timedelta = option("For the whole attempt.", default=timedelta(minutes=15), check=_positive)


@dataclass(frozen=True, slots=True)
class SmtpOptions:
    """Sends over SMTP to a relay."""

    via: Via | None = option("mx: to each MX host of the recipient's domain (not in this version).", default=None)
    host: str | None = option("The relay: host name or IP address.", default=None, check=_host)
    port: int = option("The relay's port.", default=25, check=_port)
    family: Family = option(
        "Addresses to use; a family without a route is skipped, addresses are tried in order.", default=Family.ANY
    )
    tls: TlsPolicy | None = option(
        "implicit, starttls, opportunistic (STARTTLS where offered; the default, never with a username) or none.",
        default=None,
    )
    verify: bool = option("Verify the server's certificate; false shows as a metric.", default=True)
    ca_file: Path | None = option("CA certificates (PEM) to trust instead of the system's.", default=None)
    helo: str | None = option("Name for EHLO; default the host's name.", default=None, check=_helo)
    username: str | None = option("User name for AUTH PLAIN or LOGIN.", default=None)
    password: Secret | None = option("Password for AUTH PLAIN or LOGIN.", default=None)
    resolver: tuple[str, ...] = option("Resolvers for MX look-ups; default the system's.", default=())
    retry: tuple[timedelta, ...] = option(
        "Waits before each further try after a 4xx.",
        default=(timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15), timedelta(minutes=30)),
        check=_retries,
    )
    timeouts: SmtpTimeouts = option("The longest waits of one attempt.", default=SmtpTimeouts())

    def breaches(self) -> Iterator[tuple[str, str]]:
        """Rules that span keys, as (key, rule broken)."""
        if self.via is Via.MX:
            yield "via", "this version sends to a relay only: give host:"
        elif self.host is None:
            yield "host", "is required: the relay to send to"
        if self.username is not None and self.password is None:
            yield "password", "is required with a username"
        if self.password is not None and self.username is None:
            yield "username", "is required with a password"
        if self.username is not None and self.tls in (None, TlsPolicy.OPPORTUNISTIC):
            yield (
                "tls",
                "a login needs tls: starttls (usual on port 587), implicit (port 465), or none written out to "
                "permit it in clear; opportunistic could be stripped",
            )
        if "\0" in (self.username or "") or (self.password is not None and b"\0" in self.password.reveal()):
            yield "password", "username and password must not contain NUL"

    def open(self, name: str, clock: Clock) -> SmtpSender:
        """The sender ``name``. Raises ConfigError for a ca_file that cannot be read."""
        return SmtpSender(name, self, clock)


OPTIONS = SmtpOptions


class SmtpSender:
    """Sends to one relay; a Sender (base.py). Certificates are loaded here once, not for each attempt."""

    def __init__(self, name: str, options: SmtpOptions, clock: Clock) -> None:
        tls = options.tls or TlsPolicy.OPPORTUNISTIC
        limits = options.timeouts
        self.insecure = not options.verify or tls is TlsPolicy.NONE
        self.retry: Sequence[timedelta] = options.retry
        self._clock = clock
        self._host = options.host or ""
        verify = options.verify and tls is not TlsPolicy.NONE
        login = None
        if options.username is not None and options.password is not None:
            login = (options.username.encode(), options.password.reveal())
        self._plan = Plan(
            port=options.port,
            family=options.family,
            tls=tls,
            verified=_verifying(name, options.ca_file) if verify else None,
            unverified=None if tls is TlsPolicy.NONE else _unverifying(),
            helo=(options.helo or socket.gethostname()).encode("ascii", "replace"),
            login=login,
            connect=limits.connect.total_seconds(),
            command=limits.command.total_seconds(),
            dot=limits.dot.total_seconds(),
            total=limits.total.total_seconds(),
            dial=_dial,
        )

    async def legs(self, recipient_domain: str) -> Sequence[str]:
        """A relay is one leg, whatever the domain."""
        return ("any",)

    async def submit(
        self,
        envelope: Envelope,
        message: bytes,
        *,
        mx: str,
        before_data: BeforeData,
        content_sent: ContentSent | None = None,
    ) -> Submission:
        """One attempt (see base.Sender)."""
        return await attempt(self._session(mx), envelope, message, before_data, content_sent)

    async def probe(self, mx: str) -> Submission:
        """Connect, greet, TLS, log in, quit."""
        session = self._session(mx)
        try:
            return await session.prepare(None, 0) or session.went_well()
        finally:
            session.close()

    def _session(self, mx: str) -> Session:
        return Session(self._plan, self._host if mx == "any" else mx, self._clock)


def _verifying(name: str, ca_file: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        breach = Breach(f"senders.{name}.ca_file", 0, f"{ca_file}: {error.strerror or error}")
        raise ConfigError("configuration", [breach]) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _unverifying() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


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
        expires = (tls.getpeercert() or {}).get("notAfter")  # known only of a certificate that was verified
        try:
            return tls.version(), int(ssl.cert_time_to_seconds(expires)) if expires else None
        except ValueError:  # a date that no calendar has, in a certificate that verified all the same
            return tls.version(), None

    def hang_up(self, *, politely: bool) -> None:
        transport: Any = self.transport
        if transport is None:
            return
        if politely and not transport.is_closing():
            transport.write(b"QUIT\r\n")
        transport.abort()


async def _dial(sock: socket.socket, context: ssl.SSLContext | None, host: str, seconds: float) -> SmtpWire:
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
