"""The sandbox on the web page: its figures, its switches, and the same as JSON.

The switches change state, so a request must prove that it comes from our own page or from a tool, not from a foreign
page in the same browser: see ``_allowed``. Plain HTML forms, no script: they work under the strictest content policy.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Mapping
from html import escape
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aiohttp import web

from probe.sandbox.faults import FaultName
from probe.sandbox.state import SandboxState
from probe.sandbox.system import BAD_HOST, INTAKE_HOSTS, Sandbox

LARGEST_BODY = 4096
_FIELDS = frozenset({"fault", "share", "seconds", "intake"})
_SHARES = ("100", "50", "20", "5", "1")
_BUTTONS = (
    (FaultName.BACKUP_DB, "Break the backup database"),
    (FaultName.DUPLICATE, "Store twice"),
    (FaultName.JUNK, "Put into Junk"),
    (FaultName.BOUNCE, "Bounce"),
    (FaultName.GREYLIST, "Greylist"),
)


def mount(app: web.Application, sandbox: Sandbox) -> None:
    """Add the routes ``/sandbox``, ``/api/sandbox``, ``/api/sandbox/faults`` and ``/api/sandbox/requeue``."""
    routes = _Routes(sandbox)
    app.router.add_get("/sandbox", routes.page)
    app.router.add_get("/api/sandbox", routes.state)
    app.router.add_post("/api/sandbox/faults", routes.faults)
    app.router.add_post("/api/sandbox/requeue", routes.requeue)


def panel(sandbox: Sandbox) -> Callable[[], str]:
    """A fragment of HTML for the status page, made anew at each call."""
    return lambda: panel_html(sandbox.snapshot())


def panel_html(state: SandboxState) -> str:
    """The figures and the buttons: a ``<section id="sandbox">``."""
    figures = "".join(f"<tr><th>{escape(name)}</th><td>{number}</td></tr>\n" for name, number in state.figures())
    faults = "; ".join(escape(str(fault)) for fault in state.faults) or "none"
    buttons = "\n".join(f'<button name="fault" value="{name}">{words}</button>' for name, words in _BUTTONS)
    return f"""<section id="sandbox">
