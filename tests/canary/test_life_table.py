"""Every state with every observation. The table below was written from the rules, not from ``life``."""

from __future__ import annotations

import pytest

from probe.canary import life
from probe.canary import observations as seen
from probe.canary.record import IN_FLIGHT, OUTCOMES, Canary, State
from probe.errors import IllegalMove
from tests.canary.lives import LOST_AFTER, OBSERVED, ZERO, at, canary

# state | what else is so | what is observed | next state | what is counted
_ALIVE = """
planned      |         | Intended           | intent       | sent

intent       |         | DataStarted        | data_started |
intent       | retry   | DataStarted        | data_started |
intent       |         | SendDeferred       | deferred     |
intent       |         | SendDeferred:last  | refused      | outcome
intent       |         | SendRefused        | refused      | outcome
intent       |         | SendFailed         | unsent       | outcome
intent       |         | SendFailed:next    | unsent       | outcome
intent       | retry   | SendFailed         | refused      | outcome
intent       | retry   | SendFailed:next    | deferred     |
intent       | retry   | Arrived:punctual   | delivered    | arrival punctual outcome
intent       | retry   | Arrived:late       | late         | arrival overdue outcome
intent       | retry   | Arrived:straddling | delivered    | arrival outcome
intent       | retry   | Bounced            | bounced      | outcome
intent       | retry   | DelayReported      | intent       |
intent       |         | Restarted          | unsent       | outcome
intent       | retry   | Restarted          | deferred     |
intent       |         | MailboxRemoved     | unknown      | outcome

data_started |         | SendAccepted       | accepted     |
data_started |         | SendDeferred       | deferred     |
data_started |         | SendDeferred:last  | refused      | outcome
data_started |         | SendRefused        | refused      | outcome
data_started |         | SendFailed         | unsent       | outcome
data_started | retry   | SendFailed         | refused      | outcome
data_started | retry   | SendFailed:next    | deferred     |
data_started |         | SendBroke          | unsure       |
data_started |         | Arrived:punctual   | delivered    | arrival punctual outcome
data_started |         | Arrived:late       | late         | arrival overdue outcome
data_started |         | Arrived:straddling | delivered    | arrival outcome
data_started |         | Bounced            | bounced      | outcome
data_started |         | DelayReported      | data_started |
data_started |         | Restarted          | unsure       |
data_started | retry   | Restarted          | unsure       |
data_started |         | MailboxRemoved     | unknown      | outcome

deferred     |         | AttemptStarted     | intent       |
deferred     |         | SendDeferred:last  | refused      | outcome
deferred     |         | Arrived:punctual   | delivered    | arrival punctual outcome
deferred     |         | Arrived:late       | late         | arrival overdue outcome
deferred     |         | Arrived:straddling | delivered    | arrival outcome
deferred     |         | Bounced            | bounced      | outcome
deferred     |         | DelayReported      | deferred     |
deferred     |         | Restarted          | deferred     |
deferred     |         | SenderRemoved      | refused      | outcome
deferred     |         | MailboxRemoved     | unknown      | outcome

accepted     |         | Arrived:punctual   | delivered    | arrival punctual outcome
accepted     |         | Arrived:late       | late         | arrival overdue outcome
accepted     |         | Arrived:straddling | delivered    | arrival outcome
accepted     | overdue | Arrived:late       | late         | arrival outcome
accepted     | overdue | Arrived:straddling | late         | arrival outcome
accepted     | overdue | Arrived:punctual   | late         | arrival outcome
accepted     |         | Bounced            | bounced      | outcome
accepted     |         | DelayReported      | accepted     |
accepted     | overdue | Bounced            | bounced      | outcome
accepted     |         | WentOverdue        | accepted     | overdue
accepted     | overdue | WentOverdue        | accepted     |
accepted     |         | ProvenAbsent       | lost         | overdue outcome
accepted     | overdue | ProvenAbsent       | lost         | outcome
accepted     |         | AbsenceUnproven    | unknown      | outcome
accepted     | overdue | AbsenceUnproven    | unknown      | outcome
accepted     |         | WatchEnded         | unknown      | outcome
accepted     |         | Restarted          | accepted     |
accepted     |         | MailboxRemoved     | unknown      | outcome

unsure       |         | Arrived:punctual   | delivered    | arrival punctual outcome
unsure       |         | Arrived:late       | late         | arrival overdue outcome
unsure       |         | Arrived:straddling | delivered    | arrival outcome
unsure       |         | Bounced            | bounced      | outcome
unsure       |         | DelayReported      | unsure       |
unsure       |         | ProvenAbsent       | unknown      | outcome
unsure       |         | AbsenceUnproven    | unknown      | outcome
unsure       |         | WatchEnded         | unknown      | outcome
unsure       |         | Restarted          | unsure       |
unsure       |         | MailboxRemoved     | unknown      | outcome
"""

