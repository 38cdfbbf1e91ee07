"""Asking Prometheus and Alertmanager whether a drill's alert has reached them. They are not ours: limits everywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from probe.errors import MailCanaryError, UnreachableError, UsageError

TIMEOUT = 10.0
LARGEST_ANSWER = 4 * 1024 * 1024
ALERT = "MailCanaryDrill"


@dataclass(frozen=True, slots=True)
class Received:
    """An alert in Alertmanager: the receivers that it goes to, and why it is held back ("" where it is not)."""

    receivers: tuple[str, ...]
    held: str


def scraped(url: str, route: str) -> bool:
    """Whether the Prometheus at ``url`` has the drill's metric. Raises UnreachableError, UsageError."""
    return bool(_query(url, f"mailcanary_drill{{route={json.dumps(route)}}} == 1"))


def fires(url: str, route: str) -> bool:
    """Whether the drill's alert fires in the Prometheus at ``url``. Raises UnreachableError, UsageError."""
    return bool(_query(url, f'ALERTS{{alertname="{ALERT}",alertstate="firing",route={json.dumps(route)}}}'))


def received(url: str, route: str) -> Received | None:
    """The drill's alert in the Alertmanager at ``url``, if it is there. Raises UnreachableError, UsageError."""
    filters = [("filter", f'alertname="{ALERT}"'), ("filter", f"route={json.dumps(route)}")]
    alerts = _get(url, "/api/v2/alerts", filters)
    if not isinstance(alerts, list):
        raise UnreachableError(f"what answers at {url} is not an Alertmanager")
    if not alerts:
        return None
    try:
        status = alerts[0]["status"]
        names = tuple(str(one["name"])[:100] for one in alerts[0]["receivers"][:20])
        held = [f"by {word} {str(one)[:100]}" for word in ("silenced", "inhibited") for one in status[f"{word}By"][:3]]
        return Received(names, ", ".join(held) or ("" if status["state"] != "suppressed" else "by something"))
    except (KeyError, TypeError, AttributeError) as problem:
        raise UnreachableError(f"what answers at {url} is not an Alertmanager") from problem


def _query(url: str, expr: str) -> list[Any]:
    answer = _get(url, "/api/v1/query", [("query", expr)])
    data = answer.get("data") if isinstance(answer, Mapping) else None
    found = data.get("result") if isinstance(data, Mapping) else None
    if not isinstance(found, list):
        raise UnreachableError(f"what answers at {url} is not a Prometheus")
    return found


def _get(url: str, path: str, fields: list[tuple[str, str]]) -> Any:
    if urlsplit(url).scheme not in ("http", "https"):
        raise UsageError(f"{url!r} is not an http address such as http://127.0.0.1:9090")
    request = Request(f"{url.rstrip('/')}{path}?{urlencode(fields)}", headers={"Accept": "application/json"})
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT) as answer:
            return json.loads(answer.read(LARGEST_ANSWER))
    except HTTPError as error:
        raise MailCanaryError(f"{url} answered {error.code} to {path}") from error
    except RecursionError as error:
        raise UnreachableError(f"what answers at {url} is not what was asked for") from error
    except (URLError, OSError, HTTPException, ValueError) as error:
        why = error.reason if isinstance(error, URLError) else error
        raise UnreachableError(f"nothing answers at {url} as it should: {str(why) or type(error).__name__}") from error
