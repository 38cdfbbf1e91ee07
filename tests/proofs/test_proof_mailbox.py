"""What other programs do to the mailbox: numbers that begin anew, canaries that disappear, crowds of foreign mail.

Our own watch goes through a proxy that can be stalled, so that things happen between two of its looks.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from probe.canary.record import State
from tests.proofs.rig import Prober, away
from tests.worlds.dovecot import Account, Dovecot
from tests.worlds.postfix import Postfix
from tests.worlds.proxy import Proxy

MAIL = (
    b"From: someone@example.net\r\nTo: %b\r\nSubject: Nothing of ours (%d)\r\n"
    b"Message-ID: <%d@example.net>\r\n\r\nHello\r\n"
)


def make_anew(dovecot: Dovecot, account: Account, folder: str, moved: list[int]) -> None:
    """The folder is renamed away and made again under another UIDVALIDITY; ``moved`` positions come back into it."""
    with dovecot.imap(account) as client:
        client.rename_folder(folder, "Old")
        client.create_folder(folder)
        client.select_folder("Old")
        uids = sorted(client.search("ALL"))
        client.move([uids[position] for position in moved], folder)


def expunge_all(dovecot: Dovecot, account: Account) -> int:
    """Another client deletes whatever is in INBOX; returns how many."""
    with dovecot.imap(account) as client:
        client.select_folder("INBOX")
        uids = client.search("ALL")
        client.delete_messages(uids)
        client.expunge()
    return len(uids)


async def stored(prober: Prober, dovecot: Dovecot, account: Account, count: int) -> None:
    await prober.until(lambda: len(dovecot.saved(account.address)) == count, f"Dovecot has stored {count}")


@pytest.mark.fault("R10")
async def test_uidvalidity_changes_while_canaries_are_in_flight(
    prober: Prober,
    postfix: Postfix,
    dovecot: Dovecot,
    fresh_user: Callable[[], Account],
    proxy_to: Callable[..., Proxy],
) -> None:
    account = fresh_user()
    with dovecot.imap(account) as client:
        client.create_folder("Probes")
    await away(dovecot.file_into, account.address, "Probes")
    watch = proxy_to(dovecot.imap_port)
    prober.mailbox("support", account, port=watch.port, folders=["Probes"])
    prober.route("inbound", "support", account.address)
    await prober.start()
    seen = await prober.settled(await prober.send("inbound"))
    assert seen.state is State.DELIVERED, seen.reason

    watch.stall()
    unseen = await prober.send("inbound")
    await prober.state(unseen, "accepted")
    await stored(prober, dovecot, account, 2)
    held = await away(postfix.hold, account.address)
    absent = await prober.send("inbound")
    await prober.state(absent, "accepted")
    postfix.lift(held)
    await away(make_anew, dovecot, account, "Probes", [0, 1])
    watch.flow()

    arrived = await prober.settled(unseen)
    assert arrived.state in (State.DELIVERED, State.LATE), arrived.reason
    verdict = await prober.settled(absent)
    assert (verdict.state, verdict.label) == (State.UNKNOWN, "uidvalidity"), verdict.reason
    assert "UIDVALIDITY changed from" in verdict.reason
    for each in (seen.id, unseen):  # read again under new numbers, and not counted again
        assert prober.canary(each).duplicates == 0
    assert [copy.kind for copy in prober.life(seen.id).copies] == ["first", "reread"]
    assert prober.total("duplicates") == prober.total("moved") == 0
    assert prober.total("arrivals") == 2

    await away(postfix.release_held)
    await prober.until(lambda: prober.canary(absent).recovered is not None, "the released canary is recovered")
    assert prober.canary(absent).state is State.UNKNOWN
    assert prober.total("recovered", "unknown") == 1


@pytest.mark.fault("R12")
async def test_another_client_deletes_canaries_before_we_look(
    prober: Prober,
    dovecot: Dovecot,
    fresh_user: Callable[[], Account],
    proxy_to: Callable[..., Proxy],
) -> None:
    shared, exclusive = fresh_user(), fresh_user()
    accounts = {"shared": shared, "exclusive": exclusive}
    watches = {name: proxy_to(dovecot.imap_port) for name in accounts}
    for name, account in accounts.items():
        prober.mailbox(name, account, port=watches[name].port, exclusive=name == "exclusive")
        prober.route(name, name, account.address)
    await prober.start()
    canaries = {}
    for name, account in accounts.items():
        watches[name].stall()
        canaries[name] = await prober.send(name)
        await stored(prober, dovecot, account, 1)
        assert await away(expunge_all, dovecot, account) == 1
        watches[name].flow()

    verdict = await prober.settled(canaries["shared"])
    assert (verdict.state, verdict.label) == (State.UNKNOWN, "uid_gap"), verdict.reason
    verdict = await prober.settled(canaries["exclusive"])
    assert verdict.state is State.LOST, verdict.reason
    assert "1 never used (the mailbox is exclusive)" in verdict.reason
    # It was stored and taken away: what ``exclusive`` vouches that nobody does. The rule of the rig does not apply.
    assert [text.partition(":")[0] for text in prober.false_losses()] == [verdict.id]
    prober.excused.add(verdict.id)
    metrics = await prober.metrics()
    assert metrics.sum("outcomes_total", route="shared", outcome="lost") == 0
    assert metrics.sum("mailbox_uid_gaps_total", mailbox="shared") == 1

    for name in accounts:  # the numbers that are missing harm no later canary
        assert (await prober.settled(await prober.send(name))).state is State.DELIVERED


@pytest.mark.fault("R21")
@pytest.mark.timeout(180)
async def test_a_crowd_of_foreign_mail_costs_nothing(
    prober: Prober, dovecot: Dovecot, fresh_user: Callable[[], Account]
) -> None:
    empty, crowded = fresh_user(), fresh_user()
    crowd = [MAIL % (crowded.address.encode(), number, number) for number in range(20_000)]
    await away(dovecot.deliver_many, crowded.address, crowd)
    for name, account in (("empty", empty), ("crowded", crowded)):
        prober.mailbox(name, account, idle_poll="30s")
        prober.route(name, name, account.address, overdue_after="10s", lost_after="30s")
    daemon = await prober.start()
    spent = {}
    for name in ("empty", "crowded"):
        box = daemon.watchers[name].mailbox
        assert (await prober.settled(await prober.send(name))).state is State.DELIVERED  # Dovecot's caches are warm
        before = box.bytes_in + box.bytes_out
        for _ in range(12):
            assert (await prober.settled(await prober.send(name))).state is State.DELIVERED
        spent[name] = (box.bytes_in + box.bytes_out - before) / 12
    metrics = await prober.metrics()
    assert metrics.sum("mailbox_messages", mailbox="crowded") >= 20_000
    assert spent["crowded"] == pytest.approx(spent["empty"], rel=0.15)
    assert spent["crowded"] < 2048  # the budget of bytes a canary
    assert prober.total("foreign") == 0
