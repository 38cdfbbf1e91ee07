"""The pages that a leg's figures would have made in its past: what a tuning is worth, before it is used.

The past is what the ledger still knows: when each canary was sent, and its latency if it was judged. Reads are taken to
have been had whenever they could have told something, so gaps must be left out of the past, or be given as ``blind``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heappop, heappush

from probe.detection.detector import Detector, Finding, Grade, Tuning


@dataclass(frozen=True, slots=True)
class Past:
    """A canary that was accepted and judged, at ``sent`` (seconds). ``latency``: None where it did not arrive."""

    sent: float
    latency: float | None


def dry_run(past: Iterable[Past], tuning: Tuning, incidents: Iterable[tuple[float, float]] = ()) -> list[Finding]:
    """The pages, oldest first, outside of ``incidents`` (begin, all-clear; seconds). ``past`` is in send order.

    A page is taken to be closed as soon as mail arrives, so that what follows it is seen too. A new leg's
    tickets count as pages.
    """
    detector = Detector(tuning)
    known = sorted(incidents)
    arrivals: list[tuple[float, str, float]] = []
    found: list[Finding] = []
    last = 0.0
    for number, canary in enumerate(past):
        found += _catch_up(detector, arrivals, canary.sent)
        detector.sent(str(number), canary.sent)
        last = canary.sent
        if canary.latency is not None:
            heappush(arrivals, (canary.sent + canary.latency, str(number), canary.latency))
    found += _catch_up(detector, arrivals, last + 2 * tuning.overdue_after + tuning.stall_limit)
    return [one for one in found if not _within(known, one.first_sent, one.at)]


def _catch_up(detector: Detector, arrivals: list[tuple[float, str, float]], until: float) -> list[Finding]:
    """All that happened up to ``until``, in order."""
    found: list[Finding] = []
    while True:
        check = detector.next_check()
        arrival = arrivals[0][0] if arrivals else math.inf
        if min(arrival, math.inf if check is None else check) > until:
            return found
        if check is None or arrival <= check:
            at, canary_id, latency = heappop(arrivals)
            detector.arrived(canary_id, latency, at)
        else:
            finding = detector.complete_read(check, check)
            if finding is not None and finding.grade is not Grade.UPDATE:
                found.append(finding)
        if detector.open is not None and detector.dark_since is None:
            detector.closed()  # while dark it would page again at once, of the same


def _within(incidents: list[tuple[float, float]], begin: float, end: float) -> bool:
    return any(first <= end and last >= begin for first, last in incidents)