# Outcomes are never left: all that differs is what is counted.
_ENDED = {
    "delivered lost late bounced refused unsent unknown": """
        CopySeen:duplicate | duplicate
        CopySeen:moved     | moved
        CopySeen:copied    |
        CopySeen:reread    |
        Bounced            | afterwards_bounce
        DelayReported      |
    """,
    "lost unknown": """
        Arrived:punctual   | arrival recovered
        Arrived:late       | arrival recovered
        Arrived:straddling | arrival recovered
    """,
    "bounced refused unsent": """
        Arrived:punctual   | arrival afterwards_arrival
        Arrived:late       | arrival afterwards_arrival
        Arrived:straddling | arrival afterwards_arrival
    """,
    # These four can come about while the server's answer is still under way.
    "delivered late bounced unknown": """
        SendAccepted       |
        SendDeferred       |
        SendDeferred:last  |
        SendRefused        |
        SendFailed         |
        SendFailed:next    |
        SendBroke          |
    """,
}

Case = tuple[str, str, str, str, str]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("|")]


def _table() -> list[Case]:
    rows: list[Case] = [tuple(_cells(line)) for line in _ALIVE.splitlines() if line.strip()]  # type: ignore[misc]
    for states, lines in _ENDED.items():
        for state in states.split():
            for line in lines.splitlines():
                if line.strip():
                    observed, effects = _cells(line)
                    rows.append((state, "", observed, state, effects))
    return rows


TABLE = _table()
LEGAL = {(state, observed.split(":")[0]) for state, _, observed, _, _ in TABLE}
NAMES = [kind.__name__ for kind in seen.OBSERVATIONS]


def _canary(state: str, situation: str) -> Canary:
    facts = {
        "": {},
        "retry": {"attempts": 2, "clock_started": ZERO},
        "overdue": {"overdue": True, "judged": True},
    }[situation]
    return canary(State(state), **facts)


def test_the_table_speaks_of_every_state_and_every_observation() -> None:
    assert {state for state, *_ in TABLE} == {state.value for state in State}
    assert {name for _, name in LEGAL} == set(NAMES)
    assert len(State) * len(NAMES) == 13 * 19


@pytest.mark.parametrize("case", TABLE, ids=lambda case: " ".join(filter(None, case[:3])))
def test_a_legal_move(case: Case) -> None:
    state, situation, observed, after, effects = case
    before = _canary(state, situation)
    observation = OBSERVED[observed]
    move = life.apply(before, observation)

    assert move.canary.state.value == after
    assert sorted(move.effects) == sorted(effects.split())
    assert move.reason.strip() == move.reason
    assert len(move.reason) > 10
    assert (life.Effect.OUTCOME in move.effects) == (not before.state.terminal and move.canary.state.terminal)
    if before.state.terminal:
        assert move.canary.settled == before.settled
        assert move.canary.reason == before.reason
    elif before.state is State(after) and observed in ("Restarted", "DelayReported"):
        assert move.canary == before
    else:
        assert move.canary.reason == move.reason
        assert (move.canary.settled is not None) == move.canary.state.terminal
    if move.canary.state.terminal:
        assert move.canary.retry_at is None
    for fixed in ("id", "leg", "prober", "variant", "deadlines", "sent", "floors"):
        assert getattr(move.canary, fixed) == getattr(before, fixed)


