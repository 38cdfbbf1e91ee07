"""The rule of each observation: what it makes of a canary, what is counted, and the sentence that says why.

One function a kind of observation, in ``RULES``. They take the table of life.py for granted: ``life.apply`` is the only
caller, and checks the state before and after.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any

from probe.canary import observations as seen
from probe.canary.arrival import judge_arrival
from probe.canary.record import Canary, Deadlines, State

S = State


class Effect(StrEnum):
    """What a move adds to the books, beside the state itself."""

    SENT = "sent"
    PUNCTUAL = "punctual"
    OVERDUE = "overdue"
    OUTCOME = "outcome"
    ARRIVAL = "arrival"
    RECOVERED = "recovered"
    AFTERWARDS_ARRIVAL = "afterwards_arrival"
    AFTERWARDS_BOUNCE = "afterwards_bounce"
    DUPLICATE = "duplicate"
    MOVED = "moved"


@dataclass(frozen=True, slots=True)
class Move:
    """One step: the canary as it is now, what to count, and the sentence that says why."""

    canary: Canary
    effects: tuple[Effect, ...]
    reason: str


def _move(canary: Canary, reason: str, *effects: Effect, **changes: Any) -> Move:
    return Move(replace(canary, reason=reason, **changes), effects, reason)


def _settle(canary: Canary, state: State, at: Any, reason: str, *effects: Effect, **changes: Any) -> Move:
    return _move(canary, reason, *effects, Effect.OUTCOME, state=state, settled=at, retry_at=None, **changes)


def _note(canary: Canary, reason: str, *effects: Effect, **changes: Any) -> Move:
    """Something beside an outcome: the outcome's own reason stays the canary's."""
    return Move(replace(canary, **changes) if changes else canary, effects, reason)


def _intended(canary: Canary, _: seen.Intended) -> Move:
    return _move(canary, "the intent is durable; nothing was sent yet", Effect.SENT, state=S.INTENT)


def _attempt_started(canary: Canary, observed: seen.AttemptStarted) -> Move:
    return _move(canary, f"attempt {observed.attempt} begins", state=S.INTENT, attempts=observed.attempt, retry_at=None)


def _data_started(canary: Canary, _: seen.DataStarted) -> Move:
    return _move(canary, "the envelope was accepted; content is about to be sent", state=S.DATA_STARTED)


def _send_accepted(canary: Canary, observed: seen.SendAccepted) -> Move:
    zero = canary.clock_started or observed.clock_started
    facts = {"clock_started": zero, "last_dot": observed.dot_at, "queued_as": observed.queued_as}
    if canary.state.terminal:
        return _note(canary, f"the server's answer came after the outcome: {observed.detail}", **facts)
    deadlines = _time_to_arrive(canary.deadlines, observed.at.since(zero))
    return _move(canary, f"accepted: {observed.detail}", state=S.ACCEPTED, deadlines=deadlines, **facts)


def _time_to_arrive(deadlines: Deadlines, accepted_after: timedelta) -> Deadlines:
    """An answer that came late (after a 4xx, or long after the dot) leaves ``overdue_after`` to arrive in: else a read
    begun after ``lost_after``, but before the server had taken the canary, would prove it lost."""
    least = accepted_after + deadlines.overdue_after
    if least <= deadlines.lost_after:
        return deadlines
    return replace(deadlines, lost_after=least, watch_for=max(deadlines.watch_for, least))


def _send_deferred(canary: Canary, observed: seen.SendDeferred) -> Move:
    if canary.state.terminal:
        return _note(canary, f"the server's answer came after the outcome: {observed.detail}")
    zero = canary.clock_started or observed.clock_started
    if observed.retry_at is None:
        return _settle(
            canary, S.REFUSED, observed.at, f"4xx until the tries ran out: {observed.detail}", clock_started=zero
        )
    reason = f"deferred: {observed.detail}; next try {observed.retry_at.isoformat()}"
    return _move(canary, reason, state=S.DEFERRED, clock_started=zero, retry_at=observed.retry_at)


def _send_refused(canary: Canary, observed: seen.SendRefused) -> Move:
    if canary.state.terminal:
        return _note(canary, f"the server's answer came after the outcome: {observed.detail}")
    return _settle(canary, S.REFUSED, observed.at, f"refused: {observed.detail}")


def _send_failed(canary: Canary, observed: seen.SendFailed) -> Move:
    if canary.state.terminal:
        return _note(canary, f"the attempt failed after the outcome: {observed.detail}")
    if canary.attempts > 1:
        return _retry_failed(canary, observed)
    return _settle(
        canary, S.UNSENT, observed.at, f"unsent({observed.reason}): {observed.detail}", label=observed.reason
    )


def _retry_failed(canary: Canary, observed: seen.SendFailed) -> Move:
    """A 4xx came before, so the server has answered: the try counts like one more 4xx, not as unsent."""
    if observed.retry_at is None:
        return _settle(canary, S.REFUSED, observed.at, f"4xx, then no further try succeeded: {observed.detail}")
    due = observed.retry_at.isoformat()
    reason = f"deferred: the try failed before content was sent ({observed.detail}); next {due}"
    return _move(canary, reason, state=S.DEFERRED, retry_at=observed.retry_at)


def _send_broke(canary: Canary, observed: seen.SendBroke) -> Move:
    facts = {"clock_started": canary.clock_started or observed.clock_started, "last_dot": observed.dot_at}
    if canary.state.terminal:
        return _note(canary, f"the connection broke after the outcome: {observed.detail}", **facts)
    reason = f"broke after content was sent, so it may or may not have been taken: {observed.detail}"
    return _move(canary, reason, state=S.UNSURE, **facts)


def _arrived(canary: Canary, observed: seen.Arrived) -> Move:
    if not canary.state.terminal:
        return _first_arrival(canary, observed)
    judged = judge_arrival(canary.zero, canary.deadlines.overdue_after, observed)
    facts = {
        "arrived": canary.arrived or observed.seen,
        "folder": observed.folder,
        "latency": judged.latency,
        "uncertainty": judged.uncertainty,
    }
    if canary.state in (S.LOST, S.UNKNOWN):
        reason = f"recovered after {canary.state}: {judged.sentence} in {observed.folder}"
        return _note(canary, reason, Effect.RECOVERED, Effect.ARRIVAL, recovered=observed.seen, **facts)
    reason = f"arrived in {observed.folder} although it had ended as {canary.state}"
    return _note(canary, reason, Effect.AFTERWARDS_ARRIVAL, Effect.ARRIVAL, **facts)


def _first_arrival(canary: Canary, observed: seen.Arrived) -> Move:
    judged = judge_arrival(canary.zero, canary.deadlines.overdue_after, observed)
    late = judged.late or canary.overdue
    effects = [Effect.ARRIVAL]
    if late and not canary.overdue:
        effects.append(Effect.OVERDUE)
    if not late and judged.latency is not None:
        effects.append(Effect.PUNCTUAL)
    place = f"in {observed.folder}" + ("" if observed.watched else ", a folder that is not watched")
    before = "" if canary.state in (S.ACCEPTED, S.UNSURE) else f", while it was still {canary.state}"
    counted = "; late because it was already counted overdue" if canary.overdue and not judged.late else ""
    return _settle(
        canary,
        S.LATE if late else S.DELIVERED,
        observed.seen,
        f"{judged.sentence}; {place}{before}{counted}",
        *effects,
        arrived=observed.seen,
        folder=observed.folder,
        latency=judged.latency,
        uncertainty=judged.uncertainty,
        transit=max(timedelta(0), observed.seen.since(canary.last_dot)) if canary.last_dot else None,
        overdue=late,
        judged=canary.judged or judged.latency is not None,
    )


def _copy_seen(canary: Canary, observed: seen.CopySeen) -> Move:
    reason = f"{observed.kind}: a further copy in {observed.folder}"
    if observed.kind == "duplicate":
        return _note(canary, reason, Effect.DUPLICATE, duplicates=canary.duplicates + 1)
    if observed.kind == "moved":
        return _note(canary, reason, Effect.MOVED, folder=observed.folder)
    return _note(canary, reason)


def _bounced(canary: Canary, observed: seen.Bounced) -> Move:
    said = _said(observed.status, observed.sentence)
    if canary.state.terminal:
        return _note(canary, f"a bounce came after {canary.state}: {said}", Effect.AFTERWARDS_BOUNCE)
    return _settle(canary, S.BOUNCED, observed.at, f"bounced: {said}", label=observed.status)


def _delay_reported(canary: Canary, observed: seen.DelayReported) -> Move:
    after = f" after it had ended as {canary.state}" if canary.state.terminal else ""
    return _note(canary, f"delayed{after}: {_said(observed.status, observed.sentence)}")


def _said(status: str, sentence: str) -> str:
    return "; ".join(part for part in (status or "no status code", sentence) if part)


def _went_overdue(canary: Canary, observed: seen.WentOverdue) -> Move:
    after = canary.deadlines.overdue_after.total_seconds()
    reason = f"overdue: a complete read begun after {after:g} s did not show it (lost or late, not yet known)"
    effects = () if canary.overdue else (Effect.OVERDUE,)
    return _move(canary, reason, *effects, overdue=True, judged=True)


def _proven_absent(canary: Canary, observed: seen.ProvenAbsent) -> Move:
    after = canary.deadlines.lost_after.total_seconds()
    if canary.state is S.UNSURE:
        reason = f"unknown(send): broke after content was sent and not there after {after:g} s; {observed.sentence}"
        return _settle(canary, S.UNKNOWN, observed.at, reason, label="send")
    effects = () if canary.overdue else (Effect.OVERDUE,)
    reason = f"lost: accepted by the server, not there after {after:g} s, proven absent; {observed.sentence}"
    return _settle(canary, S.LOST, observed.at, reason, *effects, overdue=True, judged=True)


def _absence_unproven(canary: Canary, observed: seen.AbsenceUnproven) -> Move:
    label = "send" if canary.state is S.UNSURE else observed.doubt
    reason = f"unknown({label}): not there, but absence cannot be proven; {observed.sentence}"
    return _settle(canary, S.UNKNOWN, observed.at, reason, label=label)


def _watch_ended(canary: Canary, observed: seen.WatchEnded) -> Move:
    return _settle(canary, S.UNKNOWN, observed.at, f"unknown(blind): {observed.sentence}", label="blind")


def _restarted(canary: Canary, observed: seen.Restarted) -> Move:
    if canary.state is S.DATA_STARTED:
        reason = "the daemon stopped after content may have been sent: it may or may not have been taken"
        return _move(canary, reason, state=S.UNSURE, clock_started=canary.clock_started or canary.sent)
    if canary.state is S.INTENT and canary.attempts == 1:
        reason = "unsent(restart): the daemon stopped before any content was sent"
        return _settle(canary, S.UNSENT, observed.at, reason, label="restart")
    if canary.state is S.INTENT:
        reason = "the daemon stopped before any content of this attempt was sent: deferred again"
        return _move(canary, reason, state=S.DEFERRED, retry_at=observed.at)
    return _note(canary, "the daemon restarted; it goes on")


def _sender_removed(canary: Canary, observed: seen.SenderRemoved) -> Move:
    reason = f"refused: its sender is no longer configured, so no try is left; {canary.reason}"
    return _settle(canary, S.REFUSED, observed.at, reason)


def _mailbox_removed(canary: Canary, observed: seen.MailboxRemoved) -> Move:
    reason = "unknown(mailbox_removed): its mailbox is no longer configured"
    return _settle(canary, S.UNKNOWN, observed.at, reason, label="mailbox_removed")


RULES: Mapping[type[seen.Observation], Callable[[Canary, Any], Move]] = {
    seen.Intended: _intended,
    seen.AttemptStarted: _attempt_started,
    seen.DataStarted: _data_started,
    seen.SendAccepted: _send_accepted,
    seen.SendDeferred: _send_deferred,
    seen.SendRefused: _send_refused,
    seen.SendFailed: _send_failed,
    seen.SendBroke: _send_broke,
    seen.Arrived: _arrived,
    seen.CopySeen: _copy_seen,
    seen.Bounced: _bounced,
    seen.DelayReported: _delay_reported,
    seen.WentOverdue: _went_overdue,
    seen.ProvenAbsent: _proven_absent,
    seen.AbsenceUnproven: _absence_unproven,
    seen.WatchEnded: _watch_ended,
    seen.Restarted: _restarted,
    seen.SenderRemoved: _sender_removed,
    seen.MailboxRemoved: _mailbox_removed,
}
