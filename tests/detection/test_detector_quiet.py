"""Reads that a detector says are nothing to it may be left out: it finds the same and knows the same."""

from __future__ import annotations

import random

import pytest

from probe.detection.detector import Detector, Finding
from probe.detection.threshold import Tuning

TUNING = Tuning(60.0, 48.0, 20.0, 5.0, 50, 2.5)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_quiet_reads_change_nothing(seed: int, share: float) -> None:
    chance = random.Random(f"{seed} {share}")
    every, some = Detector(TUNING), Detector(TUNING)
    found: tuple[list[Finding | None], list[Finding | None]] = ([], [])
    flying: list[tuple[float, str, float]] = []
    now, skipped = 0.0, 0
    for number in range(600):
        now += chance.choice([0.1, 1.0, 5.0, 20.0])
        if chance.random() < 0.3:
            for one in (every, some):
                one.sent(str(number), now)
            if chance.random() >= share:
                flying.append((now + chance.choice([0.2, 3.0, 70.0]), str(number), now))
        if chance.random() < 0.02:
            for one in (every, some):
                one.went_blind(now)
            now += chance.choice([1.0, 30.0, 200.0])
        for at, name, sent in [each for each in flying if each[0] <= now]:
            flying.remove((at, name, sent))
            for one in (every, some):
                one.arrived(name, at - sent, now)
        found[0].append(every.complete_read(now - 0.05, now))
        if some.quiet(now):
            skipped += 1
        else:
            found[1].append(some.complete_read(now - 0.05, now))
        if every.open is not None and chance.random() < 0.05:
            for one in (every, some):
                one.closed()
    assert [one for one in found[0] if one] == [one for one in found[1] if one]
    assert every.state() == some.state()
    assert skipped > 50 or share == 1.0
