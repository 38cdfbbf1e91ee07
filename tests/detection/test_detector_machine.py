"""Random events: the invariants of the detector, and a restart at any moment."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from probe.detection.detector import Detector, Grade
from tests.detection.legs import TUNING, S, T, W

_TUNING = replace(TUNING, per_point=5, score=2.5)


class Legs(RuleBasedStateMachine):
    """One leg; what it is told is consistent, whatever the order."""

    @initialize()
    def begin(self) -> None:
        self.now = 0.0
        self.detector = Detector(_TUNING)
        self.out: dict[str, float] = {}
        self.blind = False
        self.count = 0
        self.seen_ages: list[float] = []
        self.pages = 0

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 20.0, 61.0, 130.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(back=st.sampled_from([0.0, 0.0, 0.0, 0.5, 3.0]))
    def send(self, back: float) -> None:
        self.count += 1
        name = str(self.count)
        sent = self.now - back
        self.detector.sent(name, sent)
        self.out[name] = sent

    @precondition(lambda self: self.out)
    @rule(data=st.data(), known=st.booleans())
    def arrive(self, data: st.DataObject, known: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.out, key=int)))
        age = max(0.0, self.now - self.out.pop(name))
        self.detector.arrived(name, age if known else None, self.now)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def leave_out(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.out, key=int)))
        del self.out[name]
        self.detector.left_out(name)

    @rule()
    def go_blind(self) -> None:
        self.blind = True
        self.detector.went_blind(self.now)

    @rule(took=st.sampled_from([0.0, 0.2]))
    def read(self, took: float) -> None:
        score, dark = self.detector.score, self.detector.dark_since
        finding = self.detector.complete_read(self.now - took, self.now)
        self.blind = False
        if finding is not None:
            self.pages += 1
            assert self.detector.open is not None
            assert finding.grade in (Grade.PAGE, Grade.UPDATE)
            assert finding.score >= _TUNING.score - 1e-6 or finding.dark_sent is not None
        self.check_nothing_is_overdue_too_soon(score, dark)

    def check_nothing_is_overdue_too_soon(self, score: float, dark: float | None) -> None:
        """A read judges no canary younger than the deadline: the points it gives need as many that are older."""
        old = sum(1 for sent in self.out.values() if sent + T <= self.now)
        assert self.detector.score <= score + old + 1e-9
        if dark is None and self.detector.dark_since is not None:
            assert self.detector.dark_since + T <= self.now

    @precondition(lambda self: self.detector.open is not None)
    @rule()
    def close(self) -> None:
        self.detector.closed()

    @rule()
    def restart(self) -> None:
        state = json.loads(json.dumps(self.detector.state()))
        self.detector = Detector.restore(state)
        assert json.loads(json.dumps(self.detector.state())) == state

    @invariant()
    def the_score_is_never_below_nought(self) -> None:
        assert self.detector.score >= 0

    @invariant()
    def no_extra_while_blind_or_paged(self) -> None:
        if self.detector.open is not None or (self.blind and self.detector._gaps.blind_at(self.now)):
            assert self.detector.next_extra(self.now) is None

    @invariant()
    def what_waits_is_what_was_sent_lately(self) -> None:
        """Bounded: after a read nothing waits that is older than the deadline and the stall limit."""
        assert self.detector.waiting <= len(self.out)
        if not self.blind:
            self.detector.complete_read(self.now, self.now)
            oldest = self.detector.oldest
            assert oldest is None or oldest + T + W > self.now
            assert self.detector.waiting <= sum(1 for sent in self.out.values() if sent + T + W > self.now)

    @invariant()
    def it_never_asks_for_a_read_in_vain(self) -> None:
        """A read at the moment that it names leaves nothing due at that moment."""
        copy = Detector.restore(self.detector.state())
        check = copy.next_check()
        if check is not None:
            at = max(check, self.now)
            copy.complete_read(at, at)
            following = copy.next_check()
            assert following is None or following > at


TestLegs = Legs.TestCase
TestLegs.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)

_EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["send", "send", "send", "arrive", "late", "left", "read", "blind", "overdue", "close"]),
        st.sampled_from([0.0, 1.0, 4.0, 30.0]),
        st.integers(0, 5),
    ),
    max_size=120,
)


def _apply(detector: Detector, events: list[tuple[str, float, int]], now: float, count: int) -> tuple[float, int]:
    for kind, seconds, which in events:
        now += seconds
        name = str(max(0, count - which))
        match kind:
            case "send":
                count += 1
                detector.sent(str(count), now)
            case "arrive":
                detector.arrived(name, 2.0, now)
            case "late":
                detector.arrived(name, T + 1, now)
            case "left":
                detector.left_out(name)
            case "overdue":
                detector.overdue(name, now)
            case "blind":
                detector.went_blind(now)
            case "close":
                detector.closed()
            case _:
                detector.complete_read(now, now)
    return now, count


@given(_EVENTS, st.integers(0, 120))
@settings(max_examples=200, deadline=None)
def test_a_restart_anywhere_ends_in_the_same_state(events: list[tuple[str, float, int]], cut: int) -> None:
    """A full replay, and one of what follows a kept state."""
    full = Detector(_TUNING)
    _apply(full, events, 0.0, 0)
    first = Detector(_TUNING)
    now, count = _apply(first, events[:cut], 0.0, 0)
    second = Detector.restore(json.loads(json.dumps(first.state())))
    _apply(second, events[cut:], now, count)
    assert second.state() == full.state()


@given(st.lists(st.floats(0.1, 30.0), min_size=1, max_size=60), st.floats(0.0, W - 1))
@settings(max_examples=60, deadline=None)
def test_ages_below_the_stall_limit_are_no_evidence(gaps: list[float], stall: float) -> None:
    """All mail is held, and comes out together after less than the stall limit: no point, no page."""
    detector = Detector(_TUNING)
    now = 0.0
    waiting: list[tuple[str, float]] = []
    for number, gap in enumerate(gaps):
        now += gap
        if waiting and now - waiting[0][1] > stall:
            for name, sent in waiting:
                detector.arrived(name, now - gap - sent, now - gap)
            waiting.clear()
        detector.sent(str(number), now)
        waiting.append((str(number), now))
        assert detector.complete_read(now, now) is None
    assert (detector.score, detector.runs, detector.open) == (0, 0, None)
    assert _TUNING.suspect_after == S
