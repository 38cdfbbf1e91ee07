"""The web side of incidents: a list, a page for each, and the same as JSON. It only reads."""

from __future__ import annotations

import asyncio

from aiohttp import web

from probe.detection.moments import to_second
from probe.detection.record import Incident, State
from probe.detection.report import requeue_instruction, status_page, to_json
from probe.detection.strata import Stratum, ratio
from probe.errors import UsageError
from probe.exposition.incidents import (
    MOST_INCIDENTS,
    Listed,
    find_incident,
    kind_text,
    legs_text,
    list_incidents,
    listed_json,
    loss_text,
    masked,
    state_text,
    window_text,
)
from probe.exposition.live import Live
from probe.exposition.pages import page, text
from probe.exposition.present import clean

REFRESH_SECONDS = 10
_TONES = {
    State.SUSPECTED: "warn",
    State.OPEN: "bad",
    State.IDENTIFIED: "bad",
    State.RECOVERING: "warn",
    State.DRAINED: "warn",
    State.CLOSED: "good",
}
_SWITCHES = {"true": True, "false": False}


def incident_routes(live: Live) -> list[web.RouteDef]:
    """The addresses ``/incidents`` and ``/api/incidents``, with those of each incident."""
    handlers = _Handlers(live)
    return [
        web.get("/incidents", handlers.pages),
        web.get("/incidents/{id}", handlers.page),
        web.get("/api/incidents", handlers.api_list),
        web.get("/api/incidents/{id}", handlers.api_one),
    ]


class _Handlers:
    def __init__(self, live: Live) -> None:
        self._live = live

    async def pages(self, request: web.Request) -> web.Response:
        listed = await self._listed(request)
        return web.Response(text=await asyncio.to_thread(incidents_page, listed), content_type="text/html")

    async def page(self, request: web.Request) -> web.Response:
        wanted = request.match_info["id"]
        html = await asyncio.to_thread(lambda: incident_page(find_incident(self._live.queries, wanted)))
        return web.Response(text=html, content_type="text/html")

    async def api_list(self, request: web.Request) -> web.Response:
        return web.json_response(listed_json(await self._listed(request)))

    async def api_one(self, request: web.Request) -> web.Response:
        wanted = request.match_info["id"]
        found = await asyncio.to_thread(lambda: masked(to_json(find_incident(self._live.queries, wanted))))
        return web.json_response(found)

    async def _listed(self, request: web.Request) -> Listed:
        query = request.query
        known = ("route", "active", "passed", "limit")
        unknown = sorted(set(query) - set(known))
        if unknown:
            raise UsageError(f"unknown: {clean(', '.join(unknown), 100)}; known: {', '.join(known)}")
        switches = {name: _SWITCHES.get(query.get(name, "false")) for name in ("active", "passed")}
        if None in switches.values():
            raise UsageError("active and passed must be true or false")
        limit = query.get("limit", "100")
        if not (limit.isascii() and limit.isdigit() and len(limit) <= 5 and 1 <= int(limit) <= MOST_INCIDENTS):
            raise UsageError(f"limit must be a number from 1 to {MOST_INCIDENTS}")
        return await asyncio.to_thread(
            lambda: list_incidents(
                self._live.queries,
                route=query.get("route"),
                active=bool(switches["active"]),
                passed=bool(switches["passed"]),
                limit=int(limit),
            )
        )


def incidents_page(listed: Listed) -> str:
    """The list at ``/incidents``."""
    rows = "".join(
        f'<tr><td class="t"><a href="/incidents/{text(one.id)}">{text(one.id)}</a></td><td>{text(one.route)}</td>'
        f'<td>{text(kind_text(one))}</td><td>{_tag(one)}</td><td class="t">{text(to_second(one.first_bad))}</td>'
        f"<td>{text(legs_text(one))}</td><td>{text(loss_text(one))}</td><td>{text(window_text(one))}</td></tr>"
        for one in listed.incidents
    )
    head = "".join(
        f"<th>{name}</th>"
        for name in ("id", "route", "kind", "state", "first overdue", "legs", "lost or overdue", "queue again")
    )
    body = f"<table><tr>{head}</tr>{rows}</table>" if rows else "<p>There was none.</p>"
    note = "".join(f"<p>The record of {text(one)} cannot be read by this version.</p>" for one in listed.unreadable)
    notes = f'<section class="note">{note}</section>' if note else ""
    return page(
        "mailcanary: incidents", f"{notes}<section><h2>Incidents</h2>{body}</section>", aside="<p>incidents</p>"
    )


