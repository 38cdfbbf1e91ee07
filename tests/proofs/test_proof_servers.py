"""Servers that go away, refuse, or are not who they should be; and a ledger that cannot be written.

Nothing of this is loss: what cannot be sent is unsent, what cannot be seen is not judged, and no secret leaves.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from probe.canary.identity import Identity, Keyring, SigningKey
from probe.canary.record import State
from probe.ledger.batch import Batch
from tests.proofs.rig import PACE, Prober, away
from tests.worlds.dovecot import PASSWORD, Account, Dovecot
from tests.worlds.postfix import Postfix
from tests.worlds.proxy import Direction, Proxy

FAILED = re.compile(r"^(\S+) imap-login: .*auth failed, (\d+) attempts.*user=<([^>]*)>")
PATIENT = {"overdue_after": "20s", "lost_after": "40s"}


def refused_logins(dovecot: Dovecot, account: Account) -> list[datetime]:
    """When Dovecot refused a login of the account, one for each attempt."""
    found = [match for line in dovecot.log_lines() if (match := FAILED.match(line)) and match[3] == account.address]
    times = [(datetime.fromisoformat(each[1].removesuffix("Z")).replace(tzinfo=UTC), int(each[2])) for each in found]
    return [at for at, attempts in times for _ in range(attempts)]


def overdue_long_ago(prober: Prober, canary: str) -> bool:
    """Half a second past the moment at which a read could have judged it."""
    return prober.clock.now().since(prober.canary(canary).lost_at) > timedelta(milliseconds=500)


@pytest.mark.fault("R03")
async def test_dovecot_restarts(
    prober: Prober, postfix: Postfix, dovecot: Dovecot, fresh_user: Callable[[], Account]
) -> None:
    account = fresh_user()
    prober.mailbox("support", account)
    prober.route("inbound", "support", account.address, **PATIENT)
    prober.route("hasty", "support", account.address)
    await prober.start()
    assert (await prober.settled(await prober.send("inbound"))).state is State.DELIVERED
    rule = await away(postfix.discard, account.address, times=1)
    dropped = await prober.send("hasty")
    await prober.state(dropped, "accepted")
    await away(postfix.lift, rule)

    await away(dovecot.stop)
    blind = await prober.until(lambda: prober.running.watchers["support"].blind_since, "the mailbox is blind")
    waiting = await prober.send("inbound")
    await prober.state(waiting, "accepted")
    assert (await prober.metrics()).sum("mailbox_blind", mailbox="support") == 1
    await prober.until(lambda: overdue_long_ago(prober, dropped), "the deadline of the dropped one has passed")
    assert prober.canary(dropped).state is State.ACCEPTED, "judged while blind"
    await away(dovecot.start)
    await away(postfix.flush)

    arrived = await prober.settled(waiting)
    assert arrived.state is State.DELIVERED, arrived.reason
    verdict = await prober.settled(dropped)
    assert verdict.state is State.LOST, verdict.reason
    assert verdict.settled is not None
    assert verdict.settled.since(blind) > timedelta(0)
    assert prober.running.watchers["support"].blind_since is None
    assert prober.total("mailbox_blind_seconds", "support") > 0
    assert (await prober.settled(await prober.send("inbound"))).state is State.DELIVERED


@pytest.mark.fault("S06")
async def test_postfix_is_down_and_comes_back(
    prober: Prober, postfix: Postfix, fresh_user: Callable[[], Account]
) -> None:
    account = fresh_user()
    prober.mailbox("support", account)
    prober.route("inbound", "support", account.address)
    await prober.start()
    assert (await prober.settled(await prober.send("inbound"))).state is State.DELIVERED
    await away(postfix.stop)
    for _ in range(2):
        down = await prober.settled(await prober.send("inbound"))
        assert (down.state, down.label, down.attempts) == (State.UNSENT, "connect", 1), down.reason
        assert "unsent(connect)" in down.reason
    await away(postfix.start)
    assert (await prober.settled(await prober.send("inbound"))).state is State.DELIVERED
    await away(postfix.restart)
    assert (await prober.settled(await prober.send("inbound"))).state is State.DELIVERED
    metrics = await prober.metrics()
    assert metrics.sum("probe_errors_total", component="sender", reason="connect") == 2
    assert prober.outcomes() == {"delivered": 3, "unsent": 2}


@pytest.mark.fault("R01")
async def test_a_wrong_password_is_not_tried_in_a_storm(
    prober: Prober, postfix: Postfix, dovecot: Dovecot, fresh_user: Callable[[], Account]
) -> None:
    prober.pace = replace(PACE, login_first=timedelta(seconds=1), login_most=timedelta(seconds=2))
    account = fresh_user()
    prober.mailbox("support", account)
    prober.route("inbound", "support", account.address)
    await prober.start()
    watcher = prober.running.watchers["support"]
    await away(dovecot.set_password, account.address, "changed by somebody")
    await away(dovecot.disconnect, account.address)
    await prober.until(lambda: "login refused" in watcher.problem, "blind, because the login is refused")
    assert (await prober.metrics()).sum("mailbox_blind", mailbox="support") == 1

    arrived = await prober.send("inbound")
    await prober.state(arrived, "accepted")
    rule = await away(postfix.discard, account.address)
    dropped = await prober.send("inbound")
    await prober.state(dropped, "accepted")
    await away(postfix.lift, rule)
    await prober.until(lambda: overdue_long_ago(prober, dropped), "both deadlines have passed")
    assert prober.outcomes() == {"accepted": 2}
    before = len(refused_logins(dovecot, account))
    await prober.until(lambda: len(refused_logins(dovecot, account)) > before, "one more login")
    await away(dovecot.set_password, account.address, PASSWORD)

    verdict = await prober.settled(dropped)
    assert verdict.state is State.LOST, verdict.reason
    assert (await prober.settled(arrived)).state is State.DELIVERED, prober.canary(arrived).reason
    assert watcher.blind_since is None
    # Every login in Dovecot's log is one of ours, and each kept the distance: three quarters of 1 s, then of 2 s.
    await prober.until(lambda: prober.total("probe_errors", "mailbox", "auth") > 0, "the refusals are counted")
    times = refused_logins(dovecot, account)
    assert len(times) == prober.total("probe_errors", "mailbox", "auth") >= 3
    apart = [(later - at).total_seconds() for at, later in pairwise(times)]
    assert apart[0] > 0.5  # the log line may come a moment late
    assert min(apart[1:]) > 1.0


def stripped(direction: Direction, data: bytes) -> bytes:
    """A man in the middle who takes the offer of encryption out."""
    return data.replace(b"STARTTLS", b"XSTARTLS") if direction is Direction.DOWN else data


@pytest.mark.fault("S12")
async def test_starttls_is_stripped(
    prober: Prober,
    postfix: Postfix,
    dovecot: Dovecot,
    fresh_user: Callable[[], Account],
    proxy_to: Callable[..., Proxy],
) -> None:
    seen, hidden = fresh_user(), fresh_user()
    smtp = proxy_to(postfix.submission_port, rewrite=stripped, record=True)
    imap = proxy_to(dovecot.imap_port, rewrite=stripped, record=True)
    secret = prober.folder / "seen"
    safe = {"tls": "starttls", "ca_file": str(dovecot.certificates.ca_file)}
    login = {"username": seen.address, "password": {"file": str(secret)}}
    prober.mailbox("seen", seen, **safe)
    prober.mailbox("hidden", hidden, port=imap.port, **safe)
    for name, port in (("honest", postfix.submission_port), ("robbed", smtp.port)):
        prober.sender(name, port=port, **safe, **login)
        prober.route(name, "seen", seen.address, sender=name)
    prober.route("unseen", "hidden", hidden.address, sender="honest", every="100ms")
    await prober.start(seeing=False)
    watchers = prober.running.watchers
    await prober.until(watchers["seen"].seen_once.is_set, "the honest mailbox was read")

    robbed = [await prober.settled(await prober.send("robbed")) for _ in range(2)]
    assert [(each.state, each.label) for each in robbed] == [(State.UNSENT, "tls_missing")] * 2, robbed[0].reason
    honest = await prober.settled(await prober.send("honest"))  # the same with the offer left in
    assert honest.state is State.DELIVERED, honest.reason
    assert prober.life(honest.id).attempts[0]["tls"]

    await prober.until(lambda: imap.connections >= 3, "the robbed mailbox was tried again")
    assert "STARTTLS is required but not offered" in watchers["hidden"].problem
    metrics = await prober.metrics()
    assert metrics.sum("mailbox_blind", mailbox="hidden") == 1
    assert metrics.sum("outcomes_total", route="robbed", outcome="unsent") == 2
    assert prober.canaries("unseen") == []  # nothing is sent before its mailbox was read once

    for wire in (smtp, imap):
        sent = bytes(wire.sent)
        assert wire.received, "nothing passed the proxy"
        assert b"XSTARTLS" in bytes(wire.received)
        for word in (b"AUTH", b"LOGIN", b"MAIL FROM", PASSWORD.encode(), seen.address.encode()):
            assert word not in sent.upper().replace(b"SECRET", b"secret"), sent
        for account in (seen, hidden):
            plain = f"\0{account.address}\0{PASSWORD}".encode()
            assert base64.b64encode(plain) not in sent


@pytest.mark.fault("P03")
async def test_a_ledger_that_cannot_be_written_stops_the_sending(
    prober: Prober, postfix: Postfix, fresh_user: Callable[[], Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    account = fresh_user()
    before = len(postfix.accepted())
    prober.mailbox("support", account)
    prober.route("inbound", "support", account.address, every="100ms", overdue_after="5s", lost_after="20s")
    daemon = await prober.start()
    ledger, box = daemon.books.ledger, daemon.watchers["support"].mailbox
    await prober.until(lambda: prober.total("sent") >= 5, "canaries are sent")

    def fails(*_: Any) -> None:
        raise OperationalError("INSERT", {}, OSError("database or disk is full"))

    with monkeypatch.context() as patch:
        patch.setattr(Batch, "write", fails)
        await prober.until(lambda: not ledger.writable, "the ledger is found unwritable")

        async def gauge() -> bool:
            return (await prober.metrics()).sum("ledger_writable") == 0

        await prober.until(gauge, "mailcanary_ledger_writable is 0")
        intents = prober.queries.state_counts()
        taken, asked = len(postfix.accepted()), box.commands
        await prober.until(lambda: box.commands >= asked + 3, "the watch goes on")
        slots = daemon.legs[0].last_slot
        await prober.until(lambda: daemon.legs[0].last_slot > slots + 1, "ten more slots pass")
        assert len(postfix.accepted()) <= taken + 1  # at most the one whose content was under way
        assert prober.queries.state_counts() == intents
        assert daemon.watchers["support"].blind_since is None
    sent = prober.total("sent")
    await prober.until(lambda: prober.total("sent") >= sent + 5, "sending begins again by itself")
    assert (await prober.metrics()).sum("ledger_writable") == 1
    prober.route("inbound", "support", account.address)
    await prober.restart()
    await prober.until(lambda: not any(each.state.in_flight for each in prober.canaries()), "all is settled")

    keys = Keyring([SigningKey("k1", (Path(prober.folder) / "signing").read_bytes().rstrip(b"\n"))])
    known = {each.id: each for each in prober.canaries()}
    tokens = [keys.verify_token(each.strip("<>").partition("@")[0]) for _, each in postfix.accepted()[before:]]
    ids = [each.canary_id for each in tokens if isinstance(each, Identity)]
    assert len(ids) == len(tokens) == len(set(ids))
    assert set(ids) <= set(known)  # nothing in Postfix's log without a row
    assert {each.state for each in known.values()} <= {State.DELIVERED, State.LATE, State.UNSENT}, prober.outcomes()
