"""The pages as HTML: plain, without scripts or anything from elsewhere, readable without colour.

Every value is escaped where it is put in. What came from outside (replies, header lines) passes ``clean`` as well, so
that no control or direction character can disguise what stands beside it. Panels are trusted HTML of our own program.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from probe import __version__
from probe.canary.record import Canary, State
from probe.clock import NANOSECONDS
from probe.detection.moments import to_second
from probe.detection.record import Incident
from probe.exposition.incidents import kind_text, legs_text, loss_text, state_text
from probe.exposition.live import MailboxView, Snapshot
from probe.exposition.present import clean, duration_text, life_json, stamp, without_tokens
from probe.exposition.status import LegStatus
from probe.exposition.style import CSS
from probe.ledger.queries import Life

REFRESH_SECONDS = 5
SHOWN_CANARIES = 25
SHOWN_STRIP = 60

_TONES = {
    State.DELIVERED: "good",
    State.LATE: "warn",
    State.LOST: "bad",
    State.BOUNCED: "bad",
    State.REFUSED: "bad",
    State.UNSENT: "warn",
}
_LETTERS = {
    State.DELIVERED: "d",
    State.LATE: "l",
    State.LOST: "X",
    State.BOUNCED: "B",
    State.REFUSED: "R",
    State.UNSENT: "U",
    State.UNKNOWN: "?",
}


def text(value: object) -> str:
    """Any value, escaped for an element or a quoted attribute."""
    return escape(clean(without_tokens(str(value))))


def page(title: str, body: str, *, aside: str = "", refresh: int = 0) -> str:
    """A whole document."""
    again = f'<meta http-equiv="refresh" content="{refresh}">' if refresh else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{text(title)}</title>{again}
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{CSS}</style></head>
<body><header><h1><a href="/">mailcanary</a></h1>{aside}</header>
<main>{body}</main>
<footer>mailcanary {text(__version__)} · <a href="/metrics">metrics</a> · <a href="/api/status">status as JSON</a>
· <a href="/api/canaries?limit=100">canaries as JSON</a> · <a href="/incidents">incidents</a></footer></body></html>"""


def status_page(
    snapshot: Snapshot,
    legs: Sequence[LegStatus],
    recent: Sequence[Canary],
    panels: Iterable[str],
    *,
    trouble: str = "",
    refreshing: bool = True,
    incidents: Sequence[Incident] = (),
) -> str:
    """The page at ``/``. ``trouble``: why the ledger could not be asked, or "". ``incidents``: those not over."""
    now = snapshot.taken.wall / NANOSECONDS
    switch = (
        f'refreshes every {REFRESH_SECONDS} s · <a href="/?refresh=off">hold still</a>'
        if refreshing
        else '<a href="/">refresh again</a>'
    )
    aside = (
        f"<p>prober {text(snapshot.prober)} · up {duration_text(snapshot.taken.since(snapshot.started))}</p>"
        f"<p>{text(snapshot.taken.utc.strftime('%Y-%m-%d %H:%M:%S'))} UTC · {switch}</p>"
    )
    body = "".join(
        (
            _notes(snapshot, trouble),
            _incidents(incidents),
            _legs(legs, now),
            *panels,
            _mailboxes(snapshot.mailboxes, now),
            _canaries(recent[:SHOWN_CANARIES], now),
        )
    )
    return page("mailcanary: status", body, aside=aside, refresh=REFRESH_SECONDS if refreshing else 0)


def _notes(snapshot: Snapshot, trouble: str) -> str:
    lines = [
        *(["The daemon is stopping."] if snapshot.stopping else []),
        *([] if snapshot.ledger_writable else ["The ledger cannot be written: nothing is sent until it can."]),
        *([trouble] if trouble else []),
        *(f"No progress: {name}" for name in snapshot.stalled),
        *(f"Not ready: {why}" for why in snapshot.not_ready),
        *snapshot.notes,
    ]
    return f'<section class="note">{"".join(f"<p>{text(line)}</p>" for line in lines)}</section>' if lines else ""


def _incidents(incidents: Sequence[Incident]) -> str:
    """What is open, above all else; nothing where nothing is."""
    rows = "".join(
        f'<tr><td class="t"><a href="/incidents/{text(one.id)}">{text(one.id)}</a></td>'
        f"<td><strong>{text(one.route)}</strong> / {text(legs_text(one))}</td><td>{text(kind_text(one))}</td>"
        f'<td>{_tag(state_text(one), "bad")}</td><td class="t">{text(to_second(one.first_bad))}</td>'
        f"<td>{text(loss_text(one))}</td></tr>"
        for one in incidents
    )
    names = ("id", "route / bad legs", "kind", "state", "since", "lost or overdue (95 %)")
    head = "".join(f"<th>{name}</th>" for name in names)
    return f'<section id="open"><h2>Open incidents</h2><table><tr>{head}</tr>{rows}</table></section>' if rows else ""


