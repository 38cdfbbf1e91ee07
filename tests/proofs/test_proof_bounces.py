"""Delivery reports of a real Postfix: failed, delayed, after a loss, forged; by what each canary was found."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from probe.canary import counters
from probe.config.load import load
from tests.proofs.rig import Prober, away
from tests.worlds.dovecot import DOMAIN, Account, Dovecot
from tests.worlds.policy import Rule, Stage
from tests.worlds.postfix import Postfix

Fresh = Callable[[], Account]
PATIENT = {"overdue_after": "20s", "lost_after": "40s"}


def watch(prober: Prober, inbox: Account, bounces: Account, rcpt_to: str | None = None, **knobs: object) -> None:
    """A route whose bounces come to an account of their own."""
    prober.mailbox("support", inbox, exclusive=True)
    prober.mailbox("reports", bounces)
    rcpt = rcpt_to or inbox.address
    prober.route("inbound", "support", rcpt, mail_from=bounces.address, bounces="reports", **knobs)


@pytest.mark.fault("S27")
@pytest.mark.parametrize("tags", [{}, {"envelope_tag": True, "plus_tag": True}], ids=["constant", "tagged"])
async def test_a_recipient_unknown_behind_the_intake_bounces(
    prober: Prober, fresh_user: Fresh, tags: dict[str, bool]
) -> None:
    """S27: Postfix takes it, Dovecot's LMTP refuses it, Postfix reports."""
    sender = fresh_user()
    watch(prober, fresh_user(), sender, f"nobody-at-all@{DOMAIN}", **PATIENT, **tags)
    await prober.start()
    canary = await prober.settled(await prober.send("inbound"))

    assert (canary.state, canary.label) == ("bounced", "5.1.1")
    assert canary.queued_as
    life = prober.life(canary.id)
    (report,) = life.reports
    assert (report.mailbox, report.folder) == ("reports", "INBOX")
    assert {"envelope_id", "returned"} <= set(report.carriers)
    assert ("recipient" in report.carriers) == bool(tags)
    said = dict(line.split(": ", 1) for line in report.received)
    assert said["Action"] == "failed"
    assert "5.1.1" in said["Diagnostic-Code"]
    assert life.copies == []
    (delivery,) = [each for each in prober.postfix.deliveries() if each.queue_id == canary.queued_as]
    assert delivery.status == "bounced"
    scrape = await prober.metrics()
    assert scrape.sum("outcomes_total", outcome="bounced") == scrape.sum("outcomes_total") == 1
    assert scrape.sum("foreign_total") == 0
    told = await prober.api(f"/canaries/{canary.id}")
    assert told["outcome"] == "bounced"
    assert [one["said"] for one in told["reports"]] == [list(report.received)]


@pytest.mark.fault("R09")
async def test_bounces_may_come_to_the_canaries_own_mailbox(prober: Prober, fresh_user: Fresh) -> None:
    account = fresh_user()
    prober.mailbox("support", account)
    prober.route("inbound", "support", account.address, mail_from=account.address, bounces="support", **PATIENT)
    await prober.start()
    rule = prober.postfix.policy.add(Rule(Stage.RCPT, "FILTER error:5.2.2 mailbox is full", recipient=account.address))
    bounced = await prober.settled(await prober.send("inbound"))
    prober.postfix.lift(rule)
    delivered = await prober.settled(await prober.send("inbound"))

    assert (bounced.state, bounced.label) == ("bounced", "5.2.2")
    assert delivered.state == "delivered"


async def test_a_report_after_the_loss_is_counted_beside_it(prober: Prober, fresh_user: Fresh) -> None:
    inbox, sender = fresh_user(), fresh_user()
    watch(prober, inbox, sender)
    await prober.start()
    prober.postfix.hold(inbox.address)
    canary_id = await prober.send("inbound")
    lost = await prober.settled(canary_id)
    assert lost.state == "lost"
    await away(prober.dovecot.remove_account, inbox.address)
    await away(prober.postfix.release_held)
    await prober.until(lambda: prober.life(canary_id).reports, "the report was read")

    scrape = await prober.metrics()
    assert scrape.sum("afterwards_total", outcome="lost", event="bounce") == 1
    assert scrape.sum("outcomes_total", outcome="lost") == scrape.sum("outcomes_total") == 1
    assert prober.life(canary_id).moves[-1]["reason"].startswith("a bounce came after lost: 5.1.1")


@pytest.fixture
def impatient(dovecot: Dovecot) -> Iterator[Postfix]:
    """A Postfix that reports a delay after a second."""
    postfix = Postfix(dovecot, extra="delay_warning_time = 1s\n")
    try:
        postfix.start()
        yield postfix
    finally:
        postfix.close()


