"""How incidents are found in the ledger and shown to people and tools: one form for the commands and the web side.

The JSON object is the record (detection/record.py). What stands in a record was written by this program, but names and
replies in it come from outside: ``shown`` before a terminal sees them, escaping for HTML is the pages' own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from probe.detection.moments import to_minute
from probe.detection.record import Incident, State
from probe.errors import LedgerError, MailCanaryError
from probe.exposition.present import clean, without_tokens
from probe.ledger.batch import IncidentRow
from probe.ledger.queries import Queries

MOST_INCIDENTS = 1_000
LONGEST_ID = 200
_ACTIVE = frozenset(state.value for state in State if state.active)


@dataclass(frozen=True, slots=True)
class Listed:
    """Incidents, newest first, and the ids of those whose record this version cannot read."""

    incidents: tuple[Incident, ...]
    unreadable: tuple[str, ...] = ()


def list_incidents(
    queries: Queries, *, route: str | None = None, active: bool = False, passed: bool = False, limit: int = 50
) -> Listed:
    """At most ``limit``, newest first. ``active``: paged and not over; ``passed``: also suspicions that came to
    nothing, which are many and tell an operator little. Raises LedgerError where the ledger cannot be read."""
    found = queries.incidents(
        route=route,
        states=_ACTIVE if active else (),
        without=() if passed else (State.DISMISSED.value,),
        limit=limit,
    )
    incidents, unreadable = [], []
    for row in found:
        try:
            incidents.append(incident_of(row))
        except LedgerError:  # one that cannot be read must not hide the others
            unreadable.append(row.id)
    return Listed(tuple(incidents), tuple(unreadable))


def find_row(queries: Queries, text: str) -> IncidentRow:
    """The ledger's row of the incident with the id ``text``. Raises MailCanaryError where there is none."""
    wanted = text.strip()
    row = queries.incident(wanted) if 0 < len(wanted) <= LONGEST_ID else None
    if row is None:
        raise MailCanaryError(f"no incident {clean(wanted, 60)!r} in the ledger; `mailcanary incidents` lists them")
    return row


def find_incident(queries: Queries, text: str) -> Incident:
    """The incident with the id ``text``. Raises MailCanaryError where there is none, LedgerError."""
    return incident_of(find_row(queries, text))


def incident_of(row: IncidentRow) -> Incident:
    """The record of a row. Raises LedgerError where this version cannot read it."""
    try:
        return Incident.from_json(json.loads(row.record))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise LedgerError(
            f"the record of incident {clean(row.id, 60)} cannot be read ({clean(str(problem), 100)}); if a newer "
            "version wrote it, read it with that one"
        ) from problem


def listed_json(listed: Listed) -> dict[str, Any]:
    """The object that the API returns: the records, and the ids of those that cannot be read."""
    return {
        "incidents": [masked(incident.to_json()) for incident in listed.incidents],
        "unreadable": list(listed.unreadable),
    }


def masked(value: Any) -> Any:
    """JSON without tokens, wherever a server repeated one."""
    if isinstance(value, str):
        return without_tokens(value)
    if isinstance(value, Mapping):
        return {key: masked(inner) for key, inner in value.items()}
    return [masked(inner) for inner in value] if isinstance(value, list) else value


def shown(value: object, limit: int = 2000) -> str:
    """For a terminal: on one line, nothing that acts on it, no token."""
    return clean(without_tokens(str(value)), limit)


def kind_text(incident: Incident) -> str:
    """``partial loss``; "-" while it is not known."""
    return incident.kind.value.replace("_", " ") if incident.kind else "-"


def state_text(incident: Incident) -> str:
    """The state in words, with how often it was reopened."""
    word = {State.DISMISSED: "passed without a page", State.FALSE: "marked false"}.get(
        incident.state, incident.state.value
    )
    again = len(incident.reopened)
    return word + (f", reopened {again}x" if again else "")


def legs_text(incident: Incident) -> str:
    """The legs known to be bad, of how many, and whether others may be: ``mx3 of 8 (others not told apart)``."""
    bad = incident.affected
    if not bad:
        return "-"
    untold = bool(incident.naming.untold if incident.naming else len(incident.legs) > len(bad))
    of = f" of {len(incident.legs)}" if len(incident.legs) > 1 else ""
    return ", ".join(bad) + of + (" (others not told apart)" if untold else "")


def loss_text(incident: Incident) -> str:
    """The share lost with its bounds: ``4.61% (2.91% to 6.90%) of 477``; "-" before a canary is judged."""
    loss = incident.loss
    if not loss.judged:
        return "-"
    return f"{loss.estimate:.2%} ({loss.lower:.2%} to {loss.upper:.2%}) of {loss.judged}"


def window_text(incident: Incident) -> str:
    """The window to queue again; "-" where none can be given."""
    if incident.requeue is None or incident.state in (State.FALSE, State.DISMISSED):
        return "-"
    start, end = incident.requeue
    return f"{to_minute(start)} to {'not over yet' if end is None else to_minute(end)}"
