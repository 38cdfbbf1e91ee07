"""What /metrics says: complete from the start, parseable in both formats, and adding up."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from probe.canary import counters
from probe.canary.record import Leg
from probe.exposition import registry
from probe.exposition.live import DetectorView, Exemplar, Exemplars, WindowView
from probe.exposition.metrics import Exporter, books_off_by, render
from probe.exposition.reference import reference
from probe.exposition.registry import Type
from probe.exposition.text import wants_openmetrics
from tests.exposition.exposition_fakes import IDS, LEG, StillLive, four_lives, leg_view, snapshot

OPEN = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
CREATED = 1_764_000_000_000_000_000
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(body: bytes, *, openmetrics: bool = False) -> Series:
    parse = parse_openmetrics if openmetrics else parse_text
    found: Series = {}
    for family in parse(body.decode()):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"twice: {key}"
            found[key] = sample.value
    return found


def value(series: Series, name: str, **labels: str) -> float:
    return sum(number for (found, pairs), number in series.items() if found == name and pairs >= set(labels.items()))


@pytest.fixture
async def live(tmp_path: Path) -> StillLive:
    return await four_lives(tmp_path / "ledger.sqlite")


def test_every_metric_of_the_registry_is_there_at_zero_from_the_start() -> None:
    body, kind = render(snapshot(), {}, {}, "")
    series = scrape(body)
    names = {name for name, _ in series}
    for metric in registry.METRICS:
        expected = metric.name + ("_bucket" if metric.type is Type.HISTOGRAM else "")
        assert expected in names, expected
    assert kind.startswith("text/plain; version=0.0.4")
    for metric in registry.COUNTERS:
        assert value(series, metric.name) == 0
    outcomes = [pairs for name, pairs in series if name == "mailcanary_outcomes_total"]
    assert {dict(pairs)["outcome"] for pairs in outcomes} == {
        "delivered", "late", "lost", "bounced", "refused", "unsent", "unknown",
    }  # fmt: skip
    assert {tuple(sorted(dict(pairs))) for pairs in outcomes} == {("mailbox", "mx", "outcome", "route", "variant")}
    assert value(series, "mailcanary_config_last_reload_successful") == 1
    assert value(series, "mailcanary_overdue_threshold_seconds", route="inbound") == 45


def test_labels_are_those_the_ledger_counts() -> None:
    for metric in registry.COUNTERS:
        assert metric.labels == counters.LABELS[metric.total]
        for tail in registry.tails(metric.total):
            assert len(tail) <= len(metric.labels)
    kept = {counters.DELIVERY_BUCKET, counters.DELIVERY_SUM, counters.STAGE_BUCKET, counters.STAGE_SUM}
    assert {metric.total for metric in registry.COUNTERS} | kept == set(counters.LABELS)


def test_both_formats_hold_the_same_and_the_strict_parser_accepts_openmetrics(live: StillLive) -> None:
    totals = live.totals.snapshot()
    plain, _ = render(live.view, totals, {}, "text/plain", created_at=CREATED)
    strict, kind = render(live.view, totals, {}, OPEN, created_at=CREATED)
    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    ours = {key: number for key, number in scrape(plain).items() if key[0].startswith("mailcanary_")}
    theirs = {
        key: number for key, number in scrape(strict, openmetrics=True).items() if key[0].startswith("mailcanary_")
    }
    created = {key for key in theirs if key[0].endswith("_created")}
    assert {theirs[key] for key in created} == {CREATED / 1e9}
    assert ours == {key: number for key, number in theirs.items() if key not in created}


def test_the_counter_and_the_gauge_named_overdue_live_side_by_side(live: StillLive) -> None:
    for accept in ("", OPEN):
        body, _ = render(live.view, live.totals.snapshot(), {}, accept)
        series = scrape(body, openmetrics=accept == OPEN)
        assert value(series, "mailcanary_overdue_total", route="inbound") == 3
        assert value(series, "mailcanary_overdue", route="inbound") == 1
    assert b"# TYPE mailcanary_overdue_total unknown" in body
    assert b"# TYPE mailcanary_overdue gauge" in body


def test_conservation(live: StillLive) -> None:
    """metrics.md 1.4, from what is scraped and from the ledger itself."""
    series = scrape(render(live.view, live.totals.snapshot(), {}, "")[0])
    sent, in_flight = value(series, "mailcanary_sent_total"), value(series, "mailcanary_in_flight")
    assert (sent, in_flight) == (4, 1)
    assert sent == value(series, "mailcanary_outcomes_total") + in_flight
    assert value(series, "mailcanary_ledger_imbalance") == 0
    assert live.queries.balance() == 0
    late, lost = (value(series, "mailcanary_outcomes_total", outcome=name) for name in ("late", "lost"))
    assert late + lost <= value(series, "mailcanary_overdue_total")
    assert value(series, "mailcanary_recovered_total", was="lost") == 1


def test_books_that_do_not_add_up_are_shown(live: StillLive) -> None:
    wrong = replace(live.view, legs=(leg_view(in_flight=3),))
    assert books_off_by(wrong, live.totals) == -2
    body, _ = render(wrong, live.totals.snapshot(), {}, "", imbalance=5.0)
    assert b"mailcanary_ledger_imbalance 5.0" in body


def test_the_histogram_is_cumulative_with_the_routes_own_threshold_among_its_bounds(live: StillLive) -> None:
    series = scrape(render(live.view, live.totals.snapshot(), {}, "")[0])
    buckets = sorted(
        (float(dict(pairs)["le"]), number)
        for (name, pairs), number in series.items()
        if name == "mailcanary_delivery_seconds_bucket"
    )
    assert 45.0 in [bound for bound, _ in buckets]
    assert [number for bound, number in buckets if bound in (2.5, 5.0, 45.0, 120.0, 1200.0, float("inf"))] == [
        0, 1, 1, 2, 3, 3,
    ]  # fmt: skip
    assert value(series, "mailcanary_delivery_seconds_count") == 3
    assert value(series, "mailcanary_delivery_seconds_sum") == pytest.approx(3.1 + 79.9 + 739.9)


def test_a_bound_that_is_no_longer_configured_loses_no_arrival(live: StillLive) -> None:
    key = (counters.DELIVERY_BUCKET, ("inbound", LEG.mx, "plain", "33.0"))
    totals = {**live.totals.snapshot(), key: 2.0}
    changed = replace(live.view, legs=(replace(leg_view(), overdue_after=timedelta(seconds=60)),))
    series = scrape(render(changed, totals, {}, "")[0])
    assert value(series, "mailcanary_delivery_seconds_count") == 5
    assert value(series, "mailcanary_delivery_seconds_bucket", le="33.0") == 3


def test_a_removed_leg_is_shown_until_its_last_canary_is_settled(live: StillLive) -> None:
    other = leg_view(Leg("other", "any", "support"))
    gone = replace(live.view, legs=(other,), retired=live.view.legs)
    totals = live.totals.snapshot()
    shown = scrape(render(gone, totals, {}, "")[0])
    assert value(shown, "mailcanary_sent_total", route="inbound") == 4
    assert value(shown, "mailcanary_in_flight", route="inbound") == 1
    assert value(shown, "mailcanary_target_info", route="inbound") == 0
    assert value(shown, "mailcanary_ledger_imbalance") == 0
    settled = {**totals, (counters.OUTCOMES, (LEG.route, LEG.mx, LEG.mailbox, "plain", "lost")): 2.0}
    ended = scrape(render(replace(gone, retired=()), settled, {}, "")[0])
    assert value(ended, "mailcanary_sent_total", route="inbound") == 0
    assert value(ended, "mailcanary_ledger_imbalance") == 0


def test_exemplars_name_the_canary_in_openmetrics_only(live: StillLive) -> None:
    exemplars: Exemplars = {
        (counters.OUTCOMES, LEG.route, LEG.mx, LEG.mailbox, "plain", "lost"): IDS[1],
        (counters.DELIVERY_BUCKET, LEG.route, LEG.mx, "plain", "5.0"): Exemplar(IDS[0], 3.1),
        (counters.DELIVERY_BUCKET, LEG.route, LEG.mx, "plain", "120.0"): IDS[2],
    }
    totals = live.totals.snapshot()
    assert b"canary_id" not in render(live.view, totals, exemplars, "")[0]
    found = {
        sample.exemplar.labels["canary_id"]: (sample.name, sample.exemplar.value)
        for family in parse_openmetrics(render(live.view, totals, exemplars, OPEN)[0].decode())
        for sample in family.samples
        if sample.exemplar
    }
    assert found == {
        IDS[0]: ("mailcanary_delivery_seconds_bucket", 3.1),
        IDS[1]: ("mailcanary_outcomes_total", 1.0),
        IDS[2]: ("mailcanary_delivery_seconds_bucket", 120.0),
    }


def test_label_values_are_escaped() -> None:
    odd = Leg('a"b\\c\nd', "any", "support")
    for accept in ("", OPEN):
        series = scrape(render(snapshot(leg_view(odd)), {}, {}, accept)[0], openmetrics=accept == OPEN)
        assert value(series, "mailcanary_target_info", route=odd.route) == 1


def test_no_series_twice_when_two_views_are_of_one_leg() -> None:
    view = leg_view()
    doubled = replace(snapshot(view, view), retired=(view,))
    lines = [line.rpartition(b" ")[0] for line in render(doubled, {}, {}, "")[0].splitlines()]
    series = [line for line in lines if not line.startswith(b"#")]
    assert len(series) == len(set(series)) > 100


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain;version=0.0.4", False),
        (OPEN, True),
        ("text/plain, Application/OpenMetrics-Text; version=1.0.0; q=0.7", True),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;version=0.0.1;q=0.75", True),
        ("application/openmetrics-text;version=2.0.0", False),
        ("application/openmetrics-text;version=2.0.0, application/openmetrics-text; version=1.0.0;q=0.5", True),
        ("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;q=0.3", True),
        ("application/openmetrics-text; q=0.000, */*", False),
        (";,;=,q", False),
    ],
)
def test_negotiation(accept: str, wanted: bool) -> None:
    assert wants_openmetrics(accept) is wanted


def test_the_reference_page_is_current() -> None:
    page = Path(__file__).parents[2] / "docs" / "metrics.md"
    assert page.read_text(encoding="utf-8") == reference(), (
        "run: python -m probe.exposition.reference > docs/metrics.md"
    )


@pytest.mark.parametrize("openmetrics", [False, True])
async def test_what_is_kept_between_scrapes_shows_what_a_new_writing_shows(tmp_path: Path, openmetrics: bool) -> None:
    """Through a life of changes: totals, views, a pause, a leg that goes and comes, a route that was never there."""
    live = await four_lives(tmp_path / "ledger.sqlite3")
    kept = Exporter(openmetrics=openmetrics, created_at=CREATED)
    other = replace(leg_view(), leg=Leg("other", "any", "support"))

    def same() -> bytes:
        fresh = Exporter(openmetrics=openmetrics, created_at=CREATED)
        now, anew = (one.body(live.view, live.totals, live.shown, imbalance=0.0) for one in (kept, fresh))
        ours, theirs = ([line for line in body.splitlines() if b"mailcanary_" in line] for body in (now, anew))
        assert ours == theirs
        return now

    first = same()
    assert same().count(b"\n") == first.count(b"\n")
    live.totals.add({(counters.SENT, (*counters.leg_labels(LEG), "plain")): 1.0})
    assert same() != first
    live.totals.add({(counters.CLOCK_STEPS, ()): 2.0, (counters.FOREIGN, ("support", "reply")): 1.0})
    assert b"mailcanary_clock_steps_total 2.0" in same()
    live.view = replace(live.view, legs=(*live.view.legs, other), paused=("other",))
    assert b'mailcanary_paused{route="other"} 1.0' in same()
    live.view = replace(live.view, legs=live.view.legs[:-1], retired=(replace(other, in_flight=3),), paused=())
    assert b'mailcanary_in_flight{route="other",mx="any",mailbox="support"} 3.0' in same()
    live.view = replace(live.view, retired=())
    assert b'route="other"' not in same()
    live.totals.add({(counters.SENT, ("third", "any", "gone", "plain")): 1.0})
    assert b'mailcanary_mailbox_uid_gaps_total{mailbox="gone"} 0.0' in same()

    name_of_a_leg = (LEG.route, LEG.mx, LEG.mailbox)
    for metric in registry.COUNTERS:
        if metric.labels[:1] == ("route",):
            tail = next(iter(registry.tails(metric.total)))
            head = (*name_of_a_leg, "plain") if metric.labels[:4] == counters.V else name_of_a_leg
            before = same()
            live.totals.add({(metric.total, (*head, *tail)): 1.0})
            assert same() != before, metric.name
    for name, labels in (
        (counters.DELIVERY_BUCKET, (LEG.route, LEG.mx, "plain", "1.0")),
        (counters.STAGE_BUCKET, (LEG.route, counters.STAGES[0], "+Inf")),
    ):
        before = same()
        live.totals.add({(name, labels): 1.0})
        assert same() != before, name
    detector = DetectorView((1.0, 5.0), (0.0, 5.0), 0.0, 0.001, 0.02, False, 0.0, ((3, 1),))
    window = WindowView("1h", 5, 1, 1, 0, 4, 0.01, 0.7)
    for change in (
        {"in_flight": 77},
        {"last_slot": 5.5},
        {"detector": detector},
        {"detector": replace(detector, state=2)},
        {"windows": (window,)},
        {"windows": (window._replace(lost=2),)},
        {"every": timedelta(seconds=61)},
        {"paging": False},
        {"overdue_after": timedelta(seconds=44)},
    ):
        before = same()
        first_leg, *others = live.view.legs
        live.view = replace(live.view, legs=(replace(first_leg, **change), *others))
        assert same() != before, change
    before = same()
    live.view = replace(live.view, drilled=LEG.route)
    assert same() != before
