"""Delivery reports in virtual time: whose, what they mean, and never twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from probe.canary import counters
from probe.canary.record import State
from probe.ledger.batch import Batch
from probe.mailboxes.imap import Cleanup, CleanupMode
from probe.message.addresses import split_tag
from tests.engine import fakes
from tests.engine.bounces import report, until_accepted
from tests.engine.world import HOUR, MINUTE, World
from tests.jumping import JumpingClock, Virtual


@pytest.mark.fault("S27")
@pytest.mark.parametrize("folder", [None, "INBOX"])
@pytest.mark.parametrize("returned", [True, False])
def test_a_report_of_failure_ends_the_canary_as_bounced(
    virtual: Virtual, tmp_path: Path, folder: str | None, returned: bool
) -> None:
    """S27: by the returned header, or by the envelope id alone; in a mailbox of its own, or in the canaries'."""

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, every=HOUR)
        account = world.receive_bounces(folder)
        async with world.running():
            handed = await until_accepted(world)
            account.put(report(handed, returned=returned))
            await world.until(world.settled())
            (canary,) = world.canaries()
            assert (canary.state, canary.label) == (State.BOUNCED, "5.1.1")
            assert canary.reason.startswith("bounced: 5.1.1; ")
            assert clock.now().since(canary.sent) < MINUTE
            (row,) = world.ledger.queries.reports(canary.id)
            assert row.mailbox == ("inbox" if folder else "reports")
            assert "Diagnostic-Code: 550 5.1.1 no such user" in row.received
            assert world.ledger.queries.copies(canary.id) == []
            assert world.total(counters.FOREIGN) == 0
            world.check_books()

    virtual.run(main)


def test_a_report_after_the_loss_is_counted_beside_it(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, every=2 * HOUR)
        account = world.receive_bounces()
        async with world.running():
            handed = await until_accepted(world)
            await world.until(world.settled())
            assert world.canaries()[0].state is State.LOST
            account.put(report(handed))
            await world.until(lambda: world.total(counters.AFTERWARDS, "lost", "bounce"))
            assert world.canaries()[0].state is State.LOST
            assert world.total(counters.OUTCOMES, "bounced") == 0
            world.check_books()

    virtual.run(main)


@pytest.mark.fault("S28")
def test_a_report_of_delay_is_an_event_and_the_canary_goes_on(virtual: Virtual, tmp_path: Path) -> None:
    """S28."""

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, every=HOUR)
        account = world.receive_bounces()
        async with world.running():
            handed = await until_accepted(world)
            account.put(report(handed, action="delayed", status="4.4.1"))
            await world.until(lambda: world.ledger.queries.reports(world.canaries()[0].id))
            assert world.canaries()[0].state is State.ACCEPTED
            world.account.put(handed.message)
            await world.until(world.settled())
            life = world.ledger.queries.life(world.canaries()[0].id)
            assert life is not None
            assert life.canary.state in (State.DELIVERED, State.LATE)
            assert [move["reason"][:14] for move in life.moves if move["observation"] == "DelayReported"] == [
                "delayed: 4.4.1"
            ]
            world.check_books()
        assert "canary_delayed" in world.said.getvalue()

    virtual.run(main)


@pytest.mark.fault("S29")
def test_a_report_that_no_signature_backs_moves_nothing(virtual: Virtual, tmp_path: Path) -> None:
    """S29."""

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, every=HOUR)
        account = world.receive_bounces()
        async with world.running():
            handed = await until_accepted(world)
            envelope = replace(handed.envelope, envelope_id="a" * 29)
            token = handed.message.partition(b"Message-ID: <")[2].partition(b"@")[0]
            tag = handed.message.partition(b"Mail canary ")[2][:29]
            header = handed.message.replace(token, token[::-1]).replace(tag, tag[::-1])
            account.put(report(replace(handed, envelope=envelope, message=header)))
            await world.until(lambda: world.total(counters.FOREIGN, "reports", "forged"))
            await world.until(world.settled())
            assert world.canaries()[0].state is State.LOST
            world.check_books()

    virtual.run(main)


def test_a_report_that_is_read_again_counts_once(virtual: Virtual, tmp_path: Path) -> None:
    """A crash after its own commit and before the cursor's; and a change of UIDVALIDITY."""

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, every=20 * MINUTE)
        account = world.receive_bounces()
        async with world.running():
            handed = await until_accepted(world)
            world.refuses = lambda batch: ("reports", "INBOX") in batch._watermarks
            account.put(report(handed))
            await world.until(world.settled())
            await world.restart()
            await clock.sleep(MINUTE)
            canary = world.canaries()[0]
            assert [r.uid for r in world.ledger.queries.reports(canary.id)] == [1]
            await world.until(lambda: world.states()["accepted"])  # the next one: what is in flight is looked for again
            account.folders["INBOX"].renumber()
            await clock.sleep(MINUTE)
            assert [r.epoch for r in world.ledger.queries.reports(canary.id)] == [1, 2]
            assert world.total(counters.AFTERWARDS) == 0
            account.put(report(handed))
            await world.until(lambda: world.total(counters.AFTERWARDS, "bounced", "bounce") == 1)
            assert world.total(counters.OUTCOMES, "bounced") == 1
            world.check_books()

    virtual.run(main)


