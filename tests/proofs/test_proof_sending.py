"""What the server says while we talk, on a real Postfix: taken, put off, refused, at every stage."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.proofs.rig import Prober, away
from tests.worlds.dovecot import Account
from tests.worlds.policy import Stage

Fresh = Callable[[], Account]
LOG_WRITTEN = timedelta(milliseconds=100)  # Dovecot writes its line after the message is there to be seen
PATIENT = {"overdue_after": "20s", "lost_after": "40s"}
STAGES = {
    Stage.CONNECT: "banner",
    Stage.EHLO: "ehlo",
    Stage.MAIL: "mail",
    Stage.RCPT: "rcpt",
    Stage.DATA: "data",
    Stage.END_OF_MESSAGE: "dot",
}


async def test_a_delivered_canary_carries_what_both_servers_said(prober: Prober, fresh_user: Fresh) -> None:
    account = fresh_user()
    prober.mailbox("support", account)
    prober.route("inbound", "support", account.address, every="300ms")
    await prober.start()
    await prober.until(lambda: prober.outcomes()["delivered"] >= 3, "three canaries sent by the schedule arrived")

    canary = prober.canaries("inbound")[0]
    life = prober.life(canary.id)
    delivery = next(each for each in prober.postfix.deliveries(account.address) if each.queue_id == canary.queued_as)
    assert (delivery.status, delivery.sender) == ("sent", "prober@probes.example.net")
    stored = next(each for each in prober.dovecot.saved(account.address) if each.message_id == delivery.message_id)

    assert canary.clock_started is not None
    assert canary.latency is not None
    assert canary.uncertainty is not None
    true_latency = stored.at - canary.clock_started.utc
    assert canary.latency - canary.uncertainty <= true_latency <= canary.latency + LOG_WRITTEN
    assert "within overdue_after 1.000 s; in INBOX" in canary.reason
    assert [move["after"] for move in life.moves] == ["intent", "data_started", "accepted", "delivered"]

    (attempt,) = life.attempts
    assert (attempt["result"], attempt["stage"], attempt["code"], attempt["enhanced"]) == (
        "accepted",
        "dot",
        250,
        "2.0.0",
    )
    assert attempt["address"] == "127.0.0.1"
    spoken = [(stage, code) for stage, _, code, _ in attempt["dialogue"]]
    assert spoken[0] == ("connect", None)
    assert spoken[1:] == [("banner", 220), ("ehlo", 250), ("mail", 250), ("rcpt", 250), ("data", 354), ("dot", 250)]
    assert canary.queued_as in attempt["dialogue"][-1][3]
    assert {"connect", "banner", "ehlo", "mail", "rcpt", "data", "dot"} <= attempt["phases"].keys()

    (copy,) = life.copies
    assert (copy.kind, copy.folder) == ("first", "INBOX")
    assert any(f"id {canary.queued_as}" in line for line in copy.received)
    assert {"header", "message_id", "subject"} <= set(copy.carriers)

    told = await prober.api(f"/canaries/{canary.id}")
    assert (told["outcome"], told["queued_as"], told["attempts"]) == ("delivered", canary.queued_as, 1)
    assert told["latency_seconds"] == pytest.approx(canary.latency.total_seconds())
    scrape = await prober.metrics()
    assert scrape.sum("delivery_seconds_count", route="inbound") >= 3
    assert scrape.sum("overdue_total") == scrape.sum("duplicates_total") == 0


async def test_late_is_counted_overdue_once_and_timed(prober: Prober, fresh_user: Fresh) -> None:
    account = fresh_user()
    prober.mailbox("support", account)
    prober.route("inbound", "support", account.address, lost_after="30s")
    await prober.start()
    prober.postfix.hold(account.address, times=1)
    held = await prober.send("inbound")
    await prober.until(lambda: prober.canary(held).overdue, "it is overdue")
    assert prober.canary(held).state == "accepted"
    await away(prober.postfix.release_held)
    canary = await prober.settled(held)

    assert canary.state == "late"
    stored = prober.stored_at(held)
    assert stored is not None
    assert canary.clock_started is not None
    assert canary.latency is not None
    assert canary.uncertainty is not None
    true_latency = stored - canary.clock_started.utc
    assert canary.latency - canary.uncertainty <= true_latency <= canary.latency + LOG_WRITTEN
    scrape = await prober.metrics()
    assert (
        scrape.sum("overdue_total") == scrape.sum("judged_total") == scrape.sum("outcomes_total", outcome="late") == 1
    )
    assert scrape.sum("overdue") == 0


@pytest.mark.fault("S18")
async def test_greylisting_is_latency(prober: Prober, fresh_user: Fresh) -> None:
    hasty, patient = fresh_user(), fresh_user()
    for name, account, deadlines in (("hasty", hasty, {"lost_after": "30s"}), ("patient", patient, PATIENT)):
        prober.mailbox(name, account)
        prober.route(name, name, account.address, **deadlines)
        prober.postfix.greylist(account.address, tries=2)
    await prober.start()
    sent = {name: await prober.send(name) for name in ("hasty", "patient")}
    await prober.state(sent["hasty"], "deferred")
    ended = {name: await prober.settled(canary_id) for name, canary_id in sent.items()}

    assert {name: canary.state.value for name, canary in ended.items()} == {"hasty": "late", "patient": "delivered"}
    for canary in ended.values():
        attempts = prober.life(canary.id).attempts
        assert [(a["result"], a["stage"], a["code"], a["enhanced"]) for a in attempts] == [
            ("deferred", "rcpt", 450, "4.2.0"),
            ("deferred", "rcpt", 450, "4.2.0"),
            ("accepted", "dot", 250, "2.0.0"),
        ]
        assert canary.attempts == 3
        # Two waits of a second lie between the first 4xx and the last dot: in the latency, not in the transit.
        assert canary.latency is not None
        assert canary.transit is not None
        assert canary.latency - canary.transit >= timedelta(seconds=2)
        assert canary.clock_started is not None
        assert canary.clock_started.since(canary.sent) < timedelta(seconds=1)
        moves = [move["after"] for move in prober.life(canary.id).moves if move["after"] != "data_started"]
        assert moves[:5] == ["intent", "deferred", "intent", "deferred", "intent"]
    # Each try is a message of its own, and Postfix took exactly one of each canary.
    taken = [queue_id for queue_id, _ in prober.postfix.accepted()]
    assert [taken.count(canary.queued_as) for canary in ended.values()] == [1, 1]
    scrape = await prober.metrics()
    assert scrape.sum("attempts_total", route="patient", result="refused_4xx") == 2
    assert scrape.sum("overdue_total", route="hasty") == 1
    assert scrape.sum("overdue_total", route="patient") == 0


@pytest.mark.fault("S19")
async def test_4xx_until_the_tries_run_out_is_refused_and_never_lost(prober: Prober, fresh_user: Fresh) -> None:
    account = fresh_user()
    prober.sender("few", retry=["200ms", "200ms"])
    prober.sender("many", retry=["1s"] * 10)
    prober.mailbox("support", account)
    prober.route("few", "support", account.address, sender="few")
    prober.route("many", "support", account.address, sender="many", mail_from="other@probes.example.net")
    prober.postfix.greylist(account.address, tries=1000)
    await prober.start()
    few, many = await prober.send("few"), await prober.send("many")
    by_count, by_time = await prober.settled(few), await prober.settled(many)

    assert (by_count.state, by_count.attempts) == ("refused", 3)
    assert by_time.state == "refused"
    assert 2 <= by_time.attempts <= 3  # tries are bounded by lost_after (3 s)
    for canary in (by_count, by_time):
        assert canary.reason.startswith("4xx until the tries ran out: 127.0.0.1 [127.0.0.1]:")
        assert "(rcpt): answered 450 4.2.0 " in canary.reason
        last = prober.life(canary.id).attempts[-1]
        assert (last["code"], last["enhanced"], last["stage"]) == (450, "4.2.0", "rcpt")
    assert prober.postfix.deliveries(account.address) == []
    assert prober.total("overdue") == 0


@pytest.mark.fault("S20")
async def test_a_refusal_names_its_stage_and_both_codes(prober: Prober, fresh_user: Fresh) -> None:
    account = fresh_user()
    prober.mailbox("support", account)
    prober.route("inbound", "support", account.address)
    await prober.start()
    for number, (asked, stage) in enumerate(STAGES.items(), 1):
        rule = prober.postfix.reject(asked, "550 5.7.1 refused by the test")
        canary = await prober.settled(await prober.send("inbound"))
        prober.postfix.lift(rule)
        assert canary.state == "refused", (asked, canary.reason)
        (attempt,) = prober.life(canary.id).attempts
        assert (attempt["result"], attempt["stage"]) == ("refused", stage)
        # At the banner the policy's code stands, but Postfix gives every refused client its own code.
        assert (attempt["code"], attempt["enhanced"]) in {(550, "5.7.1"), (554, "5.7.1")}
        assert "refused by the test" in attempt["dialogue"][-1][3] or stage == "banner"
        assert f"({stage}): answered {attempt['code']} 5.7.1 " in canary.reason
        assert prober.total("outcomes", "refused") == number
    assert prober.postfix.deliveries(account.address) == []
    assert prober.total("overdue") == 0


@pytest.mark.fault("S21")
async def test_4xx_at_any_stage_is_tried_again(prober: Prober, fresh_user: Fresh) -> None:
    account = fresh_user()
    prober.sender("relay", retry=["100ms"])
    prober.mailbox("support", account)
    prober.route("inbound", "support", account.address, **PATIENT)
    await prober.start()
    replies = [*((asked, stage, 451) for asked, stage in STAGES.items()), (Stage.RCPT, "rcpt", 421)]
    for asked, stage, code in replies:
        rule = prober.postfix.reject(asked, f"{code} 4.3.0 later, says the test", times=1)
        canary = await prober.settled(await prober.send("inbound"))
        prober.postfix.lift(rule)
        assert (canary.state, canary.attempts) == ("delivered", 2), (asked, canary.reason)
        first, second = prober.life(canary.id).attempts
        assert (first["result"], first["stage"], first["code"]) == ("deferred", stage, code)
        assert (second["result"], second["code"]) == ("accepted", 250)
        assert canary.latency is not None
        assert canary.latency >= timedelta(milliseconds=100)
    assert len(prober.dovecot.saved(account.address)) == len(replies)
