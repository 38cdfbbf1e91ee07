"""The all-clear: the rule's numbers, phases and words, and that a fault that still runs is not called over."""

from __future__ import annotations

import json
import math
import random
from datetime import timedelta

import pytest

from benchmarks import all_clear
from probe.clock import Instant
from probe.detection.pace import in_words, seconds_to_send
from probe.detection.prefix import SettledPrefix, Verdict
from probe.detection.recovery import FORGIVE, MEASURE_BAD, MEASURE_CANARIES, Phase, Recovery, Tally

ZERO = Instant(1_790_000_000_000_000_000, 0, "boot")
NOISE = 0.0015


def at(seconds: float) -> Instant:
    return ZERO + timedelta(seconds=seconds)


class Leg:
    """Feeds a Recovery with canaries judged at once: ``.`` punctual, ``x`` overdue, ``-`` left out."""

    def __init__(self, recovery: Recovery, gap: float = 1.0) -> None:
        self.recovery, self.gap, self.now, self.count = recovery, gap, 0.0, 0

    def feed(self, verdicts: str) -> Leg:
        told = {".": self.recovery.punctual, "x": self.recovery.overdue, "-": self.recovery.left_out}
        for mark in verdicts:
            self.count += 1
            self.recovery.sent(str(self.count), at(self.now))
            told[mark](str(self.count))
            self.now += self.gap
        return self


def phase_of(leg: Leg) -> Phase:
    return leg.recovery.phase


def dark() -> Leg:
    """A total loss, measured to the end."""
    return Leg(Recovery(NOISE, Tally(7, 7)), 5.0).feed("x" * MEASURE_BAD)


def test_the_faults_share_is_not_thinned_by_the_clean_canaries_of_its_proof() -> None:
    leg = Leg(Recovery(NOISE, Tally(7, 20))).feed("...")
    assert leg.recovery.fault == Tally(0, 3)
    leg.feed("x..x" + "." * 400)
    assert (leg.recovery.fault, leg.recovery.measured) == (Tally(2, 7), Tally(2, 407))
    assert Recovery.from_json(json.loads(json.dumps(leg.recovery.to_json()))).fault == Tally(2, 7)
    assert leg.feed("x").recovery.fault == Tally(3, 408)


def test_a_total_loss_takes_fifteen_clean_canaries_and_the_hold() -> None:
    leg = dark()
    recovery = leg.recovery
    assert recovery.share == 0.30
    progress = recovery.progress()
    assert progress.level == pytest.approx(math.log(200))
    assert (progress.phase, progress.needed, progress.tries, progress.old) == (Phase.PROVING, 15, 1, Tally(27, 27))
    leg.feed("." * 14)
    assert (recovery.phase, recovery.progress().needed, recovery.progress().seen) == (Phase.PROVING, 1, 14)
    leg.feed(".")
    assert (recovery.phase, recovery.progress().needed) == (Phase.HOLDING, 0)
    leg.feed("." * 59)
    assert phase_of(leg) is Phase.HOLDING
    assert recovery.progress().seconds == 300 - 59 * 5
    leg.feed(".")
    assert phase_of(leg) is Phase.CLEAR
    proven, clear = recovery.progress().proven_at, recovery.progress().clear_at
    assert proven is not None
    assert clear is not None
    assert clear.since(proven) == timedelta(minutes=5)
    assert recovery.progress().sentence.startswith("all clear: a loss of 30.00% or more is excluded")
    leg.feed("xxx")
    assert recovery.phase is Phase.CLEAR  # what comes now is another incident's


def test_the_cautious_share_is_that_of_all_canaries_up_to_the_last_bad_one() -> None:
    leg = Leg(Recovery(NOISE, Tally(5, 100))).feed(("." * 19 + "x") * 20 + "." * 300)
    assert leg.recovery.share == pytest.approx((25 - 5) / 500)
    assert leg.recovery.progress().level == pytest.approx(math.log(100 * 21))
    assert leg.recovery.measured == Tally(20, 700)


@pytest.mark.parametrize(
    ("noise", "before", "share"),
    [
        (0.0015, Tally(0, 0), 0.003),
        (0.0015, Tally(1, 10), 0.003),
        (0.0015, Tally(4, 2000), 0.003),
        (0.01, Tally(4, 2000), 0.02),
        (0.0015, Tally(9, 100), 0.06),
        (0.0015, Tally(100, 100), 0.30),
    ],
)
def test_the_share_is_kept_within_its_bounds(noise: float, before: Tally, share: float) -> None:
    assert Recovery(noise, before).share == pytest.approx(share)


@pytest.mark.parametrize("noise", [0.0, -1.0, 0.15, 1.0])
def test_a_noise_that_leaves_no_proof_is_refused(noise: float) -> None:
    with pytest.raises(ValueError, match="noise"):
        Recovery(noise)


