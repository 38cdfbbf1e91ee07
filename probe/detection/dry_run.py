"""The pages that a leg's figures would have made in its past: what a tuning is worth, before it is used.

The past is what the ledger still knows: when each canary was sent, and its latency if it was judged. Reads are taken to
have been had whenever they could have told something: of a canary that came in a gap the mailbox's own time is known,
or it is left out of the past; one that is lost is lost, whether somebody looked or not.
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


class DryRun:
    """One dry run, fed a slice of the past at a time, in send order. ``incidents``: begin and all-clear, seconds;
    what is found in them was known."""

    def __init__(self, tuning: Tuning, incidents: Iterable[tuple[float, float]] = ()) -> None:
        self._detector = Detector(tuning)
        self._known = sorted(incidents)
        self._arrivals: list[tuple[float, str, float]] = []
        self._number = 0
        self._last = 0.0
        self._found: list[Finding] = []

    def feed(self, past: Iterable[Past]) -> None:
        """The next canaries."""
        for canary in past:
            self._found += _catch_up(self._detector, self._arrivals, canary.sent)
            self._detector.sent(str(self._number), canary.sent)
            if canary.latency is not None:
                heappush(self._arrivals, (canary.sent + canary.latency, str(self._number), canary.latency))
            self._number += 1
            self._last = canary.sent

    def pages(self) -> list[Finding]:
        """All was fed: the pages, oldest first, outside of the incidents."""
        tuning = self._detector.tuning
        until = self._last + 2 * tuning.overdue_after + tuning.stall_limit
        self._found += _catch_up(self._detector, self._arrivals, until)
        return [one for one in self._found if not _within(self._known, one.first_sent, one.at)]


def dry_run(past: Iterable[Past], tuning: Tuning, incidents: Iterable[tuple[float, float]] = ()) -> list[Finding]:
    """The pages, oldest first, outside of ``incidents`` (begin, all-clear; seconds). ``past`` is in send order.

    A page is taken to be closed as soon as mail arrives, so that what follows it is seen too. A new leg's
    tickets count as pages.
    """
    run = DryRun(tuning, incidents)
    run.feed(past)
    return run.pages()


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
