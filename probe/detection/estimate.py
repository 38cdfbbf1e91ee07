"""How many real mails were lost? From the canaries' share, the time that the fault ran, and the volume of mail."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from probe.detection.record import Incident, Kind
from probe.detection.strata import CONFIDENCE, ratio
from probe.detection.window import Window, spread

WIDE = 4  # times the lower bound


@dataclass(frozen=True, slots=True)
class LegLoss:
    """One leg's part: mails of the volume that it took, and of them the lost ones."""

    mx: str
    mails: float
    estimate: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class LostMail:
    """The estimate for the whole route. Whole mails: ``lower`` rounded down, ``upper`` up. ``words`` say how far to
    trust it; ``legs``: the ones that may have lost mail."""

    volume: int
    estimate: int
    lower: int
    upper: int
    legs: tuple[LegLoss, ...]
    words: tuple[str, ...]
    confidence: float = CONFIDENCE

    def to_json(self) -> dict[str, Any]:
        return {
            "volume": self.volume,
            "lost_estimate": self.estimate,
            "lower": self.lower,
            "upper": self.upper,
            "confidence": self.confidence,
            "words": list(self.words),
        }


def estimate_lost(incident: Incident, volume: int) -> LostMail | None:
    """What ``volume`` mails, all that came to the route within the re-queue window, lost; None without a window.

    Each leg is taken to have had an equal part of them, evenly in time. The bounds of the legs' shares hold together
    (Bonferroni); a leg that is not told apart may have lost nothing. Raises ValueError on a negative volume.
    """
    if volume < 0:
        raise ValueError("a volume of mail is not negative")
    requeue = incident.requeue
    if requeue is None:
        return None
    start, end = requeue
    windows: dict[str, list[Window]] = {}
    for mx, window in incident.windows:  # more than one of a leg where the incident was opened again
        windows.setdefault(mx, []).append(window)
    until = end or max(window.last_bad for _, window in incident.windows)
    suspects = incident.suspects
    part = volume / len(incident.legs)
    legs = tuple(_leg(incident, mx, part, windows.get(mx, []), until - start, len(suspects)) for mx in suspects)
    lower, upper = math.floor(sum(leg.lower for leg in legs)), math.ceil(sum(leg.upper for leg in legs) - 1e-9)
    estimate = min(upper, max(lower, round(sum(leg.estimate for leg in legs))))
    return LostMail(volume, estimate, lower, min(volume, upper), legs, _words(incident, lower, upper, len(legs)))


def _leg(incident: Incident, mx: str, mails: float, windows: list[Window], whole: timedelta, together: int) -> LegLoss:
    share = ratio(incident.counts.of([mx]), 1 - (1 - CONFIDENCE) / together)
    if mx not in incident.affected or not windows:
        # Not told apart, or bad with no window of its own yet: nothing is certain but the most it can have lost.
        return LegLoss(mx, mails, mails * share.estimate, 0.0, mails * share.upper)
    spreads = [spread(window, share.estimate, whole) for window in windows]
    least, likely, most = (min(1.0, sum(each)) for each in zip(*spreads, strict=True))
    return LegLoss(mx, mails, mails * likely * share.estimate, mails * least * share.lower, mails * most * share.upper)


def _words(incident: Incident, lower: int, upper: int, legs: int) -> tuple[str, ...]:
    loss, said = incident.loss, []
    if upper > WIDE * max(1, lower):
        said.append(
            f"The bounds are wide: they rest on {loss.lost + loss.missing:,} lost or missing of {loss.judged:,} "
            "canaries. Use the upper bound to decide what to queue again, and no figure as the number of mails lost."
        )
    if loss.missing:
        said.append(
            f"{loss.missing:,} canaries are overdue and may still come: the lower bound counts them as late, the upper "
            "one as lost."
        )
    if incident.kind is Kind.DELAY:
        said.append("Overdue mail is arriving: most of it is late, not lost.")
    if not loss.since_page:
        said.append(
            "Few canaries were sent after the page, so those that led to it are counted: the share is too high."
        )
    if incident.suspects != incident.affected:
        said.append("The legs are not told apart: the bounds take in each that may be bad.")
    if legs < len(incident.legs) or legs > 1:
        said.append(f"Each of the {len(incident.legs)} legs is taken to have had an equal part of the mail.")
    said.append(
        "The bounds cover chance in the canaries (95 %). They do not cover mail that differs from the canaries (size, "
        "content, sender), nor a volume that was not even over the window."
    )
    return tuple(said)
