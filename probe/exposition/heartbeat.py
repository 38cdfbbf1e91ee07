"""One call of a dead man's switch: HTTP GET, bounded in time and size, to the configured URL and nowhere else.

Who knows the URL can keep the switch quiet, so it is a secret: no message here repeats anything of it. A redirect is
not followed, no proxy of the environment is used, and a certificate is always verified.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import aiohttp

_HEADERS = {"User-Agent": "mailcanary"}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call did not count: ``reason`` for the metric, ``sentence`` for people."""

    reason: str
    sentence: str


async def call(url: str, within: timedelta) -> Failure | None:
    """None where the answer was 2xx. Never raises but for cancellation; ends ``within`` that time."""
    timeout = aiohttp.ClientTimeout(total=within.total_seconds())
    jar = aiohttp.DummyCookieJar()
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, cookie_jar=jar, headers=_HEADERS, trust_env=False) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            return _judged(response.status)  # the body is not read
    except TimeoutError:
        return Failure("timeout", f"no answer within {within.total_seconds():g} s")
    except aiohttp.ClientSSLError:
        return Failure("tls", "TLS failed, or the server's certificate is not one to trust")
    except aiohttp.ClientConnectorError as error:
        return Failure("connect", f"cannot connect ({type(error.os_error).__name__})")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Failure("other", f"the call failed ({type(error).__name__})")


def _judged(status: int) -> Failure | None:
    if 200 <= status < 300:
        return None
    note = ", a redirect, which is not followed" if 300 <= status < 400 else ""
    return Failure("status", f"the answer was HTTP {status}{note}")
