"""Loss on real servers: said with its proof, never while blind, and never of what was merely not seen."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest

from probe.clock import Instant
from tests.proofs.rig import Prober, away
from tests.worlds.dovecot import Account
from tests.worlds.proxy import Proxy

Fresh = Callable[[], Account]
ProxyTo = Callable[[int], Proxy]

FOREIGN = (
    b"From: Ann <ann@example.net>\r\nTo: support@lab.test\r\nMessage-ID: <%d@example.net>\r\nSubject: hi\r\n\r\nHi.\r\n"
)
PROOF = re.compile(
    r"lost: accepted by the server, not there after 3 s, proven absent; "
    r"INBOX: (?:every number from (?P<first>\d+) to (?P<last>\d+) of (?P<epoch>\d+) accounted for"
    r"|nothing came from number (?P<next>\d+) of (?P<same>\d+) on), "
    r"read begun (?P<begun>\S+); no other folder has it"
)
BLIND_WAYS = ("cut", "stall")


def blind(proxy: Proxy, way: str) -> None:
    if way == "stall":
        proxy.stall()
        return
    proxy.refuse()
    proxy.cut()


def see(proxy: Proxy) -> None:
    proxy.accept()
    proxy.flow()


async def passes(prober: Prober, moment: Instant, *unjudged: str) -> None:
    """Live until ``moment``; at no time before it may one of these canaries be judged in any way."""

    def over() -> bool:
        for canary_id in unjudged:
            canary = prober.canary(canary_id)
            assert (canary.state, canary.overdue) == ("accepted", False), canary.reason
        return prober.clock.now().since(moment) > timedelta(0)

    await prober.until(over, f"{moment.isoformat()} passes")


@pytest.mark.fault("S30")
async def test_a_silent_discard_is_lost_with_its_proof_and_the_route_beside_it_stays_clean(
    prober: Prober, fresh_user: Fresh
) -> None:
    broken, healthy = fresh_user(), fresh_user()
    prober.mailbox("broken", broken)
    prober.mailbox("healthy", healthy)
    prober.route("broken", "broken", broken.address, every="700ms")
    prober.route("healthy", "healthy", healthy.address, every="300ms")
    with prober.dovecot.imap(broken) as client:
        epoch = client.select_folder("INBOX")[b"UIDVALIDITY"]
    prober.postfix.discard(broken.address)
    await prober.start()
    await prober.until(lambda: prober.outcomes("broken")["accepted"] >= 1, "one was taken")
    await away(prober.dovecot.deliver, broken.address, FOREIGN % 1)  # other people's mail goes on arriving
    await prober.until(lambda: prober.outcomes("broken")["lost"] >= 2, "two canaries are lost")
    await away(prober.postfix.policy.reset)
    await prober.until(lambda: prober.outcomes("broken")["delivered"] >= 1, "the route works again")

    lost = [canary for canary in prober.canaries("broken") if canary.state == "lost"]
    first = PROOF.fullmatch(lost[0].reason)
    assert first is not None, lost[0].reason
    assert (first["first"], first["last"]) == ("1", "1")  # the foreign message was looked at
    discarded = {each.queue_id for each in prober.postfix.deliveries(broken.address) if each.relay == "none"}
    for canary in lost:
        proof = PROOF.fullmatch(canary.reason)
        assert proof is not None, canary.reason
        named = int(proof["first"] or proof["next"]), int(proof["epoch"] or proof["same"])
        assert named == (canary.floors["INBOX"].position, epoch)
        assert proof["begun"] > canary.lost_at.isoformat()
        assert canary.queued_as in discarded
        moves = [move["after"] for move in prober.life(canary.id).moves]
        assert moves == ["intent", "data_started", "accepted", "accepted", "lost"]  # overdue first, once
    assert set(prober.outcomes("broken")) <= {"lost", "delivered", "accepted", "data_started", "intent"}
    assert set(prober.outcomes("healthy")) <= {"delivered", "accepted", "data_started", "intent"}
    assert prober.outcomes("healthy")["delivered"] >= 5
    scrape = await prober.metrics()
    assert scrape.sum("outcomes_total", route="broken", outcome="lost") >= 2
    assert scrape.sum("overdue_total", route="healthy") == 0
    assert scrape.sum("mailbox_blind") == 0


@pytest.mark.fault("R03")
@pytest.mark.parametrize("way", BLIND_WAYS)
async def test_while_blind_nothing_is_judged_and_then_the_verdict_is_right(
    prober: Prober, fresh_user: Fresh, proxy_to: ProxyTo, way: str
) -> None:
    account = fresh_user()
    proxy = proxy_to(prober.dovecot.imap_port)
    prober.mailbox("support", account, port=proxy.port)
    prober.route("inbound", "support", account.address)
    await prober.start()
    first = await prober.settled(await prober.send("inbound"))
    prober.postfix.discard(account.address, times=1)
    dropped = await prober.send("inbound")
    await prober.state(dropped, "accepted")
    blind(proxy, way)
    passed = await prober.send("inbound")  # this one reaches the mailbox that nobody can look into
    await prober.until(lambda: len(prober.dovecot.saved(account.address)) == 2, "delivered while blind")
    last = prober.canary(passed)
    await passes(prober, last.lost_at + timedelta(milliseconds=500), dropped, passed)
    scrape = await prober.metrics()
    assert scrape.sum("overdue_total") == scrape.sum("outcomes_total", outcome="lost") == 0
    assert scrape.sum("mailbox_blind", mailbox="support") == (1 if way == "cut" else 0)
    see(proxy)

    gone, there = await prober.settled(dropped), await prober.settled(passed)
    assert gone.state == "lost"
    proof = PROOF.fullmatch(gone.reason)
    assert proof is not None, gone.reason
    assert proof["begun"] > gone.lost_at.isoformat()
    assert int(proof["last"]) >= gone.floors["INBOX"].position  # the one that passed has a number above the floor
    assert there.state in ("delivered", "late"), there.reason
    assert there.state != "late" or "by the mailbox's own time" in there.reason
    assert first.state == "delivered"
    if way == "cut":
        assert prober.total("mailbox_blind_seconds") > 2
    assert prober.total("overdue") == (2 if there.state == "late" else 1)


async def test_blind_to_the_end_of_the_watch_is_unknown_and_not_lost(
    prober: Prober, fresh_user: Fresh, proxy_to: ProxyTo
) -> None:
    account = fresh_user()
    proxy = proxy_to(prober.dovecot.imap_port)
    prober.mailbox("support", account, port=proxy.port)
    prober.route("inbound", "support", account.address, lost_after="2s", watch_for="3s")
    prober.postfix.hold(account.address)
    await prober.start()
    sent = await prober.send("inbound")
    await prober.state(sent, "accepted")
    blind(proxy, "cut")
    await passes(prober, prober.canary(sent).watched_until + timedelta(milliseconds=-300), sent)
    canary = await prober.settled(sent)
    assert canary.state == "unknown"
    assert canary.reason.startswith("unknown(blind): watch_for has passed and the mailbox could not be read since ")
    see(proxy)
    await away(prober.postfix.release_held)
    # Its identity has expired with the watch: counted, not believed, not touched.
    await prober.until(lambda: prober.total("foreign", "expired") == 1, "it is seen")
    assert prober.canary(sent) == canary
    assert prober.total("overdue") == prober.total("recovered") == prober.total("arrivals") == 0


async def test_nothing_is_sent_before_the_mailbox_was_read_once(
    prober: Prober, fresh_user: Fresh, proxy_to: ProxyTo
) -> None:
    account = fresh_user()
    proxy = proxy_to(prober.dovecot.imap_port)
    prober.mailbox("support", account, port=proxy.port)
    prober.route("inbound", "support", account.address, every="100ms")
    blind(proxy, "cut")
    await prober.start(seeing=False)

    async def tried() -> bool:
        return (await prober.metrics()).sum("mailbox_blind", mailbox="support") == 1

    await prober.until(tried, "blind from the start")
    # Ten slots of the route pass.
    await passes(prober, prober.clock.now() + timedelta(seconds=1))
    assert prober.canaries() == []
    see(proxy)
    await prober.until(lambda: prober.outcomes()["delivered"] >= 2, "it sends once it can see")
    assert all("INBOX" in canary.floors for canary in prober.canaries())
    assert set(prober.outcomes()) <= {"delivered", "accepted", "data_started", "intent"}


@pytest.mark.fault("R13")
async def test_a_watched_folder_that_is_not_there_leaves_absence_unproven(prober: Prober, fresh_user: Fresh) -> None:
    account = fresh_user()
    prober.mailbox("support", account, folders=["INBOX", "Tickets"])
    prober.route("inbound", "support", account.address)
    await prober.start()
    assert (await prober.settled(await prober.send("inbound"))).state == "delivered"
    prober.postfix.discard(account.address)
    canary = await prober.settled(await prober.send("inbound"))
    assert canary.state == "unknown"
    assert canary.reason.startswith("unknown(folder_missing): not there, but absence cannot be proven; Tickets: ")


async def test_delivered_while_blind_the_mailboxs_own_time_decides(
    prober: Prober, fresh_user: Fresh, proxy_to: ProxyTo
) -> None:
    account = fresh_user()
    proxy = proxy_to(prober.dovecot.imap_port)
    prober.mailbox("support", account, port=proxy.port)
    prober.route("inbound", "support", account.address, overdue_after="3s", lost_after="20s")
    watcher = (await prober.start()).watchers["support"]
    for _ in range(3):  # the clock of the mailbox is learned from what is seen to arrive
        assert (await prober.settled(await prober.send("inbound"))).state == "delivered"
    blind(proxy, "cut")
    await prober.until(lambda: watcher.blind_since is not None, "blind")
    prober.postfix.hold(account.address, times=1)
    held = await prober.send("inbound")
    await prober.state(held, "accepted")
    punctual = await prober.send("inbound")
    await prober.until(lambda: len(prober.dovecot.saved(account.address)) == 4, "the punctual one is there")
    await passes(prober, prober.canary(punctual).overdue_at + timedelta(seconds=2.5), held, punctual)
    await away(prober.postfix.release_held)
    await prober.until(lambda: len(prober.dovecot.saved(account.address)) == 5, "the held one is there")
    see(proxy)

    in_time, too_late = await prober.settled(punctual), await prober.settled(held)
    assert in_time.state == "delivered", in_time.reason
    assert too_late.state == "late", too_late.reason
    for canary in (in_time, too_late):
        assert canary.reason.endswith("by the mailbox's own time; in INBOX"), canary.reason
        assert canary.latency is not None
        assert canary.uncertainty is not None
        stored = prober.stored_at(canary.id)
        assert stored is not None
        assert canary.clock_started is not None
        true_latency = stored - canary.clock_started.utc
        assert canary.latency - canary.uncertainty <= true_latency <= canary.latency
    assert in_time.latency <= timedelta(seconds=3) < too_late.latency
    assert prober.total("overdue") == 1
    assert prober.total("judged") == 5


@pytest.mark.fault("S32")
async def test_held_past_the_deadline_then_released_is_lost_then_recovered(prober: Prober, fresh_user: Fresh) -> None:
    account = fresh_user()
    prober.mailbox("support", account, folders=["INBOX", "junk"])
    prober.route("inbound", "support", account.address)
    await prober.start()
    prober.postfix.hold(account.address, times=1)
    held = await prober.send("inbound")
    lost = await prober.settled(held)
    assert lost.state == "lost"
    for folder in ("INBOX", "junk"):
        assert f"; {folder}: nothing came from number 1 of " in lost.reason, lost.reason
    assert prober.postfix.queued() == 1
    await away(prober.postfix.release_held)
    await prober.until(lambda: prober.canary(held).recovered is not None, "it is recovered")

    after = prober.canary(held)
    assert (after.state, after.reason) == ("lost", lost.reason)  # an outcome is never taken back
    assert after.folder == "INBOX"
    stored = prober.stored_at(held)
    assert stored is not None
    assert lost.settled is not None
    assert stored > lost.settled.utc
    last = prober.life(held).moves[-1]
    assert (last["before"], last["after"]) == ("lost", "lost")
    assert last["reason"].startswith("recovered after lost: arrived ")
    told = await prober.api(f"/canaries/{held}")
    assert told["outcome"] == "lost"
    assert told["recovered_at"] is not None
    scrape = await prober.metrics()
    lost_count = scrape.sum("outcomes_total", outcome="lost")
    assert (lost_count, scrape.sum("recovered_total", was="lost")) == (1, 1)  # net loss is 0
    assert scrape.sum("recovered_total", was="unknown") == scrape.sum("duplicates_total") == 0
    assert scrape.sum("arrivals_total", folder="inbox") == 1