def _legs(legs: Sequence[LegStatus], now: float) -> str:
    if not legs:
        return "<section><h2>Legs</h2><p>No route has a leg yet.</p></section>"
    names = ("sent", "delivered", "late", "lost", "bounced", "refused", "unsent", "unknown", "recovered", "duplicates")
    head = "".join(f'<th class="n">{name}</th>' for name in (*names, "in flight", "overdue now"))
    rows = "".join(_leg(leg, now, len(names) + 6) for leg in legs)
    return (
        f'<section><h2>Legs</h2><table class="tight"><tr><th>route / mx</th><th>now</th>{head}<th>last delivery</th>'
        f'<th class="n">latency</th></tr>{rows}</table><p class="dim">The strip, oldest first: d delivered, l late, '
        "X lost, B bounced, R refused, U unsent, ? unknown, · in flight.</p></section>"
    )


def _leg(leg: LegStatus, now: float, columns: int) -> str:
    view = leg.view
    tone = {True: "good", False: "bad", None: "warn" if leg.word == "blind" else ""}[leg.good]
    outcomes = leg.outcomes
    numbers = "".join(
        _number(value)
        for value in (leg.sent, *outcomes.values(), leg.recovered, leg.duplicates, view.in_flight, view.overdue_now)
    )
    latency = next((canary.latency for canary in leg.recent if canary.latency is not None), None)
    return (
        f'<tr><td class="t"><strong>{text(view.leg.route)}</strong> / {text(view.leg.mx)}</td>'
        f"<td>{_tag(leg.word, tone)}</td>{numbers}"
        f'<td class="t">{_ago(view.last_delivery, now)}</td><td class="n">{duration_text(latency)}</td></tr>'
        f'<tr><td colspan="{columns}"><span class="dim">every {duration_text(view.every)}, '
        f"overdue after {duration_text(view.overdue_after)}, lost after {duration_text(view.lost_after)}"
        f"{'' if view.paging else ', measured only'}</span>{_strip(leg.recent)}</td></tr>"
    )


def _strip(recent: Sequence[Canary]) -> str:
    """The last canaries, oldest first: a letter each, which links to its life."""
    if not recent:
        return '<div class="dim">no canary yet</div>'
    cells = "".join(
        f'<a class="{_TONES.get(canary.state, "")}" href="/canaries/{text(canary.id)}" '
        f'title="{text(canary.id)}: {text(canary.state.value)}">{_LETTERS.get(canary.state, "·")}</a>'
        for canary in reversed(recent[:SHOWN_STRIP])
    )
    return f'<div class="strip">{cells}</div>'


def _mailboxes(boxes: Sequence[MailboxView], now: float) -> str:
    rows = "".join(
        f"<tr><td><strong>{text(box.name)}</strong></td>"
        f"<td>{_tag('blind', 'bad') if box.blind else _tag('seeing', 'good')}</td>"
        f'<td>{text(", ".join(box.folders))}</td><td class="n">{box.messages}</td>'
        f'<td class="t">{_ago(box.last_read, now)}</td>'
        f'<td class="t">{"none" if box.control_seen is None else _ago(box.control_seen, now)}</td>'
        f"<td>{text(box.problem)}{f' (since {_ago(box.blind_since, now)})' if box.blind else ''}</td></tr>"
        for box in boxes
    )
    return (
        '<section><h2>Mailboxes</h2><table><tr><th>mailbox</th><th>now</th><th>folders</th><th class="n">messages</th>'
        f"<th>last complete read</th><th>control canary seen</th><th>trouble</th></tr>{rows}</table></section>"
    )


def _canaries(recent: Sequence[Canary], now: float) -> str:
    rows = "".join(
        f'<tr><td><a href="/canaries/{text(canary.id)}"><code>{text(canary.id)}</code></a></td>'
        f"<td>{text(canary.leg.route)} / {text(canary.leg.mx)}</td>"
        f'<td class="t">{_ago(canary.sent.wall / NANOSECONDS, now)}</td>'
        f"<td>{_state(canary)}</td>"
        f'<td class="n">{duration_text(canary.latency)}</td><td>{text(canary.reason)}</td></tr>'
        for canary in recent
    )
    return (
        "<section><h2>Last canaries</h2><table><tr><th>id</th><th>route / mx</th><th>sent</th><th>state</th>"
        f'<th class="n">latency</th><th>why</th></tr>{rows}</table></section>'
    )


