"""An incident's life: every state, every observation, and the one table of the moves that are allowed.

    suspected ─┬─► open ⇄ identified ─► recovering ⇄ drained ─► closed ─► open again within 24 h
               │       ◄─────────────── (a bad canary again)
               └─► dismissed            each but suspected and dismissed ─► false (an operator says so)

``apply`` is the only way from one record to the next. An observation that the table does not allow raises
``IllegalMove``. ``drained`` is skipped where the all-clear comes first: a lost canary has no outcome before its
deadline (hours), and the proof that the fault is over does not wait for it; what drains later is noted beside
``closed``. An incident whose legs or whose route are gone is closed too, since nothing can be proven any more, and says
so: ``unproven``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from probe.detection.incident_observations import (
    Counted,
    LegsGone,
    MarkedFalse,
    Observation,
    Paged,
    Proved,
    RouteGone,
    SuspicionPassed,
    Swept,
    WindowFound,
    Worsened,
)
from probe.detection.incident_table import ALLOWED, allows
from probe.detection.moments import to_second
from probe.detection.naming import join_names
from probe.detection.record import Incident, Kind, LegProgress, Named, Page, State
from probe.detection.recovery import SPEED_UP, Phase
from probe.errors import IllegalMove

__all__ = [
    "ALLOWED",
    "REOPENS_WITHIN",
    "allows",
    "apply",
    "kind_of",
    "name_incident",
    "suspect",
    "takes_page",
]

REOPENS_WITHIN = timedelta(hours=24)
MOST_REASONS = 100
_TOTAL = 0.9  # of the canaries up to the last bad one: a total loss. The rest is slow mail from before, and luck
_ENOUGH = 20

S = State


def suspect(
    incident_id: str, route: str, legs: tuple[str, ...], mx: str, first_bad: datetime, at: datetime
) -> Incident:
    """A new incident: a canary of leg ``mx``, sent at ``first_bad``, went overdue and the leg is being hunted."""
    reason = f"a canary of {mx} sent {to_second(first_bad)} is overdue: lost or late, not known yet"
    return Incident(incident_id, route, legs, S.SUSPECTED, at, first_bad, reasons=((at, reason),))


def name_incident(route: str, at: datetime, number: int) -> str:
    """The id of a day's ``number``-th incident of a route: ``2026-11-24-inbound-1``."""
    return f"{at:%Y-%m-%d}-{route}-{number}"


def takes_page(incident: Incident, at: datetime) -> bool:
    """Whether a page at this moment belongs to this incident; otherwise it begins another."""
    if incident.state is S.CLOSED:
        return incident.closed_at is not None and at - incident.closed_at <= REOPENS_WITHIN
    return allows(incident.state, Paged)


def apply(incident: Incident, observation: Observation) -> Incident:
    """The record after ``observation``. Raises IllegalMove where the table has no such move."""
    targets = ALLOWED[incident.state].get(type(observation))
    if targets is None:
        what = type(observation).__name__
        raise IllegalMove(f"incident {incident.id} is {incident.state}: {what} cannot happen to it")
    after = _RULES[type(observation)](incident, observation)
    if after.state not in targets:
        raise IllegalMove(f"incident {incident.id}: {incident.state} to {after.state} is not in the table")
    return after


def _move(incident: Incident, at: datetime, reason: str, **changes: Any) -> Incident:
    """The next record, with its reason where it is a new one."""
    reasons = incident.reasons
    if reason and (not reasons or reasons[-1][1] != reason):
        reasons = (*reasons, (at, reason))[-MOST_REASONS:]
    return _with_kind(replace(incident, reasons=reasons, **changes), at)


def _with_kind(incident: Incident, at: datetime) -> Incident:
    kind = kind_of(incident)
    if kind is incident.kind:
        return incident
    reason = f"{'it is' if incident.kind is None else 'it is now'} a {kind.replace('_', ' ')}" if kind else ""
    return replace(incident, kind=kind, reasons=(*incident.reasons, (at, reason))[-MOST_REASONS:])


