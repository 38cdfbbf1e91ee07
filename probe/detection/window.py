"""The window of mail to queue again: from when to when was mail lost, with 99 % confidence at each end?

Lost canaries lie inside a fault, they do not mark its ends: before the first one the fault ran unseen, on average for
1/p canaries. So the window begins n canaries before the first overdue one, n = ln 0.01 / ln(1 - p), and ends n after
the last. p is the one-sided 95 % Clopper-Pearson lower bound from canaries sent *after* the page: those before it were
picked by their being lost, so they show too large a share and would make the window too small.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from probe.detection.bounds import canaries_to_see, clopper_pearson, lower_bound
from probe.detection.moments import from_text, from_text_or_none, to_text
from probe.detection.pace import Cap, in_words, seconds_to_send
from probe.detection.recovery import FAST_GAP, Tally

CONFIDENCE = 0.99  # of each end
BOUND = 0.95  # of the lower bound of the share
SMALL_SHARE = 0.02
ADVISED = 4_000  # canaries to measure before a window of a small share is printed


@dataclass(frozen=True, slots=True)
class Placed:
    """One canary of a leg. ``lost``: for good (proven, and never recovered). Unknown ones are left out."""

    sent: datetime
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """What to queue again: mail that came in from ``start`` to ``end`` (UTC; None: not over yet).

    ``first_bad``/``last_bad``: the overdue canaries that it was stretched from. ``first_lost``: the first proven loss
    in it, None without one. ``margin``: the places it was stretched by; ``chained``: how often an older proven loss
    moved the start. ``cut``: nothing is known from before ``start``, so it may have begun earlier.
    """

    start: datetime
    end: datetime | None
    first_bad: datetime
    last_bad: datetime
    first_lost: datetime | None
    margin: int
    chained: int
    cut: bool
    share_lower: float
    measured: Tally
    reasons: tuple[str, ...]
    confidence: float = CONFIDENCE

    def to_json(self) -> dict[str, Any]:
        return {
            "from": to_text(self.start),
            "to": to_text(self.end),
            "first_bad_sent": to_text(self.first_bad),
            "last_bad_sent": to_text(self.last_bad),
            "first_lost_sent": to_text(self.first_lost),
            "margin_canaries": self.margin,
            "chained": self.chained,
            "cut": self.cut,
            "share_lower": self.share_lower,
            "measured": {"bad": self.measured.bad, "judged": self.measured.judged},
            "reasons": list(self.reasons),
            "confidence": self.confidence,
        }

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Window:
        """The inverse of ``to_json``. Raises ValueError, KeyError or TypeError on anything else."""
        return cls(
            from_text(row["from"]),
            from_text_or_none(row["to"]),
            from_text(row["first_bad_sent"]),
            from_text(row["last_bad_sent"]),
            from_text_or_none(row["first_lost_sent"]),
            int(row["margin_canaries"]),
            int(row["chained"]),
            bool(row["cut"]),
            float(row["share_lower"]),
            Tally(int(row["measured"]["bad"]), int(row["measured"]["judged"])),
            tuple(str(reason) for reason in row["reasons"]),
            float(row["confidence"]),
        )


def requeue_window(
    history: Sequence[Placed],
    first_bad: datetime,
    last_bad: datetime,
    after_page: Tally,
    *,
    all_clear: datetime | None = None,
    at_least: float = 0.01,
) -> Window:
    """The window of one leg.

    ``history``: its canaries in send order, as far back as they are known and up to now. ``first_bad``: the first
    overdue canary of the page's score excursion, ``last_bad``: the last overdue one so far. ``after_page``: canaries
    sent after the page, up to the last bad one. ``at_least``: the share to assume where nothing was bad after the page
    (the smallest that the detector looks for). Raises ValueError where ``first_bad`` is not in ``history``.
    """
    times = [canary.sent for canary in history]
    first, last = bisect.bisect_left(times, first_bad), bisect.bisect_right(times, last_bad) - 1
    if first >= len(times) or times[first] != first_bad or last < first:
        raise ValueError("the first overdue canary is not in the history, or after the last one")
    lower = lower_bound(after_page.bad, after_page.judged, BOUND) if after_page.bad else at_least
    margin = canaries_to_see(min(lower, 0.999999), CONFIDENCE)
    losses = [place for place, canary in enumerate(history) if canary.lost]
    start, chained = _chain(first, margin, losses)
    end = times[last + margin] if last + margin < len(times) else None
    if all_clear is not None:
        end = all_clear if end is None else min(end, all_clear)
    begin = times[max(0, start)]
    inside = bisect.bisect_left(losses, max(0, start))
    first_lost = times[losses[inside]] if inside < len(losses) and losses[inside] <= last else None
    return Window(
        begin,
        end,
        first_bad,
        last_bad,
        first_lost,
        margin,
        chained,
        start < 0,
        lower,
        after_page,
        _reasons(margin, chained, lower, after_page, cut=start < 0, open_ended=end is None),
    )


def _chain(first: int, margin: int, losses: Sequence[int]) -> tuple[int, int]:
    """The place of the start, and how often an older proven loss moved it. O(losses passed · log).

    A loss less than two margins before the first overdue one (inside the window, or less than one before its start)
    belongs to the same fault: a healthy leg loses nothing for good, what is slow does come. So the fault began before
    that loss too, and the margin counts from there. Looking back only from the start leaves a window uncovered whose
    first overdue canary came late after the onset (1 % loss: 97 to 98 % covered instead of 99.8 %), at the same width.
    """
    anchor, chained = first, 0
    while True:
        older = bisect.bisect_right(losses, anchor - 2 * margin)
        if older >= len(losses) or losses[older] >= anchor:
            return anchor - margin, chained
        anchor, chained = losses[older], chained + 1


def _reasons(margin: int, chained: int, lower: float, after: Tally, *, cut: bool, open_ended: bool) -> tuple[str, ...]:
    basis = (
        f"{after.bad:,} of {after.judged:,} canaries sent after the page were overdue: at least {lower:.2%} (95 %)"
        if after.bad
        else f"no canary sent after the page was overdue: a share of at least {lower:.2%} is assumed, not measured"
    )
    said = [basis, f"so the window is {margin:,} canaries wider than the overdue ones at each end (99 %)"]
    if chained:
        said.append(f"a canary proven lost shortly before moved the start back, {chained} time(s)")
    if cut:
        said.append("nothing is known from before its start: it may have begun earlier")
    if open_ended:
        said.append("it is not over yet: no end can be given before the all-clear")
    return tuple(said)


def advice(after_page: Tally, caps: Sequence[Cap] = ()) -> str:
    """What to do before the window of a small share is used, as one sentence; "" when nothing is.

    After few canaries the bound of a small share is so low that the window can begin days too early.
    """
    share = after_page.bad / after_page.judged if after_page.judged else 0.0
    missing = ADVISED - after_page.judged
    if missing <= 0 or share >= SMALL_SHARE:
        return ""
    interval = clopper_pearson(after_page.bad, after_page.judged) if after_page.judged else None
    known = f"{interval.lower:.2%} to {interval.upper:.2%} so far" if interval else "not yet measured"
    return (
        f"the share is small ({known}): measure {missing:,} more canaries "
        f"({in_words(seconds_to_send(missing, FAST_GAP, caps))}) before using this window, or it begins far too early"
    )


def merged(windows: Sequence[Window]) -> tuple[datetime, datetime | None]:
    """From the first start to the last end; no end as long as one of them has none. Raises ValueError on none."""
    if not windows:
        raise ValueError("no window")
    ends = [window.end for window in windows if window.end is not None]
    return min(window.start for window in windows), max(ends) if len(ends) == len(windows) else None


def spread(window: Window, share: float, whole: timedelta) -> tuple[float, float, float]:
    """How long the leg's fault ran, as parts of ``whole`` (0 to 1): at the least, as expected for ``share``, at most.

    At the least from the first to the last bad canary; as expected, 1/``share`` canaries more at each end, where the
    margin has ``margin`` of them; at most all of the window. Without an end: up to the last bad one.
    """
    if whole <= timedelta(0):
        return 1.0, 1.0, 1.0
    end = max(window.end or window.last_bad, window.last_bad)
    begun = min(window.first_bad, window.first_lost or window.first_bad)
    margin = min(1.0, 1 / (share * window.margin)) if share > 0 else 1.0
    proven = window.last_bad - begun
    likely = proven + ((begun - window.start) + (end - window.last_bad)) * margin
    return min(1.0, proven / whole), min(1.0, likely / whole), min(1.0, (end - window.start) / whole)
