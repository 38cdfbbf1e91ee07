"""How many extras, under which caps, and whose turn: nothing may ever be sent beyond a cap."""

from __future__ import annotations

import json
import math
import random

import pytest

from probe.detection.allowance import Allowance, Room, Turns
from probe.detection.detector import Extra, Why

A_DAY = 1_440.0
HUNT = Extra(0.0, Why.HUNT, False)
SECOND = Extra(0.0, Why.HUNT, True)
SUSPICION = Extra(0.0, Why.SUSPICION, False)
WITNESS = Extra(0.0, Why.WITNESS, False)


# The allowance.


def test_a_canary_of_the_schedule_earns_half_an_extra_one() -> None:
    allowance = Allowance(0.5, A_DAY, 0.0)
    allowance.earn()
    assert not allowance.allows(HUNT)
    allowance.earn()
    assert allowance.allows(HUNT)
    allowance.spend()
    assert not allowance.allows(HUNT)


def test_no_more_than_three_days_are_saved() -> None:
    allowance = Allowance(0.5, A_DAY, 0.0)
    allowance.earn(100_000)
    assert allowance.saved == 3 * 0.5 * A_DAY


def test_a_second_overdue_run_is_never_starved() -> None:
    allowance = Allowance(0.5, A_DAY, 0.0)
    assert allowance.allows(SECOND)
    assert not allowance.allows(HUNT)


def test_what_it_took_is_paid_back_and_three_days_worth_is_the_most() -> None:
    allowance = Allowance(0.5, A_DAY, 0.0)
    allowance.spend()
    allowance.earn(2)
    assert not allowance.allows(HUNT)
    allowance.earn(2)
    assert allowance.allows(HUNT)
    for _ in range(5_000):
        allowance.spend()
    assert allowance.saved == -3 * 0.5 * A_DAY


@pytest.mark.parametrize("extra", [SUSPICION, WITNESS])
def test_a_suspicion_may_owe_a_days_worth(extra: Extra) -> None:
    allowance = Allowance(0.5, A_DAY, 1.0 - 0.5 * A_DAY)
    assert allowance.allows(extra)
    allowance.spend()
    assert not allowance.allows(extra)


def test_a_new_route_begins_with_six_hours_worth() -> None:
    assert Allowance(0.5, A_DAY).saved == 0.25 * 0.5 * A_DAY


# Room under the caps.


def test_the_schedule_keeps_its_share_of_a_cap() -> None:
    room = Room([(20, 60.0)], base=12 / 60)
    for n in range(7):
        assert room.free_at(float(n), SECOND) == n
        room.spend(float(n))
    assert room.free_at(7.0, SECOND) == 60.0


def test_the_tightest_cap_counts() -> None:
    room = Room([(20, 60.0), (62, 3_600.0)], base=1 / 60)
    room.spend(0.0)
    assert room.free_at(10.0, SECOND) == 3_600.0


def test_no_room_where_the_schedule_needs_the_cap_itself() -> None:
    assert Room([(12, 60.0)], base=12 / 60).free_at(0.0, WITNESS) == math.inf
    assert Room([], base=1.0).free_at(5.0, HUNT) == 5.0


def test_the_hunt_for_a_first_run_leaves_room_for_witnesses() -> None:
    room = Room([(20, 60.0)], base=6 / 60)
    for n in range(8):
        assert room.free_at(float(n), HUNT) == n
        room.spend(float(n))
    assert room.free_at(8.0, HUNT) == 60.0
    assert room.free_at(8.0, WITNESS) == room.free_at(8.0, SUSPICION) == room.free_at(8.0, SECOND) == 8.0


def test_a_small_cap_still_lets_a_hunt_go_on() -> None:
    room = Room([(5, 60.0)], base=1 / 60)
    assert room.free_at(0.0, HUNT) == 0.0
    room.spend(0.0)
    assert room.free_at(1.0, HUNT) == 60.0


def test_a_receiver_that_complains_gets_half_for_an_hour() -> None:
    room = Room([(20, 60.0)], base=1 / 60)
    room.spend(0.0)
    assert room.halve(0.0)
    assert not room.halve(0.5)  # nothing new
    for n in range(1, 9):
        assert room.free_at(float(n), SECOND) == n
        room.spend(float(n))
    assert room.free_at(9.0, SECOND) == 60.0
    assert room.free_at(3_601.0, SECOND) == 3_601.0


def test_a_complaint_without_extras_is_no_word_about_them() -> None:
    """Greylisting answers 4.7.1 to the schedule's own canaries."""
    room = Room([(20, 60.0)], base=1 / 60)
    assert not room.halve(0.0)
    room.spend(0.0)
    assert not room.halve(700.0)
    assert room.state()["halved_until"] is None


def test_the_receivers_word_survives_a_restart() -> None:
    room = Room([(20, 60.0)], base=1 / 60)
    room.spend(9.0)
    room.halve(10.0)
    again = Room([(20, 60.0)], base=1 / 60)
    again.resume(json.loads(json.dumps(room.state())))
    assert again.state() == room.state() == {"halved_until": 3_610.0, "sent": [9.0]}
    fresh = Room([(20, 60.0)], base=1 / 60)
    again.resume(json.loads(json.dumps(fresh.state())))
    assert again.state() == {"halved_until": None, "sent": []}
    assert not again.used


def test_a_room_goes_on_where_the_one_before_it_was() -> None:
    old, new = Room([(3, 60.0)], base=0.0), Room([(3, 60.0)], base=0.0)
    old.spend(0.0)
    old.spend(1.0)
    new.go_on(old)
    assert new.free_at(2.0, SECOND) == old.free_at(2.0, SECOND) == 60.0


@pytest.mark.parametrize("per_minute", [1, 6, 12])
def test_no_window_of_any_cap_ever_holds_too_many(per_minute: int) -> None:
    """The schedule with its jitter of a tenth, and extras as fast as the room allows."""
    caps = [(20, 60.0), (1_000, 3_600.0)]
    rng = random.Random(per_minute)
    room = Room(caps, per_minute / 60)
    every = 60 / per_minute
    base = [every * (n + rng.random() / 10) for n in range(int(3 * 3_600 / every))]
    extras, now = [], 0.0
    while (now := room.free_at(now, SECOND)) < 3 * 3_600:
        room.spend(now)
        extras.append(now)
    sends = sorted(base + extras)
    for most, per in caps:
        assert all(later - first >= per for first, later in zip(sends, sends[most:], strict=False))
    assert len(sends) > 2_900  # and it uses what there is


# Turns.


def _wanted(*legs: str, due: float = 0.0) -> dict[str, Extra]:
    return {leg: Extra(due, Why.HUNT, True) for leg in legs}


def test_legs_that_hunt_at_once_go_round() -> None:
    turns, allowance = Turns(), Allowance(0.5, A_DAY)
    found = [turns.next(1.0, _wanted("a", "b", "c"), allowance) for _ in range(6)]
    assert found == ["a", "b", "c", "a", "b", "c"]
    assert turns.next(1.0, _wanted("c", "d"), allowance) == "d"


def test_a_leg_that_is_not_due_or_not_allowed_has_no_turn() -> None:
    turns = Turns()
    assert turns.next(1.0, _wanted("a", due=1.5), Allowance(0.5, A_DAY)) is None
    assert turns.next(1.0, {"a": HUNT}, Allowance(0.5, A_DAY, 0.0)) is None
    assert turns.next(1.0, {"a": HUNT, "b": SECOND}, Allowance(0.5, A_DAY, 0.0)) == "b"
    assert turns.next(1.0, {}, Allowance(0.5, A_DAY)) is None
