"""The all-clear against its rule, worked out anew over all canaries: any order of verdicts, and restarts."""

from __future__ import annotations

import json
import math
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from probe.clock import Instant
from probe.detection.recovery import MEASURE_BAD, MEASURE_CANARIES, Phase, Recovery, Tally

ZERO = Instant(1_790_000_000_000_000_000, 0, "boot")
NOISE = 0.0015


def at(seconds: float) -> Instant:
    return ZERO + timedelta(seconds=seconds)


class Recoveries(RuleBasedStateMachine):
    """Any order of verdicts and restarts, against the rule worked out anew over the settled prefix each time."""

    def __init__(self) -> None:
        super().__init__()
        self.recovery = Recovery(NOISE, Tally(5, 20))
        self.rows: list[tuple[str, float, str | None]] = []
        self.now = 0.0

    @rule(
        seconds=st.sampled_from([1, 5, 40]),
        many=st.sampled_from([1, 5, 25, 80]),
        verdict=st.sampled_from(["punctual", "overdue"]),
    )
    def send_many(self, seconds: int, many: int, verdict: str) -> None:
        for _ in range(many):
            self.send(seconds)
            self._judge(len(self.rows) - 1, verdict)

    @rule(seconds=st.sampled_from([1, 5, 40]))
    def send(self, seconds: int) -> None:
        self.now += seconds
        self.rows.append((str(len(self.rows)), self.now, None))
        self.recovery.sent(self.rows[-1][0], at(self.now))

    @precondition(lambda self: any(verdict is None for *_, verdict in self.rows))
    @rule(data=st.data(), verdict=st.sampled_from(["punctual", "overdue", "left_out"]))
    def judge(self, data: st.DataObject, verdict: str) -> None:
        waiting = [place for place, row in enumerate(self.rows) if row[2] is None]
        self._judge(data.draw(st.sampled_from(waiting)), verdict)

    @rule()
    def restart(self) -> None:
        self.recovery = Recovery.from_json(json.loads(json.dumps(self.recovery.to_json())))

    def _judge(self, place: int, verdict: str) -> None:
        name, sent, _ = self.rows[place]
        self.rows[place] = (name, sent, verdict)
        getattr(self.recovery, verdict)(name)

    @invariant()
    def it_is_where_the_rule_puts_it(self) -> None:
        phase, proof, tries = _by_the_rule(self.rows)
        progress = self.recovery.progress(((20, 60.0),))
        assert progress.phase is phase
        if phase is not Phase.CLEAR:
            assert progress.proof == pytest.approx(proof)
            assert progress.tries == tries
        assert progress.needed >= 0
        assert progress.seconds >= progress.needed * 3
        assert self.recovery.gap in (1.0, 5.0)
        assert (progress.needed == 0) == (phase in (Phase.HOLDING, Phase.CLEAR))


def _by_the_rule(rows: list[tuple[str, float, str | None]]) -> tuple[Phase, float, int]:
    """Section by section as the rule is written, from the first canary on."""
    bad, judged, upto, after, bad_after, tries, proof = 5, 20, 20, 0, 0, 0, 0.0
    previous, proven = False, None
    for _, sent, verdict in rows:
        if verdict is None:
            break
        if verdict == "left_out":
            continue
        counts = after >= MEASURE_CANARIES or bad_after >= MEASURE_BAD
        judged, after = judged + 1, after + 1
        if verdict == "overdue":
            bad, bad_after, upto, proven = bad + 1, bad_after + 1, judged, None
            tries += not previous
            if counts and not previous:
                share = min(0.3, max(0.003, (bad - math.sqrt(bad)) / upto))
                proof = max(0.0, proof - math.log(share / NOISE))
        elif counts:
            share = min(0.3, max(0.003, (bad - math.sqrt(bad)) / upto))
            proof += math.log((1 - NOISE) / (1 - share))
        previous = verdict == "overdue"
        if not previous and proof >= math.log(100 * (1 + tries)):
            proven = sent if proven is None else proven
            if sent - proven >= 300:
                return Phase.CLEAR, proof, tries
        else:
            proven = None
    measuring = after < MEASURE_CANARIES and bad_after < MEASURE_BAD
    phase = Phase.HOLDING if proven is not None else Phase.MEASURING if measuring else Phase.PROVING
    return phase, proof, tries


TestRecoveries = Recoveries.TestCase
TestRecoveries.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