def canary_page(life: Life) -> str:
    """One canary's life: every move with its reason, the dialogue, the raw Received lines."""
    facts: dict[str, Any] = life_json(life)
    canary = life.canary
    shown = "".join(
        f"<dt>{text(label)}</dt><dd>{text(value)}</dd>"
        for label, value in (
            ("route / mx", f"{canary.leg.route} / {canary.leg.mx}"),
            ("mailbox", canary.leg.mailbox),
            ("variant", canary.variant),
            ("prober", canary.prober),
            ("sent", facts["sent_at"]),
            ("arrived", facts["arrived_at"]),
            ("recovered", facts["recovered_at"]),
            ("latency", canary.latency and duration_text(canary.latency)),
            ("uncertainty", canary.uncertainty is not None and duration_text(canary.uncertainty)),
            ("folder", canary.folder),
            ("attempts", canary.attempts),
            ("duplicates", canary.duplicates),
            ("queued as", canary.queued_as),
        )
        if value not in (None, "", False)
    )
    moves = "".join(
        f'<tr><td class="t">{text(move["at"])}</td><td class="t">{text(move["from"])} → {text(move["to"])}</td>'
        f"<td>{text(move['reason'])}</td></tr>"
        for move in facts["moves"]
    )
    body = (
        f"<section><h2>Canary <code>{text(canary.id)}</code> {_state(canary)}</h2>"
        f"<p>{text(canary.reason)}</p><dl>{shown}</dl></section>"
        f"<section><h2>Its life</h2><table><tr><th>when</th><th>move</th><th>why</th></tr>{moves}</table></section>"
        + "".join(_attempt(attempt) for attempt in facts["smtp"])
        + "".join(_copy(copy) for copy in facts["copies"])
        + "".join(_report(report) for report in facts["reports"])
    )
    return page(f"canary {canary.id}", body, aside="<p>one canary's life</p>")


def _attempt(attempt: dict[str, Any]) -> str:
    phases = ", ".join(f"{text(name)} {duration_text(value)}" for name, value in attempt["phases"].items())
    lines = "".join(
        f'<tr><td class="t">{text(exchange["stage"])}</td><td><code>{text(exchange["sent"])}</code></td>'
        f"<td><code>{text(exchange['code'] or '')} {text(exchange['reply'])}</code></td></tr>"
        for exchange in attempt["dialogue"]
    )
    return (
        f"<section><h2>Attempt {text(attempt['attempt'])}: {text(attempt['result'])}</h2>"
        f"<p>{text(attempt['detail'])}</p><dl><dt>started</dt><dd>{text(attempt['started_at'])}</dd>"
        f"<dt>server</dt><dd>{text(attempt['address'] or 'none reached')}</dd>"
        f"<dt>TLS</dt><dd>{text(attempt['tls'] or 'in clear')}</dd><dt>phases</dt><dd>{phases or 'none'}</dd></dl>"
        f"<table><tr><th>stage</th><th>we said</th><th>the server said</th></tr>{lines}</table></section>"
    )


def _copy(copy: dict[str, Any]) -> str:
    received = "".join(f"<pre>{text(line)}</pre>" for line in copy["received"]) or "<p>No Received line.</p>"
    return (
        f"<section><h2>Copy in {text(copy['folder'])}: {text(copy['kind'])}</h2><dl>"
        f"<dt>seen</dt><dd>{text(copy['seen_at'])}</dd>"
        f"<dt>the mailbox's own time</dt><dd>{text(copy['mailbox_time'] or 'none')}</dd>"
        f"<dt>number</dt><dd>UID {text(copy['uid'])}, UIDVALIDITY {text(copy['epoch'])}</dd>"
        f"<dt>carriers that verified</dt><dd>{text(', '.join(copy['carriers']) or 'none')}</dd>"
        f"<dt>removed</dt><dd>{text(copy['removed_at'] or ('gone, not by us' if copy['gone'] else 'no'))}</dd></dl>"
        f"<h2>Received</h2>{received}</section>"
    )


def _report(report: dict[str, Any]) -> str:
    said = "".join(f"<pre>{text(line)}</pre>" for line in report["said"])
    return (
        f"<section><h2>Delivery report in {text(report['mailbox'])}, {text(report['folder'])}</h2><dl>"
        f"<dt>seen</dt><dd>{text(report['seen_at'])}</dd>"
        f"<dt>number</dt><dd>UID {text(report['uid'])}, UIDVALIDITY {text(report['epoch'])}</dd>"
        f"<dt>names the canary by</dt><dd>{text(', '.join(report['matched']))}</dd></dl>{said}</section>"
    )


def problem_page(title: str, sentence: str) -> str:
    """A page that says why there is nothing."""
    return page(title, f"<section><h2>{text(title)}</h2><p>{text(sentence)}</p></section>")


def _tag(word: str, tone: str) -> str:
    return f'<span class="tag {tone}">{text(word)}</span>'


def _state(canary: Canary) -> str:
    tag = _tag(canary.state.value.replace("_", " "), _TONES.get(canary.state, ""))
    return f"{tag} {_tag('recovered', 'warn')}" if canary.recovered else tag


def _number(value: int) -> str:
    return f'<td class="n{"" if value else " zero"}">{value}</td>'


def _ago(moment: float, now: float) -> str:
    if not moment:
        return "never"
    ago = duration_text(max(0.0, round(now - moment, 1)))
    return f'<span title="{text(stamp(float(moment)) or "")}">{ago} ago</span>'
