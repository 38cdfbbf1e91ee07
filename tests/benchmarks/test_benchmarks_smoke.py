"""The benchmarks run, in a tiny form, and yield what the report needs. No figure is asserted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import cpu, imap, latency, profiles, report, throughput
from benchmarks.setup import percentile, thread_group

FACTS = {"machine": report.machine(), "quick": True, "load_after": 0.0}


# Skips where no real server can run, and marks the test as one that needs it; the benchmark starts its own.
needs_servers = pytest.mark.usefixtures("dovecot_server")


def _rendered(name: str, figures: dict[str, Any]) -> str:
    json.dumps(figures)
    return report.document({**FACTS, name: figures})


def test_throughput_on_scripted_servers() -> None:
    figures = throughput.measure(tiny=True)
    (step,) = figures["steps"]
    assert step["delivered_per_second"] > 0
    assert step["cpu_ms_per_canary"] > 0
    assert step["other_outcomes"] == {}
    assert {"event loop", "ledger-writer", "mailbox-box"} <= set(figures["profile"]["threads"])
    assert any("ledger" in row["what"] for row in figures["profile"]["parts"])
    assert "| canaries a second on one core, sustained |" in _rendered("throughput", figures)


@needs_servers
def test_cpu_per_canary_on_real_servers() -> None:
    figures = cpu.measure(tiny=True)
    for name in ("plain", "tls"):
        (run,) = figures[name]["runs"]
        assert run["canaries"] > 0
        assert run["scrapes"] > 0
        assert run["other_outcomes"] == {}
        assert run["whole_life_ms_per_canary"] >= run["cpu_ms_per_canary"] > 0
    assert figures["idle_core_percent"] > 0
    assert "STARTTLS and implicit TLS" in _rendered("cpu", figures)


@needs_servers
def test_error_of_the_latency_on_real_servers() -> None:
    figures = latency.measure(tiny=True)
    assert figures["immediate"]["canaries"] >= 2
    assert figures["delayed"]["canaries"] >= 1
    # Half of it: the hold is counted by one process, the latency by another, and neither to the millisecond.
    assert figures["delayed"]["true_latency_p50_ms"] > 500 * figures["delay_seconds"]
    assert figures["delayed"]["true_latency_p50_ms"] > 2 * figures["immediate"]["true_latency_p50_ms"]
    assert "held 1 s" in _rendered("latency", figures)


@needs_servers
def test_imap_commands_and_bytes_on_real_servers() -> None:
    figures = imap.measure(tiny=True)
    for name in ("empty", "full"):
        assert figures[name]["canaries"] >= 1
        assert figures[name]["commands_per_canary"] >= 2  # one NOOP and one FETCH at least
        assert figures[name]["bytes_received_per_canary"] > 0
    assert "50 foreign messages" in _rendered("imap", figures)


def test_a_missed_bar_is_told() -> None:
    figures = {"sustained_per_second": 200, "bar_per_second": 300}
    assert report.table({"throughput": figures}).splitlines()[-1].endswith("NO")


def test_a_profile_gives_what_helpers_cost_to_their_callers() -> None:
    ledger = ("/x/probe/ledger/batch.py", 1, "write")
    engine = ("/x/probe/engine/books.py", 1, "step")
    helper = ("/usr/lib/python3.11/json/encoder.py", 1, "encode")
    built_in = ("~", 0, "<built-in method posix.urandom>")
    wait = ("~", 0, "<method 'poll' of 'select.epoll' objects>")
    stats = {
        ledger: (1, 1, 1.0, 4.0, {}),
        engine: (1, 1, 2.0, 3.0, {}),
        helper: (4, 4, 0.0, 4.0, {ledger: (3, 3, 0.0, 3.0), engine: (1, 1, 0.0, 1.0)}),
        built_in: (4, 4, 4.0, 4.0, {helper: (4, 4, 4.0, 4.0)}),
        wait: (1, 1, 100.0, 100.0, {engine: (1, 1, 100.0, 100.0)}),
    }
    found = profiles.costs(stats)
    assert found["ledger (with SQLAlchemy, SQLite)"] == pytest.approx(1 + 3)
    assert found["engine"] == pytest.approx(2 + 1)
    assert sum(found.values()) == pytest.approx(7)


def test_small_arithmetic() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([float(n) for n in range(1, 101)], 0.95) == 95.0
    assert thread_group("mailbox-box_0") == "mailbox-box"
    assert thread_group("MainThread") == "event loop"


def test_the_document_names_its_own_command() -> None:
    text = (Path(report.__file__).parent.parent / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert "python -m benchmarks --write" in text
