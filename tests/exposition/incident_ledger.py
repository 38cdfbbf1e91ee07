"""A real ledger with a few incidents in it, each made by ``apply`` from what happened."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from probe.clock import Instant
from probe.detection.incident import apply, suspect
from probe.detection.incident_observations import (
    Counted,
    Observation,
    Paged,
    Proved,
    SuspicionPassed,
    Swept,
    WindowFound,
)
from probe.detection.record import Incident
from probe.detection.recovery import Phase
from probe.ledger.batch import Batch, IncidentRow
from probe.ledger.store import Ledger
from tests.detection.incidents import at, counted, fault, healthy, instant, naming, paged, progress, suspected, window
from tests.exposition.exposition_fakes import EVIL, TOKEN, StillClock, StillLive, snapshot

PARTIAL, OVER, RUNNING, PASSED = (
    "2026-09-09-inbound-1",
    "2026-09-10-inbound-1",
    "2026-09-11-other-1",
    "2026-09-08-inbound-1",
)


def after(incident: Incident, *happened: Observation) -> Incident:
    for one in happened:
        incident = apply(incident, one)
    return incident


def partial_loss() -> Incident:
    """20 of 400 lost on mx3, told apart, with a window, and what a server said is hostile."""
    rows = [*fault(20, 400, queued_as="4bXyZ{}" + EVIL.replace("{", "")), *healthy("mx1")]
    rows[0] = replace(rows[0], queued_as=f"250 <c+{TOKEN}@example.org>")
    return after(
        suspected(),
        paged(),
        Swept(at(300), naming("mx3")),
        Counted(at(7300), counted(rows)),
        WindowFound(at(7300), "mx3", window()),
        Proved(at(7400), "mx3", progress(Phase.PROVING, 0.5)),
    )


def over() -> Incident:
    """The same route a day later: closed, with every canary drained."""
    base = replace(suspected(), id=OVER)
    return after(
        base,
        paged(),
        Swept(at(300), naming("mx3")),
        Counted(at(7300), counted([*fault(20, 400)])),
        WindowFound(at(7300), "mx3", window()),
        Proved(at(9000), "mx3", progress(Phase.CLEAR, 9.0, clear=8999)),
    )


def running() -> Incident:
    """Another route, of a relay: dark since a minute, no window yet, nothing counted."""
    new = suspect(RUNNING, "other", ("any",), "any", at(0), at(60))
    return after(new, Paged(at(120), "any", "blackout", 7.0, 7.0, at(0)))


def passed() -> Incident:
    return after(replace(suspected(), id=PASSED), SuspicionPassed(at(200)))


def row(incident: Incident, opened: float) -> IncidentRow:
    moment = instant(opened).wall
    record = json.dumps(incident.to_json())
    return IncidentRow(incident.id, incident.route, incident.state.value, moment, moment, record, '{"kept": 1}')


def rows() -> list[IncidentRow]:
    """Oldest first: a suspicion that passed, a partial loss under way, one that is over, a blackout of now."""
    return [row(one, 100 * place) for place, one in enumerate((passed(), partial_loss(), over(), running()))]


async def fill(path: Path, *more: IncidentRow) -> StillLive:
    """The ledger at ``path`` with them; the caller closes it."""
    ledger = Ledger(path, StillClock())
    batch = Batch()
    for one in (*rows(), *more):
        batch.incident(one)
    await ledger.commit(batch)
    return StillLive(ledger, snapshot())


def broken(incident_id: str = "2026-09-12-inbound-1") -> IncidentRow:
    """One of a newer version."""
    moment = Instant(instant(400).wall, 0, "").wall
    return IncidentRow(incident_id, "inbound", "open", moment, moment, '{"schema": 99}')
