"""The control canary and the heartbeat as they are shown: metrics, status page, JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from probe.canary import counters
from probe.exposition import registry
from probe.exposition.live import MailboxView, Snapshot
from probe.exposition.metrics import render
from probe.exposition.pages import status_page
from probe.exposition.status import status_json
from tests.exposition.exposition_fakes import snapshot

SEEN = 1_764_000_050.0


def with_boxes(*seen: float | None) -> Snapshot:
    (box,) = snapshot().mailboxes
    boxes: Sequence[MailboxView] = [replace(box, name=f"box{n}", control_seen=at) for n, at in enumerate(seen)]
    return replace(snapshot(), mailboxes=boxes, heartbeat_at=SEEN + 1)


def lines(view: Snapshot, metric: registry.Metric) -> list[str]:
    body, _ = render(view, {}, {}, "")
    return [line for line in body.decode().splitlines() if line.startswith(metric.name)]


def test_the_metric_is_there_only_where_there_is_a_control_canary() -> None:
    assert lines(with_boxes(SEEN, None), registry.CONTROL) == [
        f'{registry.CONTROL.name}{{mailbox="box0"}} 1764000050.0'
    ]
    assert lines(with_boxes(None), registry.CONTROL) == []


def test_the_heartbeat_has_its_time() -> None:
    assert lines(with_boxes(None), registry.HEARTBEAT) == [f"{registry.HEARTBEAT.name} 1764000051.0"]
    assert lines(snapshot(), registry.HEARTBEAT) == [f"{registry.HEARTBEAT.name} 0.0"]


def test_both_components_of_errors_are_known_and_shown_at_zero() -> None:
    for component in ("control", "heartbeat"):
        assert component in counters.ERROR_COMPONENTS
        for reason in registry.ERROR_REASONS[component]:
            labels = f'component="{component}",reason="{reason}"'
            body, _ = render(snapshot(), {}, {}, "")
            assert f"mailcanary_probe_errors_total{{{labels}}} 0.0".encode() in body
    assert set(counters.ERROR_COMPONENTS) == set(registry.ERROR_REASONS)


def test_the_status_page_shows_its_age() -> None:
    page = status_page(with_boxes(SEEN, None), [], [], [])
    assert "<th>control canary seen</th>" in page
    rows = page.partition("<h2>Mailboxes</h2>")[2].partition("</section>")[0].split("<tr>")[2:]
    assert "14 min 10 s ago" in rows[0]
    assert '<td class="t">none</td>' in rows[1]


def test_the_api_has_it() -> None:
    shown = status_json(with_boxes(SEEN, None), [])
    assert [box["control_seen_at"] for box in shown["mailboxes"]] == ["2025-11-24T16:00:50.000000Z", None]
    assert shown["heartbeat_at"] == "2025-11-24T16:00:51.000000Z"
    assert status_json(snapshot(), [])["heartbeat_at"] is None