@pytest.mark.parametrize("state", [state.value for state in State])
@pytest.mark.parametrize("name", NAMES)
def test_what_the_table_does_not_name_is_illegal(state: str, name: str) -> None:
    kind = next(kind for kind in seen.OBSERVATIONS if kind.__name__ == name)
    assert life.allows(State(state), kind) == ((state, name) in LEGAL)
    if (state, name) in LEGAL:
        return
    for key, observation in OBSERVED.items():
        if key.split(":")[0] == name:
            with pytest.raises(IllegalMove, match=name):
                life.apply(_canary(state, ""), observation)


def test_allowed_targets_are_those_of_the_table() -> None:
    """No target in ``life.ALLOWED`` that no case reaches, and none missing."""
    reached: dict[tuple[str, str], set[str]] = {}
    for state, _, observed, after, _ in TABLE:
        reached.setdefault((state, observed.split(":")[0]), set()).add(after)
    declared = {
        (state.value, kind.__name__): {target.value for target in targets}
        for state, kinds in life.ALLOWED.items()
        for kind, targets in kinds.items()
    }
    assert declared == reached


def test_a_deferred_canary_without_a_try_in_between_cannot_be_deferred_again() -> None:
    with pytest.raises(IllegalMove, match="not in the table"):
        life.apply(canary(State.DEFERRED), OBSERVED["SendDeferred"])


@pytest.mark.parametrize("state", ["lost", "unknown", "bounced", "refused", "unsent"])
def test_it_arrives_for_the_first_time_only_once(state: str) -> None:
    """Otherwise one canary could be recovered twice, and net loss would fall below what was lost."""
    once = life.apply(canary(State(state)), OBSERVED["Arrived:late"]).canary
    assert once.arrived == at(960)
    with pytest.raises(IllegalMove, match="CopySeen"):
        life.apply(once, OBSERVED["Arrived:late"])
    assert life.apply(once, OBSERVED["CopySeen:duplicate"]).canary.duplicates == 1


@pytest.mark.parametrize(
    ("state", "observed", "label"),
    [
        ("unsure", "ProvenAbsent", "send"),
        ("unsure", "AbsenceUnproven", "send"),
        ("accepted", "AbsenceUnproven", "uid_gap"),
        ("accepted", "WatchEnded", "blind"),
        ("accepted", "MailboxRemoved", "mailbox_removed"),
        ("intent", "Restarted", "restart"),
        ("intent", "SendFailed", "tcp"),
    ],
)
def test_an_unknown_or_unsent_outcome_says_which(state: str, observed: str, label: str) -> None:
    move = life.apply(canary(State(state)), OBSERVED[observed])
    assert move.canary.label == label
    assert f"({label})" in move.reason


def test_a_bounce_says_its_status_and_a_report_of_delay_is_only_noted() -> None:
    bounced = life.apply(canary(State.ACCEPTED), OBSERVED["Bounced"])
    assert bounced.canary.label == "5.2.2"
    assert bounced.reason == "bounced: 5.2.2; its mailbox is full"
    assert life.apply(canary(State.LOST), seen.Bounced(at(9), "")).reason == "a bounce came after lost: no status code"
    assert life.apply(canary(State.ACCEPTED), OBSERVED["DelayReported"]).reason == "delayed: 4.4.1"
    late = life.apply(canary(State.LOST), OBSERVED["DelayReported"])
    assert late.reason == "delayed after it had ended as lost: 4.4.1"


