"""The gauges of windows on /metrics, and the pause and the page of a route."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from probe.canary.record import Leg
from probe.exposition import registry
from probe.exposition.live import Snapshot
from probe.exposition.metrics import render
from tests.exposition.exposition_fakes import LEG, leg_view, snapshot


def shown(view: Snapshot, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """Values by these labels."""
    body, _ = render(view, {}, {}, "")
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for family in parse_text(body.decode())
        for sample in family.samples
        if sample.name == name
    }


def test_the_counts_of_each_window() -> None:
    found = shown(snapshot(), "mailcanary_window_canaries", "route", "mx", "mailbox", "window", "state")
    leg = (LEG.route, LEG.mx, LEG.mailbox)
    assert found == {
        (*leg, "1h", "sent"): 60, (*leg, "1h", "overdue"): 2, (*leg, "1h", "lost"): 1, (*leg, "1h", "unknown"): 3,
        (*leg, "6h", "sent"): 0, (*leg, "6h", "overdue"): 0, (*leg, "6h", "lost"): 0, (*leg, "6h", "unknown"): 0,
    }  # fmt: skip


def test_a_ratio_has_bounds_and_there_is_none_where_nothing_was_judged() -> None:
    found = shown(snapshot(), "mailcanary_loss_ratio", "window", "bound")
    assert found == {
        ("1h", "estimate"): pytest.approx(1 / 50), ("1h", "lower"): 0.0005, ("1h", "upper"): 0.1065,
    }  # fmt: skip


def test_windows_that_are_not_known_yet_are_absent() -> None:
    body, _ = render(snapshot(replace(leg_view(), windows=())), {}, {}, "")
    assert b"# TYPE mailcanary_window_canaries gauge" in body
    assert b"mailcanary_window_canaries{" not in body
    assert b"mailcanary_loss_ratio{" not in body


def test_odd_names_are_escaped_in_them_too() -> None:
    odd = Leg('a"b%s\\c\nd', "100%", "support")
    found = shown(snapshot(leg_view(odd)), "mailcanary_window_canaries", "route", "mx", "window", "state")
    assert found[(odd.route, odd.mx, "1h", "sent")] == 60


def test_the_sets_of_values_are_those_that_are_shown() -> None:
    names = [metric.name for metric in registry.METRICS]
    for name, labels in registry.CLOSED.items():
        assert name in names
        if name in (registry.STAGE.name, registry.RECENT.name, registry.WINDOW.name, registry.LOSS.name):
            continue
        for label, values in labels.items():
            assert {key[0] for key in shown(snapshot(), name, label)} == set(values), name


def test_a_route_that_is_only_measured_says_so() -> None:
    other = replace(leg_view(Leg("other", "any", "support")), paging=False, detector=None)
    assert shown(snapshot(leg_view(), other), "mailcanary_paging", "route") == {("inbound",): 1, ("other",): 0}


def test_since_when_the_ledger_is_a_new_one() -> None:
    assert shown(snapshot(), "mailcanary_ledger_reset_timestamp_seconds") == {(): 0}
    begun = replace(snapshot(), ledger_reset_at=1_764_000_000.0)
    assert shown(begun, "mailcanary_ledger_reset_timestamp_seconds") == {(): 1_764_000_000}
