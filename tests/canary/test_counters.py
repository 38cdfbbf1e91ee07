"""What each move adds to the totals, and that every name has its labels."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from probe.canary import counters, life
from probe.canary import observations as seen
from probe.canary.counters import Counts
from probe.canary.record import State
from tests.canary.lives import DEADLINES, OBSERVED, at, canary

R = ("support", "mx1.example.net", "inbox-a")
V = (*R, "plain")


def _counts(state: str, observed: str | seen.Observation, **facts: object) -> Counts:
    before = canary(State(state), **facts)
    observation = OBSERVED[observed] if isinstance(observed, str) else observed
    return sorted(counters.counts_of(before, life.apply(before, observation)))


_PUNCTUAL = [
    (counters.ARRIVALS, (*R, "inbox"), 1),
    (counters.DELIVERY_BUCKET, ("support", "mx1.example.net", "plain", "20.0"), 1),
    (counters.DELIVERY_SUM, ("support", "mx1.example.net", "plain"), 12.0),
]
_LATE = [
    (counters.ARRIVALS, (*R, "inbox"), 1),
    (counters.DELIVERY_BUCKET, ("support", "mx1.example.net", "plain", "1200.0"), 1),
    (counters.DELIVERY_SUM, ("support", "mx1.example.net", "plain"), 960.0),
]


@pytest.mark.parametrize(
    ("state", "observed", "expected"),
    [
        ("planned", "Intended", [(counters.SENT, V, 1)]),
        ("intent", "DataStarted", []),
        ("data_started", "SendAccepted", []),
        ("intent", "SendFailed", [(counters.OUTCOMES, (*V, "unsent"), 1)]),
        ("intent", "SendRefused", [(counters.OUTCOMES, (*V, "refused"), 1)]),
        ("unsure", "ProvenAbsent", [(counters.OUTCOMES, (*V, "unknown"), 1)]),
        ("accepted", "Bounced", [(counters.OUTCOMES, (*V, "bounced"), 1)]),
        ("accepted", "WentOverdue", [(counters.OVERDUE, V, 1), (counters.JUDGED, V, 1)]),
        (
            "accepted",
            "ProvenAbsent",
            [(counters.OVERDUE, V, 1), (counters.JUDGED, V, 1), (counters.OUTCOMES, (*V, "lost"), 1)],
        ),
        (
            "accepted",
            "Arrived:punctual",
            [*_PUNCTUAL, (counters.JUDGED, V, 1), (counters.OUTCOMES, (*V, "delivered"), 1)],
        ),
        (
            "accepted",
            "Arrived:late",
            [*_LATE, (counters.OVERDUE, V, 1), (counters.JUDGED, V, 1), (counters.OUTCOMES, (*V, "late"), 1)],
        ),
        (
            "accepted",
            "Arrived:straddling",  # rule 9: neither the histogram nor the detectors hear of it
            [(counters.ARRIVALS, (*R, "inbox"), 1), (counters.OUTCOMES, (*V, "delivered"), 1)],
        ),
        ("lost", "Arrived:late", [*_LATE, (counters.RECOVERED, (*V, "lost"), 1)]),
        ("unknown", "Arrived:late", [*_LATE, (counters.RECOVERED, (*V, "unknown"), 1)]),
        ("refused", "Arrived:late", [*_LATE, (counters.AFTERWARDS, (*R, "refused", "arrival"), 1)]),
        ("lost", "Bounced", [(counters.AFTERWARDS, (*R, "lost", "bounce"), 1)]),
        ("accepted", "DelayReported", []),
        ("lost", "DelayReported", []),
        ("delivered", "CopySeen:duplicate", [(counters.DUPLICATES, V, 1)]),
        ("delivered", "CopySeen:moved", [(counters.MOVED, R, 1)]),
        ("delivered", "CopySeen:copied", []),
        ("delivered", "SendAccepted", []),
    ],
)
def test_what_a_move_adds(state: str, observed: str, expected: Counts) -> None:
    assert _counts(state, observed) == sorted(expected)


@pytest.mark.parametrize("observed", sorted(OBSERVED))
@pytest.mark.parametrize("state", [state.value for state in State])
def test_every_count_has_the_labels_of_its_name(state: str, observed: str) -> None:
    if not life.allows(State(state), type(OBSERVED[observed])) or (state, observed) == ("deferred", "SendDeferred"):
        return
    for name, labels, value in _counts(state, observed):
        assert len(labels) == len(counters.LABELS[name])
        assert all(isinstance(label, str) and label for label in labels)
        assert value > 0


def test_the_route_s_own_deadline_is_a_bucket() -> None:
    """So that the share within overdue_after can be read off the histogram."""
    own = replace(DEADLINES, overdue_after=timedelta(seconds=45))
    counts = _counts("accepted", seen.Arrived(at(40), at(44), "INBOX"), deadlines=own)
    assert (counters.DELIVERY_BUCKET, ("support", "mx1.example.net", "plain", "45.0"), 1) in counts
    assert counters.delivery_buckets(45.0) == tuple(sorted((*counters.DELIVERY_BUCKETS, 45.0)))
    assert counters.delivery_buckets(900.0) == counters.DELIVERY_BUCKETS


@pytest.mark.parametrize(
    ("seconds", "le"),
    [
        (0.0, "0.1"),
        (0.1, "0.1"),
        (0.1001, "0.25"),
        (900.0, "900.0"),
        (900.5, "1200.0"),
        (86_400.0, "86400.0"),
        (1e6, "+Inf"),
    ],
)
def test_an_arrival_falls_into_the_first_bucket_that_holds_it(seconds: float, le: str) -> None:
    assert counters.bucket_of(seconds, counters.DELIVERY_BUCKETS) == le


@pytest.mark.parametrize("buckets", [counters.DELIVERY_BUCKETS, counters.STAGE_BUCKETS])
def test_buckets_rise(buckets: tuple[float, ...]) -> None:
    assert list(buckets) == sorted(set(buckets))


@pytest.mark.parametrize(
    ("configured", "kind"),
    [
        ("INBOX", "inbox"),
        ("Inbox", "inbox"),
        ("Junk", "spam"),
        ("junk", "spam"),
        ("Spam", "spam"),
        ("Archive", "other"),
    ],
)
def test_the_folder_label_is_one_of_a_closed_set(configured: str, kind: str) -> None:
    assert counters.folder_kind(configured) == kind
    assert kind in counters.FOLDERS
