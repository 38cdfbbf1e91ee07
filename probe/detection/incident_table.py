"""The one table of the moves of an incident: what may be observed in which state, and where it may lead."""

from __future__ import annotations

from collections.abc import Mapping

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
from probe.detection.record import State

S = State


def _to(*states: State) -> frozenset[State]:
    return frozenset(states)


ALLOWED: Mapping[State, Mapping[type[Observation], frozenset[State]]] = {
    S.SUSPECTED: {
        Paged: _to(S.OPEN),
        SuspicionPassed: _to(S.DISMISSED),
        Counted: _to(S.SUSPECTED),
    },
    S.OPEN: {
        Paged: _to(S.OPEN),
        Swept: _to(S.OPEN, S.IDENTIFIED),
        Proved: _to(S.OPEN, S.RECOVERING, S.CLOSED),
        Counted: _to(S.OPEN),
        WindowFound: _to(S.OPEN),
        LegsGone: _to(S.OPEN, S.CLOSED),
        Worsened: _to(S.OPEN),
        RouteGone: _to(S.CLOSED),
        MarkedFalse: _to(S.FALSE),
    },
    S.IDENTIFIED: {
        Paged: _to(S.IDENTIFIED),
        Swept: _to(S.OPEN, S.IDENTIFIED),
        Proved: _to(S.IDENTIFIED, S.RECOVERING, S.CLOSED),
        Counted: _to(S.IDENTIFIED),
        WindowFound: _to(S.IDENTIFIED),
        LegsGone: _to(S.IDENTIFIED, S.CLOSED),
        Worsened: _to(S.IDENTIFIED),
        RouteGone: _to(S.CLOSED),
        MarkedFalse: _to(S.FALSE),
    },
    S.RECOVERING: {
        Paged: _to(S.OPEN, S.IDENTIFIED),
        Swept: _to(S.RECOVERING),
        Proved: _to(S.OPEN, S.IDENTIFIED, S.RECOVERING, S.CLOSED),
        Counted: _to(S.RECOVERING, S.DRAINED),
        WindowFound: _to(S.RECOVERING),
        LegsGone: _to(S.RECOVERING, S.CLOSED),
        Worsened: _to(S.RECOVERING),
        RouteGone: _to(S.CLOSED),
        MarkedFalse: _to(S.FALSE),
    },
    S.DRAINED: {
        Paged: _to(S.OPEN, S.IDENTIFIED),
        Swept: _to(S.DRAINED),
        Proved: _to(S.OPEN, S.IDENTIFIED, S.DRAINED, S.CLOSED),
        Counted: _to(S.RECOVERING, S.DRAINED),
        WindowFound: _to(S.DRAINED),
        LegsGone: _to(S.DRAINED, S.CLOSED),
        Worsened: _to(S.DRAINED),
        RouteGone: _to(S.CLOSED),
        MarkedFalse: _to(S.FALSE),
    },
    S.CLOSED: {
        Paged: _to(S.OPEN),
        Counted: _to(S.CLOSED),
        WindowFound: _to(S.CLOSED),
        MarkedFalse: _to(S.FALSE),
    },
    S.DISMISSED: {},
    S.FALSE: {},
}


def allows(state: State, kind: type[Observation]) -> bool:
    """Whether an incident in ``state`` may observe ``kind``."""
    return kind in ALLOWED[state]
