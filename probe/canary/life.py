"""A canary's life: every state, every observation, and the one table of the moves that are allowed.

    planned ─► intent ─► data_started ─► accepted ─┬─► delivered | late ─► (duplicate, moved …)
               │  ▲                                ├─► bounced
               │  └─ deferred                      ├─► lost    ─► recovered
               ├─► unsent                          └─► unknown ─► recovered
               ├─► refused
               └─► unsure ──► delivered | late | bounced | unknown

``apply`` is the only way from one canary to the next; what each observation makes of it is in moves.py. An observation
that the table does not allow raises ``IllegalMove``: it is a bug in the engine, never something to be ignored. Outcomes
are never left; what comes after one is recorded beside it: recovered, afterwards, duplicate, moved.
"""

from __future__ import annotations

from collections.abc import Mapping

from probe.canary import observations as seen
from probe.canary.moves import RULES, Effect, Move
from probe.canary.record import Canary, State
from probe.errors import IllegalMove

__all__ = ["ALLOWED", "Effect", "Move", "allows", "apply"]

S = State

_ARRIVED = {S.DELIVERED, S.LATE}
_REPORTED = (seen.Bounced, seen.DelayReported)
_SEND_ENDED = (seen.SendAccepted, seen.SendDeferred, seen.SendRefused, seen.SendFailed, seen.SendBroke)


def _stays(state: State, *kinds: type[seen.Observation]) -> dict[type[seen.Observation], frozenset[State]]:
    return {kind: frozenset({state}) for kind in kinds}


def _to(*states: State) -> frozenset[State]:
    return frozenset(states)


ALLOWED: Mapping[State, Mapping[type[seen.Observation], frozenset[State]]] = {
    S.PLANNED: {seen.Intended: _to(S.INTENT)},
    S.INTENT: {
        seen.DataStarted: _to(S.DATA_STARTED),
        seen.SendDeferred: _to(S.DEFERRED, S.REFUSED),
        seen.SendRefused: _to(S.REFUSED),
        seen.SendFailed: _to(S.UNSENT, S.DEFERRED, S.REFUSED),
        seen.Arrived: _to(*_ARRIVED),
        seen.Bounced: _to(S.BOUNCED),
        seen.DelayReported: _to(S.INTENT),
        seen.Restarted: _to(S.UNSENT, S.DEFERRED),
        seen.MailboxRemoved: _to(S.UNKNOWN),
    },
    S.DATA_STARTED: {
        seen.SendAccepted: _to(S.ACCEPTED),
        seen.SendDeferred: _to(S.DEFERRED, S.REFUSED),
        seen.SendRefused: _to(S.REFUSED),
        seen.SendFailed: _to(S.UNSENT, S.DEFERRED, S.REFUSED),
        seen.SendBroke: _to(S.UNSURE),
        seen.Arrived: _to(*_ARRIVED),
        seen.Bounced: _to(S.BOUNCED),
        seen.DelayReported: _to(S.DATA_STARTED),
        seen.Restarted: _to(S.UNSURE),
        seen.MailboxRemoved: _to(S.UNKNOWN),
    },
    S.DEFERRED: {
        seen.AttemptStarted: _to(S.INTENT),
        seen.SendDeferred: _to(S.REFUSED),
        seen.Arrived: _to(*_ARRIVED),
        seen.Bounced: _to(S.BOUNCED),
        seen.DelayReported: _to(S.DEFERRED),
        seen.Restarted: _to(S.DEFERRED),
        seen.SenderRemoved: _to(S.REFUSED),
        seen.MailboxRemoved: _to(S.UNKNOWN),
    },
    S.ACCEPTED: {
        seen.Arrived: _to(*_ARRIVED),
        seen.Bounced: _to(S.BOUNCED),
        seen.DelayReported: _to(S.ACCEPTED),
        seen.WentOverdue: _to(S.ACCEPTED),
        seen.ProvenAbsent: _to(S.LOST),
        seen.AbsenceUnproven: _to(S.UNKNOWN),
        seen.WatchEnded: _to(S.UNKNOWN),
        seen.Restarted: _to(S.ACCEPTED),
        seen.MailboxRemoved: _to(S.UNKNOWN),
    },
    S.UNSURE: {
        seen.Arrived: _to(*_ARRIVED),
        seen.Bounced: _to(S.BOUNCED),
        seen.DelayReported: _to(S.UNSURE),
        seen.ProvenAbsent: _to(S.UNKNOWN),
        seen.AbsenceUnproven: _to(S.UNKNOWN),
        seen.WatchEnded: _to(S.UNKNOWN),
        seen.Restarted: _to(S.UNSURE),
        seen.MailboxRemoved: _to(S.UNKNOWN),
    },
    S.DELIVERED: _stays(S.DELIVERED, seen.CopySeen, *_REPORTED, *_SEND_ENDED),
    S.LATE: _stays(S.LATE, seen.CopySeen, *_REPORTED, *_SEND_ENDED),
    S.LOST: _stays(S.LOST, seen.Arrived, seen.CopySeen, *_REPORTED),
    S.UNKNOWN: _stays(S.UNKNOWN, seen.Arrived, seen.CopySeen, *_REPORTED, *_SEND_ENDED),
    S.BOUNCED: _stays(S.BOUNCED, seen.Arrived, seen.CopySeen, *_REPORTED, *_SEND_ENDED),
    S.REFUSED: _stays(S.REFUSED, seen.Arrived, seen.CopySeen, *_REPORTED),
    S.UNSENT: _stays(S.UNSENT, seen.Arrived, seen.CopySeen, *_REPORTED),
}


def allows(state: State, kind: type[seen.Observation]) -> bool:
    """Whether a canary in ``state`` may observe ``kind``."""
    return kind in ALLOWED[state]


def apply(canary: Canary, observation: seen.Observation) -> Move:
    """The move that ``observation`` makes of ``canary``. Raises IllegalMove where the table has none."""
    targets = ALLOWED[canary.state].get(type(observation))
    if targets is None:
        raise IllegalMove(f"canary {canary.id} is {canary.state}: {type(observation).__name__} cannot happen to it")
    if isinstance(observation, seen.Arrived) and canary.arrived is not None:
        raise IllegalMove(f"canary {canary.id} has arrived before: a further copy is CopySeen")
    move = RULES[type(observation)](canary, observation)
    if move.canary.state not in targets:
        raise IllegalMove(f"canary {canary.id}: {canary.state} to {move.canary.state} is not in the table")
    return move
