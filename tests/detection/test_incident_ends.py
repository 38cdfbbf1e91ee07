"""Incidents that end without a proof, that meet hosts which come and go, and that are opened again."""

from __future__ import annotations

import json
from dataclasses import replace

from probe.canary.record import State as Outcome
from probe.detection import incident as life
from probe.detection import report
from probe.detection.incident_observations import LegsGone, Proved, RouteGone, WindowFound, Worsened
from probe.detection.record import Incident, State
from probe.detection.recovery import Phase
from probe.detection.strata import Seen, count
from tests.detection.incidents import OBSERVED, at, fault, paged, progress, suspected, window


def opened() -> Incident:
    return life.apply(suspected(), paged())


def test_what_is_closed_without_a_proof_says_so() -> None:
    gone = life.apply(opened(), RouteGone(at(300)))
    assert gone.state is State.CLOSED
    assert "removed" in gone.unproven
    assert "Not known" in report.to_markdown(gone)
    assert "confirmed" not in report.status_page(gone)
    proven = life.apply(opened(), OBSERVED["Proved:clear"])
    assert proven.unproven == ""
    assert "Yes, since" in report.to_markdown(proven)


def test_a_leg_that_is_gone_holds_up_no_proof_and_is_told_of() -> None:
    both = life.apply(opened(), paged("mx4", when=130))
    left = life.apply(both, LegsGone(at(150), ("mx4",)))
    assert left.state is State.OPEN
    closed = life.apply(left, OBSERVED["Proved:clear"])
    assert closed.state is State.CLOSED
    assert closed.unproven.startswith("mx4 left")
    back = life.apply(left, LegsGone(at(160), ()))
    assert life.apply(back, OBSERVED["Proved:clear"]).state is State.OPEN


def test_a_host_that_is_new_may_page_and_belongs_to_it() -> None:
    made = life.apply(opened(), paged("mx9", when=130))
    assert made.legs[-1] == "mx9"
    assert made.affected == ("mx3", "mx9")
    assert life.apply(made, Proved(at(140), "mx9", progress(Phase.PROVING))).all_clear[0].mx == "mx9"


def test_opened_again_counts_its_bouts_and_not_the_time_between() -> None:
    rows = fault(start=0.0) + [Seen("mx3", "plain", at(4000 + n), Outcome.DELIVERED) for n in range(500)]
    rows += fault(start=10_000.0)
    closed = life.apply(opened(), Proved(at(3700), "mx3", progress(Phase.CLEAR, 9.0, clear=3699)))
    again = life.apply(closed, paged("mx4", when=10_120, first_bad=10_000.0))
    assert [bout.until for bout in again.bouts] == [at(3700), None]
    assert again.broken == ("mx4",)  # of mx3 there is nothing more to prove
    assert again.affected == ("mx3", "mx4")
    first, now = again.bouts
    earlier = [(first.first_bad, first.paged_at, at(3700))]
    counts = count(rows, now.first_bad, now.paged_at, again.affected, earlier)
    (stratum,) = counts.strata
    assert (stratum.sent, stratum.lost) == (800, 40)
    old, new = window(), replace(window(), first_bad=at(10_000), last_bad=at(13_600))
    found = life.apply(replace(again, windows=(("mx3", old),)), WindowFound(at(11_000), "mx3", new))
    kept = life.apply(found, Worsened(at(11_001), "mx4", 30, 60, 0.02))
    assert kept.windows == (("mx3", old), ("mx3", new))
    assert Incident.from_json(json.loads(json.dumps(kept.to_json()))) == kept
