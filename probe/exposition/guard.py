"""Who may read the web side: basic (RFC 7617) or bearer (RFC 6750) authentication, and TLS, where they are configured.

Compared in constant time. ``/healthz`` and ``/readyz`` stay open: a load balancer has no credentials, and they say
nothing but which loop stalls. Without any credential configured everything is open, so ``listen`` is loopback by
default.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import os
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from aiohttp import web

from probe.clock import Clock
from probe.errors import Breach, ConfigError
from probe.exposition.journal import Journal, Level

_OPEN = frozenset({"/healthz", "/readyz"})
_LONGEST = 2048
LOOK_EVERY = timedelta(seconds=60)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Credentials:
    """What opens the web side: ``username:password``, or a token; each None where not configured."""

    login: bytes | None = None
    token: bytes | None = None

    def open_to(self, header: str) -> bool:
        """Whether an Authorization header's value opens it."""
        scheme, _, value = header[:_LONGEST].partition(" ")
        given = value.strip().encode("utf-8", "surrogateescape")
        if scheme.lower() == "bearer" and self.token is not None:
            return hmac.compare_digest(given, self.token)
        if scheme.lower() == "basic" and self.login is not None:
            try:
                given = base64.b64decode(given, validate=True)
            except (binascii.Error, ValueError):
                return False
            return hmac.compare_digest(given, self.login)
        return False


def guard(credentials: Credentials) -> Any:
    """Middleware that answers 401 to whoever may not read."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        closed = credentials.login is not None or credentials.token is not None
        if closed and request.path not in _OPEN and not credentials.open_to(request.headers.get("Authorization", "")):
            scheme = 'Basic realm="mailcanary", charset="UTF-8"' if credentials.login is not None else "Bearer"
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": scheme})
        return await handler(request)

    return check


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or newer with this certificate. Raises ConfigError naming the file."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # An encrypted key is an error: without a password OpenSSL would ask for one at the terminal, and wait.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ssl.SSLError) as cause:
        message = f"{certificate} with {key} cannot be loaded: {getattr(cause, 'strerror', None) or cause}"
        raise ConfigError("web", [Breach("web.tls_cert", 0, message)]) from cause
    return context


class Certificate:
    """The web side's certificate, whose files may be replaced while it is in use.

    New connections get what was loaded last; those that stand keep theirs. A pair that cannot be loaded changes
    nothing: the journal says so, once for each state of the files, since a pair is often replaced one by one.
    """

    def __init__(self, certificate: Path, key: Path, clock: Clock, journal: Journal) -> None:
        """Raises ConfigError naming the file."""
        self._files = (certificate, key)
        self._clock = clock
        self._journal = journal
        self._seen = self._look()
        self._current = server_context(certificate, key)
        # Loading into a context in use could leave a new certificate beside an old key, so each pair gets a context
        # of its own, and this one hands every new connection over. OpenSSL asks also where no name was given.
        self.context = server_context(certificate, key)
        self.context.sni_callback = self._hand_over

    def _hand_over(self, connection: ssl.SSLObject, _name: str, _context: ssl.SSLContext) -> None:
        connection.context = self._current

    def _look(self) -> tuple[tuple[int, int, int] | None, ...]:
        """What would change with a file's content: links are followed, as both cert-manager and certbot use them."""
        found: list[tuple[int, int, int] | None] = []
        for path in self._files:
            try:
                status = os.stat(path)
            except OSError:
                found.append(None)
            else:
                found.append((status.st_ino, status.st_size, status.st_mtime_ns))
        return tuple(found)

    def _renew(self) -> bool:
        """Load the files where they have changed since the last look. Raises ConfigError."""
        now = self._look()  # before the load: a change while it runs is seen by the next look
        if now == self._seen:
            return False
        self._seen = now
        self._current = server_context(*self._files)
        return True

    async def reload(self) -> bool:
        """Whether new files were loaded; files that did not change are left alone, and broken ones only said."""
        try:
            renewed = await asyncio.to_thread(self._renew)
        except ConfigError as problem:
            why = "; ".join(breach.message for breach in problem.breaches)
            self._journal.say("certificate_refused", Level.ERROR, reason=f"{why}; the old one stays in use")
            return False
        if renewed:
            self._journal.say("certificate_reloaded", path=str(self._files[0]))
        return renewed

    async def keep_current(self) -> None:
        """Reload whenever the files have changed, looked at every minute, until it is cancelled."""
        while True:
            await self._clock.sleep(LOOK_EVERY)
            await self.reload()
