"""Which leg is bad: the sample sizes, the errors of the rule, and that it never guesses."""

from __future__ import annotations

import json
import random
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from probe.clock import Instant
from probe.detection.bounds import at_least
from probe.detection.naming import DEAD, ERROR, Plan, Sweep, Told, join_names, plan_sweep
from probe.detection.prefix import Verdict

ZERO = Instant(1_790_000_000_000_000_000, 0, "boot")
NOISE = 0.0015
LEGS = {"mx1": NOISE, "mx2": NOISE, "mx3": NOISE, "mx4": NOISE}
GOOD, BAD, LEFT_OUT = Verdict.GOOD, Verdict.BAD, Verdict.LEFT_OUT


def at(seconds: float) -> Instant:
    return ZERO + timedelta(seconds=seconds)


def judge(sweep: Sweep, mx: str, verdicts: str, start: float = 0.0) -> None:
    """Send and judge one canary a second: ``.`` good, ``x`` bad, ``-`` left out."""
    kinds = {".": GOOD, "x": BAD, "-": LEFT_OUT}
    for number, mark in enumerate(verdicts):
        sent = at(start + number)
        sweep.sent(mx, f"{mx}-{start + number}", sent)
        sweep.judged(mx, f"{mx}-{start + number}", kinds[mark], sent)


@pytest.mark.parametrize(
    ("share", "of_4", "of_8"),
    [
        (0.99, Plan(2, 1), Plan(3, 2)),
        (0.40, Plan(14, 2), Plan(14, 2)),
        (0.20, Plan(31, 2), Plan(31, 2)),
        (0.10, Plan(81, 3), Plan(81, 3)),
        (0.05, Plan(165, 3), Plan(198, 4)),
        (0.02, Plan(577, 5), Plan(652, 6)),
    ],
)
def test_the_canaries_that_a_sweep_needs(share: float, of_4: Plan, of_8: Plan) -> None:
    assert plan_sweep(share, NOISE, 3) == of_4
    assert plan_sweep(share, NOISE, 7) == of_8


@pytest.mark.parametrize("others", [1, 3, 7, 15])
@pytest.mark.parametrize("share", [0.99, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01])
def test_each_error_is_at_most_one_in_a_hundred_and_no_smaller_sweep_does(share: float, others: int) -> None:
    plan = plan_sweep(share, NOISE, others)
    assert plan is not None
    assert 1 - at_least(plan.bad, plan.canaries, share) <= ERROR
    assert others * at_least(plan.bad, plan.canaries, NOISE) <= ERROR
    if plan.canaries > plan.bad:
        assert 1 - at_least(plan.bad, plan.canaries - 1, share) > ERROR


@pytest.mark.parametrize(("legs", "share", "needed"), [(4, 1.0, 2), (8, 1.0, 3), (2, 0.1, 64), (4, 0.1, 81)])
def test_a_sweep_of_more_legs_asks_for_more_canaries_of_each(legs: int, share: float, needed: int) -> None:
    sweep = Sweep({f"mx{number}": NOISE for number in range(legs)}, "mx0", share)
    assert {sweep.needed(f"mx{number}") for number in range(1, legs)} == {needed}
    assert sweep.needed("mx0") == 0


def test_a_share_near_the_noise_has_no_sweep() -> None:
    assert plan_sweep(0.002, NOISE, 3) is None
    sweep = Sweep(LEGS, "mx3", 0.002)
    assert sweep.needed("mx1") is None
    assert sweep.to_send("mx1") == 0
    assert not sweep.naming.complete
    assert "too near the noise of mx1, mx2 and mx4" in sweep.naming.sentence


@pytest.mark.parametrize(("share", "noise", "others"), [(0, 0.1, 1), (1, 0.1, 1), (0.1, 0, 1), (0.1, 0.1, 0)])
def test_shares_that_cannot_be_are_refused(share: float, noise: float, others: int) -> None:
    with pytest.raises(ValueError, match="shares lie"):
        plan_sweep(share, noise, others)
    with pytest.raises(ValueError, match="not a leg"):
        Sweep(LEGS, "mx9", 0.5)
    with pytest.raises(ValueError, match="share"):
        Sweep(LEGS, "mx1", 0.0)


