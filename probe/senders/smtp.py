"""The sender kind ``smtp``: its options, and the sender made of them. The dialogue is in smtp_session.py, the
connection in smtp_wire.py, the choice between MX hosts in smtp_hosts.py.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from probe.clock import Clock
from probe.errors import Breach, ConfigError
from probe.options import Secret, option
from probe.senders.base import BeforeData, ContentSent, Envelope, SoFar, Submission
from probe.senders.login_pause import LoginPause
from probe.senders.resolve import Family, addresses, server
from probe.senders.smtp_hosts import MxHosts, is_host
from probe.senders.smtp_plan import Plan, TlsPolicy
from probe.senders.smtp_session import Session
from probe.senders.smtp_text import dot_stuffed
from probe.senders.smtp_wire import dial

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


def _servers(value: tuple[str, ...]) -> str | None:
    try:
        for text in value:
            server(text)
    except ValueError as error:
        return str(error)
    return None


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
    """Sends over SMTP to a relay, or to each MX host of the recipient's domain."""

    via: Via | None = option("mx: to each MX host of the recipient's domain, in place of host.", default=None)
    host: str | None = option("The relay: host name or IP address.", default=None, check=_host)
    port: int = option("The port of the relay or of the MX hosts.", default=25, check=_port)
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
    resolver: tuple[str, ...] = option(
        "DNS servers to ask, such as 127.0.0.1:5353 or [::1]:53, in order; default the system's.",
        default=(),
        check=_servers,
    )
    retry: tuple[timedelta, ...] = option(
        "Waits before each further try after a 4xx.",
        default=(timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15), timedelta(minutes=30)),
        check=_retries,
    )
    timeouts: SmtpTimeouts = option("The longest waits of one attempt.", default=SmtpTimeouts())

    def breaches(self) -> Iterator[tuple[str, str]]:
        """Rules that span keys, as (key, rule broken)."""
        if self.via is Via.MX and self.host is not None:
            yield "host", "has no use with via: mx, which goes to the MX hosts; keep one of the two"
        elif self.via is None and self.host is None:
            yield "host", "is required: the relay to send to; or via: mx, to send to each MX host"
        if self.via is Via.MX and self.username is not None:
            yield "username", "has no use with via: mx: whoever answers for DNS would be given the login"
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
    """Sends to one relay or to MX hosts; a Sender (base.py). Certificates are loaded once, not for each attempt."""

    def __init__(self, name: str, options: SmtpOptions, clock: Clock) -> None:
        tls = options.tls or TlsPolicy.OPPORTUNISTIC
        limits = options.timeouts
        self.insecure = not options.verify or tls is TlsPolicy.NONE
        self.retry: Sequence[timedelta] = options.retry
        self._clock = clock
        self._under_way: dict[str, Session] = {}  # by the envelope's id
        self._host = options.host or ""
        self._logins = LoginPause(clock)
        self._hosts: MxHosts | None = None
        verify = options.verify and tls is not TlsPolicy.NONE
        login = None
        if options.username is not None and options.password is not None:
            login = (options.username.encode(), options.password.reveal())
        resolve = addresses
        if options.via is Via.MX or options.resolver:
            from probe.senders.mx import Resolver  # 5 MB and 50 ms, which a relay does not need

            resolver = Resolver(options.resolver, limits.connect.total_seconds())
            resolve = resolver.addresses if options.resolver else addresses
            self._hosts = MxHosts(resolver) if options.via is Via.MX else None
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
            resolve=resolve,
            dial=dial,
        )

    async def legs(self, recipient_domain: str) -> Sequence[str]:
        """A relay is one leg, whatever the domain; MX hosts are one each (see base.Sender). Raises NoHosts."""
        return ("any",) if self._hosts is None else await self._hosts.legs(recipient_domain)

    async def submit(
        self,
        envelope: Envelope,
        message: bytes,
        *,
        mx: str,
        before_data: BeforeData,
        content_sent: ContentSent | None = None,
    ) -> Submission:
        """One attempt (see base.Sender); the session is closed whatever happens, cancellation included."""
        if self._plan.login is not None and (held := self._logins.held(self._host)) is not None:
            return held
        session = self._session(mx, envelope.rcpt_to.rpartition("@")[2])
        name = envelope.envelope_id or ""
        self._under_way[name] = session
        try:
            content = dot_stuffed(message)
            ended = await session.prepare(envelope, len(message))
            self._logins.note(ended)
            if ended is not None:
                return ended
            await before_data()
            return await session.deliver(content, content_sent)
        finally:
            self._under_way.pop(name, None)
            session.close()

    def so_far(self, envelope_id: str) -> SoFar | None:
        """The attempt under way with this envelope (see base.Showing)."""
        session = self._under_way.get(envelope_id)
        return None if session is None else session.so_far()

    async def probe(self, mx: str) -> Submission:
        """Connect, greet, TLS, log in, quit."""
        session = self._session(mx, "")
        try:
            return await session.prepare(None, 0) or session.went_well()
        finally:
            session.close()

    def _session(self, mx: str, domain: str) -> Session:
        """A session with the host of the leg ``mx``. Without ``domain``, to probe."""
        hosts = self._hosts
        if hosts is None:  # a leg that is left of via: mx goes to the relay too: logins are for no one else
            return Session(self._plan, self._host, self._clock)
        if is_host(mx):
            return Session(self._plan, mx, self._clock)
        if domain:
            return Session(self._plan, domain, self._clock, lambda: hosts.of_leg(mx, domain))
        return Session(self._plan, mx, self._clock, lambda: hosts.for_probe(mx))


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
