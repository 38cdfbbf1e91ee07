"""What is written is read back: every fact of a canary, to the nanosecond."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from probe.canary.coverage import Cursor, Span
from probe.canary.record import Canary, Deadlines, Leg, State
from probe.clock import Instant
from probe.ledger.batch import Batch
from probe.ledger.rows import canary_of, canary_row, gaps_of, gaps_text, labels_of, labels_text
from tests.canary.lives import canary
from tests.ledger.ledgers import opened

_wall = st.integers(0, 2**63 - 1)
_instants = st.builds(Instant, _wall, _wall, st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
_maybe = st.none() | _instants
_durations = st.timedeltas(timedelta(0), timedelta(days=400))
_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
_cursors = st.builds(Cursor, st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
canaries = st.builds(
    Canary,
    id=st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=13, max_size=13),
    leg=st.builds(Leg, _text, _text, _text),
    prober=_text,
    variant=_text,
    deadlines=st.builds(Deadlines, _durations, _durations, _durations),
    sent=_instants,
    state=st.sampled_from(State),
    attempts=st.integers(1, 99),
    clock_started=_maybe,
    last_dot=_maybe,
    retry_at=_maybe,
    floors=st.dictionaries(_text, _cursors, max_size=4),
    overdue=st.booleans(),
    judged=st.booleans(),
    arrived=_maybe,
    recovered=_maybe,
    settled=_maybe,
    latency=st.none() | _durations,
    uncertainty=st.none() | _durations,
    transit=st.none() | _durations,
    folder=_text,
    duplicates=st.integers(0, 99),
    queued_as=_text,
    label=_text,
    reason=_text,
)


@given(canaries)
def test_a_row_holds_the_whole_canary(one: Canary) -> None:
    assert canary_of(canary_row(one)) == one


@settings(deadline=None, max_examples=10)
@given(made=st.lists(canaries, min_size=1, max_size=20, unique_by=lambda c: c.id))
async def test_the_file_holds_the_whole_canary(made: list[Canary], tmp_path_factory: object) -> None:
    path: Path = tmp_path_factory.mktemp("rows") / "ledger.sqlite3"  # type: ignore[attr-defined]
    ledger = opened(path)
    try:
        batch = Batch()
        for one in made:
            batch.canary(one)
        await ledger.commit(batch)
        assert [ledger.queries.canary(one.id) for one in made] == made
        in_flight = [one for one in made if one.state.in_flight]
        assert [one.canary() for one in ledger.queries.in_flight()] == in_flight
    finally:
        ledger.close()


async def test_a_later_write_replaces_the_row_and_keeps_its_place(tmp_path: Path) -> None:
    ledger = opened(tmp_path / "ledger.sqlite3")
    first, second = canary(State.INTENT), canary(State.INTENT, label="x")
    for one in (first, second):
        batch = Batch()
        batch.canary(one)
        await ledger.commit(batch)
    assert [one.canary() for one in ledger.queries.in_flight()] == [second]
    assert ledger.queries.state_counts() == {"intent": 1}
    ledger.close()


@given(st.lists(st.tuples(st.integers(0, 2**32), st.integers(0, 2**32)).map(lambda p: Span(*p))))
def test_gaps(spans: list[Span]) -> None:
    assert gaps_of(gaps_text(tuple(spans))) == tuple(spans)


@given(st.lists(_text).map(tuple))
def test_labels_are_one_canonical_text(labels: tuple[str, ...]) -> None:
    assert labels_of(labels_text(labels)) == labels


def test_labels_that_differ_have_texts_that_differ() -> None:
    assert len({labels_text(x) for x in (("a,b",), ("a", "b"), ('a","b',), (), ("",), ("a", "b", ""))}) == 6
