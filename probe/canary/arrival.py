"""When did it arrive? An arrival is an interval, and the outcome follows from where the deadline lies in it.

Rule 9: after the last read without it, not after the first read with it. Only blindness makes the
interval straddle ``overdue_after``; then the mailbox's own time of arrival (IMAP INTERNALDATE: whole seconds of the
server's clock, RFC 3501 2.3.3) decides, if it is consistent with the interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from probe.canary.observations import Arrived
from probe.clock import Instant

ROUNDING = 1.0  # INTERNALDATE is cut to whole seconds
SHARP = timedelta(seconds=2 * ROUNDING)  # wider than this, an interval across the deadline tells no side of it
ZERO = timedelta(0)


@dataclass(frozen=True, slots=True)
class Judgement:
    """``late`` or not; ``latency`` is the interval's upper end and ``uncertainty`` its width, both None where the
    interval straddles the deadline and nothing narrows it (then ``late`` is False by rule 9)."""

    late: bool
    latency: timedelta | None
    uncertainty: timedelta | None
    sentence: str


def judge_arrival(zero: Instant, overdue_after: timedelta, arrival: Arrived) -> Judgement:
    """Punctual or late, measured from ``zero`` (rule 10)."""
    upper = max(ZERO, arrival.seen.since(zero))
    lower = ZERO if arrival.after is None else min(upper, max(ZERO, arrival.after.since(zero)))
    if upper <= overdue_after:
        return _judged(False, lower, upper, overdue_after)
    if lower >= overdue_after:
        return _judged(True, lower, upper, overdue_after)
    narrowed = _narrow(zero, lower, upper, arrival)
    if narrowed is None or _tells_nothing(*narrowed, overdue_after):
        return Judgement(
            False,
            None,
            None,
            f"arrived between {_s(lower)} and {_s(upper)} after the start of its clock, on both sides of overdue_after "
            f"{_s(overdue_after)}, and the mailbox's own time does not tell: counted delivered, latency unknown",
        )
    lower, upper = narrowed
    late = (lower + upper) / 2 > overdue_after
    # The second of rounding may still lie across the deadline; latency must not contradict the side that was decided.
    lower, upper = (max(lower, overdue_after), upper) if late else (lower, min(upper, overdue_after))
    judged = _judged(late, lower, upper, overdue_after)
    return Judgement(late, judged.latency, judged.uncertainty, f"{judged.sentence}, by the mailbox's own time")


def _tells_nothing(lower: timedelta, upper: timedelta, deadline: timedelta) -> bool:
    """Little may be known of the mailbox's clock (all that was learned came after blindness, too): then the middle of
    what is left is no better than a guess."""
    return lower < deadline < upper and upper - lower > SHARP


def _judged(late: bool, lower: timedelta, upper: timedelta, overdue_after: timedelta) -> Judgement:
    side = "after" if late else "within"
    return Judgement(
        late,
        upper,
        upper - lower,
        f"arrived {_s(upper)} after the start of its clock (± {_s(upper - lower)}), "
        f"{side} overdue_after {_s(overdue_after)}",
    )


def _narrow(zero: Instant, lower: timedelta, upper: timedelta, arrival: Arrived) -> tuple[timedelta, timedelta] | None:
    """The interval cut by the mailbox's own time, or None where that is absent or lies outside it."""
    if arrival.mailbox_time is None:
        return None
    stamped = (arrival.mailbox_time - zero.utc).total_seconds()
    earliest = timedelta(seconds=stamped - arrival.offset_high)
    latest = timedelta(seconds=stamped + ROUNDING - arrival.offset_low)
    low, high = max(lower, earliest), min(upper, latest)
    if low > high:
        return None
    return low, high


def _s(duration: timedelta) -> str:
    return f"{duration.total_seconds():.3f} s"
