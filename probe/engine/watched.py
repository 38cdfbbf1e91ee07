"""One leg as its detector watches it: the detector, what it has learned, and what it shows."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from probe.canary.record import Leg
from probe.detection.calibration import DAY, Aim, Calibrated, Calibration
from probe.detection.detector import Detector
from probe.exposition.live import DetectorView

RECENT = 420


class WatchedLeg:
    """One leg's detector with its calibration. ``waiting``: canaries it was told of and that are not judged yet."""

    def __init__(self, leg: Leg, at: float, aim: Aim) -> None:
        self.leg = leg
        self.aim = aim
        self.calibration = Calibration()
        self.calibrated: Calibrated = self.calibration.recalibrate(at, aim)
        self.detector = Detector(self.calibrated.tuning)
        self.waiting: dict[str, float] = {}
        self.recent: deque[bool] = deque(maxlen=RECENT)  # of the canaries judged last: whether it was overdue
        self.calm: tuple[object, DetectorView] | None = None  # what it shows while all is well (detection_view.py)
        self.dirty = True
        self.stale = False  # its figures are not those of its history
        self.resting = False  # its route is gone or only measured: nothing is concluded of it
        self.armed = False  # its share has paged before, or its past was rehearsed (rehearsing.py)
        self.rehearsed: float | None = None  # when, last
        self.saved = at
        self.learned_saved = at

    def recent_bad(self, lasts: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """(last, overdue ones among the last so many judged canaries)."""
        if True not in self.recent:
            return tuple((last, 0) for last in lasts)
        return tuple((last, sum(islice(reversed(self.recent), last))) for last in lasts)

    def recent_runs(self, last: int) -> tuple[int, int]:
        """Overdue ones among the last so many judged canaries, and in how many runs they lie."""
        some = list(self.recent)[-last:]
        return sum(some), sum(bad and not before for before, bad in zip([False, *some], some, strict=False))

    @property
    def troubled(self) -> bool:
        """Whether more than a canary on its way keeps it awake: then extras are due to the second."""
        detector = self.detector
        return detector.score > 0 or detector.dark_since is not None or detector.open is not None

    def wants_figures(self, at: float, aim: Aim) -> bool:
        """Once an hour, and whenever what is aimed at has changed."""
        self.calibration.follow(at, self.detector.judged, self.detector.runs)
        return self.stale or aim != self.aim or self.calibration.due(at)

    def calibrate(self, at: float, aim: Aim) -> None:
        """Figures from its history."""
        due = self.calibration.due(at)
        self.aim, self.dirty, self.stale = aim, True, False
        self._take((self.calibration.recalibrate if due else self.calibration.figures)(at, aim))

    def _take(self, calibrated: Calibrated) -> None:
        self.calibrated, tuning = calibrated, calibrated.tuning
        self.detector.retune(tuning if self.armed else replace(tuning, share_pages=False))

    def called_false(self, incident: str, at: float) -> None:
        """It was no incident."""
        self.calibration.called_false(incident)
        self._take(self.calibration.figures(at, self.aim))

    def rehearsal_due(self, at: float) -> bool:
        """Whether its past is to be played through its rule: before its share pages, and once a day."""
        if self.resting or not self.calibrated.tuning.share_pages:
            return False
        return not self.armed or self.rehearsed is None or at - self.rehearsed >= DAY

    def was_rehearsed(self, pages: int | None, at: float) -> bool:
        """``pages`` that its rule would have made for nothing (None: its past could not be read). From here on its
        share may page. True where they are too many: a point more."""
        self.armed, self.rehearsed, self.dirty = True, at, True
        sharp = pages is not None and self.calibration.dry_run(pages)
        self._take(self.calibration.figures(at, self.aim))
        return sharp

    def rest(self) -> None:
        """Its route is gone, or pages no more: what becomes of its canaries is not told any more."""
        for canary_id in self.waiting:
            self.detector.left_out(canary_id)
        self.waiting.clear()
        self.resting = self.dirty = True

    def state(self) -> dict[str, Any]:
        return {
            "detector": self.detector.state(),
            "waiting": self.waiting,
            "recent": "".join("x" if bad else "." for bad in self.recent),
            "armed": self.armed,
            "rehearsed": self.rehearsed,
        }

    def restore(self, state: Mapping[str, Any], at: float) -> None:
        """Raises ValueError, KeyError or TypeError for what another version wrote. It goes on with the figures that it
        had; new ones are made by and by."""
        detector = Detector.restore(state["detector"])
        waiting = {str(name): float(sent) for name, sent in state["waiting"].items()}
        self.detector, self.waiting = detector, waiting
        self.recent.extend(each == "x" for each in state["recent"])
        self.armed = bool(state.get("armed", detector.tuning.share_pages))
        self.rehearsed = state.get("rehearsed")
        self.stale, self.saved = True, at
