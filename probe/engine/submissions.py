"""What an attempt's end means: the observation it makes, when the next try is due, and what is booked of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from probe.canary import counters
from probe.canary import observations as seen
from probe.canary.record import Canary
from probe.clock import Instant
from probe.ledger.batch import Attempt, Batch
from probe.senders.base import Result, Stage, Submission, SubmissionLabel


def observation_of(
    canary: Canary, submission: Submission, now: Instant, waits: Sequence[timedelta]
) -> seen.Observation:
    """The observation. ``waits``: the sender's ``retry``."""
    detail = _sentence(submission)
    match submission.result:
        case Result.ACCEPTED:
            dot = submission.dot_at or now
            return seen.SendAccepted(now, submission.clock_started or dot, dot, submission.queued_as, detail)
        case Result.DEFERRED:
            return seen.SendDeferred(now, submission.clock_started, _retry_at(canary, submission, now, waits), detail)
        case Result.REFUSED:
            return seen.SendRefused(now, detail)
        case Result.UNSURE:
            return seen.SendBroke(now, submission.clock_started or now, submission.dot_at, detail)
        case Result.UNSENT:
            return seen.SendFailed(now, submission.reason, detail, _retry_at(canary, submission, now, waits))


def _retry_at(canary: Canary, submission: Submission, now: Instant, waits: Sequence[timedelta]) -> Instant | None:
    """When the next try is due, or None when the waits or ``lost_after`` run out (rule 2)."""
    if canary.attempts > len(waits):
        return None
    due = now + waits[canary.attempts - 1]
    zero = canary.clock_started or submission.clock_started or canary.sent
    return due if due.since(zero) < canary.deadlines.lost_after else None


def says_too_much(submission: Submission) -> bool:
    """Whether the server says that it gets too much mail: 4.2.1 (the recipient takes no more for now), 4.7.x (a limit
    of the sender's), 5.2.121 and 5.2.122 (the recipient's hourly limits; RFC 3463 with the servers' own details)."""
    enhanced = submission.enhanced or ""
    return enhanced == "4.2.1" or enhanced.startswith(("4.7.", "5.2.12"))


def attempt_row(canary: Canary, started: Instant, recipient: str) -> Attempt:
    """The ledger's row of an attempt that begins."""
    return Attempt(canary.id, canary.attempts, started, canary.leg.route, canary.leg.mx, recipient)


def book(batch: Batch, canary: Canary, submission: Submission, begun: Attempt) -> None:
    """Counts of an attempt that ended, and its row with the dialogue."""
    leg = counters.leg_labels(canary.leg)
    batch.count(counters.ATTEMPTS, (*leg, submission.label.value))
    if canary.attempts == 1:
        batch.count(counters.SUBMISSIONS, (*leg, submission.label.value))
    if submission.result is Result.UNSENT:
        component = "dns" if submission.reason.startswith("dns") else "sender"
        batch.count(counters.PROBE_ERRORS, (component, submission.reason))
    for stage, seconds in _stages(submission).items():
        series = (canary.leg.route, stage)
        batch.count(counters.STAGE_BUCKET, (*series, counters.bucket_of(seconds, counters.STAGE_BUCKETS)))
        batch.count(counters.STAGE_SUM, series, seconds)
    batch.attempt(
        replace(
            begun,
            result=submission.result.value,
            stage=submission.stage.value,
            reason=submission.reason,
            code=submission.code,
            enhanced=submission.enhanced,
            detail=submission.detail,
            address=submission.address,
            tls=submission.tls,
            phases={stage.value: seconds for stage, seconds in submission.phases.items()},
            dialogue=[[line.stage.value, line.sent, line.code, line.reply] for line in submission.dialogue],
        )
    )


def never_sent(why: str) -> Submission:
    """For an attempt that we ended ourselves before any content went out."""
    return Submission(Result.UNSENT, SubmissionLabel.TIMEOUT, Stage.DATA, reason="local", detail=f"not sent: {why}")


def _sentence(submission: Submission) -> str:
    if submission.detail:
        return submission.detail
    code = f"{submission.code} " if submission.code else ""
    enhanced = f"{submission.enhanced} " if submission.enhanced else ""
    return f"{code}{enhanced}{submission.reply} ({submission.stage.value}, {submission.address})".strip()


def _stages(submission: Submission) -> dict[str, float]:
    """``connect`` and ``submit`` of mailcanary_stage_seconds: up to the greeting's end, and from MAIL to the answer."""
    phases = submission.phases
    connect = sum(phases.get(stage, 0.0) for stage in (Stage.DNS, Stage.CONNECT, Stage.BANNER, Stage.EHLO, Stage.TLS))
    stages = {"connect": connect} if phases else {}
    if Stage.DOT in phases:
        stages["submit"] = sum(phases.get(s, 0.0) for s in (Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT))
    return stages
