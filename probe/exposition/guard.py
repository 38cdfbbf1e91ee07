"""Who may read the web side: basic (RFC 7617) or bearer (RFC 6750) authentication, and TLS, where they are configured.

Compared in constant time. ``/healthz`` and ``/readyz`` stay open: a load balancer has no credentials, and they say
nothing but which loop stalls. Without any credential configured everything is open, so ``listen`` is loopback by
default.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from probe.errors import Breach, ConfigError

_OPEN = frozenset({"/healthz", "/readyz"})
_LONGEST = 2048
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
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as cause:
        message = f"{certificate} with {key} cannot be loaded: {getattr(cause, 'strerror', None) or cause}"
        raise ConfigError("web", [Breach("web.tls_cert", 0, message)]) from cause
    return context
