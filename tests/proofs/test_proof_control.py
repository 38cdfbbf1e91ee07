"""The control canary on a real Dovecot: put there, seen, removed, and in nobody's way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from probe.canary.record import State
from probe.engine.controlling import Control
from probe.message.control import SUBJECT
from tests.proofs.rig import Prober, away
from tests.worlds.dovecot import Account, Dovecot
from tests.worlds.postfix import Postfix

DELETE = {"mode": "delete", "after": "24h"}


def lying(dovecot: Dovecot, account: Account, folder: str = "INBOX") -> int:
    """How many control messages lie there, as another client sees it."""
    with dovecot.imap(account) as client:
        client.select_folder(folder, readonly=True)
        return len(client.search(["SUBJECT", SUBJECT]))


def control(prober: Prober) -> Control:
    return prober.running.watchers["support"].control


async def rounds(prober: Prober, count: int) -> None:
    """Until so many more were seen."""
    for n in range(count):
        before = control(prober).last_success
        await prober.until(
            lambda before=before: control(prober).last_success > before,  # type: ignore[misc]
            f"control canary {n + 1} of {count} was seen",
        )


async def none_left(prober: Prober, dovecot: Dovecot, account: Account, folder: str = "INBOX") -> None:
    async def none() -> bool:
        return await away(lying, dovecot, account, folder) == 0

    await prober.until(none, "no control canary lies there")


async def test_they_are_seen_and_removed_and_a_loss_is_still_proven(
    prober: Prober, postfix: Postfix, dovecot: Dovecot, fresh_user: Callable[[], Account]
) -> None:
    account = fresh_user()
    prober.mailbox("support", account, exclusive=True, cleanup=DELETE, control_canary="1s")
    prober.route("inbound", "support", account.address, lost_after="5s")
    await prober.start()
    delivered = await prober.settled(await prober.send("inbound"))
    assert delivered.state is State.DELIVERED, delivered.reason

    held = await away(postfix.hold, account.address)
    absent = await prober.send("inbound")
    await prober.state(absent, "accepted")
    await rounds(prober, 3)
    lost = await prober.settled(absent)
    postfix.lift(held)
    assert lost.state is State.LOST, lost.reason
    assert prober.total("mailbox_uid_gaps") == 0
    assert prober.total("foreign") == 0
    assert prober.total("arrivals") == 1

    scrape = await prober.metrics()
    seen = scrape.sum("control_last_success_timestamp_seconds", mailbox="support")
    assert abs(prober.clock.now().wall / 1e9 - seen) < 30
    assert scrape.sum("mailbox_blind", mailbox="support") == 0
    assert "control" not in prober.stream.getvalue(), "nothing was missed or refused, so nothing was said"
    await none_left(prober, dovecot, account)


async def test_without_exclusive_they_make_no_gap_either(
    prober: Prober, postfix: Postfix, dovecot: Dovecot, fresh_user: Callable[[], Account]
) -> None:
    account = fresh_user()
    prober.mailbox("support", account, exclusive=False, cleanup=DELETE, control_canary="1s")
    prober.route("inbound", "support", account.address, lost_after="4s")
    await prober.start()
    held = await away(postfix.hold, account.address)
    absent = await prober.send("inbound")
    await prober.state(absent, "accepted")
    await rounds(prober, 2)
    lost = await prober.settled(absent)
    postfix.lift(held)
    assert lost.state is State.LOST, lost.reason
    assert prober.total("mailbox_uid_gaps") == 0


async def test_moved_where_clean_up_moves(prober: Prober, dovecot: Dovecot, fresh_user: Callable[[], Account]) -> None:
    account = fresh_user()
    with dovecot.imap(account) as client:
        client.create_folder("Old")
    cleanup = {"mode": "move", "after": "24h", "folder": "Old"}
    prober.mailbox("support", account, cleanup=cleanup, control_canary="1s")
    prober.route("inbound", "support", account.address)
    await prober.start()
    await rounds(prober, 2)
    await none_left(prober, dovecot, account)
    assert await away(lying, dovecot, account, "Old") >= 2


async def test_a_restart_in_the_middle(prober: Prober, dovecot: Dovecot, fresh_user: Callable[[], Account]) -> None:
    """Put there and not seen yet; the next run sees it, removes it, and puts none before the interval is over."""
    account = fresh_user()
    prober.mailbox("support", account, cleanup=DELETE, control_canary="1h", idle_poll="30s")
    prober.route("inbound", "support", account.address)
    await prober.start()

    async def there() -> bool:
        return await away(lying, dovecot, account) == 1

    await prober.until(there, "it was put there")
    await prober.stop()
    assert await away(lying, dovecot, account) == 1
    for _ in range(3):
        await prober.start()
        await prober.until(lambda: control(prober).last_success, "it was seen")
        await none_left(prober, dovecot, account)
        await prober.stop()
    assert await away(lying, dovecot, account) == 0
    # A configuration that wants them more often gets the next one.
    prober.tree["mailboxes"]["support"].update(control_canary="1s", idle_poll="1s")
    await prober.start()
    await rounds(prober, 1)
    await none_left(prober, dovecot, account)


async def test_a_mailbox_that_takes_none_is_read_as_ever(
    prober: Prober, dovecot: Dovecot, fresh_user: Callable[[], Account]
) -> None:
    """APPEND is answered NO: said once, the metric stays, nobody is blind; and it goes on once it is taken again."""
    account = fresh_user()
    prober.mailbox("support", account, cleanup=DELETE, control_canary="1s")
    prober.route("inbound", "support", account.address)
    await prober.start()
    await rounds(prober, 1)
    tmp: Path = dovecot.folder / "mail" / account.address / "Maildir" / "tmp"
    tmp.chmod(0o500)
    try:
        await prober.until(lambda: control(prober).problem, "it was refused")
        last = control(prober).last_success
        await prober.until(lambda: prober.total("probe_errors", "control", "refused") >= 2, "it was tried again")
        assert control(prober).last_success == last
        scrape = await prober.metrics()
        assert scrape.sum("mailbox_blind", mailbox="support") == 0
        assert prober.total("probe_errors", "mailbox") == 0
        assert prober.stream.getvalue().count("event=control_refused") == 1
    finally:
        tmp.chmod(0o700)
    await rounds(prober, 1)
    assert control(prober).problem == ""
    await none_left(prober, dovecot, account)