@pytest.mark.fault("S28")
async def test_a_delayed_report_is_an_event_and_the_canary_arrives(
    prober: Prober, fresh_user: Fresh, impatient: Postfix
) -> None:
    """S28."""
    inbox, sender = fresh_user(), fresh_user()
    prober.sender("slow", port=impatient.port)
    watch(prober, inbox, sender, sender="slow", **PATIENT)
    await prober.start()
    rule = impatient.policy.add(Rule(Stage.RCPT, "FILTER retry:4.4.1 the next host is away", recipient=inbox.address))
    canary_id = await prober.send("inbound")
    await prober.until(lambda: prober.life(canary_id).reports, "the report was read")
    assert prober.canary(canary_id).state == "accepted"
    (report,) = prober.life(canary_id).reports
    assert "Action: delayed" in report.received
    impatient.lift(rule)
    await away(impatient.requeue)
    canary = await prober.settled(canary_id)

    assert canary.state == "delivered"
    reasons = [move["reason"] for move in prober.life(canary_id).moves if move["observation"] == "DelayReported"]
    assert len(reasons) == 1
    assert reasons[0].startswith("delayed: 4.4.1")
    assert "event=canary_delayed" in prober.stream.getvalue()
    assert (await prober.metrics()).sum("outcomes_total", outcome="bounced") == 0


async def test_an_unread_bounce_mailbox_holds_the_verdict(prober: Prober, fresh_user: Fresh) -> None:
    """Rule 3: what may explain the absence has to be read before it is called a loss."""
    inbox, sender = fresh_user(), fresh_user()
    watch(prober, inbox, sender)
    await prober.start()
    prober.postfix.discard(inbox.address)
    await away(prober.dovecot.set_password, sender.address, "changed meanwhile")
    await away(prober.dovecot.disconnect, sender.address)
    canary_id = await prober.send("inbound")
    await prober.until(lambda: prober.canary(canary_id).overdue, "it is overdue")
    lost_at = prober.canary(canary_id).lost_at
    await prober.until(lambda: prober.clock.now().since(lost_at).total_seconds() > 2, "its deadline has passed")
    assert prober.canary(canary_id).state == "accepted"
    await away(prober.dovecot.set_password, sender.address, sender.password)
    assert (await prober.settled(canary_id)).state == "lost"


@pytest.mark.fault("S29")
async def test_a_forged_report_is_counted_and_moves_nothing(prober: Prober, fresh_user: Fresh) -> None:
    """S29: somebody who has seen a report, and changed one letter of each identity."""
    inbox, sender = fresh_user(), fresh_user()
    watch(prober, inbox, sender, f"nobody-at-all@{DOMAIN}", **PATIENT)
    await prober.start()
    canary = await prober.settled(await prober.send("inbound"))
    (raw,) = await away(_messages, prober.dovecot, sender)
    letters = bytes.maketrans(b"abcdefghijklmnopqrstuvwxyz234567", b"bcdefghijklmnopqrstuvwxyz234567a")
    tag = raw.partition(b"Original-Envelope-Id: ")[2].split()[0]
    token = raw.partition(b"X-Mailcanary: v1")[2].split()[0]
    forged = raw.replace(token, token.translate(letters)).replace(tag, tag.translate(letters))
    await away(prober.postfix.inject, sender.address, forged, sender="")
    await prober.until(lambda: prober.total(counters.FOREIGN, "forged"), "it was counted")

    assert len(prober.life(canary.id).reports) == 1
    assert prober.total(counters.AFTERWARDS) == 0


def _messages(dovecot: Dovecot, account: Account) -> list[bytes]:
    with dovecot.imap(account) as client:
        client.select_folder("INBOX", readonly=True)
        return [bytes(one[b"BODY[]"]) for one in client.fetch(client.search("ALL"), ["BODY.PEEK[]"]).values()]


async def test_a_reload_forgets_no_bounce_that_is_still_to_come(prober: Prober, fresh_user: Fresh) -> None:
    sender = fresh_user()
    nobody = f"nobody-at-all@{DOMAIN}"
    watch(prober, fresh_user(), sender, nobody, **PATIENT)
    await prober.start()
    prober.postfix.hold(nobody, times=1)
    canary_id = await prober.send("inbound")
    await prober.state(canary_id, "accepted")
    assert await prober.running.reload(lambda: load(prober.write()))
    await away(prober.postfix.release_held)
    canary = await prober.settled(canary_id)

    assert (canary.state, canary.label) == ("bounced", "5.1.1")
    assert prober.outcomes() == {"bounced": 1}