def test_an_arrival_beside_its_report_is_an_arrival(virtual: Virtual, tmp_path: Path) -> None:
    """Both by one read: an alias with a dead second address, say."""

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, every=HOUR)
        account = world.receive_bounces("INBOX")
        async with world.running():
            handed = await until_accepted(world)
            account.put(report(handed))
            account.put(handed.message)
            await world.until(lambda: world.total(counters.AFTERWARDS, "delivered", "bounce"))
            assert world.canaries()[0].state is State.DELIVERED
            world.check_books()

    virtual.run(main)


def test_reports_about_other_peoples_mail_leave_no_trace(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.delivers(), every=HOUR)
        account = world.receive_bounces("INBOX")
        async with world.running():
            await world.until(world.settled())
            handed = world.sender.handed[0]
            envelope = fakes.Envelope("probe@example.org", "who@example.net", "QQ314159")
            message = b"From: me@example.org\r\nTo: who@example.net\r\nSubject: hello\r\n\r\nhi\r\n"
            account.put(report(replace(handed, envelope=envelope, message=message)))
            await clock.sleep(MINUTE)
            assert world.total(counters.FOREIGN) == 0
            world.check_books()

    virtual.run(main)


def test_a_report_after_the_watch_is_not_believed(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, every=90 * MINUTE)
        account = world.receive_bounces()
        async with world.running():
            handed = await until_accepted(world)
            await clock.sleep(75 * MINUTE)
            account.put(report(handed, returned=False))  # a tag has no date: only the ledger knows
            await world.until(lambda: world.total(counters.FOREIGN, "reports", "expired"))
            assert world.total(counters.AFTERWARDS) == 0

    virtual.run(main)


def test_a_report_is_never_cleaned_up(virtual: Virtual, tmp_path: Path) -> None:
    """Only canaries are ours: a report is the mail system's."""

    async def main(clock: JumpingClock) -> None:
        cleanup = Cleanup(mode=CleanupMode.DELETE, after=MINUTE)
        world = World(clock, tmp_path, fakes.delivers(), every=30 * MINUTE, cleanup=cleanup)
        account = world.receive_bounces("INBOX")
        async with world.running():
            await world.until(world.settled())
            uid = account.put(report(world.sender.handed[0]))
            await world.until(lambda: len(account.removed) >= 2)
            assert uid in account.folders["INBOX"].messages
            assert ("INBOX", uid) not in account.removed

    virtual.run(main)


def test_tags_go_into_the_envelope_and_limits_count_without_them(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, every=HOUR, envelope_tag=True, plus_tag=True)
        account = world.receive_bounces()
        async with world.running():
            handed = await until_accepted(world)
            (canary,) = world.canaries()
            tag = handed.envelope.envelope_id
            assert split_tag(handed.envelope.mail_from) == ("probe@example.org", tag)
            assert split_tag(handed.envelope.rcpt_to) == ("canary@example.net", tag)
            assert b"\r\nFrom: probe@example.org\r\n" in b"\r\n" + handed.message
            assert f"\r\nTo: {handed.envelope.rcpt_to}\r\n".encode() in handed.message
            life = world.ledger.queries.life(canary.id)
            assert life is not None
            assert [attempt["recipient"] for attempt in life.attempts] == ["canary@example.net"]
            # Neither returned headers nor an envelope id: the address it was sent to says whose it is.
            stripped = replace(handed.envelope, envelope_id="lost-on-the-way")
            account.put(report(replace(handed, envelope=stripped), returned=False))
            await world.until(world.settled())
            assert world.canaries()[0].state is State.BOUNCED

    virtual.run(main)


def test_an_unwritable_ledger_loses_no_report(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, every=HOUR)
        account = world.receive_bounces()
        async with world.running():
            handed = await until_accepted(world)

            def refuse(_: Batch) -> bool:
                return True

            world.refuses = refuse
            account.put(report(handed))
            await clock.sleep(2 * MINUTE)
            world.refuses = None
            await world.until(world.settled())
            assert world.canaries()[0].state is State.BOUNCED
            world.check_books()

    virtual.run(main)


def test_a_report_that_answers_the_canary_is_not_counted_as_a_reply_too(virtual: Virtual, tmp_path: Path) -> None:
    """Exchange's reports name the canary in In-Reply-To."""

    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, every=HOUR)
        account = world.receive_bounces("INBOX")
        async with world.running():
            handed = await until_accepted(world)
            message_id = handed.message.partition(b"Message-ID: ")[2].partition(b"\r\n")[0]
            account.put(report(handed).replace(b"Subject: Und", b"In-Reply-To: " + message_id + b"\r\nSubject: Und"))
            await world.until(world.settled())
            assert world.canaries()[0].state is State.BOUNCED
            assert world.total(counters.FOREIGN) == 0

    virtual.run(main)
