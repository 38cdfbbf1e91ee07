"""The web side: metrics, health, the status page and the API, on one aiohttp server.

aiohttp because it alone of the servers tried bounds silent, half-open and half-sent requests by default. Handlers take
the engine's snapshot on the loop and leave rendering and all questions to the ledger to threads: a big page never
delays a canary, and no client delays another. It answers questions only; what changes state comes in by ``extensions``.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from aiohttp import web

from probe.errors import LedgerError, MailCanaryError, UnreachableError, UsageError
from probe.exposition.guard import Certificate, Credentials, guard
from probe.exposition.incident_pages import incident_routes
from probe.exposition.incidents import Listed, list_incidents
from probe.exposition.live import Live
from probe.exposition.metrics import Exporter
from probe.exposition.pages import canary_page, problem_page, status_page
from probe.exposition.present import OUTCOME_NAMES, canary_json, clean, find, life_json, parse_since
from probe.exposition.status import leg_statuses, status_json
from probe.exposition.style import CSS_HASH
from probe.exposition.text import wants_openmetrics
from probe.ledger.queries import Filter

LARGEST_REQUEST = 16 * 1024
MOST_CANARIES = 1_000
SHOWN_INCIDENTS = 20  # on the status page
RECENT = 200
KEEPALIVE_SECONDS = 75.0  # longer than a scrape interval; also what a silent or half-sent request is given
STOP_SECONDS = 2.0

Extension = Callable[[web.Application], None]
Panel = Callable[[], str]
_Rendered = tuple[list[list[bytes]], str]
_T = TypeVar("_T")
_LEDGER_TROUBLE = "The ledger cannot be read at the moment."
_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{CSS_HASH}'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def make_app(
    live: Live,
    *,
    extensions: Sequence[Extension] = (),
    panels: Sequence[Panel] = (),
    credentials: Credentials | None = None,
) -> web.Application:
    """The application; with ``credentials``, open only to who gives them.

    ``extensions`` add routes to it; ``panels`` add trusted HTML to the status page, called on the loop at each page.
    Both are how the sandbox gets its switches in without being known here.
    """
    handlers = _Handlers(live, panels)
    app = web.Application(middlewares=[_secure, guard(credentials or Credentials())], client_max_size=LARGEST_REQUEST)
    app.add_routes(
        [
            web.get("/metrics", handlers.metrics),
            web.get("/healthz", handlers.healthz),
            web.get("/readyz", handlers.readyz),
            web.get("/", handlers.status),
            web.get("/canaries/{id}", handlers.canary),
            web.get("/api/status", handlers.api_status),
            web.get("/api/canaries", handlers.api_canaries),
            web.get("/api/canaries/{id}", handlers.api_canary),
            *incident_routes(live),
        ]
    )
    for extend in extensions:
        extend(app)
    return app


@web.middleware
async def _secure(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
    """Headers on every answer, errors included; our own errors as JSON under /api/, as a page elsewhere."""
    try:
        response = await handler(request)
    except web.HTTPException as error:
        error.headers.update(_HEADERS)
        raise
    except UsageError as error:
        response = _failure(request, 400, "That cannot be asked", str(error))
    except LedgerError:
        response = _failure(request, 503, "No answer", _LEDGER_TROUBLE)
    except MailCanaryError as error:
        response = _failure(request, 404, "Not found", str(error))
    response.headers.update(_HEADERS)
    return response


def _failure(request: web.Request, status: int, title: str, sentence: str) -> web.Response:
    if request.path.startswith("/api/"):
        return web.json_response({"error": sentence}, status=status)
    return web.Response(text=problem_page(title, sentence), content_type="text/html", status=status)


class _Handlers:
    def __init__(self, live: Live, panels: Sequence[Panel]) -> None:
        self._live = live
        self._panels = panels
        self._rendering: dict[bool, asyncio.Task[_Rendered]] = {}
        self._exporters: dict[bool, Exporter] = {}
        # What is kept between scrapes would, freed and made again in many threads, take several times its size.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="metrics")

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        """Family by family: at a thousand legs the whole is some 20 MB, which need not be in memory at once."""
        accept = ",".join(request.headers.getall("Accept", []))
        families, kind = await self._rendered(wants_openmetrics(accept))
        response = web.StreamResponse(headers={**_HEADERS, "Content-Type": kind})
        response.content_length = sum(len(part) for family in families for part in family)
        with suppress(ConnectionError):  # a client that leaves in the middle is no fault of ours
            await response.prepare(request)
            if request.method != "HEAD":
                for family in families:
                    await response.write(b"".join(family))
            await response.write_eof()
        return response

    async def _rendered(self, openmetrics: bool) -> _Rendered:
        """Scrapes of one format that come while one is rendered share it. A client that leaves takes nothing along."""
        task = self._rendering.get(openmetrics)
        if task is None:
            task = asyncio.create_task(self._render(openmetrics))
            self._rendering[openmetrics] = task
            task.add_done_callback(lambda _: self._rendering.pop(openmetrics, None))
        return await asyncio.shield(task)

    async def _render(self, openmetrics: bool) -> _Rendered:
        live = self._live
        snapshot, exemplars = live.snapshot(), dict(live.exemplars())
        exporter = self._exporters.get(openmetrics)
        if exporter is None:
            exporter = self._exporters[openmetrics] = Exporter(openmetrics=openmetrics, created_at=live.created_at)

        def work() -> _Rendered:
            imbalance = None
            with suppress(LedgerError):  # a ledger that cannot be read must not take the metrics away
                imbalance = live.queries.balance()
            return exporter.families(snapshot, live.totals, exemplars, imbalance=imbalance), exporter.content_type

        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def healthz(self, _: web.Request) -> web.Response:
        return _plain(self._live.snapshot().stalled, "no progress: ")

    async def readyz(self, _: web.Request) -> web.Response:
        return _plain(self._live.snapshot().not_ready)

    async def status(self, request: web.Request) -> web.Response:
        live = self._live
        snapshot, totals, panels = live.snapshot(), live.totals.snapshot(), [panel() for panel in self._panels]
        refreshing = request.query.get("refresh") != "off"

        def work() -> str:
            trouble = ""
            try:
                recent = live.queries.canaries(Filter(limit=RECENT))
                listed = list_incidents(live.queries, active=True, limit=SHOWN_INCIDENTS)
            except LedgerError:
                recent, listed, trouble = [], Listed(()), _LEDGER_TROUBLE
            legs = leg_statuses(snapshot, totals, recent)
            broken = ", ".join(listed.unreadable)
            trouble = trouble or (broken and f"Incidents that this version cannot read: {broken}.")
            return status_page(
                snapshot, legs, recent, panels, trouble=trouble, refreshing=refreshing, incidents=listed.incidents
            )

        return web.Response(text=await asyncio.to_thread(work), content_type="text/html")

    async def canary(self, request: web.Request) -> web.Response:
        wanted = request.match_info["id"]
        html = await asyncio.to_thread(lambda: canary_page(find(self._live.queries, wanted)))
        return web.Response(text=html, content_type="text/html")

    async def api_status(self, _: web.Request) -> web.Response:
        live = self._live
        snapshot, totals = live.snapshot(), live.totals.snapshot()

        def work() -> dict[str, Any]:
            recent = live.queries.canaries(Filter(limit=RECENT))
            return status_json(snapshot, leg_statuses(snapshot, totals, recent))

        return web.json_response(await asyncio.to_thread(work))

    async def api_canaries(self, request: web.Request) -> web.Response:
        wanted = self._filter(request)
        found = await asyncio.to_thread(lambda: [canary_json(one) for one in self._live.queries.canaries(wanted)])
        return web.json_response({"canaries": found})

    def _filter(self, request: web.Request) -> Filter:
        query = request.query
        unknown = sorted(set(query) - {"route", "mx", "outcome", "since", "limit"})
        if unknown:
            raise UsageError(f"unknown: {clean(', '.join(unknown), 100)}; known: route, mx, outcome, since, limit")
        outcome = query.get("outcome")
        if outcome is not None and outcome not in OUTCOME_NAMES:
            raise UsageError(f"outcome must be one of {', '.join(OUTCOME_NAMES)}")
        limit = query.get("limit", "100")
        if not (limit.isascii() and limit.isdigit() and len(limit) <= 5 and 1 <= int(limit) <= MOST_CANARIES):
            raise UsageError(f"limit must be a number from 1 to {MOST_CANARIES}")
        since = query.get("since")
        now = self._live.snapshot().taken.utc
        return Filter(
            route=query.get("route"),
            mx=query.get("mx"),
            outcome=outcome,
            since=None if since is None else parse_since(since, now),
            limit=int(limit),
        )

    async def api_canary(self, request: web.Request) -> web.Response:
        wanted = request.match_info["id"]
        return web.json_response(await asyncio.to_thread(lambda: life_json(find(self._live.queries, wanted))))


def _plain(problems: Sequence[str], prefix: str = "") -> web.Response:
    lines = [f"{prefix}{clean(problem)}" for problem in problems] or ["ok"]
    return web.Response(text="\n".join(lines) + "\n", status=503 if problems else 200)


class WebServer:
    """The application on an address, with TLS by a certificate that is kept current, or by a context that stays as it
    is. One at a time: ``start``, then ``stop``."""

    def __init__(self, app: web.Application, tls: Certificate | ssl.SSLContext | None = None) -> None:
        self._app = app
        self._certificate = tls if isinstance(tls, Certificate) else None
        self._context = tls.context if isinstance(tls, Certificate) else tls
        self._keeping: asyncio.Task[None] | None = None
        self._runner: web.AppRunner | None = None
        self.host = ""
        self.port = 0

    @property
    def url(self) -> str:
        """Where it answers, e.g. ``http://127.0.0.1:9925``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self._context else 'http'}://{host}:{self.port}"

    async def start(self, host: str, port: int) -> None:
        """Listen; port 0 takes a free one, then found in ``port``. Raises UnreachableError naming the address."""
        runner = web.AppRunner(
            self._app,
            access_log=None,
            handle_signals=False,
            keepalive_timeout=KEEPALIVE_SECONDS,
            shutdown_timeout=STOP_SECONDS,
            max_line_size=4096,
            max_field_size=4096,
        )
        await runner.setup()
        try:
            site = web.TCPSite(runner, host, port, backlog=256, reuse_address=True, ssl_context=self._context)
            await site.start()
        except OSError as error:
            await runner.cleanup()
            raise UnreachableError(
                f"cannot listen on {host}:{port}: {_why(error)}; name another address in `listen` or stop what holds it"
            ) from error
        self._runner = runner
        self.host, self.port = runner.addresses[0][:2]
        if self._certificate is not None:
            self._keeping = asyncio.create_task(self._certificate.keep_current())

    async def reload(self) -> bool:
        """Take a certificate over whose files have changed, now; whether there was one. A broken one is only said."""
        return self._certificate is not None and await self._certificate.reload()

    async def stop(self) -> None:
        """Close; requests under way get a moment. Idempotent."""
        if self._keeping is not None:
            self._keeping.cancel()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()


def _why(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return str(error.strerror)
    return "the address is in use" if error.errno == 98 else str(error.strerror or error)
