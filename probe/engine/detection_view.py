"""What detectors and incidents show of themselves: the gauges of a leg."""

from __future__ import annotations

import math
from datetime import datetime

from probe.detection.detector_blackout import RUN
from probe.detection.detector_findings import Kind
from probe.detection.record import State
from probe.engine.incident_work import Tracked
from probe.engine.watched import WatchedLeg
from probe.exposition.live import DetectorView
from probe.exposition.registry import LASTS

OK, SUSPECTED, OPEN, RECOVERING, UNKNOWN, PAUSED = range(6)


def detector_view(watched: WatchedLeg, tracked: Tracked | None, *, blind: bool, paused: bool) -> DetectorView:
    """``tracked``: the last incident of the route, over or not. A calm leg shows the same object again and again: of a
    thousand legs nearly all are, at every scrape."""
    if watched.troubled or tracked is not None or blind or paused or True in watched.recent:
        return _view(watched, tracked, blind=blind, paused=paused)
    key = watched.calibrated, watched.detector.tuning
    if watched.calm is None or watched.calm[0] != key:
        watched.calm = key, _view(watched, None, blind=False, paused=False)
    return watched.calm[1]


def _view(watched: WatchedLeg, tracked: Tracked | None, *, blind: bool, paused: bool) -> DetectorView:
    detector, known = watched.detector, watched.calibrated
    mx = watched.leg.mx
    active = tracked is not None and tracked.incident.state.active
    hit = tracked is not None and active and mx in tracked.incident.affected
    # Before a leg has a history its share raises a ticket: it cannot page, whatever the points.
    pages_at = detector.tuning.score if detector.tuning.share_pages else math.inf
    kind = None if detector.open is None else detector.open.kind
    share = max(detector.score, pages_at) if kind is Kind.SHARE and pages_at < math.inf else detector.score
    blackout = RUN if kind is Kind.BLACKOUT else detector.blackout_run
    view = DetectorView(
        share=(share, pages_at),
        blackout=(float(blackout), float(RUN)),
        suspicion=detector.tuning.suspect_after,
        noise=known.noise,
        smallest_loss=known.threshold.smallest_loss,
        false_pages=known.threshold.false_pages,
        hunting=detector.score > 0,
        recent=watched.recent_bad(LASTS),
        state=_state(watched, tracked if hit else None, blind=blind, paused=paused),
    )
    return _with_incident(view, tracked, mx) if tracked is not None and hit else view


def _state(watched: WatchedLeg, tracked: Tracked | None, *, blind: bool, paused: bool) -> int:
    if tracked is not None:
        return RECOVERING if tracked.incident.state in (State.RECOVERING, State.DRAINED) else OPEN
    if paused:
        return PAUSED
    if blind:
        return UNKNOWN
    return OK if watched.detector.score == 0 and watched.detector.dark_since is None else SUSPECTED


def _with_incident(view: DetectorView, tracked: Tracked, mx: str) -> DetectorView:
    incident = tracked.incident
    window = dict(incident.windows).get(mx)
    needed = next((leg.needed for leg in incident.all_clear if leg.mx == mx), 0)
    return DetectorView(
        view.share,
        view.blackout,
        view.suspicion,
        view.noise,
        view.smallest_loss,
        view.false_pages,
        view.hunting,
        view.recent,
        view.state,
        kind="" if incident.kind is None else incident.kind.value,
        needed=needed,
        incident_start=incident.first_bad.timestamp(),
        affected=sum(stratum.overdue for stratum in incident.counts.of([mx])),
        requeue_start=0.0 if window is None else window.start.timestamp(),
        requeue_end=0.0 if window is None else _or_nought(window.end),
    )


def _or_nought(moment: datetime | None) -> float:
    return 0.0 if moment is None else moment.timestamp()
