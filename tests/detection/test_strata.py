"""The counts of an incident: which canaries are its own, what is judged, and the bounds."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.canary.record import State as Outcome
from probe.detection.strata import FEW, MOST_LOSSES, Counts, Seen, Stratum, count, ratio
from tests.detection.incidents import PAGED_AT, at, counted, fault, healthy


def row(second: float, state: Outcome, mx: str = "mx3", *, overdue: bool = False, variant: str = "plain") -> Seen:
    return Seen(mx, variant, at(second), state, overdue)


def test_what_was_sent_after_the_last_bad_one_says_nothing_of_the_fault() -> None:
    rows = [*fault(20, 400), *(row(3601 + second, Outcome.DELIVERED) for second in range(5000))]
    counts = counted(rows)
    assert counts.last_bad == at(3600)
    assert counts.strata == (
        Stratum("mx3", "plain", 400, 380, 20, 0, 0, 20, 0, 0, judged_after=386, lost_after=19, missing_after=0),
    )
    assert [loss.queued_as for loss in counts.losses[:2]] == ["4bXyZ0", "4bXyZ21"]


def test_nor_what_was_sent_before_the_first_one_nor_a_bad_canary_of_a_clean_leg() -> None:
    rows = [row(-1, Outcome.LOST, overdue=True), *fault(2, 10), row(9000, Outcome.LOST, "mx1", overdue=True)]
    counts = counted(rows)
    assert counts.last_bad == at(3600)
    assert [stratum.sent for stratum in counts.strata] == [10]


def test_nothing_bad_is_nothing() -> None:
    assert counted([]) == counted(healthy("mx3")) == Counts()


@pytest.mark.parametrize(
    ("state", "overdue", "judged", "flying"),
    [
        (Outcome.DELIVERED, False, 1, 0),
        (Outcome.LATE, True, 1, 0),
        (Outcome.LOST, True, 1, 0),
        (Outcome.ACCEPTED, True, 1, 1),
        (Outcome.ACCEPTED, False, 0, 1),
        (Outcome.DEFERRED, False, 0, 1),
        (Outcome.UNSURE, False, 0, 1),
        (Outcome.UNKNOWN, False, 0, 0),
        (Outcome.UNKNOWN, True, 0, 0),
        (Outcome.BOUNCED, False, 0, 0),
        (Outcome.REFUSED, False, 0, 0),
        (Outcome.UNSENT, False, 0, 0),
    ],
)
def test_which_canaries_are_judged(state: Outcome, overdue: bool, judged: int, flying: int) -> None:
    counts = counted([*fault(2, 2), row(200, state, overdue=overdue, variant="html")])
    html = next(stratum for stratum in counts.strata if stratum.variant == "html")
    assert (html.sent, html.judged, html.judged_after) == (1, judged, judged)
    assert (counts.in_flight, counts.oldest) == (flying, at(200) if flying else None)


@given(
    st.lists(
        st.builds(
            Seen,
            st.sampled_from(["mx1", "mx3"]),
            st.sampled_from(["plain", "html"]),
            st.integers(-500, 500).map(at),
            st.sampled_from([state for state in Outcome if state is not Outcome.PLANNED]),
            st.booleans(),
            st.booleans(),
            st.sampled_from(["", "Q1"]),
        ),
        max_size=40,
    ),
    st.randoms(use_true_random=False),
)
def test_each_canary_is_counted_once_in_any_order(rows: list[Seen], rng: object) -> None:
    counts = counted(rows)
    shuffled = list(rows)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert counted(shuffled) == counts
    assert Counts.from_json(json.loads(json.dumps(counts.to_json()))) == counts
    last = max((r.sent for r in rows if r.overdue and r.mx == "mx3" and r.sent >= at(0)), default=None)
    inside = [r for r in rows if last is not None and at(0) <= r.sent <= last]
    states = Counter(r.state for r in inside)
    total = {
        name: sum(getattr(stratum, name) for stratum in counts.strata) for name in ("sent", "lost", "late", "unknown")
    }
    assert total == {
        "sent": len(inside),
        "lost": states[Outcome.LOST],
        "late": states[Outcome.LATE],
        "unknown": states[Outcome.UNKNOWN],
    }
    assert counts.in_flight == sum(state.in_flight for state in states.elements())
    assert len(counts.losses) == states[Outcome.LOST]
    for stratum in counts.strata:
        assert stratum.lost_after + stratum.missing_after <= stratum.judged_after <= stratum.judged <= stratum.sent


def test_lost_canaries_are_all_counted_and_the_first_are_named() -> None:
    many = MOST_LOSSES + 5
    counts = counted(fault(many, many))
    assert (counts.strata[0].lost, len(counts.losses)) == (many, MOST_LOSSES)
    assert counts.losses[0].sent == at(0)


@pytest.mark.parametrize(
    ("lost", "judged", "lower", "upper"),
    [(5, 480, 0.0034, 0.0241), (24, 480, 0.0323, 0.0735), (14, 1680, 0.0046, 0.0139), (1, 480, 0.00005, 0.0116)],
)
def test_the_bounds_are_exact(lost: int, judged: int, lower: float, upper: float) -> None:
    share = ratio([Stratum("mx3", "plain", judged_after=judged, lost_after=lost)])
    assert share.estimate == lost / judged
    assert share.lower == pytest.approx(lower, abs=0.00006)
    assert share.upper == pytest.approx(upper, abs=0.00006)
    assert share.since_page


def test_what_may_still_come_is_between_the_bounds() -> None:
    open_ones = ratio(counted(fault(20, 400, proven=False)).strata)
    proven = ratio(counted(fault(20, 400)).strata)
    assert (open_ones.lost, open_ones.missing, open_ones.lower) == (0, 19, 0.0)
    assert open_ones.upper == proven.upper
    assert open_ones.estimate == proven.estimate == 19 / 386
    assert (proven.lost, proven.judged) == (19, 386)


def test_few_canaries_after_the_page_bring_in_those_before() -> None:
    strata = [Stratum("mx3", "plain", 100, 90, 10, lost=10, judged_after=FEW - 1, lost_after=1)]
    assert ratio(strata).since_page is False
    assert (ratio(strata).lost, ratio(strata).judged) == (10, 100)
    assert ratio([replace(strata[0], judged_after=FEW)]).judged == FEW
    assert ratio([]).to_json()["upper"] == 1.0
    assert ratio(strata).to_json()["canaries"] == "from the first overdue one on"


def test_counts_are_of_the_legs_asked_for() -> None:
    counts = count([*fault(), *healthy("mx1")], at(0), at(PAGED_AT), ("mx3",))
    assert [stratum.mx for stratum in counts.of(["mx1", "mx2"])] == ["mx1"]
