"""Any course of an incident: states are reached by the table alone, and a restart between two moves is unseen."""

from __future__ import annotations

import json
from datetime import datetime

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from probe.detection import incident as life
from probe.detection.incident_observations import (
    OBSERVATIONS,
    Counted,
    LegsGone,
    MarkedFalse,
    Observation,
    Paged,
    Proved,
    RouteGone,
    SuspicionPassed,
    Swept,
    WindowFound,
    Worsened,
)
from probe.detection.record import Incident, State
from probe.detection.recovery import Phase, Tally
from probe.detection.report import to_json, to_markdown
from tests.detection.incidents import LEGS, at, counted, fault, naming, paged, progress, suspected, window

_LOSSES = [counted([]), counted(fault(4, 40)), counted(fault(4, 40, proven=False)), counted(fault(40, 40))]


class Incidents(RuleBasedStateMachine):
    """One incident. What is closed and what is open is kept beside it, by the words of the rules."""

    def __init__(self) -> None:
        super().__init__()
        self.incident: Incident = suspected()
        self.now = 130.0
        self.closed: datetime | None = None
        self.pages = 0

    @initialize(page=st.booleans())
    def begin(self, page: bool) -> None:
        if page:
            self.observe(paged())

    @rule(hours=st.sampled_from([0.01, 1, 23, 25]))
    def wait(self, hours: float) -> None:
        self.now += hours * 3600

    @rule(data=st.data(), kind=st.sampled_from(OBSERVATIONS))
    def something_happens(self, data: st.DataObject, kind: type[Observation]) -> None:
        self.now += 1
        if not life.allows(self.incident.state, kind):
            return
        if kind is Paged and not life.takes_page(self.incident, at(self.now)):
            return
        if kind in (MarkedFalse, RouteGone) and data.draw(st.integers(0, 4)):
            return  # or no course would be long
        self.observe(self._observation(kind, data))

    def _observation(self, kind: type[Observation], data: st.DataObject) -> Observation:
        when, mx = at(self.now), data.draw(st.sampled_from(LEGS))
        if kind is Paged:
            return paged(mx, data.draw(st.sampled_from(["share", "blackout"])), self.now, self.now - 70)
        if kind is Swept:
            untold = data.draw(st.sets(st.sampled_from(["mx1", "mx2"])))
            return Swept(when, naming(*self.incident.affected, untold=tuple(untold - set(self.incident.affected))))
        if kind is Proved:
            proof, phase = data.draw(st.floats(0, 9)), data.draw(st.sampled_from(Phase))
            cleared = self.now if phase is Phase.CLEAR else None
            return Proved(when, mx, progress(phase, proof, Tally(data.draw(st.integers(0, 50)), 50), cleared))
        if kind is Counted:
            return Counted(when, data.draw(st.sampled_from(_LOSSES)))
        if kind is LegsGone:
            return LegsGone(when, tuple(sorted(data.draw(st.sets(st.sampled_from(LEGS), max_size=2)))))
        if kind is Worsened:
            return Worsened(when, mx, 30, 60, 0.02)
        if kind is RouteGone:
            return RouteGone(when)
        if kind is WindowFound:
            return WindowFound(when, mx, window(end=data.draw(st.sampled_from([None, 7200.0]))))
        return MarkedFalse(when, "kim") if kind is MarkedFalse else SuspicionPassed(when)

    def observe(self, observation: Observation) -> None:
        before = self.incident
        self.incident = life.apply(before, observation)
        assert self.incident.state in life.ALLOWED[before.state][type(observation)]
        self.pages += isinstance(observation, Paged)
        if before.state is not State.CLOSED and self.incident.state is State.CLOSED:
            self.closed = observation.at
        if self.incident.state.active:
            self.closed = None

    @rule()
    def restart(self) -> None:
        self.incident = Incident.from_json(json.loads(json.dumps(self.incident.to_json())))

    @invariant()
    def its_facts_fit_its_state(self) -> None:
        made = self.incident
        assert len(made.pages) == self.pages
        assert (made.kind is None) == (not made.pages)
        assert (made.state in (State.SUSPECTED, State.DISMISSED)) == (not made.pages)
        assert set(made.affected) == {page.mx for page in made.pages} | set(made.naming.bad if made.naming else ())
        assert made.closed_at == self.closed
        assert (made.state is State.FALSE) == bool(made.false_by)
        if made.state is State.IDENTIFIED:
            assert made.naming is not None
            assert not made.naming.untold
        if made.state is State.DRAINED:
            assert made.drained_at is not None
            assert made.counts.in_flight == 0
        if made.state in (State.RECOVERING, State.DRAINED, State.CLOSED):
            assert {leg.mx for leg in made.all_clear} >= set(made.broken) - set(made.gone) or made.unproven
        assert not made.unproven or made.state in (State.CLOSED, State.FALSE)
        assert len(made.bouts) == (len(made.reopened) + 1 if made.pages else 0)
        assert all(bout.until is not None for bout in made.bouts[:-1])
        assert made.first_bad <= at(60)

    @invariant()
    def it_can_always_be_reported(self) -> None:
        made = to_json(self.incident, 1000)
        assert json.loads(json.dumps(made)) == made
        assert to_markdown(self.incident, 1000).startswith("# Incident 2026-09-09-inbound-1\n")
        lost = made["real_mail"]
        assert lost is None or 0 <= lost["lower"] <= lost["lost_estimate"] <= lost["upper"] <= 1000


TestIncidents = Incidents.TestCase
TestIncidents.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
