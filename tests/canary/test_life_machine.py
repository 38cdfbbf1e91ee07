"""Random lives, as long as ``allows`` lets them go on; the invariants are the rules of docs/how-it-decides.md."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from probe.canary import counters, life
from probe.canary import observations as seen
from probe.canary.life import Effect
from probe.canary.record import Canary, State
from probe.clock import Instant
from tests.canary.lives import DEADLINES, LEG, ZERO

_SENDABLE = {State.PLANNED, State.INTENT, State.DATA_STARTED, State.DEFERRED}
_ARRIVED = {State.DELIVERED, State.LATE}


class Lives(RuleBasedStateMachine):
    """A handful of canaries, one clock (that may be set back by a reboot), and the books."""

    @initialize()
    def begin(self) -> None:
        self.now = ZERO
        self.canaries: list[Canary] = []
        self.answered_4xx: set[str] = set()
        self.totals: dict[str, float] = defaultdict(float)
        self.effects: dict[Effect, int] = defaultdict(int)
        self.outcomes: dict[str, list[State]] = defaultdict(list)

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0, 60.0, 899.0, 2_000.0, 7_300.0]))
    def time_passes(self, seconds: float) -> None:
        self.now = self.now + timedelta(seconds=seconds)

    @rule(by=st.integers(-3_600, 3_600))
    def reboot(self, by: int) -> None:
        self.now = Instant(self.now.wall + by * 10**9, 10**9, self.now.boot_id + "+")

    @precondition(lambda self: len(self.canaries) < 4)
    @rule()
    def plan(self) -> None:
        number = len(self.canaries)
        canary = Canary(f"canary{number:07}", LEG, "prober-1", "plain", DEADLINES, self.now)
        self.canaries.append(canary)
        self._observe(number, seen.Intended(self.now))

    @precondition(lambda self: self.canaries)
    @rule(data=st.data())
    def observe(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.canaries) - 1), label="which")
        canary = self.canaries[index]
        kinds = [kind for kind in seen.OBSERVATIONS if life.allows(canary.state, kind)]
        if canary.arrived is not None:
            kinds.remove(seen.Arrived) if seen.Arrived in kinds else None
        kind = data.draw(st.sampled_from(kinds), label="what")
        self._observe(index, self._observation(kind, canary, data))

    def _observation(self, kind: type[seen.Observation], canary: Canary, data: st.DataObject) -> seen.Observation:
        ago = st.integers(0, 4_000).map(lambda s: self.now + timedelta(seconds=-s))
        later = st.none() if canary.state is State.DEFERRED else st.none() | st.just(self.now + timedelta(seconds=60))
        if kind is seen.Arrived:
            after = data.draw(st.none() | ago)
            stamp = data.draw(st.none() | ago.map(lambda i: i.utc.replace(microsecond=0)))
            low = data.draw(st.floats(-30, 30))
            high = low + data.draw(st.floats(0, 30))
            return seen.Arrived(after, self.now, data.draw(st.sampled_from(["INBOX", "Junk", "x"])), stamp, low, high)
        made: dict[type[seen.Observation], seen.Observation] = {
            seen.AttemptStarted: seen.AttemptStarted(self.now, canary.attempts + 1),
            seen.SendAccepted: seen.SendAccepted(self.now, data.draw(ago), data.draw(ago), "Q", "250 ok"),
            seen.SendDeferred: seen.SendDeferred(self.now, data.draw(st.none() | ago), data.draw(later), "451 no"),
            seen.SendRefused: seen.SendRefused(self.now, "550 no"),
            seen.SendFailed: seen.SendFailed(self.now, "tcp", "refused", data.draw(later)),
            seen.SendBroke: seen.SendBroke(self.now, data.draw(ago), data.draw(st.none() | ago), "reset"),
            seen.CopySeen: seen.CopySeen(
                self.now, "INBOX", data.draw(st.sampled_from(["duplicate", "moved", "copied", "reread"]))
            ),
            seen.Bounced: seen.Bounced(self.now, "5.0.0"),
            seen.DelayReported: seen.DelayReported(self.now, "4.0.0"),
            seen.ProvenAbsent: seen.ProvenAbsent(self.now, "all accounted for"),
            seen.AbsenceUnproven: seen.AbsenceUnproven(self.now, "uid_gap", "a gap"),
            seen.WatchEnded: seen.WatchEnded(self.now, "blind all along"),
        }
        return made[kind] if kind in made else kind(self.now)  # type: ignore[call-arg]

    def _observe(self, index: int, observation: seen.Observation) -> None:
        before = self.canaries[index]
        move = life.apply(before, observation)
        after = move.canary
        self._check(before, after, observation)
        assert move.reason
        for name, _, value in counters.counts_of(before, move):
            self.totals[name] += value
        for effect in move.effects:
            self.effects[effect] += 1
        if isinstance(observation, seen.SendDeferred):
            self.answered_4xx.add(after.id)
        if Effect.OUTCOME in move.effects:
            self.outcomes[after.id].append(after.state)
        self.canaries[index] = after

    def _check(self, before: Canary, after: Canary, observation: seen.Observation) -> None:
        if before.state.terminal:
            assert after.state is before.state
            assert replace(after, reason="").settled == before.settled
        if after.state is State.LOST and before.state is not State.LOST:
            assert before.state is State.ACCEPTED
            assert isinstance(observation, seen.ProvenAbsent)
        if before.state is State.UNSURE:
            assert after.state not in _SENDABLE | {State.LOST, State.ACCEPTED}
        if isinstance(observation, seen.AttemptStarted) or after.state is State.DEFERRED:
            assert before.id in self.answered_4xx or isinstance(observation, seen.SendDeferred)
        if before.clock_started is not None:
            assert after.clock_started == before.clock_started

    @invariant()
    def every_canary_sent_is_in_flight_or_has_one_outcome(self) -> None:
        in_flight = sum(canary.state.in_flight for canary in self.canaries)
        assert self.totals[counters.SENT] == len(self.canaries)
        assert self.totals[counters.SENT] == self.totals[counters.OUTCOMES] + in_flight
        for canary in self.canaries:
            assert self.outcomes[canary.id] == ([canary.state] if canary.state.terminal else [])
            assert canary.state.terminal == (canary.settled is not None)

    @invariant()
    def the_counters_of_judgement_agree(self) -> None:
        states = [canary.state for canary in self.canaries]
        overdue = self.totals[counters.OVERDUE]
        assert states.count(State.LATE) + states.count(State.LOST) <= overdue
        assert overdue == self.effects[Effect.OVERDUE] == sum(canary.overdue for canary in self.canaries)
        assert self.totals[counters.JUDGED] == self.effects[Effect.PUNCTUAL] + self.effects[Effect.OVERDUE]
        assert self.totals[counters.JUDGED] == sum(canary.judged for canary in self.canaries)
        for was in (State.LOST, State.UNKNOWN):
            recovered = [c for c in self.canaries if c.state is was and c.recovered is not None]
            assert len(recovered) <= states.count(was)
        assert self.totals[counters.RECOVERED] <= states.count(State.LOST) + states.count(State.UNKNOWN)
        assert self.totals[counters.ARRIVALS] == sum(canary.arrived is not None for canary in self.canaries)
        assert self.totals[counters.DELIVERY_BUCKET] == sum(canary.latency is not None for canary in self.canaries)

    @invariant()
    def times_are_never_negative_and_fit_the_outcome(self) -> None:
        for canary in self.canaries:
            for duration in (canary.latency, canary.uncertainty, canary.transit):
                assert duration is None or duration >= timedelta(0)
            if canary.state is State.DELIVERED and canary.latency is not None:
                assert canary.latency <= canary.deadlines.overdue_after
            assert (canary.state in _ARRIVED) <= (canary.arrived is not None)


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