def test_one_dead_host_is_named_once_the_others_have_shown_enough() -> None:
    sweep = Sweep(LEGS, "mx3", 1.0)
    assert sweep.share == DEAD
    assert sweep.naming.sentence.startswith("not yet told apart: mx3 is bad, mx1, mx2 and mx4 untold")
    for mx in ("mx1", "mx2", "mx4"):
        assert (sweep.needed(mx), sweep.to_send(mx)) == (2, 2)
        judge(sweep, mx, "..")
        assert sweep.told(mx) is Told.UNTOLD  # nothing shows yet that the fault ran meanwhile
        assert (sweep.needed(mx), sweep.to_send(mx)) == (2, 0)
    judge(sweep, "mx3", "xxx")
    naming = sweep.naming
    assert (naming.bad, naming.clean, naming.untold, naming.complete) == (("mx3",), ("mx1", "mx2", "mx4"), (), True)
    assert naming.sentence == (
        "only mx3: mx1, mx2 and mx4 had fewer than 1 overdue of 2 each, which a leg that loses 99% would have with at "
        "most 1%"
    )


def test_two_bad_hosts_are_both_named() -> None:
    sweep = Sweep(LEGS, "mx3", 0.4)
    for second in range(3):
        judge(sweep, "mx3", "x", 10 * second)
        judge(sweep, "mx4", "x", 10 * second)
        judge(sweep, "mx1", "......", 10 * second)
        judge(sweep, "mx2", "......", 10 * second)
    assert sweep.told("mx4") is Told.BAD
    assert "mx3 and mx4 are bad, mx1 and mx2 untold; canaries still" in sweep.naming.sentence
    judge(sweep, "mx3", "x", 30)
    assert sweep.naming.sentence.startswith("mx3 and mx4: mx1 and mx2 had fewer than 2 overdue of 14 each")


def test_every_leg_may_be_bad_and_a_route_may_have_one_leg() -> None:
    both = Sweep({"mx1": NOISE, "mx2": NOISE}, "mx1", 0.4)
    judge(both, "mx2", "xx")
    assert both.naming.sentence == "mx1 and mx2: every leg of the route is bad"
    assert Sweep({"any": NOISE}, "any", 0.4).naming.sentence == "any, the only leg"


def test_once_the_fault_is_over_a_clean_canary_says_nothing() -> None:
    sweep = Sweep(LEGS, "mx3", 0.2)
    judge(sweep, "mx3", "x....x")
    judge(sweep, "mx1", "." * 200)
    assert sweep.told("mx1") is Told.UNTOLD
    assert sweep.needed("mx1") == 31 - 6  # of its canaries only six were sent while the fault is known to have run
    judge(sweep, "mx3", "x", 40)
    assert sweep.told("mx1") is Told.CLEAN


def test_a_leg_that_pages_by_itself_is_bad_whatever_the_sweep_says() -> None:
    sweep = Sweep(LEGS, "mx3", 1.0)
    judge(sweep, "mx1", "..")
    judge(sweep, "mx3", "xxx")
    assert sweep.told("mx1") is Told.CLEAN
    sweep.paged("mx1")
    sweep.paged("elsewhere")
    assert sweep.naming.bad == ("mx1", "mx3")


def test_verdicts_count_in_send_order_and_only_the_first_ones() -> None:
    sweep = Sweep(LEGS, "mx3", 0.99)
    sweep.sent("mx1", "a", at(0))
    judge(sweep, "mx1", "...", 1)
    judge(sweep, "mx3", "xxxxxx")
    assert sweep.told("mx1") is Told.UNTOLD  # "a" has no verdict, and all others come after it
    sweep.judged("mx1", "a", LEFT_OUT, at(0))
    assert sweep.told("mx1") is Told.CLEAN
    judge(sweep, "mx1", "xxx", 10)  # after its sample was full: its own detector's affair
    assert sweep.told("mx1") is Told.CLEAN


def test_the_canary_after_the_sample_is_not_in_it() -> None:
    for last, told in (("x.", Told.BAD), (".x", Told.CLEAN)):
        sweep = Sweep(LEGS, "mx3", 0.4)
        judge(sweep, "mx1", "x" + "." * 12 + last)
        judge(sweep, "mx3", "x" * 15)
        assert sweep.told("mx1") is told


def test_a_smaller_share_asks_for_more_of_the_same_canaries() -> None:
    sweep = Sweep(LEGS, "mx3", 0.4)
    judge(sweep, "mx1", "." * 14)
    judge(sweep, "mx3", "x" * 14)
    assert sweep.told("mx1") is Told.CLEAN
    sweep.share = 0.2
    assert (sweep.told("mx1"), sweep.needed("mx1")) == (Told.UNTOLD, 31 - 14)