<h2>Sandbox</h2>
<table>
{figures}<tr><th>faults</th><td>{faults}</td></tr>
</table>
<form method="post" action="/api/sandbox/faults">
{buttons}
for {_share_choice()} of {_intake_choice()}
</form>
<form method="post" action="/api/sandbox/faults">
<button name="fault" value="bad-host">Lose the mail of one host</button>: {_share_choice()} of {_host_choice()}
</form>
<form method="post" action="/api/sandbox/faults">
<button name="fault" value="delay">Delay</button> by
<input name="seconds" type="number" min="1" max="86400" value="20" required> s,
{_share_choice()} of {_intake_choice()}
</form>
<form method="post" action="/api/sandbox/faults"><button name="fault" value="off">All faults off</button></form>
<form method="post" action="/api/sandbox/requeue"><button>Re-queue what was dropped</button></form>
</section>"""


def _share_choice() -> str:
    options = "".join(f'<option value="{share}%">{share} %</option>' for share in _SHARES)
    return f'<select name="share">{options}</select>'


def _intake_choice() -> str:
    options = "".join(f"<option>{escape(host)}</option>" for host in INTAKE_HOSTS)
    return f'<select name="intake"><option value="">all mail</option>{options}</select>'


def _host_choice() -> str:
    hosts = sorted(INTAKE_HOSTS, key=lambda host: host != BAD_HOST)
    options = "".join(f"<option>{escape(host)}</option>" for host in hosts)
    return f'<select name="intake">{options}</select>'


class _Routes:
    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def page(self, request: web.Request) -> web.Response:
        body = panel_html(self._sandbox.snapshot())
        html = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Sandbox</title>{body}</html>'
        return web.Response(text=html, content_type="text/html", headers={"Cache-Control": "no-store"})

    async def state(self, request: web.Request) -> web.Response:
        return _json(self._sandbox.snapshot().as_json())

    async def faults(self, request: web.Request) -> web.Response:
        _require_allowed(request)
        try:
            wanted = _parse(await _body(request), request.content_type)
            self._switch(wanted)
        except ValueError as error:
            return _json({"error": str(error)}, status=400)
        return self._answer(request, {})

    async def requeue(self, request: web.Request) -> web.Response:
        _require_allowed(request)
        back = await self._sandbox.requeue()
        return self._answer(request, {"requeued_now": back})

    def _switch(self, wanted: Mapping[str, Any]) -> None:
        name = wanted.get("fault")
        if not isinstance(name, str):
            raise ValueError(f"fault is missing: one of {', '.join(FaultName)}, off")
        if name == "off":
            self._sandbox.clear_fault()
            return
        seconds = wanted.get("seconds")
        intake = wanted.get("intake") or None
        if intake is not None and not isinstance(intake, str):
            raise ValueError("intake must be a host name")
        self._sandbox.set_fault(
            name,
            share=_share(wanted.get("share", 1.0)),
            seconds=None if seconds is None else _number(seconds, "seconds"),
            intake=intake,
        )

    def _answer(self, request: web.Request, extra: dict[str, object]) -> web.Response:
        """JSON for a tool; for a form, back to the page it stands on."""
        if request.content_type == "application/json" or "X-Mailcanary" in request.headers:
            return _json({**self._sandbox.snapshot().as_json(), **extra})
        page = urlsplit(request.headers.get("Referer", "")).path
        raise web.HTTPSeeOther("/sandbox" if page == "/sandbox" else "/#sandbox")


def _json(data: Mapping[str, object], status: int = 200) -> web.Response:
    return web.json_response(data, status=status, headers={"Cache-Control": "no-store"})


def _require_allowed(request: web.Request) -> None:
    if not _allowed(request):
        raise web.HTTPForbidden(
            text="Send the header 'X-Mailcanary: 1', or use the page itself, at an IP address or localhost.\n"
        )


def _allowed(request: web.Request) -> bool:
    """A foreign page cannot set our header without a preflight that we never answer, nor forge Origin or Sec-Fetch-Site
    (browsers send ``Origin: null`` from pages without referrer, hence the latter). A name other than localhost in Host
    is refused: it could be a foreign name pointed at our address (DNS rebinding), for which all of these would hold."""
    host = request.headers.get("Host", "")
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if name != "localhost":
            ipaddress.ip_address(name)
    except ValueError:
        return False
    if request.headers.get("X-Mailcanary") == "1":
        return True
    origin = request.headers.get("Origin", "")
    if origin and origin != "null":
        return urlsplit(origin).netloc == host
    return request.headers.get("Sec-Fetch-Site") == "same-origin"


async def _body(request: web.Request) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise web.HTTPRequestEntityTooLarge(LARGEST_BODY, len(body))
    return bytes(body)


def _parse(body: bytes, content_type: str) -> Mapping[str, Any]:
    """JSON or a form to a flat mapping. Raises ValueError."""
    if content_type == "application/json":
        try:
            wanted = json.loads(body)
        except (ValueError, RecursionError):
            raise ValueError("the body is not JSON") from None
        if not isinstance(wanted, dict):
            raise ValueError("the body must be a JSON object")
    elif content_type == "application/x-www-form-urlencoded":
        fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=len(_FIELDS))
        wanted = {key: values[0] for key, values in fields.items()}
    else:
        raise ValueError("the body must be JSON or a form")
    unknown = sorted(set(wanted) - _FIELDS)
    if unknown:
        raise ValueError(f"unknown: {', '.join(unknown)}; known: {', '.join(sorted(_FIELDS))}")
    return wanted


def _number(value: object, name: str) -> float:
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} must be a number") from None


def _share(value: object) -> float:
    """``0.2``, ``"0.2"`` or ``"20%"``."""
    if isinstance(value, str) and value.endswith("%"):
        return _number(value[:-1], "share") / 100
    return _number(value, "share")