def test_recovered_is_noted_beside_the_outcome() -> None:
    recovered = life.apply(canary(State.LOST), OBSERVED["Arrived:late"]).canary
    assert (recovered.state, recovered.recovered, recovered.folder) == (State.LOST, at(960), "INBOX")
    after_refusal = life.apply(canary(State.REFUSED), OBSERVED["Arrived:late"]).canary
    assert (after_refusal.recovered, after_refusal.arrived) == (None, at(960))


def test_the_clock_starts_once_with_the_first_answer() -> None:
    """Rule 10: greylisting is latency, and transit runs from the last final dot."""
    sending = canary(State.DATA_STARTED)
    deferred = life.apply(sending, seen.SendDeferred(at(3), at(2), at(63), "451 later")).canary
    retried = life.apply(deferred, seen.AttemptStarted(at(63), 2)).canary
    assert (retried.attempts, retried.retry_at, retried.clock_started) == (2, None, at(2))
    content = life.apply(retried, seen.DataStarted(at(64))).canary
    accepted = life.apply(content, seen.SendAccepted(at(66), at(65), at(65), "Q2", "250 ok")).canary
    assert (accepted.clock_started, accepted.last_dot, accepted.queued_as) == (at(2), at(65), "Q2")
    assert accepted.overdue_at == at(902)
    assert accepted.lost_at == at(2 + LOST_AFTER)
    delivered = life.apply(accepted, seen.Arrived(at(69), at(70), "INBOX")).canary
    assert delivered.latency is not None
    assert delivered.transit is not None
    assert (delivered.latency.total_seconds(), delivered.transit.total_seconds()) == (68, 5)


def test_a_4xx_before_any_clock_leaves_the_intent_as_zero() -> None:
    deferred = life.apply(canary(State.INTENT), seen.SendDeferred(at(3), None, at(63), "421 busy")).canary
    assert deferred.clock_started is None
    assert deferred.zero == deferred.sent


def test_content_that_may_have_left_before_a_restart_starts_the_clock() -> None:
    unsure = life.apply(canary(State.DATA_STARTED), OBSERVED["Restarted"]).canary
    assert unsure.clock_started == unsure.sent
    kept = life.apply(canary(State.DATA_STARTED, clock_started=at(9)), OBSERVED["Restarted"]).canary
    assert kept.clock_started == at(9)


def test_an_answer_after_the_arrival_is_kept_beside_the_outcome() -> None:
    arrived = life.apply(canary(State.DATA_STARTED), OBSERVED["Arrived:punctual"])
    assert "data_started" in arrived.reason
    answered = life.apply(arrived.canary, OBSERVED["SendAccepted"]).canary
    assert (answered.state, answered.queued_as, answered.last_dot) == (State.DELIVERED, "Q1", at(2))


def test_an_early_time_of_arrival_cannot_take_back_what_was_counted_overdue() -> None:
    move = life.apply(canary(State.ACCEPTED, overdue=True, judged=True), OBSERVED["Arrived:punctual"])
    assert move.canary.state is State.LATE
    assert "already counted overdue" in move.reason


def test_a_folder_that_is_not_watched_is_named_so() -> None:
    move = life.apply(canary(State.ACCEPTED), seen.Arrived(at(1), at(2), "Archive", watched=False))
    assert "Archive, a folder that is not watched" in move.reason


def test_a_wall_clock_set_back_over_a_restart_makes_no_negative_time() -> None:
    before = seen.Arrived(None, type(ZERO)(ZERO.wall - 10**12, 5, "boot-2"), "INBOX")
    arrived = life.apply(canary(State.ACCEPTED), before).canary
    assert arrived.latency is not None
    assert arrived.transit is not None
    assert arrived.latency.total_seconds() == arrived.transit.total_seconds() == 0


def test_states_fall_into_planned_in_flight_and_outcomes() -> None:
    assert {State(s) for s in ("intent", "data_started", "deferred", "accepted", "unsure")} == IN_FLIGHT
    assert set(State) - IN_FLIGHT - {State.PLANNED} == OUTCOMES
    assert all(state.in_flight != state.terminal for state in set(State) - {State.PLANNED})