def kind_of(incident: Incident) -> Kind | None:
    """What is wrong, as far as is known; None before the page."""
    if not incident.pages:
        return None
    if incident.counts.delayed:
        return Kind.DELAY
    # The newest page of each leg: one that loses a share may go dark later. Of this bout: what was before is over.
    since = incident.bouts[-1].paged_at
    pages = {page.mx: page for page in incident.pages if page.at >= since}
    counted = [(leg, pages[leg.mx]) for leg in incident.all_clear if leg.mx in pages]
    bad = sum(leg.old_bad - page.bad_before for leg, page in counted)
    judged = sum(leg.old_judged - page.judged_before for leg, page in counted)
    dark = any(page.rule == "blackout" for page in pages.values())
    if (dark and bad >= _TOTAL * judged) or (bad >= _ENOUGH and bad >= _TOTAL * judged):
        return Kind.TOTAL_LOSS
    return Kind.PARTIAL_LOSS


def _broken(incident: Incident) -> State:
    """Where it stands while the fault runs."""
    return S.IDENTIFIED if incident.naming is not None and not incident.naming.untold else S.OPEN


def _suspicion_passed(incident: Incident, seen: SuspicionPassed) -> Incident:
    return _move(incident, seen.at, "the suspicion passed without a page", state=S.DISMISSED)


def _paged(incident: Incident, seen: Paged) -> Incident:
    if not takes_page(incident, seen.at):
        raise IllegalMove(f"incident {incident.id} was closed more than 24 h ago: a page begins another")
    known = next((leg for leg in incident.all_clear if leg.mx == seen.mx), None)
    before = (known.old_bad, known.old_judged) if known and incident.state is not S.CLOSED else (0, 0)
    page = Page(seen.mx, seen.at, seen.rule, seen.score, seen.threshold, seen.first_bad, *before)
    again = incident.state is S.CLOSED
    changes: dict[str, Any] = {"state": S.OPEN if again or not incident.pages else _broken(incident)}
    if again:
        # What the old sweep and the old proof said is of the fault before.
        changes |= {"reopened": (*incident.reopened, seen.at), "closed_at": None, "drained_at": None}
        changes |= {"naming": None, "all_clear": (), "unproven": ""}
        changes["closed_before"] = (*incident.closed_before, incident.closed_at)
    if seen.mx not in incident.legs:  # a host that DNS has named since
        changes["legs"] = (*incident.legs, seen.mx)
    changes["gone"] = tuple(mx for mx in incident.gone if mx != seen.mx)
    reason = f"{seen.mx} {'paged again' if again else 'paged'} ({seen.rule}): {_what(seen)}"
    return _move(
        incident,
        seen.at,
        reason,
        pages=(*incident.pages, page),
        first_bad=min(incident.first_bad, seen.first_bad),
        **changes,
    )


def _what(seen: Paged) -> str:
    if seen.rule == "blackout":
        return "nothing sent since the first overdue canary has arrived"
    return f"{seen.score:.1f} overdue runs more than the noise explains, {seen.threshold:.1f} are enough"


def _swept(incident: Incident, seen: Swept) -> Incident:
    naming = Named(seen.naming.bad, seen.naming.clean, seen.naming.untold, seen.naming.sentence)
    recovering = incident.state in (S.RECOVERING, S.DRAINED)
    told = S.OPEN if naming.untold else S.IDENTIFIED
    # How many canaries are still needed changes with each: only an answer is worth a reason.
    reason = "" if naming.untold else naming.sentence
    return _move(incident, seen.at, reason, naming=naming, state=incident.state if recovering else told)


def _proved(incident: Incident, seen: Proved) -> Incident:
    others = tuple(leg for leg in incident.all_clear if leg.mx != seen.mx)
    legs = tuple(sorted((*others, LegProgress.of(seen.mx, seen.progress)), key=lambda leg: incident.legs.index(leg.mx)))
    proofs = {leg.mx: leg for leg in legs}
    after = _closed_if_over(incident, seen.at, legs)
    if after is not None:
        return after
    here = [proofs.get(mx) for mx in incident.broken if mx not in incident.gone]
    well = all(leg is not None and leg.proof > SPEED_UP * leg.level for leg in here)
    state, reason = incident.state, ""
    if well and incident.state in (S.OPEN, S.IDENTIFIED):
        state, reason = S.RECOVERING, f"new canaries are on time; {seen.progress.sentence}"
    elif not well and incident.state in (S.RECOVERING, S.DRAINED):
        state, reason = _broken(incident), f"{seen.mx}: canaries are overdue again, the recovery does not hold"
    return _move(incident, seen.at, reason, all_clear=legs, state=state)


