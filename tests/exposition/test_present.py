"""The forms that commands and pages share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.canary.record import Canary, State
from probe.errors import MailCanaryError, UsageError
from probe.exposition.present import (
    canary_json,
    clean,
    duration_text,
    exchange_json,
    find,
    life_json,
    parse_since,
    stamp,
    without_tokens,
)
from tests.exposition.exposition_fakes import DEADLINES, EVIL, IDS, LEG, START, TOKEN, four_lives

NOW = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)


@given(st.text())
def test_clean_leaves_nothing_that_acts(text: str) -> None:
    shown = clean(text)
    assert "\x1b" not in shown
    assert "\n" not in shown
    assert "\u202e" not in shown
    shown.encode()
    assert len(clean(text, 5)) <= 6 * 10


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (0.0, "0 ms"),
        (0.0123, "12 ms"),
        (0.9996, "1 s"),
        (3.21, "3.2 s"),
        (59.96, "1 min"),
        (125, "2 min 5 s"),
        (3600, "1 h"),
        (12_000, "3 h 20 min"),
        (187_200, "2 d 4 h"),
        (timedelta(hours=72), "3 d"),
        (-2.0, "-2 s"),
    ],
)
def test_durations_for_people(value: float | timedelta | None, shown: str) -> None:
    assert duration_text(value) == shown


def test_since() -> None:
    assert parse_since("2h", NOW) == NOW - timedelta(hours=2)
    assert parse_since("2026-11-24T05:00:00Z", NOW) == NOW - timedelta(hours=1)
    assert parse_since("2026-11-24T06:00:00+01:00", NOW) == NOW - timedelta(hours=1)
    for wrong in ("", "2", "2w", "yesterday", "2026-11-24", "2026-11-24T05:00:00", "999999d", "-2h", "\x1b[31m"):
        with pytest.raises(UsageError):
            parse_since(wrong, NOW)


def test_stamps_are_rfc_3339_in_utc_with_microseconds() -> None:
    assert stamp(START) == stamp(START.wall) == stamp(START.wall / 1e9) == "2025-11-24T16:00:00.000000Z"
    assert stamp(None) is None
    assert stamp(0.0) is None


def test_the_object_of_the_contract() -> None:
    canary = Canary("aaaaaaaaaaaa2", LEG, "prober-1", "plain", DEADLINES, START, State.ACCEPTED, queued_as="4XYZ")
    assert list(canary_json(canary)) == [
        "id", "route", "mx", "variant", "prober", "state", "outcome", "sent_at", "arrived_at", "recovered_at",
        "latency_seconds", "latency_uncertainty_seconds", "transit_seconds", "folder", "attempts", "duplicates",
        "queued_as", "reason",
    ]  # fmt: skip
    assert canary_json(canary)["outcome"] is None
    assert canary_json(canary)["state"] == "accepted"


def test_tokens_are_cut_and_ids_are_not() -> None:
    assert without_tokens(f"<c+{TOKEN}@example.org> aaaaaaaaaaaa2") == "<c+abcdefgh…@example.org> aaaaaaaaaaaa2"


def test_an_exchange_of_any_length() -> None:
    assert exchange_json(["dot", ".", 250, "ok"]) == {"stage": "dot", "sent": ".", "code": 250, "reply": "ok"}
    assert exchange_json(["banner"]) == {"stage": "banner", "sent": "", "code": None, "reply": ""}


async def test_a_life_is_found_by_its_first_characters(tmp_path: Path) -> None:
    queries = (await four_lives(tmp_path / "ledger.sqlite")).queries
    assert find(queries, " BBB ").canary.id == IDS[2]
    assert find(queries, IDS[0]).canary.id == IDS[0]
    with pytest.raises(UsageError, match="more than one"):
        find(queries, "aaa")
    with pytest.raises(MailCanaryError, match="no canary"):
        find(queries, "zzz")
    for wrong in ("", "%", "a' OR 1=1", EVIL, "a" * 14):
        with pytest.raises(UsageError):
            find(queries, wrong)
    facts = life_json(find(queries, IDS[1]))
    assert facts["outcome"] == "lost"
    assert facts["recovered_at"] == "2025-11-24T16:13:20.000000Z"
    assert [move["to"] for move in facts["moves"]] == ["intent", "data_started", "accepted", "lost", "lost"]
    assert facts["smtp"][0]["dialogue"][1] == {"stage": "dot", "sent": ".", "code": 250, "reply": "queued as 4XYZ"}
    assert facts["hops"] == []
