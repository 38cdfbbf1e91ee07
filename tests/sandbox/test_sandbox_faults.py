"""The incident of 2015 and the other faults: whom they hit, what the queue shows meanwhile, what comes back."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest

from probe.sandbox import greylist
from probe.sandbox.faults import Fault, FaultName


async def test_backup_db_drops_silently_while_the_queue_shows_empty(bench: Any) -> None:
    bench.sandbox.set_fault("backup-db")
    await bench.send(5)  # asserts 250 and a queue id for each
    await bench.settled()

    state = bench.sandbox.snapshot()
    assert (state.intakes[0].accepted, state.queue, state.delivered, state.dropped) == (5, 0, 0, 5)
    assert await bench.mailbox() == []
    assert state.faults == (Fault(FaultName.BACKUP_DB),)


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_share_hits_exactly_those_the_seed_says(make_bench: Any, seed: int) -> None:
    chance = random.Random(seed)
    hit = [chance.random() < 0.5 for _ in range(40)]
    async with make_bench(seed=seed) as bench:
        bench.sandbox.set_fault("backup-db", share=0.5)
        await bench.send(40)
        await bench.settled()

        state = bench.sandbox.snapshot()
        assert (state.dropped, state.delivered) == (sum(hit), 40 - sum(hit))
        assert await bench.subjects() == [f"message {n}" for n in range(40) if not hit[n]]


async def test_requeue_run_twice_stores_twice(bench: Any) -> None:
    bench.sandbox.set_fault("backup-db")
    await bench.send(2)
    await bench.settled()
    bench.sandbox.set_fault("duplicate")
    assert await bench.sandbox.requeue() == 2
    assert sorted(await bench.subjects()) == ["message 0", "message 0", "message 1", "message 1"]
    state = bench.sandbox.snapshot()
    assert (state.requeued, state.duplicated, state.delivered) == (2, 2, 0)


async def test_requeue_brings_all_back_once(bench: Any) -> None:
    bench.sandbox.set_fault("backup-db")
    await bench.send(4)
    await bench.settled()
    assert await bench.sandbox.requeue() == 4  # the fault is still on: the repair goes past it
    assert await bench.subjects() == [f"message {n}" for n in range(4)]
    assert await bench.sandbox.requeue() == 0
    state = bench.sandbox.snapshot()
    assert (state.dropped, state.requeued, state.delivered) == (4, 4, 0)


async def test_one_sick_intake_is_told_apart(bench: Any) -> None:
    bench.sandbox.set_fault("backup-db", intake="mx2.sandbox.test")
    await bench.send(3, intake=0)
    await bench.send(2, intake=1)
    await bench.settled()
    assert bench.sandbox.snapshot().dropped == 2
    assert await bench.subjects() == ["message 0", "message 1", "message 2"]


async def test_a_bad_host_loses_what_it_accepts_and_nothing_comes_back(bench: Any) -> None:
    bench.sandbox.set_fault("bad-host")  # mx2, where none is named
    await bench.send(2, intake=0)
    assert len(set(await bench.send(3, intake=1))) == 3  # asserts 250 and a queue id for each
    await bench.settled()
    state = bench.sandbox.snapshot()
    assert [(one.accepted, one.lost) for one in state.intakes] == [(2, 0), (3, 3)]
    assert (state.queue, state.delivered, state.dropped) == (0, 2, 0)
    assert await bench.sandbox.requeue() == 0
    assert await bench.subjects() == ["message 0", "message 1"]

    bench.sandbox.set_fault("bad-host", intake="mx1.sandbox.test")
    await bench.send(1, intake=0)
    await bench.send(1, intake=1)
    await bench.settled()
    assert [one.lost for one in bench.sandbox.snapshot().intakes] == [1, 3]


async def test_duplicate_stores_twice(bench: Any) -> None:
    bench.sandbox.set_fault("duplicate")
    await bench.send(2)
    await bench.settled()
    state = bench.sandbox.snapshot()
    assert (state.delivered, state.duplicated) == (2, 2)
    mails = await bench.mailbox()
    assert (len(mails), len(set(mails))) == (4, 2)


async def test_junk_lands_in_the_folder_for_it(bench: Any) -> None:
    bench.sandbox.set_fault("junk", intake="mx2.sandbox.test")
    await bench.send(1, intake=0)
    await bench.send(1, intake=1)
    await bench.settled()
    assert await bench.subjects() == ["message 0"]
    assert await bench.subjects("Junk") == ["message 1"]
    state = bench.sandbox.snapshot()
    assert (state.delivered, state.junked) == (2, 1)


async def test_what_is_stored_twice_as_junk_is_junk_twice(bench: Any) -> None:
    bench.sandbox.set_fault("junk")
    bench.sandbox.set_fault("duplicate")
    await bench.send(1)
    await bench.settled()
    assert (await bench.subjects(), len(await bench.subjects("Junk"))) == ([], 2)


ATTEMPT = ("MAIL FROM:<p@prober.example>", "RCPT TO:<canary@sandbox.test>", "RSET")


async def test_greylisting_puts_off_the_first_attempt_and_no_later_one(bench: Any) -> None:
    bench.sandbox.set_fault("greylist", intake="mx1.sandbox.test")
    assert await bench.say(*ATTEMPT, *ATTEMPT) == [250, 450, 250, 250, 250, 250]
    assert await bench.say(*ATTEMPT, intake=1) == [250, 250, 250]
    # Without an ENVID the next mail of the same two is known already, as with greylisting elsewhere.
    assert await bench.say(*ATTEMPT) == [250, 250, 250]
    assert await bench.say(f"{ATTEMPT[0]} ENVID=another", ATTEMPT[1]) == [250, 450]
    assert bench.sandbox.snapshot().greylisted == 2

    bench.sandbox.clear_fault()  # and whoever it had put off is forgotten
    assert await bench.say(*ATTEMPT) == [250, 250, 250]
    bench.sandbox.set_fault("greylist")
    assert await bench.say(*ATTEMPT) == [250, 450, 250]


async def test_greylisting_of_a_share_draws_once_for_each_mail(make_bench: Any) -> None:
    chance = random.Random(4)
    hit = [chance.random() < 0.5 for _ in range(30)]
    async with make_bench(seed=4) as bench:
        bench.sandbox.set_fault("greylist", share=0.5)
        codes = []
        for number in range(30):
            mail = (f"{ATTEMPT[0]} ENVID=canary-{number}", ATTEMPT[1])
            codes.append((await bench.say(*mail))[1])
            if codes[-1] == 450:
                assert (await bench.say(*mail))[1] == 250
        assert codes == [450 if one else 250 for one in hit]


def test_greylisting_remembers_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greylist, "MOST_REMEMBERED", 2)
    one = greylist.Greylist()
    assert [one.holds((name,), lambda: True) for name in "abc"] == [True, True, True]
    assert [one.holds((name,), lambda: False) for name in "abc"] == [False, False, False]
    assert [one.holds((name,), lambda: True) for name in "bca"] == [False, False, True]  # a was the oldest
    assert one.put_off == 4


async def test_the_figures_always_add_up(make_bench: Any) -> None:
    names = [name for name in FaultName if name is not FaultName.GREYLIST]
    chance = random.Random(5)
    async with make_bench(seed=5) as bench:
        for _ in range(12):
            for name in names:
                if chance.random() < 0.5:
                    bench.sandbox.set_fault(name, share=0.5, seconds=60 if name is FaultName.DELAY else None)
                else:
                    bench.sandbox.clear_fault(name)
            await bench.send(3, intake=chance.randrange(2), mail_from=bench.sandbox.prober)
            state = bench.sandbox.snapshot()
            accepted = sum(one.accepted for one in state.intakes)
            lost = sum(one.lost for one in state.intakes)
            assert accepted == state.queue + state.delivered + state.bounced + state.dropped + lost
        bench.sandbox.clear_fault()
        await bench.settled()
        state = bench.sandbox.snapshot()
        stored = len(await bench.mailbox()) + len(await bench.mailbox("Junk"))
        assert stored == state.delivered + state.duplicated + state.bounced
        assert min(state.delivered, state.bounced, state.dropped, state.duplicated, state.junked) > 0


async def test_delay_waits_visibly_and_no_longer_than_said(bench: Any) -> None:
    bench.sandbox.set_fault("delay", seconds=20)
    await bench.send(3)
    await bench.until(lambda: bench.clock._sleepers)
    assert bench.sandbox.snapshot().queue == 3
    bench.clock.advance(timedelta(seconds=19.999))
    await bench.send(1)  # wakes the worker, which must find the first three not due
    await bench.until(lambda: len(bench.clock._sleepers) > 1)
    assert bench.sandbox.snapshot().queue == 4
    assert await bench.mailbox() == []

    bench.clock.advance(timedelta(seconds=0.001))
    await bench.until(lambda: bench.sandbox.snapshot().queue == 1)
    assert await bench.subjects() == ["message 0", "message 1", "message 2"]
    bench.clock.advance(timedelta(seconds=20))
    await bench.settled()
    assert bench.sandbox.snapshot().delivered == 4


async def test_delay_of_a_share_holds_only_those(make_bench: Any) -> None:
    chance = random.Random(3)
    hit = [chance.random() < 0.3 for _ in range(20)]
    async with make_bench(seed=3) as bench:
        bench.sandbox.set_fault("delay", seconds=5, share=0.3)
        await bench.send(20)
        await bench.until(lambda: bench.sandbox.snapshot().queue == sum(hit))
        assert await bench.subjects() == [f"message {n}" for n in range(20) if not hit[n]]


async def test_switching_while_it_runs(bench: Any) -> None:
    await bench.send(1)
    await bench.settled()
    bench.sandbox.set_fault("backup-db")
    await bench.send(1)
    await bench.settled()
    bench.sandbox.clear_fault("backup-db")
    bench.sandbox.set_fault("delay", seconds=60)
    await bench.send(1)
    await bench.until(lambda: bench.clock._sleepers)
    assert bench.sandbox.snapshot().queue == 1
    bench.sandbox.clear_fault()  # what was held goes at once
    await bench.settled()
    await bench.send(1)
    await bench.settled()

    state = bench.sandbox.snapshot()
    assert state.faults == ()
    assert (state.delivered, state.dropped, state.intakes[0].accepted) == (3, 1, 4)
    assert await bench.subjects() == ["message 0", "message 2", "message 3"]


async def test_a_delayed_message_can_still_be_dropped(bench: Any) -> None:
    bench.sandbox.set_fault("delay", seconds=10)
    await bench.send(1)
    await bench.until(lambda: bench.clock._sleepers)
    bench.sandbox.set_fault("backup-db")
    bench.clock.advance(timedelta(seconds=10))
    await bench.settled()
    assert bench.sandbox.snapshot().dropped == 1


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("backup", {}, "no fault 'backup'"),
        ("backup-db", {"share": 1.01}, "share"),
        ("backup-db", {"share": -0.1}, "share"),
        ("backup-db", {"share": float("nan")}, "share"),
        ("backup-db", {"seconds": 3.0}, "seconds"),
        ("delay", {}, "seconds"),
        ("delay", {"seconds": 0.0}, "seconds"),
        ("delay", {"seconds": float("inf")}, "seconds"),
        ("delay", {"seconds": float("nan")}, "seconds"),
        ("backup-db", {"intake": "mx3.sandbox.test"}, "no intake"),
        ("bad-host", {"intake": "mx3.sandbox.test"}, "no intake"),
        ("greylist", {"seconds": 1.0}, "seconds"),
        ("bounce", {"share": 2.0}, "share"),
    ],
)
async def test_a_fault_out_of_range_is_refused_and_changes_nothing(
    bench: Any, name: str, arguments: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        bench.sandbox.set_fault(name, **arguments)
    assert bench.sandbox.snapshot().faults == ()
