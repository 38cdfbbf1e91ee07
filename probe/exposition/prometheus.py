"""One question to Prometheus: how many mails came within a window of time? Bounded in time and size.

The HTTP API's instant query (``POST /api/v1/query``, form-encoded: a query can be longer than a URL may be). A
certificate is always verified, a redirect is not followed, no proxy of the environment is used; a login in the URL is
sent to that host and repeated in no message.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import SplitResult, urlsplit

import aiohttp

from probe.errors import MailCanaryError, UnreachableError, UsageError
from probe.exposition.present import clean

WINDOW = "$window"
PATIENCE = timedelta(seconds=30)
LARGEST_ANSWER = 1024 * 1024
LONGEST_QUERY = 16 * 1024
MOST_MAILS = 10**12
MOST_WARNINGS = 5
_HEADERS = {"User-Agent": "mailcanary", "Accept": "application/json"}


@dataclass(frozen=True, slots=True)
class Volume:
    """What Prometheus said. ``window``: the duration that stood for ``$window``, ``5400s``."""

    mails: int
    window: str
    warnings: tuple[str, ...] = ()


async def count_mails(
    url: str, query: str, start: datetime, end: datetime, *, patience: timedelta = PATIENCE
) -> Volume:
    """Evaluate ``query`` at ``end``, with ``$window`` replaced by the time from ``start`` to ``end``.

    The window's length is in whole seconds, rounded up. The answer must be one number, not negative; it is rounded to
    whole mails (``increase()`` extrapolates). Raises UsageError (the URL or the query is wrong), UnreachableError,
    MailCanaryError (an answer that is none); ends within ``patience``.
    """
    parts = _checked(url)
    if WINDOW not in query:
        raise UsageError(
            f"--volume-query must hold {WINDOW}, as in 'sum(increase(mails_total[{WINDOW}]))'; in double quotes the "
            "shell takes it out, so put the query in single ones"
        )
    if len(query) > LONGEST_QUERY:
        raise UsageError(f"--volume-query is longer than {LONGEST_QUERY} characters")
    window = f"{max(1, math.ceil((end - start).total_seconds()))}s"
    form = {
        "query": query.replace(WINDOW, window),
        "time": f"{end.timestamp():.3f}",
        "timeout": f"{max(1, math.floor(patience.total_seconds()))}s",
    }
    place = _shown(parts)
    status, body = await _post(url.rstrip("/") + "/api/v1/query", form, place, patience)
    answer = _parsed(status, body, place)
    mails = _number(answer, place)
    warnings = answer.get("warnings")
    said = warnings[:MOST_WARNINGS] if isinstance(warnings, list) else ()
    return Volume(mails, window, tuple(str(warning) for warning in said))


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or not url.isprintable() or parts.query or parts.fragment:
        raise UsageError("--prometheus must be a URL such as http://localhost:9090, without a query")
    return parts


def _shown(parts: SplitResult) -> str:
    """The URL without its login."""
    return clean(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}", 200)


async def _post(url: str, form: dict[str, str], place: str, patience: timedelta) -> tuple[int, bytes]:
    timeout = aiohttp.ClientTimeout(total=patience.total_seconds())
    jar = aiohttp.DummyCookieJar()
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, cookie_jar=jar, headers=_HEADERS, trust_env=False) as session,
            session.post(url, data=form, allow_redirects=False) as response,
        ):
            return response.status, await _read(response, place)
    except TimeoutError as cause:
        raise UnreachableError(
            f"Prometheus at {place}: no answer within {patience.total_seconds():g} s; try again, make the query "
            "cheaper, or give the number by --volume"
        ) from cause
    except aiohttp.ClientSSLError as cause:
        raise UnreachableError(
            f"Prometheus at {place}: TLS failed, or its certificate is not one to trust; SSL_CERT_FILE can name your "
            "own authority's certificate"
        ) from cause
    except aiohttp.ClientConnectorError as cause:
        why = clean(cause.os_error.strerror or type(cause.os_error).__name__, 100)
        raise UnreachableError(
            f"Prometheus at {place}: cannot connect: {why}; is the address right? Else give the number by --volume"
        ) from cause
    except (aiohttp.ClientError, OSError, ValueError) as cause:
        raise UnreachableError(
            f"Prometheus at {place}: no answer in HTTP ({type(cause).__name__}); is it the right port, http or https?"
        ) from cause


async def _read(response: aiohttp.ClientResponse, place: str) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > LARGEST_ANSWER:
            raise MailCanaryError(
                f"Prometheus at {place}: the answer is larger than {LARGEST_ANSWER} bytes; wrap the query in sum()"
            )
    return bytes(body)


def _parsed(status: int, body: bytes, place: str) -> dict[str, Any]:
    """The answer of a query that worked. Raises for every other one, with what to do about it."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    known = isinstance(answer, dict)
    if status == 200 and known and answer.get("status") == "success":
        return dict(answer)
    said = f": {clean(str(answer.get('error')), 300)}" if known and answer.get("error") else ""
    if 300 <= status < 400:
        raise MailCanaryError(f"Prometheus at {place}: HTTP {status}, a redirect; give the URL that it leads to")
    if status in (401, 403):
        raise MailCanaryError(
            f"Prometheus at {place}: HTTP {status}{said}; give user:password@ in the URL, best in the environment"
        )
    if status == 400 and said:
        raise UsageError(f"Prometheus at {place} does not take the query{said}; try it in its own query page")
    if status == 404 or (status == 200 and not known):
        raise MailCanaryError(
            f"Prometheus at {place}: HTTP {status}, and no answer of its API; give the URL without /api/v1"
        )
    raise MailCanaryError(f"Prometheus at {place}: HTTP {status}{said}; try again, or give the number by --volume")


def _number(answer: dict[str, Any], place: str) -> int:
    """The one number of a vector of one series, or of a scalar."""
    data = answer.get("data")
    kind, result = (data.get("resultType"), data.get("result")) if isinstance(data, dict) else (None, None)
    if kind == "vector" and isinstance(result, list):
        if len(result) != 1:
            raise MailCanaryError(
                f"Prometheus at {place}: the query finds {len(result) or 'no'} series at the window's end, not one; "
                + ("wrap it in sum()" if result else "check the names, and how long Prometheus keeps its data")
            )
        sample = result[0].get("value") if isinstance(result[0], dict) else None
    else:
        sample = result if kind == "scalar" else None
    try:
        value = float(sample[1])  # type: ignore[index]  # a wrong shape is caught with all others
    except (TypeError, ValueError, IndexError, KeyError, OverflowError):
        raise MailCanaryError(
            f"Prometheus at {place}: the answer is a {clean(str(kind), 40)}, not a number; wrap it in a function that "
            "makes one number, such as sum(increase(…))"
        ) from None
    if not 0 <= value <= MOST_MAILS:  # NaN too
        raise MailCanaryError(f"Prometheus at {place}: {value:g} is no number of mails; check the query")
    return round(value)