def test_measuring_ends_with_600_canaries_or_20_bad_ones_and_proves_nothing() -> None:
    quiet = Leg(Recovery(NOISE, Tally(5, 200))).feed("." * (MEASURE_CANARIES - 1))
    assert (quiet.recovery.phase, quiet.recovery.gap) == (Phase.MEASURING, 1.0)
    assert quiet.recovery.progress().proof == 0
    quiet.feed(".")
    assert (quiet.recovery.phase, quiet.recovery.progress().proof) == (Phase.PROVING, 0)
    loud = Leg(Recovery(NOISE, Tally(5, 200))).feed("x." * (MEASURE_BAD - 1))
    assert loud.recovery.phase is Phase.MEASURING
    assert loud.feed("x").recovery.phase is Phase.PROVING


def test_a_run_of_bad_ones_is_one_try_and_a_left_out_one_does_not_part_it() -> None:
    leg = Leg(Recovery(NOISE, Tally(20, 100))).feed("x" * 20)
    assert leg.recovery.progress().tries == 1
    leg.feed("..x-xx")
    assert leg.recovery.progress().tries == 2
    leg.feed(".x")
    assert leg.recovery.progress().tries == 3


def test_a_bad_run_takes_the_proof_back_once_and_never_below_nought() -> None:
    leg = dark().feed("." * 10)
    before = leg.recovery.progress().proof
    assert before == pytest.approx(10 * math.log((1 - NOISE) / 0.7))
    leg.feed("x")
    share = leg.recovery.share
    assert leg.recovery.progress().proof == pytest.approx(max(0.0, before - math.log(share / NOISE)))
    leg.feed("xxxx")
    assert leg.recovery.progress().proof == pytest.approx(max(0.0, before - math.log(share / NOISE)))


def test_one_bad_canary_in_the_hold_begins_it_anew() -> None:
    leg = dark().feed("." * 60)
    assert phase_of(leg) is Phase.HOLDING
    leg.feed("x")
    assert phase_of(leg) is Phase.PROVING
    leg.feed("." * 60)
    assert phase_of(leg) is Phase.HOLDING


def test_the_hold_needs_canaries_that_were_seen_and_not_only_time() -> None:
    leg = dark().feed("." * 15 + "-" * 200)
    assert phase_of(leg) is Phase.HOLDING
    leg.feed(".")
    assert phase_of(leg) is Phase.CLEAR


def test_only_what_is_settled_in_send_order_counts() -> None:
    leg = dark()
    leg.recovery.sent("waits", at(leg.now))
    leg.now += 5
    leg.feed("." * 30)
    assert (phase_of(leg), leg.recovery.progress().proof) == (Phase.PROVING, 0)
    leg.recovery.overdue("waits")
    assert leg.recovery.progress().tries == 1  # it goes on from the run before
    assert phase_of(leg) is Phase.HOLDING


def test_the_gap_shortens_near_the_proof_and_for_measuring_only() -> None:
    leg = dark()
    assert leg.recovery.gap == 5.0
    leg.feed("." * 4)
    assert leg.recovery.gap == 5.0
    leg.feed(".")
    assert leg.recovery.gap == 1.0  # above 30 % of the level
    leg.feed("." * 10)
    assert (phase_of(leg), leg.recovery.gap) == (Phase.HOLDING, 5.0)


def test_good_canaries_behind_an_unjudged_one_shorten_the_gap_but_prove_nothing() -> None:
    leg = dark()
    leg.recovery.sent("waits", at(leg.now))
    leg.feed("." * 5)
    assert (leg.recovery.gap, leg.recovery.progress().proof) == (1.0, 0)
    leg.feed("." * 10)
    assert leg.recovery.gap == 5.0  # enough have come already


def test_forgiving_waits_fifteen_minutes_for_an_overdue_canary() -> None:
    leg = Leg(Recovery(0.0001, Tally(27, 27), forgive=FORGIVE)).feed("")
    recovery = leg.recovery
    for number in range(MEASURE_BAD):
        recovery.sent(f"l{number}", at(number))
        recovery.overdue(f"l{number}")
    assert recovery.measured == Tally(0, 0)
    recovery.tick(at(899))
    assert recovery.measured == Tally(0, 0)
    recovery.tick(at(905))
    assert recovery.measured == Tally(6, 6)
    recovery.lost("l6")  # proven earlier
    recovery.late("l7")  # it came
    assert recovery.measured == Tally(7, 8)
    recovery.tick(at(2000))
    assert recovery.measured == Tally(19, 20)


def test_a_delay_takes_back_what_was_forgiven() -> None:
    recovery = Recovery(0.0001, Tally(7, 7), forgive=FORGIVE)
    for number in range(30):
        recovery.sent(str(number), at(number))
        recovery.overdue(str(number))
        if number < 25:
            recovery.late(str(number))
    assert recovery.measured == Tally(0, 25)
    recovery.judge_overdue(NOISE)
    assert recovery.measured == Tally(30, 30)
    assert (recovery.phase, recovery.share) == (Phase.PROVING, 0.30)
    assert recovery.progress().tries == 26
    recovery.sent("later", at(31))
    recovery.overdue("later")
    recovery.late("later")
    assert recovery.measured == Tally(31, 31)


