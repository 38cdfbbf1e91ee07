"""A leg's detector under test: canaries by number, seconds from nought."""

from __future__ import annotations

from probe.detection.detector import Detector, Finding, Tuning

T, W, S, P80 = 60.0, 50.0, 20.0, 6.0
TUNING = Tuning(T, W, S, P80, per_point=200, score=3.0)


class Leg:
    """Sends at will, reads at will; what arrives is told with its age."""

    def __init__(self, tuning: Tuning = TUNING) -> None:
        self.detector = Detector(tuning)
        self.findings: list[Finding] = []
        self.sent: dict[str, float] = {}

    def send(self, *moments: float) -> None:
        for moment in moments:
            name = f"c{moment:g}"
            self.sent[name] = moment
            self.detector.sent(name, moment)

    def punctual(self, *moments: float, age: float = 1.0) -> None:
        for moment in moments:
            self.detector.arrived(f"c{moment:g}", age, moment + age)

    def good(self, *moments: float) -> None:
        """Sent and there a second later."""
        for moment in moments:
            self.send(moment)
            self.punctual(moment)

    def read(self, *moments: float) -> list[Finding]:
        """Complete reads; what they found."""
        found = [self.detector.complete_read(moment, moment) for moment in moments]
        self.findings += [one for one in found if one is not None]
        return [one for one in found if one is not None]

    @property
    def score(self) -> float:
        return self.detector.score

    @property
    def dark(self) -> bool:
        return self.detector.dark_since is not None