def incident_page(incident: Incident) -> str:
    """One incident: where it stands, what to say and to queue again, the counts, the all-clear, and what led to it."""
    facts = "".join(
        f"<dt>{text(label)}</dt><dd>{value}</dd>"
        for label, value in (
            ("state", _tag(incident)),
            ("route", text(incident.route)),
            ("kind", text(kind_text(incident))),
            ("legs", text(incident.naming.sentence if incident.naming else legs_text(incident))),
            ("lost or overdue", text(loss_text(incident))),
            ("first overdue canary", text(to_second(incident.first_bad))),
            ("paged", text(to_second(incident.detected_at))),
            ("closed", text(to_second(incident.closed_at) if incident.closed_at else "no")),
            ("queue again", text(window_text(incident))),
        )
    )
    body = "".join(
        (
            f"<section><h2>Incident {text(incident.id)}</h2><dl>{facts}</dl></section>",
            f"<section><h2>For the status page</h2><p>{text(status_page(incident))}</p></section>",
            f"<section><h2>What to queue again</h2>{_lines(requeue_instruction(incident))}"
            f'<p class="dim">With an estimate of the mails lost: <code>mailcanary report {text(incident.id)} '
            "--volume N</code></p></section>",
            _strata(incident.counts.strata),
            _all_clear(incident),
            _reasons(incident),
        )
    )
    going = incident.state is State.SUSPECTED or incident.state.active
    return page(
        f"mailcanary: incident {incident.id}",
        body,
        aside='<p><a href="/incidents">incidents</a></p>',
        refresh=REFRESH_SECONDS if going else 0,
    )


def _lines(words: str) -> str:
    """Text of several lines as it stands; each line is cleaned by itself, so that the breaks stay."""
    return f"<pre>{chr(10).join(text(line) for line in words.splitlines())}</pre>"


def _strata(strata: tuple[Stratum, ...]) -> str:
    rows = "".join(
        f"<tr><td>{text(one.mx)}</td><td>{text(one.variant)}</td>"
        + "".join(
            f'<td class="n">{value}</td>'
            for value in (one.sent, one.delivered, one.late, one.missing, one.lost, one.recovered, one.unknown)
        )
        + f'<td class="n">{_share(one)}</td></tr>'
        for one in strata
    )
    if not rows:
        return "<section><h2>What the canaries say</h2><p>Nothing was counted yet.</p></section>"
    names = ("sent", "in time", "late", "overdue", "lost", "recovered", "unknown", "share lost or overdue (95 %)")
    head = "<th>leg</th><th>variant</th>" + "".join(f'<th class="n">{name}</th>' for name in names)
    return f"<section><h2>What the canaries say</h2><table><tr>{head}</tr>{rows}</table></section>"


def _share(stratum: Stratum) -> str:
    share = ratio([stratum])
    return f"{share.estimate:.2%} ({share.lower:.2%} to {share.upper:.2%})"


def _all_clear(incident: Incident) -> str:
    lines = "".join(f"<p>{text(leg.mx)}: {text(leg.sentence)}.</p>" for leg in incident.all_clear)
    words = lines or "<p>No proof has begun.</p>"
    return f"<section><h2>Is it over?</h2>{words}</section>"


def _reasons(incident: Incident) -> str:
    rows = "".join(
        f'<tr><td class="t">{text(to_second(at))}</td><td>{text(sentence)}</td></tr>'
        for at, sentence in incident.reasons
    )
    return f"<section><h2>What led to this</h2><table>{rows}</table></section>"


def _tag(incident: Incident) -> str:
    return f'<span class="tag {_TONES.get(incident.state, "")}">{text(state_text(incident))}</span>'
