"""Talking to a running demo over its web side."""

from __future__ import annotations

import json
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from probe.errors import MailCanaryError, UnreachableError, UsageError

TIMEOUT = 10.0
LARGEST_ANSWER = 1024 * 1024


def ask(url: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """GET, or POST of ``body``, at the demo whose root is ``url``; its JSON answer.

    Raises UnreachableError where no demo answers, UsageError where it refuses what was asked.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise UsageError(f"{url!r} is not an http address such as http://127.0.0.1:9925")
    request = Request(
        url.rstrip("/") + path,
        data=None if body is None else json.dumps(body).encode("ascii"),
        headers={"Content-Type": "application/json", "X-Mailcanary": "1"},
    )
    opener = build_opener(ProxyHandler({}))  # the demo is on this host; a proxy is not
    try:
        with opener.open(request, timeout=TIMEOUT) as answer:
            return _json(url, answer.read(LARGEST_ANSWER))
    except HTTPError as error:
        raise _refusal(url, error.code, error.read(LARGEST_ANSWER)) from error
    except (URLError, OSError, HTTPException, ValueError) as error:
        raise UnreachableError(f"no demo answers at {url}: {_why(error)}; start one with `mailcanary demo`") from error


def _why(error: Exception) -> str:
    return str(error.reason) if isinstance(error, URLError) else str(error) or type(error).__name__


def _json(url: str, body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UnreachableError(f"what answers at {url} is not a demo")
    return value


def _refusal(url: str, status: int, body: bytes) -> MailCanaryError:
    if status == 404:
        return UnreachableError(f"what answers at {url} is not a demo")
    if status == 400:
        return UsageError(str(_json(url, body).get("error", "the demo refused this")))
    return MailCanaryError(f"the demo at {url} answered {status}")
