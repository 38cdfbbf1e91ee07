"""Where a canary turns up, and how often, on a real Dovecot: copies, moves, rules of the server, Junk, clean-up."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from imapclient import DELETED

from probe.ledger.queries import StoredCopy
from tests.proofs.rig import Prober, away
from tests.worlds.dovecot import Account
from tests.worlds.proxy import Proxy

Fresh = Callable[[], Account]
ProxyTo = Callable[[int], Proxy]
FOREIGN = (
    b"From: Ann <ann@example.net>\r\nTo: support@lab.test\r\nMessage-ID: <%d@example.net>\r\nSubject: hi\r\n\r\nHi.\r\n"
)


def raw(prober: Prober, account: Account, copy: StoredCopy) -> bytes:
    """The whole message of a copy, as another client reads it."""
    with prober.dovecot.imap(account) as client:
        client.select_folder(copy.name, readonly=True)
        return bytes(client.fetch([copy.uid], ["BODY.PEEK[]"])[copy.uid][b"BODY[]"])


def numbers(prober: Prober, account: Account, folder: str = "INBOX") -> list[int]:
    with prober.dovecot.imap(account) as client:
        client.select_folder(folder, readonly=True)
        return sorted(client.search())


def kinds(prober: Prober, canary_id: str) -> list[str]:
    return [copy.kind for copy in prober.life(canary_id).copies]


@pytest.mark.fault("S31")
async def test_further_copies_in_the_folder_are_duplicates(prober: Prober, fresh_user: Fresh) -> None:
    account = fresh_user()
    prober.mailbox("support", account)
    prober.route("inbound", "support", account.address)
    await prober.start()
    sent = await prober.send("inbound")
    canary = await prober.settled(sent)
    message = await away(raw, prober, account, prober.life(sent).copies[0])

    await away(prober.postfix.inject, account.address, message)  # the queue's second coming
    await prober.until(lambda: prober.canary(sent).duplicates == 1, "the injected copy is seen")

    def append() -> None:
        with prober.dovecot.imap(account) as client:
            client.append("INBOX", message)

    await away(append)
    await prober.until(lambda: prober.canary(sent).duplicates == 2, "the appended copy is seen")

    assert kinds(prober, sent) == ["first", "duplicate", "duplicate"]
    after = prober.canary(sent)
    assert (after.state, after.reason, after.latency) == ("delivered", canary.reason, canary.latency)
    scrape = await prober.metrics()
    assert scrape.sum("duplicates_total", route="inbound") == 2
    assert scrape.sum("moved_total") == scrape.sum("foreign_total") == 0
    assert scrape.sum("arrivals_total") == scrape.sum("delivery_seconds_count") == 1


@pytest.mark.fault("S31")
async def test_copies_found_by_one_look_are_told_apart_as_well(
    prober: Prober, fresh_user: Fresh, proxy_to: ProxyTo
) -> None:
    account = fresh_user()
    with prober.dovecot.imap(account) as client:
        client.create_folder("Archive")
    proxy = proxy_to(prober.dovecot.imap_port)
    prober.mailbox("support", account, port=proxy.port, folders=["INBOX", "Archive"])
    prober.route("inbound", "support", account.address, overdue_after="10s", lost_after="20s")
    watcher = (await prober.start()).watchers["support"]
    proxy.refuse()
    proxy.cut()
    await prober.until(lambda: watcher.blind_since is not None, "blind")
    twice, filed = await prober.send("inbound"), await prober.send("inbound")
    await prober.until(lambda: len(prober.dovecot.saved(account.address)) == 2, "both are there")

    def multiply() -> None:
        with prober.dovecot.imap(account) as client:
            client.select_folder("INBOX")
            for uid, sent in client.fetch(client.search(), ["BODY.PEEK[]"]).items():
                if prober.tag(twice) in sent[b"BODY[]"]:
                    client.append("INBOX", sent[b"BODY[]"])
                else:
                    client.copy([uid], "Archive")

    await away(multiply)
    proxy.accept()
    for canary_id in (twice, filed):
        await prober.settled(canary_id)
        await prober.until(lambda each=canary_id: len(kinds(prober, each)) == 2, "both copies are seen")

    assert kinds(prober, twice) == ["first", "duplicate"]
    assert kinds(prober, filed) == ["first", "copied"]
    assert prober.canary(filed).folder == "INBOX"
    scrape = await prober.metrics()
    assert (scrape.sum("duplicates_total"), scrape.sum("moved_total")) == (1, 0)


async def test_moved_is_no_duplicate_and_copied_is_neither(prober: Prober, fresh_user: Fresh) -> None:
    account = fresh_user()
    with prober.dovecot.imap(account) as client:
        client.create_folder("Archive")
    prober.mailbox("support", account, folders=["INBOX", "Archive"])
    prober.route("inbound", "support", account.address)
    await prober.start()
    moved, copied = await prober.send("inbound"), await prober.send("inbound")
    for canary_id in (moved, copied):
        assert (await prober.settled(canary_id)).state == "delivered"

    def sort_mail() -> None:
        with prober.dovecot.imap(account) as client:
            client.select_folder("INBOX")
            client.move([prober.life(moved).copies[0].uid], "Archive")
            client.copy([prober.life(copied).copies[0].uid], "Archive")

    await away(sort_mail)
    for canary_id in (moved, copied):
        await prober.until(lambda each=canary_id: len(kinds(prober, each)) == 2, "seen in the other folder")

    assert kinds(prober, moved) == ["first", "moved"]
    assert kinds(prober, copied) == ["first", "copied"]
    assert prober.canary(moved).folder == "Archive"
    assert prober.canary(copied).folder == "INBOX"
    assert prober.life(moved).copies[0].gone
    assert not prober.life(copied).copies[0].gone
    scrape = await prober.metrics()
    assert scrape.sum("moved_total", route="inbound") == 1
    assert scrape.sum("duplicates_total") == 0


async def test_filed_by_a_server_rule_in_an_unwatched_folder_is_found_and_said(
    prober: Prober, fresh_user: Fresh
) -> None:
    account = fresh_user()
    prober.mailbox("support", account)
    prober.route("inbound", "support", account.address)
    prober.dovecot.file_into(account.address, "Lists/Vendor")
    await prober.start()
    canary = await prober.settled(await prober.send("inbound"))

    assert canary.state == "late"  # it was counted overdue before anyone looked there
    assert "in Lists/Vendor, a folder that is not watched" in canary.reason
    (copy,) = prober.life(canary.id).copies
    assert (copy.folder, copy.name, copy.kind) == ("Lists/Vendor", "Lists/Vendor", "first")
    scrape = await prober.metrics()
    assert scrape.sum("arrivals_total", folder="other") == 1
    assert scrape.sum("outcomes_total", outcome="lost") == scrape.sum("outcomes_total", outcome="unknown") == 0
    assert (await prober.api(f"/canaries/{canary.id}"))["folder"] == "Lists/Vendor"

    def put_right() -> None:
        with prober.dovecot.imap(account) as client:
            client.select_folder("Lists/Vendor")
            client.move([copy.uid], "INBOX")

    await away(put_right)
    await prober.until(lambda: kinds(prober, canary.id) == ["first", "moved"], "it is seen in INBOX")
    assert prober.canary(canary.id).folder == "INBOX"
    assert prober.total("duplicates") == 0


@pytest.mark.fault("S34")
async def test_junk_is_an_arrival_with_its_own_place(prober: Prober, fresh_user: Fresh) -> None:
    account = fresh_user()
    prober.mailbox("support", account, folders=["INBOX", "junk"])
    prober.route("inbound", "support", account.address, overdue_after="10s", lost_after="20s")
    prober.dovecot.file_into(account.address, "Junk")
    await prober.start()
    junked = await prober.settled(await prober.send("inbound"))
    prober.dovecot.without_rules(account.address)
    normal = await prober.settled(await prober.send("inbound"))

    assert (junked.state, normal.state) == ("delivered", "delivered")
    assert (junked.folder, normal.folder) == ("junk", "INBOX")
    assert prober.life(junked.id).copies[0].name == "Junk"  # found by its flag, not by its name
    scrape = await prober.metrics()
    assert scrape.sum("arrivals_total", folder="spam") == scrape.sum("arrivals_total", folder="inbox") == 1


@pytest.mark.fault("R24")
@pytest.mark.parametrize("mode", ["delete", "move"])
async def test_clean_up_takes_our_own_and_nothing_else(prober: Prober, fresh_user: Fresh, mode: str) -> None:
    account = fresh_user()
    with prober.dovecot.imap(account) as client:
        for number in range(3):
            client.append("INBOX", FOREIGN % number)
        client.create_folder("Old canaries")
        client.select_folder("INBOX")
        foreign = sorted(client.search())
        client.add_flags(
            foreign[:1], [DELETED]
        )  # somebody's mail, marked and not yet expunged: a bare EXPUNGE takes it
    where = {"folder": "Old canaries"} if mode == "move" else {}
    prober.mailbox("support", account, cleanup={"mode": mode, "after": "1s", **where}, control_canary="off")
    prober.route("inbound", "support", account.address)
    await prober.start()
    sent = [await prober.send("inbound") for _ in range(2)]
    for canary_id in sent:
        assert (await prober.settled(canary_id)).state == "delivered"
    message = await away(raw, prober, account, prober.life(sent[0]).copies[0])
    prober.postfix.discard(account.address, times=1)
    dropped = await prober.send("inbound")
    await prober.until(lambda: numbers(prober, account) == foreign, "ours are gone")
    with prober.dovecot.imap(account) as client:
        client.select_folder("INBOX", readonly=True)
        assert client.search(["DELETED"]) == foreign[:1]
    assert len(numbers(prober, account, "Old canaries")) == (2 if mode == "move" else 0)
    await prober.until(
        lambda: all(prober.life(canary_id).copies[0].removed_at for canary_id in sent),
        "the ledger says who removed them",
    )

    # Numbers that we emptied ourselves are accounted for: the proof of loss still holds.
    lost = await prober.settled(dropped)
    assert lost.state == "lost", lost.reason
    assert lost.reason.endswith("; no other folder has it")
    # And after we deleted the earlier one, a further copy is another mail.
    await away(prober.postfix.inject, account.address, message)
    await prober.until(lambda: prober.canary(sent[0]).duplicates == 1, "the copy is a duplicate")
    await prober.until(lambda: numbers(prober, account) == foreign, "the copy is cleaned up as well")
    assert prober.total("moved") == 0
