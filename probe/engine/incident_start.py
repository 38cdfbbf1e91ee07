"""Detectors and incidents are kept apart; what a start does where they do not agree. And an operator's order."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from probe.clock import Instant
from probe.detection.detector_findings import Finding, Grade, Kind
from probe.detection.record import Incident
from probe.engine.detecting import Detecting
from probe.engine.incident_work import ns_of
from probe.errors import UsageError
from probe.ledger.batch import IncidentRow


def seconds_of(detecting: Detecting, moment: datetime) -> float:
    """Where ``moment`` lies on the detectors' line of time."""
    return detecting.timeline.seconds(Instant(ns_of(moment), 0, ""))


def hold(detecting: Detecting, incident: Incident) -> None:
    """Its detectors page no second time, also where what they knew was lost."""
    for page in incident.pages:
        watched = detecting.legs.get((incident.route, page.mx))
        if watched is not None and watched.detector.open is None and page.mx in incident.broken:
            first, at = seconds_of(detecting, page.first_bad), seconds_of(detecting, page.at)
            kind = Kind(page.rule)
            watched.detector.opened(Finding(kind, Grade.PAGE, at, page.score, page.threshold, "", first, None))


def let_go(detecting: Detecting, rows: Iterable[IncidentRow], open_routes: Collection[str]) -> None:
    """Detectors whose incident ended without them: an operator called it false while no daemon ran. ``rows``: the last
    incidents, newest first."""
    latest: dict[str, IncidentRow] = {}
    for row in rows:
        latest.setdefault(row.route, row)
    for (route, _), watched in detecting.legs.items():
        if watched.detector.open is None or route in open_routes:
            continue
        last, now = latest.get(route), detecting.now()
        if last is not None and last.state == "false":
            watched.called_false(last.id, now)
        elif last is not None:
            watched.calibration.closed(last.id, now)
        watched.detector.closed()


def order(request: Mapping[str, Any]) -> tuple[str, str]:
    """``incident`` and ``reason`` of the control socket's mark_false. Raises UsageError."""
    incident, reason = request.get("incident"), request.get("reason", "")
    if not isinstance(incident, str) or not isinstance(reason, str) or len(reason) > 500 or len(incident) > 200:
        raise UsageError("mark_false: incident must be an id, reason a text of at most 500 characters")
    return incident, reason