@pytest.mark.parametrize("share", [0.99, 0.4, 0.2])
def test_the_rule_errs_rarely_in_a_simulation(share: float) -> None:
    """Eight legs, two of them bad: every answer of 300 sweeps, by the rule itself."""
    rng, wrong, unanswered = random.Random(7), 0, 0
    legs = {f"mx{number}": NOISE for number in range(8)}
    for _ in range(300):
        sweep = Sweep(legs, "mx0", share)
        for second in range(120):
            for mx in legs:
                chance = share if mx in ("mx0", "mx5") else NOISE
                judge(sweep, mx, "x" if rng.random() < chance else ".", second)
            if sweep.naming.complete:
                break
        unanswered += not sweep.naming.complete
        wrong += sweep.naming.complete and sweep.naming.bad != ("mx0", "mx5")
    assert unanswered <= 3
    assert wrong / 300 <= 0.02 + 0.02  # 1 % each way, and two standard errors


def test_names_are_joined_as_people_do() -> None:
    assert [join_names(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "no leg",
        "a",
        "a and b",
        "a, b and c",
    ]


class Sweeps(RuleBasedStateMachine):
    """Canaries of three legs, judged in any order, with restarts; against a plain count over all that was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.legs = {"a": 0.002, "b": 0.01, "c": 0.002}
        self.sweep = Sweep(self.legs, "a", 0.3)
        self.sent: dict[str, list[tuple[str, Instant, Verdict | None]]] = {mx: [] for mx in self.legs}
        self.now = 0

    @rule(mx=st.sampled_from("abc"), seconds=st.integers(1, 5))
    def send(self, mx: str, seconds: int) -> None:
        self.now += seconds
        name = f"{mx}{self.now}"
        self.sent[mx].append((name, at(self.now), None))
        self.sweep.sent(mx, name, at(self.now))

    @precondition(lambda self: any(verdict is None for rows in self.sent.values() for *_, verdict in rows))
    @rule(data=st.data(), verdict=st.sampled_from([GOOD, GOOD, GOOD, BAD, LEFT_OUT]))
    def judge(self, data: st.DataObject, verdict: Verdict) -> None:
        waiting = [(mx, i) for mx, rows in self.sent.items() for i, row in enumerate(rows) if row[2] is None]
        mx, place = data.draw(st.sampled_from(waiting))
        name, sent, _ = self.sent[mx][place]
        self.sent[mx][place] = (name, sent, verdict)
        self.sweep.judged(mx, name, verdict, sent)
        self.sweep.judged(mx, name, BAD if verdict is GOOD else GOOD, sent) if mx != "a" else None

    @rule(share=st.sampled_from([0.99, 0.3, 0.1]))
    def learn(self, share: float) -> None:
        self.sweep.share = share

    @rule()
    def restart(self) -> None:
        self.sweep = Sweep.from_json(json.loads(json.dumps(self.sweep.to_json())))

    @invariant()
    def it_tells_what_a_plain_count_tells(self) -> None:
        bad_ones = [sent for _, sent, verdict in self.sent["a"] if verdict is BAD]
        last = max((sent.boot for sent in bad_ones), default=-1)
        for mx in "bc":
            settled = []
            for _, sent, verdict in self.sent[mx]:
                if verdict is None:
                    break
                if verdict is not LEFT_OUT:
                    settled.append((sent.boot, verdict))
            plan = plan_sweep(self.sweep.share, self.legs[mx], 2)
            assert plan is not None
            first = settled[: plan.canaries]
            if sum(verdict is BAD for _, verdict in first) >= plan.bad:
                expected = Told.BAD
            elif sum(boot <= last for boot, _ in settled) >= plan.canaries:
                expected = Told.CLEAN
            else:
                expected = Told.UNTOLD
            assert self.sweep.told(mx) is expected
            assert (self.sweep.needed(mx) == 0) >= (expected is not Told.UNTOLD)

    @invariant()
    def the_answer_parts_the_legs(self) -> None:
        naming = self.sweep.naming
        assert sorted((*naming.bad, *naming.clean, *naming.untold)) == ["a", "b", "c"]
        assert "a" in naming.bad
        assert ("not yet told apart" in naming.sentence) == bool(naming.untold)
        assert ("only" in naming.sentence) == (naming.complete and naming.bad == ("a",))


TestSweeps = Sweeps.TestCase
TestSweeps.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