def test_what_is_not_known_or_was_judged_changes_nothing() -> None:
    leg = dark().feed(".")
    before = leg.recovery.to_json()
    for told in (leg.recovery.punctual, leg.recovery.overdue, leg.recovery.late, leg.recovery.lost):
        told("never sent")
        told("1")
    assert leg.recovery.to_json() == before


@pytest.mark.parametrize(
    ("caps", "words"),
    [
        ((), "312 more clean canaries, about 11 min with the hold of 5 min"),
        (((20, 60.0), (1000, 3600.0)), "312 more clean canaries, about 21 min with the hold of 5 min"),
        (((20, 60.0), (100, 3600.0)), "312 more clean canaries, about 3.3 h with the hold of 5 min"),
    ],
)
def test_it_says_how_many_more_and_how_long_under_the_caps(caps: tuple[tuple[int, float], ...], words: str) -> None:
    leg = Leg(Recovery(NOISE, Tally(20, 1000))).feed(("x" + "." * 49) * 20)
    while leg.recovery.progress().needed > 312:
        leg.feed(".")
    assert leg.recovery.progress(caps).sentence == words


def test_it_says_that_it_still_measures_and_that_it_holds() -> None:
    fresh = Recovery(NOISE, Tally(7, 7)).progress(((60, 60.0),))
    assert (fresh.phase, fresh.needed) == (Phase.MEASURING, 600 + 13)
    words = "still measuring what is lost; at best 613 more clean canaries, about 16 min with the hold of 5 min"
    assert fresh.sentence == words
    held = dark().feed("." * 15).recovery.progress()
    assert held.sentence == "a loss of 30.00% or more is excluded; held open for about 5 min more against flapping"


@pytest.mark.parametrize(
    ("canaries", "gap", "caps", "seconds"),
    [
        (10, 5.0, (), 50),
        (10, 1.0, ((20, 60.0),), 30),
        (500, 1.0, ((60, 60.0), (1000, 3600.0)), 500),
        (2000, 1.0, ((60, 60.0), (1000, 3600.0)), 7200),
        (0, 1.0, ((20, 60.0),), 0),
    ],
)
def test_the_slowest_cap_sets_the_time(
    canaries: int, gap: float, caps: tuple[tuple[int, float], ...], seconds: float
) -> None:
    assert seconds_to_send(canaries, gap, caps) == seconds


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.2, "60 s"),
        (61, "2 min"),
        (7199, "120 min"),
        (7200, "2 h"),
        (172_800, "2 days"),
        (200_000, "2.4 days"),
    ],
)
def test_times_are_said_rounded_up(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_the_settled_prefix_gives_out_in_send_order() -> None:
    prefix = SettledPrefix()
    for number in range(3):
        prefix.sent(str(number), at(number))
    prefix.sent("0", at(9))
    assert len(prefix) == 3
    assert prefix.judge("1", Verdict.GOOD) == []
    assert (prefix.good_waiting, prefix.oldest) == (1, ("0", at(0)))
    assert [done.canary for done in prefix.judge("0", Verdict.BAD)] == ["0", "1"]
    assert (prefix.good_waiting, prefix.oldest, len(prefix)) == (0, ("2", at(2)), 1)
    assert SettledPrefix.from_json(prefix.to_json()).to_json() == prefix.to_json()


@pytest.mark.parametrize("share", [0.05, 0.02, 0.01])
def test_a_fault_that_runs_for_8_hours_is_not_called_over(share: float) -> None:
    """At most 3 % of runs (the bar); 12 runs of each share here, the full size is a benchmark."""
    assert all_clear.false_all_clears(share, 12, seed=11, slowest_gap=3.0)["eight_hours"] <= 1 / 12


def test_a_repair_is_proven_in_the_time_of_its_share() -> None:
    total = all_clear.after_repair(1.0, 12, seed=5, slowest_gap=3.0)
    assert total["early"] == total["never"] == 0
    assert total["mean"] <= 1.0
    five = all_clear.after_repair(0.05, 12, seed=5, slowest_gap=3.0)
    assert five["early"] == five["never"] == 0
    assert five["median"] <= 12.8
    assert five["clear_mean"] >= five["mean"] + 5


def test_the_work_a_canary_does_not_grow() -> None:
    """A hundred thousand canaries leave no more in memory than what is not settled."""
    recovery, rng = Recovery(NOISE, Tally(7, 7)), random.Random(3)
    for number in range(100_000):
        recovery.sent(str(number), at(number))
        told = recovery.overdue if rng.random() < 0.02 else recovery.punctual
        told(str(number))
    assert len(json.dumps(recovery.to_json())) < 600
