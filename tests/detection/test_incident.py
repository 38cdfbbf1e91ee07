"""Every state with every observation; the table below was written from the rules. Then kinds, reopening and JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from probe.detection import incident as life
from probe.detection.incident_observations import (
    OBSERVATIONS,
    Counted,
    Paged,
    Proved,
    Swept,
    WindowFound,
)
from probe.detection.record import Incident, Kind, LegProgress, State
from probe.detection.recovery import Phase, Tally
from probe.detection.strata import Counts
from probe.errors import IllegalMove
from tests.detection.incidents import (
    OBSERVED,
    at,
    counted,
    fault,
    healthy,
    instant,
    naming,
    paged,
    progress,
    suspected,
    window,
)

# state | what else is so | what is observed | next state
_TABLE = """
suspected  |       | SuspicionPassed | dismissed
suspected  |       | Paged           | open
suspected  |       | Paged:dark      | open
suspected  |       | Counted         | suspected

open       |       | Paged           | open
open       |       | Paged:dark      | open
open       |       | Swept:told      | identified
open       |       | Swept:untold    | open
open       |       | Proved:not      | open
open       |       | Proved:well     | recovering
open       |       | Proved:clear    | closed
open       |       | Counted         | open
open       |       | Counted:drained | open
open       |       | WindowFound     | open
open       |       | LegsGone        | closed
open       |       | LegsGone:other  | open
open       |       | RouteGone       | closed
open       |       | Worsened        | open
open       |       | MarkedFalse     | false
identified |       | Paged           | identified
identified |       | Swept:told      | identified
identified |       | Swept:untold    | open
identified |       | Proved:not      | identified
identified |       | Proved:well     | recovering
identified |       | Proved:clear    | closed
identified |       | Counted         | identified
identified |       | WindowFound     | identified
identified |       | LegsGone        | closed
identified |       | LegsGone:other  | identified
identified |       | RouteGone       | closed
identified |       | Worsened        | identified
identified |       | MarkedFalse     | false
recovering |       | Paged           | open
recovering | named | Paged           | identified
recovering |       | Swept:told      | recovering
recovering |       | Swept:untold    | recovering
recovering |       | Proved:not      | open
recovering | named | Proved:not      | identified
recovering |       | Proved:well     | recovering
recovering |       | Proved:clear    | closed
recovering |       | Counted         | recovering
recovering |       | Counted:drained | drained
recovering |       | WindowFound     | recovering
recovering |       | LegsGone        | closed
recovering |       | LegsGone:other  | recovering
recovering |       | RouteGone       | closed
recovering |       | Worsened        | recovering
recovering |       | MarkedFalse     | false

drained    |       | Paged           | open
drained    | named | Paged           | identified
drained    |       | Swept:told      | drained
drained    |       | Proved:not      | open
drained    | named | Proved:not      | identified
drained    |       | Proved:well     | drained
drained    |       | Proved:clear    | closed
drained    |       | Counted         | recovering
drained    |       | Counted:drained | drained
drained    |       | WindowFound     | drained
drained    |       | LegsGone        | closed
drained    |       | LegsGone:other  | drained
drained    |       | RouteGone       | closed
drained    |       | Worsened        | drained
drained    |       | MarkedFalse     | false

