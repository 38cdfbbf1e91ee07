"""The report: its numbers are the record's, its words fit them, and nothing from outside breaks it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.canary.record import State as Outcome
from probe.detection import incident as life
from probe.detection.bounds import clopper_pearson
from probe.detection.estimate import estimate_lost
from probe.detection.incident_observations import Counted, MarkedFalse, Proved, SuspicionPassed, Swept, WindowFound
from probe.detection.record import Incident
from probe.detection.recovery import Phase, Tally
from probe.detection.report import MOST_QUEUE_IDS, requeue_instruction, status_page, to_json, to_markdown
from probe.detection.strata import Seen
from tests.detection.incidents import LEGS, at, counted, fault, healthy, naming, paged, progress, suspected, window

OTHERS = [row for mx in ("mx1", "mx2", "mx4") for row in healthy(mx)]


def incident(*observations: Any, rule: str = "share") -> Incident:
    made = life.apply(suspected(), paged(rule=rule))
    for observed in observations:
        made = life.apply(made, observed)
    return made


def known(rows: list[Seen] | None = None, end: float | None = 7200, bad: tuple[str, ...] = ("mx3",)) -> Incident:
    """One bad leg of four, 20 lost of 400 canaries in an hour, named, with its window from 09:50 to ``end``."""
    return incident(
        Swept(at(200), naming(*bad)),
        Counted(at(9000), counted([*(fault() if rows is None else rows), *OTHERS], bad)),
        WindowFound(at(9000), "mx3", window(end=end)),
    )


def closed(made: Incident) -> Incident:
    return life.apply(made, Proved(at(7200), "mx3", progress(Phase.CLEAR, 9.0, clear=7199)))


def test_the_estimate_is_worked_out_from_the_record_alone() -> None:
    """Window of 130 min; the fault ran 60 of them for certain, and 1/p canaries more at each end of 90 as expected."""
    lost = estimate_lost(known(), 100_000)
    assert lost is not None
    bounds, share = clopper_pearson(19, 386, 0.95), 19 / 386
    assert lost.lower == math.floor(25_000 * 60 / 130 * bounds.lower)
    assert lost.upper == math.ceil(25_000 * bounds.upper)
    assert lost.estimate == round(25_000 * (60 + (10 + 60) / (share * 90)) / 130 * share)
    assert (lost.lower, lost.estimate, lost.upper) == (344, 718, 1896)
    assert [leg.mx for leg in lost.legs] == ["mx3"]
    assert "Each of the 4 legs is taken to have had an equal part of the mail." in lost.words
    assert lost.words[0].startswith("The bounds are wide: they rest on 19 lost or missing of 386 canaries.")


def test_bounds_that_are_not_wide_are_not_called_so() -> None:
    sharp = known([*fault(200, 4000)], end=3700)
    lost = estimate_lost(sharp, 1_000_000)
    assert lost is not None
    assert lost.upper < 4 * lost.lower
    assert not any("wide" in word for word in lost.words)


def test_what_may_still_come_widens_the_bounds_and_is_said() -> None:
    lost = estimate_lost(known(fault(proven=False)), 100_000)
    assert lost is not None
    assert (lost.lower, lost.upper) == (0, 1896)
    assert any("19 canaries are overdue and may still come" in word for word in lost.words)


def test_legs_that_are_not_told_apart_may_have_lost_nothing_or_much() -> None:
    made = incident(Counted(at(9000), counted([*fault(), *OTHERS])), WindowFound(at(9000), "mx3", window()))
    lost = estimate_lost(made, 100_000)
    assert lost is not None
    assert [leg.mx for leg in lost.legs] == list(LEGS)
    assert all(leg.lower == 0 for leg in lost.legs if leg.mx != "mx3")
    assert lost.legs[0].upper == pytest.approx(25_000 * clopper_pearson(0, 57, 1 - 0.05 / 4).upper)
    assert lost.upper > 1896
    assert any("not told apart" in word for word in lost.words)


def test_few_canaries_after_the_page_are_said_to_be_few() -> None:
    few = "so those that led to it are counted"
    said = estimate_lost(known(fault(5, 10)), 1000), estimate_lost(known(), 1000)
    assert [any(few in word for word in lost.words) for lost in said if lost is not None] == [True, False]


def test_windows_without_an_end_count_up_to_the_last_bad_canary_of_all_legs() -> None:
    made = life.apply(known(end=None), paged("mx1", when=9200))
    longer = replace(window(end=None), last_bad=at(7200))
    made = life.apply(made, WindowFound(at(9300), "mx1", longer))
    lost = estimate_lost(made, 100_000)
    assert lost is not None
    share = clopper_pearson(19, 386, 1 - 0.05 / 2)
    assert {leg.mx: leg.upper for leg in lost.legs}["mx3"] == pytest.approx(25_000 * share.upper * 70 / 130)
    assert {leg.mx: leg.lower for leg in lost.legs}["mx3"] == pytest.approx(25_000 * share.lower * 60 / 130)


def test_a_volume_is_needed_and_a_window() -> None:
    assert estimate_lost(incident(), 1000) is None
    nothing = estimate_lost(known(), 0)
    assert nothing is not None
    assert (nothing.lower, nothing.estimate, nothing.upper) == (0, 0, 0)
    with pytest.raises(ValueError, match="negative"):
        estimate_lost(known(), -1)
    assert "`--volume N`" in to_markdown(known())
    assert "there is no estimate" in to_markdown(incident(), 1000)


@given(st.integers(0, 10_000_000), st.integers(1, 60), st.booleans(), st.sampled_from([None, 3700.0, 7200.0, 90_000.0]))
def test_the_estimate_lies_between_its_bounds(volume: int, lost: int, proven: bool, end: float | None) -> None:
    made = estimate_lost(known(fault(lost, 60, proven=proven), end), volume)
    assert made is not None
    assert 0 <= made.lower <= made.estimate <= made.upper <= volume
    assert json.loads(json.dumps(made.to_json()))["lost_estimate"] == made.estimate


def test_the_instruction_can_be_pasted() -> None:
    text = requeue_instruction(known())
    assert text.startswith(
        "Queue again all mail that mx3 took from 2026-09-09 09:50:00 UTC to 2026-09-09 12:00:00 UTC.\n"
        "In RFC 3339: `2026-09-09T09:50:00.000000Z` to `2026-09-09T12:00:00.000000Z`."
    )
    assert "drops what was delivered before (by Message-ID)" in text
    assert "first proven loss 2026-09-09 10:00:00 UTC" in text
    assert "20 of 400 canaries were overdue" in text
    assert "20 canaries were lost after the server had taken them." in text
    patterns = text.split("As patterns for `grep -F -f -`:\n\n```\n")[1].split("\n```")[0].splitlines()
    assert patterns[:2] == ["4bXyZ0", "4bXyZ21"]
    assert len(patterns) == 20
    assert "2026-09-09 10:00:00 UTC  mx3  queued as 4bXyZ0\n" in text
    assert "0 of 20 lost ones are back" in text


def test_a_window_without_an_end_and_one_that_is_wide_say_so() -> None:
    text = requeue_instruction(known(end=None))
    assert "to the all-clear (it is not over yet)." in text
    small = replace(window(), measured=Tally(6, 600), share_lower=0.004)
    made = life.apply(known(), WindowFound(at(9100), "mx3", small))
    assert "measure 3,400 more canaries" in requeue_instruction(made)
    assert "fewer than 4,000 canaries: the window is wide" in requeue_instruction(closed(made))
    assert "measure 3,400 more" not in requeue_instruction(closed(made))


def test_the_instruction_says_what_cannot_be_given() -> None:
    assert requeue_instruction(incident()) == "No window can be given yet."
    false = life.apply(known(), MarkedFalse(at(9001), "kim"))
    assert requeue_instruction(false) == "Nothing: it was no incident."
    assert "No canary is proven lost yet" in requeue_instruction(known(fault(proven=False)))
    assert "No server named a queue id" in requeue_instruction(known(fault(queued_as="")))
    back = [replace(row, recovered=row.state is Outcome.LOST) for row in fault()]
    assert "All 20 lost canaries have come after all." in requeue_instruction(known(back))
    assert "20 of 20 lost ones are back" in requeue_instruction(known(back))
    many = requeue_instruction(known(fault(300, 400)))
    assert f"(the first {MOST_QUEUE_IDS} of 300)" in many
    assert many.count("queued as 4bXyZ") == MOST_QUEUE_IDS


def test_the_legs_are_named_only_once_they_are_told() -> None:
    untold = incident(Swept(at(200), naming("mx3", untold=("mx4",))), WindowFound(at(200), "mx3", window()))
    assert "all mail that mx3 and mx4 (the legs are not yet told apart) took" in requeue_instruction(untold)
    assert "not yet told" in to_markdown(untold)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (suspected(), "We are looking into a possible delay"),
        (life.apply(suspected(), SuspicionPassed(at(130))), "turned out to be none"),
        (life.apply(known(), MarkedFalse(at(9001), "kim")), "turned out to be none"),
        (incident(rule="blackout"), "is not being delivered on a part of our mail servers since 2026-09-09 10:00 UTC."),
        (known(), "A part of incoming mail is not being delivered since 2026-09-09 09:50 UTC. We are working on it"),
        (closed(known()), "was not being delivered from 2026-09-09 09:50 UTC to 2026-09-09 12:00 UTC. Delivery is"),
        (
            life.apply(known(), Proved(at(9001), "mx3", progress(Phase.PROVING, 4.0))),
            "not being delivered from 2026-09-09 09:50 UTC to 2026-09-09 12:00 UTC. New mail is arriving in time",
        ),
        (
            life.apply(incident(rule="blackout"), Counted(at(900), counted(fault(0, 20, late=20)))),
            "Incoming mail is delayed since 2026-09-09 10:00 UTC. We are working on it",
        ),
    ],
)  # fmt: skip
def test_the_status_page_is_one_plain_paragraph(made: Incident, words: str) -> None:
    text = status_page(made)
    assert words in text
    assert "\n" not in text
    assert not any(mx in text for mx in LEGS)


def test_the_status_page_gives_the_estimate_with_its_bounds() -> None:
    made = closed(known())
    text = status_page(made, estimate_lost(made, 100_000))
    assert "We estimate that about 718 messages were affected (between 344 and 1,896)." in text


def test_the_whole_report_agrees_with_the_record() -> None:
    made = closed(known())
    text = to_markdown(made, 100_000)
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# Incident 2026-09-09-inbound-1",
        "## For the status page",
        "## What to queue again",
        "## How much mail was lost",
        "## What the canaries say",
        "## Is it over?",
        "## What led to this",
    ]
    bounds = clopper_pearson(19, 386)
    assert f"19 lost, of 386 canaries sent after the page: {19 / 386:.2%}, between {bounds.lower:.2%} and" in text
    assert "Of 100,000 mails in the window about **718** were lost, between 344 and 1,896 (95%)." in text
    assert "| mx3 | plain | 400 | 380 | 0 | 0 | 20 | 0 | 4.92% (2.99% to 7.58%) |" in text
    assert "| mx1 | plain | 60 | 60 | 0 | 0 | 0 | 0 | 0.00% (0.00% to 6.27%) |" in text
    assert "Yes, since 2026-09-09 12:00:00 UTC." in text
    assert "* 2026-09-09 10:02:00 UTC: mx3 paged (share): 5.2 overdue runs more than the noise explains" in text


def test_the_object_is_the_record_and_more() -> None:
    made = known()
    report = to_json(made, 100_000)
    assert {name: report[name] for name in made.to_json()} == made.to_json()
    assert (report["real_mail"]["lower"], report["real_mail"]["lost_estimate"]) == (344, 718)
    assert report["status_page"] == status_page(made, estimate_lost(made, 100_000))
    assert report["instruction"] == requeue_instruction(made)
    assert to_json(made)["real_mail"] is None
    assert json.loads(json.dumps(report)) == report


def test_an_incident_that_is_not_over_says_what_is_missing() -> None:
    made = known(fault(proven=False))
    assert (
        "Not proven yet.\n* the first canaries after the page are not judged yet\n* 20 canaries have no"
        in to_markdown(made)
    )
    assert "| kind | partial loss |" in to_markdown(made)
    assert "| kind | not known yet |" in to_markdown(suspected())
    proving = life.apply(made, Proved(at(9100), "mx3", progress(Phase.PROVING, 1.0)))
    assert "are not judged yet" not in to_markdown(proving) + to_markdown(suspected())
    assert "the incident ends with the last" not in to_markdown(proving)
    second = life.apply(proving, paged("mx1", when=9200))
    both = life.apply(second, Proved(at(9300), "mx1", progress(Phase.PROVING, 1.0)))
    assert "the incident ends with the last of these legs" in to_markdown(both)
    assert "* mx3: 12 more clean canaries, about 2 min with the hold of 5 min." in to_markdown(proving)


@given(st.text(max_size=300), st.text(max_size=40))
def test_what_servers_say_cannot_break_out(queued_as: str, said: str) -> None:
    rows = [replace(row, queued_as=queued_as) for row in fault(2, 10)]
    made = known(rows)
    made = life.apply(made, MarkedFalse(at(9001), said)) if said.strip() else made
    for text in (requeue_instruction(known(rows)), to_markdown(made), to_markdown(known(rows))):
        assert all(mark.isprintable() or mark == "\n" for mark in text)
        assert text.count("```") % 2 == 0
        outside = "".join(text.split("```")[::2])  # inside of code nothing is a heading
        headings = [line for line in outside.splitlines() if line.startswith("#")]
        assert len(headings) in (0, 7)
    assert json.dumps(to_json(made))