def _closed_if_over(incident: Incident, at: datetime, legs: tuple[LegProgress, ...]) -> Incident | None:
    """Closed, where every broken leg is clear or gone; None where it goes on. Nothing is claimed of those gone."""
    proofs = {leg.mx: leg for leg in legs}
    clear = [mx for mx in incident.broken if mx in proofs and proofs[mx].phase is Phase.CLEAR]
    left = [mx for mx in incident.broken if mx not in clear]
    if not incident.broken or not set(left) <= set(incident.gone):
        return None
    unproven = f"{join_names(left)} left the route before an all-clear" if left else ""
    said = [f"{mx}: {proofs[mx].sentence}" for mx in clear] + ([f"closed: {unproven}"] if left else [])
    changes: dict[str, Any] = {"all_clear": legs, "state": S.CLOSED, "closed_at": at, "unproven": unproven}
    return _move(incident, at, "; ".join(said), **changes)


def _legs_gone(incident: Incident, seen: LegsGone) -> Incident:
    left = [mx for mx in seen.gone if mx not in incident.gone]
    back = [mx for mx in incident.gone if mx not in seen.gone]
    said = [f"{mx} is no host of the route any more: nothing can be proven of it" for mx in left]
    said += [f"{mx} is a host of the route again" for mx in back]
    after = _move(incident, seen.at, "; ".join(said), gone=seen.gone)
    return _closed_if_over(after, seen.at, after.all_clear) or after


def _route_gone(incident: Incident, seen: RouteGone) -> Incident:
    unproven = "the route was removed from the configuration before an all-clear"
    return _move(incident, seen.at, f"closed: {unproven}", state=S.CLOSED, closed_at=seen.at, unproven=unproven)


def _worsened(incident: Incident, seen: Worsened) -> Incident:
    reason = (
        f"{seen.mx} loses far more than before: {seen.bad} of its last {seen.judged} canaries are overdue, "
        f"about {seen.before:.1%} were"
    )
    return _move(incident, seen.at, reason)


def _counted(incident: Incident, seen: Counted) -> Incident:
    drained = seen.counts.in_flight == 0
    state, reason = incident.state, ""
    if state in (S.RECOVERING, S.DRAINED):
        state = S.DRAINED if drained else S.RECOVERING
    over = state in (S.DRAINED, S.CLOSED)
    if over and drained and incident.drained_at is None:
        reason = "every canary of the incident has its outcome"
    drained_at = (incident.drained_at or seen.at) if over and drained else None
    return _move(incident, seen.at, reason, counts=seen.counts, state=state, drained_at=drained_at)


def _window_found(incident: Incident, seen: WindowFound) -> Incident:
    # The window of an earlier bout stays: what was lost then must be queued again too, what was between need not.
    first = incident.bouts[-1].first_bad if incident.pages else incident.first_bad
    others = tuple((mx, one) for mx, one in incident.windows if mx != seen.mx or one.first_bad < first)
    windows = sorted((*others, (seen.mx, seen.window)), key=lambda leg: incident.legs.index(leg[0]))
    return _move(incident, seen.at, "", windows=tuple(windows))


def _marked_false(incident: Incident, seen: MarkedFalse) -> Incident:
    return _move(incident, seen.at, f"marked false by {seen.by}", state=S.FALSE, false_by=seen.by)


_RULES: Mapping[type[Observation], Callable[[Incident, Any], Incident]] = {
    SuspicionPassed: _suspicion_passed,
    Paged: _paged,
    Swept: _swept,
    Proved: _proved,
    Counted: _counted,
    WindowFound: _window_found,
    LegsGone: _legs_gone,
    RouteGone: _route_gone,
    Worsened: _worsened,
    MarkedFalse: _marked_false,
}