closed     |       | Paged           | open
closed     | named | Paged           | open
closed     |       | Counted         | closed
closed     |       | Counted:drained | closed
closed     |       | WindowFound     | closed
closed     |       | MarkedFalse     | false
"""
TABLE = [tuple(cell.strip() for cell in line.split("|")) for line in _TABLE.splitlines() if line.strip()]
LEGAL = {(state, observed.split(":")[0]) for state, _, observed, _ in TABLE}
NAMES = [kind.__name__ for kind in OBSERVATIONS]


def incident(state: str, situation: str = "") -> Incident:
    made = suspected()
    if state not in ("suspected", "dismissed"):
        made = life.apply(made, paged())
    if state == "identified" or situation == "named":
        made = life.apply(made, OBSERVED["Swept:told"])
    if state in ("recovering", "drained"):
        made = life.apply(made, OBSERVED["Proved:well"])
    closed = at(150) if state == "closed" else None
    return replace(made, state=State(state), closed_at=closed)


def opened(rule: str = "share", *observations: Any) -> Incident:
    made = life.apply(suspected(), paged(rule=rule))
    for observed in observations:
        made = life.apply(made, observed)
    return made


def test_the_table_speaks_of_every_observation_and_every_state_that_can_be_left() -> None:
    assert {state for state, *_ in TABLE} == {state.value for state in State} - {"dismissed", "false"}
    assert {name for _, name in LEGAL} == set(NAMES)


@pytest.mark.parametrize("case", TABLE, ids=lambda case: " ".join(filter(None, case[:3])))
def test_a_legal_move(case: tuple[str, str, str, str]) -> None:
    state, situation, observed, after = case
    before = incident(state, situation)
    moved = life.apply(before, OBSERVED[observed])
    assert moved.state.value == after
    assert moved.id == before.id
    assert moved.first_bad == before.first_bad
    assert moved.reasons[: len(before.reasons)] == before.reasons
    assert (moved.closed_at is not None) == (after == "closed" or (after == "false" and state == "closed"))
    if moved.state is not before.state and not observed.startswith(("Counted", "Swept:untold")):
        assert len(moved.reasons) > len(before.reasons)
    assert Incident.from_json(json.loads(json.dumps(moved.to_json()))) == moved


@pytest.mark.parametrize("state", [state.value for state in State])
@pytest.mark.parametrize("name", NAMES)
def test_what_the_table_does_not_name_is_illegal(state: str, name: str) -> None:
    kind = next(kind for kind in OBSERVATIONS if kind.__name__ == name)
    assert life.allows(State(state), kind) == ((state, name) in LEGAL)
    for key, observation in OBSERVED.items():
        if key.split(":")[0] == name and (state, name) not in LEGAL:
            with pytest.raises(IllegalMove, match=name):
                life.apply(incident(state), observation)


def test_allowed_targets_are_those_of_the_table() -> None:
    reached: dict[tuple[str, str], set[str]] = {}
    for state, _, observed, after in TABLE:
        reached.setdefault((state, observed.split(":")[0]), set()).add(after)
    declared = {
        (state.value, kind.__name__): {target.value for target in targets}
        for state, kinds in life.ALLOWED.items()
        for kind, targets in kinds.items()
    }
    assert declared == reached


@pytest.mark.parametrize(("hours", "same"), [(0, True), (24, True), (24.001, False)])
def test_it_is_open_again_within_24_hours_and_then_it_is_another(hours: float, same: bool) -> None:
    closed = life.apply(opened("share", OBSERVED["Swept:told"]), OBSERVED["Proved:clear"])
    when = 200 + hours * 3600
    assert life.takes_page(closed, at(when)) == same
    if not same:
        with pytest.raises(IllegalMove, match="begins another"):
            life.apply(closed, paged(when=when))
        return
    again = life.apply(closed, paged("mx4", when=when, first_bad=when - 90))
    assert (again.state, again.reopened, again.closed_at) == (State.OPEN, (at(when),), None)
    assert (again.naming, again.all_clear, again.affected) == (None, (), ("mx3", "mx4"))
    assert again.first_bad == at(0)
    assert "mx4 paged again (share)" in again.reasons[-1][1]


def test_only_what_is_active_or_closed_takes_a_page() -> None:
    for state in State:
        assert life.takes_page(incident(state.value), at(160)) == (state not in (State.DISMISSED, State.FALSE))


def test_every_affected_leg_must_be_clear() -> None:
    both = opened("share", paged("mx1", when=130))
    one = life.apply(both, Proved(at(200), "mx3", progress(Phase.CLEAR, 9.0, clear=199)))
    assert (one.state, [leg.mx for leg in one.all_clear]) == (State.OPEN, ["mx3"])
    two = life.apply(one, Proved(at(210), "mx1", progress(Phase.PROVING, 2.0)))
    assert (two.state, [leg.mx for leg in two.all_clear]) == (State.RECOVERING, ["mx1", "mx3"])
    done = life.apply(two, Proved(at(220), "mx1", progress(Phase.CLEAR, 9.0, clear=219)))
    assert (done.state, done.closed_at) == (State.CLOSED, at(220))
    assert done.all_clear[0] == LegProgress.of("mx1", progress(Phase.CLEAR, 9.0, clear=219))
    assert done.all_clear[0].clear_at == instant(219).utc


def test_what_drains_after_the_close_is_noted_beside_it() -> None:
    closed = life.apply(opened(), OBSERVED["Proved:clear"])
    waiting = life.apply(closed, Counted(at(300), Counts(in_flight=3, oldest=at(5))))
    assert waiting.drained_at is None
    done = life.apply(waiting, Counted(at(7300), Counts()))
    assert (done.state, done.drained_at) == (State.CLOSED, at(7300))
    assert done.reasons[-1] == (at(7300), "every canary of the incident has its outcome")
    later = life.apply(done, Counted(at(9000), Counts()))
    assert later == done


def test_loss_and_delay_are_told_by_what_arrives() -> None:
    dark = opened("blackout")
    assert dark.kind is Kind.TOTAL_LOSS
    assert [reason for _, reason in dark.reasons][-1] == "it is a total loss"
    rows = fault(20, 20, proven=False)
    late = [replace(row, state=fault(0, 20, late=20)[0].state) for row in rows[:2]]
    assert life.apply(dark, Counted(at(900), counted([*late, *rows[2:]]))).kind is Kind.TOTAL_LOSS  # two can be chance
    late = [replace(row, state=fault(0, 20, late=20)[0].state) for row in rows[:3]]
    delayed = life.apply(dark, Counted(at(910), counted([*late, *rows[3:]])))
    assert delayed.kind is Kind.DELAY
    assert delayed.reasons[-1] == (at(910), "it is now a delay")


def test_slow_mail_beside_a_loss_is_no_delay() -> None:
    lossy = opened("share", Counted(at(900), counted(fault(20, 400, proven=False, late=5))))
    assert lossy.counts.late_in_turn == 5
    assert lossy.kind is Kind.DELAY  # the slow ones came before any lost one could be passed over: not for long
    spread = fault(20, 400, proven=False)
    slow = [replace(row, state=fault(0, 2, late=2)[0].state, overdue=True) for row in spread[301:305]]
    assert life.apply(lossy, Counted(at(910), counted([*spread, *slow]))).kind is Kind.PARTIAL_LOSS


@pytest.mark.parametrize(
    ("rule", "old", "kind"),
    [
        ("blackout", Tally(0, 0), Kind.TOTAL_LOSS),
        ("blackout", Tally(27, 30), Kind.TOTAL_LOSS),
        ("blackout", Tally(27, 31), Kind.PARTIAL_LOSS),
        ("share", Tally(0, 0), Kind.PARTIAL_LOSS),
        ("share", Tally(19, 19), Kind.PARTIAL_LOSS),
        ("share", Tally(20, 22), Kind.TOTAL_LOSS),
    ],
)
def test_total_means_nine_of_ten(rule: str, old: Tally, kind: Kind) -> None:
    made = life.apply(opened(rule), Proved(at(200), "mx3", progress(Phase.PROVING, 0.0, old)))
    assert made.kind is kind


def test_a_leg_that_goes_dark_later_is_judged_from_then_on() -> None:
    lossy = opened("share", Proved(at(200), "mx3", progress(Phase.PROVING, 0.0, Tally(20, 400))))
    assert lossy.kind is Kind.PARTIAL_LOSS
    dark = life.apply(lossy, Paged(at(300), "mx3", "blackout", 7, 7, at(240)))
    assert (dark.pages[-1].bad_before, dark.pages[-1].judged_before) == (20, 400)
    assert dark.kind is Kind.TOTAL_LOSS
    on = life.apply(dark, Proved(at(400), "mx3", progress(Phase.PROVING, 0.0, Tally(50, 430))))
    assert on.kind is Kind.TOTAL_LOSS
    assert (
        life.apply(on, Proved(at(500), "mx3", progress(Phase.PROVING, 0.0, Tally(50, 450)))).kind is Kind.PARTIAL_LOSS
    )


def test_the_affected_legs_and_those_that_may_be() -> None:
    fresh = opened()
    assert (fresh.affected, fresh.suspects) == (("mx3",), ("mx1", "mx2", "mx3", "mx4"))
    half = life.apply(fresh, Swept(at(130), naming("mx1", "mx3", untold=("mx4",))))
    assert (half.affected, half.suspects) == (("mx1", "mx3"), ("mx1", "mx3", "mx4"))
    told = life.apply(half, Swept(at(140), naming("mx1", "mx3")))
    assert (told.state, told.suspects) == (State.IDENTIFIED, ("mx1", "mx3"))


def test_the_record_has_the_names_that_readers_rely_on() -> None:
    rows = [*fault(), *(row for mx in ("mx1", "mx2", "mx4") for row in healthy(mx))]
    made = opened("share", OBSERVED["Swept:told"], Counted(at(9000), counted(rows)), OBSERVED["WindowFound"])
    record = made.to_json()
    assert (record["schema"], record["id"], record["route"]) == (1, "2026-09-09-inbound-1", "inbound")
    assert (record["state"], record["kind"]) == ("identified", "partial_loss")
    assert (record["detector"], record["score"], record["threshold"]) == ("share", 5.2, 5.0)
    assert record["detected_at"] == "2026-09-09T10:02:00.000000Z"
    assert record["affected"] == {
        "legs": ["mx3"],
        "first_sent": "2026-09-09T10:00:00.000000Z",
        "last_sent": "2026-09-09T11:00:00.000000Z",
        "canaries_sent": 400,
        "overdue": 20,
        "missing": 0,
        "lost": 20,
        "late": 0,
        "recovered": 0,
        "unknown": 0,
    }
    assert record["requeue"]["from"] == "2026-09-09T09:50:00.000000Z"
    assert record["requeue"]["to"] == "2026-09-09T12:00:00.000000Z"
    assert [stratum["mx"] for stratum in record["strata"]] == ["mx1", "mx2", "mx3", "mx4"]
    assert record["backlog"] == {"in_flight": 0, "oldest_sent": None}
    assert record["loss_ratio"]["method"] == "clopper-pearson"
    with pytest.raises(ValueError, match="schema 2"):
        Incident.from_json({**record, "schema": 2})


def test_reasons_are_bounded_and_not_repeated() -> None:
    made = opened()
    for turn in range(300):
        made = life.apply(made, Proved(at(200 + turn), "mx3", progress(Phase.PROVING, 2.0 if turn % 2 else 0.0)))
    assert len(made.reasons) == life.MOST_REASONS
    once = life.apply(made, Swept(at(600), naming("mx3")))
    assert life.apply(once, Swept(at(601), naming("mx3"))).reasons == once.reasons


def test_windows_of_two_legs_are_kept_in_the_legs_order() -> None:
    made = opened("share", paged("mx1", when=130), OBSERVED["WindowFound"])
    made = life.apply(made, WindowFound(at(201), "mx1", window(end=None)))
    assert [mx for mx, _ in made.windows] == ["mx1", "mx3"]
    assert made.requeue == (at(-600), None)
    assert life.name_incident("inbound", at(0), 2) == "2026-09-09-inbound-2"
    assert made.detected_at is not None
    assert made.detected_at - at(0) == timedelta(minutes=2)
