"""Canaries in flight as a start finds them: outlines that tell the truth, and everything when asked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from benchmarks.lives import DEADLINES, Author, leg_of
from probe.canary.record import Canary, State
from probe.clock import Instant
from probe.engine.flying import Flying
from probe.engine.waiting import Deadline, Waiting
from probe.ledger.store import Ledger
from probe.ledger.stored import StoredCanary

HERE = "boot-1"
LEG = leg_of(0, 1)
ALIKE = ("id", "leg", "prober", "state", "attempts", "overdue", "judged", "deadlines", "sent", "key", "mail_from")


class Still:
    """A clock that moves when it is told to; ``boot_id``: of which boot."""

    def __init__(self, boot_id: str = HERE) -> None:
        self.at = Instant(1_700_000_000_000_000_000, 5_000_000_000_000, boot_id)

    def now(self) -> Instant:
        return self.at

    async def sleep(self, duration: timedelta) -> None:
        raise AssertionError(f"nothing here waits {duration}")


@pytest.fixture
def written(tmp_path: Path) -> Iterator[tuple[Ledger, list[Canary]]]:
    """A ledger of 30 canaries in flight, 100 s apart, the first ten overdue; and what they should read back as."""
    clock = Still()
    ledger = Ledger(tmp_path / "ledger.sqlite", clock, inline=True)
    author, canaries = Author(Random(1)), []
    for number in range(30):
        canary = author.accepted(LEG, clock.now() + timedelta(seconds=100 * number))
        canaries.append(author.overdue(canary) if number < 10 else canary)
    asyncio.run(ledger.commit(author.take()))
    yield ledger, canaries
    ledger.close()


def test_an_outline_agrees_with_its_canary(written: tuple[Ledger, list[Canary]]) -> None:
    ledger, canaries = written
    outlines = list(ledger.queries.in_flight())
    assert len(outlines) == 30
    for outline, canary in zip(outlines, canaries, strict=True):
        assert [getattr(outline, name) for name in ALIKE] == [getattr(canary, name) for name in ALIKE]
        assert outline.overdue_at == canary.sent + DEADLINES.overdue_after
        assert outline.canary() == canary
        assert outline.canary() is outline.canary()


@pytest.mark.parametrize("boot_id", [HERE, "boot-2"])
def test_deadlines_come_as_if_all_had_been_decoded(written: tuple[Ledger, list[Canary]], boot_id: str) -> None:
    """Also after a restart of the machine, when only the wall clock links the two boots."""
    ledger, canaries = written
    clock = Still(boot_id)
    lazy, eager = Waiting(LEG.mailbox, clock), Waiting(LEG.mailbox, clock)
    lazy.enter(ledger.queries.in_flight())
    eager.enter(canaries)
    seen = set()
    for seconds in range(0, int(DEADLINES.watch_for.total_seconds()) + 4000, 50):
        clock.at = Still(boot_id).at + timedelta(seconds=seconds)
        assert lazy.next_deadline(clock.now()) == eager.next_deadline(clock.now())
        assert lazy.due == eager.due
        seen |= {kind for kind in Deadline if lazy.due[kind]}
        for kind in (Deadline.OVERDUE,):  # as a judge would, so that the next one is asked for
            lazy.due[kind].clear()
            eager.due[kind].clear()
    assert seen == set(Deadline)


def test_nothing_is_decoded_before_it_is_asked_for(written: tuple[Ledger, list[Canary]]) -> None:
    ledger, canaries = written
    flying = Flying(ledger.queries.in_flight())
    waiting = Waiting(LEG.mailbox, Still())
    waiting.enter(flying.outlines())
    assert all(isinstance(one, StoredCanary) for one in flying.outlines())
    assert flying[canaries[3].id] == canaries[3]
    assert [isinstance(one, StoredCanary) for one in flying.outlines()].count(False) == 1
    assert flying.decode(20)
    assert not flying.decode(20)
    assert list(flying.values()) == canaries
    assert not any(isinstance(one, StoredCanary) for one in flying.outlines())


def test_oldest_and_youngest(written: tuple[Ledger, list[Canary]]) -> None:
    ledger, canaries = written
    flying = Flying(ledger.queries.in_flight())
    assert (flying.oldest, flying.youngest) == (canaries[0], canaries[-1])
    assert flying.drop(canaries[0].id)
    assert not flying.drop(canaries[0].id)
    assert flying.oldest == canaries[1]
    assert canaries[0].id not in flying
    assert flying.oldest.state is State.ACCEPTED
    empty = Flying()
    assert (empty.oldest, empty.youngest, len(empty)) == (None, None, 0)
