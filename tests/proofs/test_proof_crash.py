"""kill -9 at any moment: nothing forgotten, nothing sent twice, no false loss, no cap passed.

The daemon is the real process that ``mailcanary run`` is. A proxy slows the SMTP dialogue down, so that most kills fall
into one: between intent and envelope, within the content, between the final dot and its answer.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes
from pathlib import Path

import pytest

from probe.canary.identity import Identity, Keyring, SigningKey
from probe.canary.record import State
from probe.clock import NANOSECONDS
from tests.proofs.rig import Prober, away, until
from tests.worlds.dovecot import Account, Dovecot
from tests.worlds.policy import Stage
from tests.worlds.postfix import Postfix
from tests.worlds.proxy import Direction, Proxy

ROOT = Path(__file__).parents[2]
KILLS = 12
CAP = 10  # a second and recipient: what the eager route sends, so jitter and tries again run into it


def command(config: Path) -> list[str]:
    return [sys.executable, "-m", "probe.cli.main", "run", "-c", str(config)]


@contextmanager
def daemon(config: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The daemon as a process of its own, killed with SIGKILL at the end of the block."""
    with log.open("wb") as stream:
        process = subprocess.Popen(command(config), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def keyring(prober: Prober) -> Keyring:
    key = prober.tree["keys"][0]
    return Keyring([SigningKey(key["id"], Path(key["secret"]["file"]).read_bytes().rstrip(b"\n"))])


def identity_in(keys: Keyring, message_id: str) -> Identity | None:
    found = keys.verify_token(message_id.strip("<> ").partition("@")[0])
    return found if isinstance(found, Identity) else None


def in_mailbox(dovecot: Dovecot, account: Account, keys: Keyring) -> list[str]:
    """The canary of every message of ours in INBOX."""
    with dovecot.imap(account) as client:
        client.select_folder("INBOX", readonly=True)
        fetched = client.fetch(client.search("ALL"), ["BODY.PEEK[HEADER]"])
    ids = [message_from_bytes(data[b"BODY[HEADER]"])["Message-ID"] for data in fetched.values()]
    return [found.canary_id for each in ids if (found := identity_in(keys, each)) is not None]


def answered_late(direction: Direction, data: bytes) -> bytes:
    """The server has taken the mail, and the answer is still on its way: the moment that is hardest to get right."""
    if direction is Direction.DOWN and b"queued as" in data:
        time.sleep(0.12)
    return data


@pytest.mark.fault("S25", "P01")
async def test_killed_again_and_again(
    prober: Prober,
    postfix: Postfix,
    dovecot: Dovecot,
    fresh_user: Callable[[], Account],
    proxy_to: Callable[..., Proxy],
    tmp_path: Path,
) -> None:
    chance = random.Random(20150909)
    eager, steady = fresh_user(), fresh_user()
    slow = proxy_to(postfix.port, rewrite=answered_late)
    slow.delay_seconds = 0.008
    prober.sender("relay", port=slow.port, retry=["1s"] * 9)
    prober.tree["limits"]["per_recipient"] = f"{CAP}/s"
    for name, account, every in (("eager", eager, "100ms"), ("steady", steady, "200ms")):
        prober.mailbox(name, account)
        prober.route(name, name, account.address, every=every, lost_after="5s")
    before = len(postfix.accepted())
    config = prober.write()
    for number in range(KILLS):
        log = tmp_path / f"run-{number}.log"
        for account, times in ((eager, 2), (steady, 1)):
            postfix.reject(Stage.RCPT, "450 4.2.0 not now", recipient=account.address, times=times)
        with daemon(config, log) as process:
            # Twice a kill falls into the start itself.
            if number not in (3, 8):
                await until(lambda log=log: b"ready" in log.read_bytes(), f"run {number} is ready")
            await asyncio.sleep(chance.uniform(0.25, 1.0))
            if number == KILLS - 1:  # and once it runs long enough to meet the cap
                await until(lambda log=log: b"limit=per_recipient" in log.read_bytes(), "the cap is met")
            assert process.poll() is None, log.read_text()
    for name, account in (("eager", eager), ("steady", steady)):
        prober.route(name, name, account.address, every="30d", lost_after="5s")
    slow.delay_seconds, slow.rewrite = 0.0, None
    await prober.start()
    await prober.until(
        lambda: not any(each.state.in_flight for each in prober.canaries()), "every canary has an outcome"
    )

    canaries = {each.id: each for each in prober.canaries()}
    moves = Counter((row["observation"], row["before"]) for each in canaries for row in prober.life(each).moves)
    assert moves["Restarted", "data_started"] >= 3, "the kills missed every canary that was being sent"
    assert moves["AttemptStarted", "deferred"] >= 3, "no canary was tried again"
    assert moves["Arrived", "unsure"] >= 2, "none had been taken by the server"
    outcomes = {State.DELIVERED, State.LATE, State.UNSENT, State.REFUSED, State.UNKNOWN}
    assert {each.state for each in canaries.values()} <= outcomes, prober.outcomes()
    for each in canaries.values():
        assert each.state is not State.REFUSED or "4xx" in each.reason, each.reason
        assert each.state is not State.UNKNOWN or each.label == "send", each.reason  # only one that was unsure
    assert len(canaries) > 50

    # The mail server's own word: whatever it took has a row, and it took no canary twice.
    keys = keyring(prober)
    taken = [(message, identity_in(keys, message)) for _, message in postfix.accepted()[before:]]
    ours = [(message, who) for message, who in taken if who is not None and who.canary_id in canaries]
    assert len(ours) == len(taken), "Postfix took a canary that the ledger does not know"
    assert max(Counter(message for message, _ in ours).values()) == 1
    assert max(Counter(who.canary_id for _, who in ours).values()) == 1
    for _, who in ours:
        assert who.attempt <= canaries[who.canary_id].attempts == len(prober.life(who.canary_id).attempts)

    # What lies in the mailbox is in the ledger as arrived, and the other way round.
    there = [*in_mailbox(dovecot, eager, keys), *in_mailbox(dovecot, steady, keys)]
    assert sorted(there) == sorted(each.id for each in canaries.values() if each.arrived is not None)
    assert prober.total("duplicates") == 0
    for each in canaries.values():
        if each.state in (State.UNSENT, State.UNKNOWN, State.REFUSED):
            assert each.arrived is None, each.reason

    # No window holds more attempts than the cap, though each start knew of the others by the ledger alone.
    for account in (eager, steady):
        times = sorted(at for at, _, to in prober.queries.attempts_since(0) if to == account.address)
        assert all(later - at > 0.99 * NANOSECONDS for at, later in zip(times, times[CAP:], strict=False))


@pytest.mark.fault("S41")
async def test_tries_that_fall_due_together_stay_under_the_cap(
    prober: Prober, postfix: Postfix, fresh_user: Callable[[], Account]
) -> None:
    account, most = fresh_user(), 4
    prober.sender("relay", retry=["1s"] * 9)
    prober.mailbox("support", account)
    prober.route("inbound", "support", account.address, overdue_after="20s", lost_after="60s", watch_for="90s")
    rule = postfix.reject(Stage.RCPT, "450 4.2.0 not now", recipient=account.address)
    await prober.start()
    ids = [await prober.send("inbound") for _ in range(12)]
    for each in ids:
        await prober.state(each, "deferred")
    await prober.stop()
    postfix.lift(rule)
    prober.tree["limits"]["per_recipient"] = f"{most}/s"
    restarted = prober.clock.now().wall
    await prober.start()  # each of them is due at once
    for each in ids:
        assert (await prober.settled(each)).state is State.DELIVERED
    times = sorted(at for at, _, _ in prober.queries.attempts_since(restarted))
    assert len(times) == len(ids)
    assert all(later - at > 0.99 * NANOSECONDS for at, later in zip(times, times[most:], strict=False))


@pytest.mark.fault("P24")
async def test_a_second_start_on_the_same_ledger_is_refused(prober: Prober, fresh_user: Callable[[], Account]) -> None:
    account = fresh_user()
    prober.mailbox("support", account)
    prober.route("inbound", "support", account.address)
    await prober.start()
    second = await away(
        subprocess.run, command(prober.write()), cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, timeout=60
    )
    assert second.returncode == 4, second.stderr
    assert b"another mailcanary holds this ledger" in second.stderr, second.stderr
    assert b"Traceback" not in second.stderr
    canary = await prober.settled(await prober.send("inbound"))  # the first one goes on
    assert canary.state is State.DELIVERED


@pytest.mark.fault("P23")
async def test_two_probers_on_one_mailbox_judge_only_their_own(
    prober: Prober,
    postfix: Postfix,
    dovecot: Dovecot,
    fresh_user: Callable[[], Account],
    tmp_path: Path,
) -> None:
    account = fresh_user()
    control = tmp_path / "b"
    control.mkdir()
    prober.mailbox("support", account)
    prober.route("inbound", "support", account.address)
    other = Prober(control, Path(prober.tree["control"]).parent, postfix, dovecot)
    other.tree["control"] = str(Path(prober.tree["control"]).with_name("other.sock"))
    other.tree["prober"] = "other"
    other.mailbox("support", account)
    other.route("inbound", "support", account.address)
    try:
        await prober.start()
        await other.start()
        ours = [await prober.send("inbound") for _ in range(3)]
        theirs = [await other.send("inbound") for _ in range(3)]
        for one, ids in ((prober, ours), (other, theirs)):
            for each in ids:
                assert (await one.settled(each)).state is State.DELIVERED
        rule = await away(postfix.discard, account.address, times=1)
        lost = await prober.settled(await prober.send("inbound"))
        await away(postfix.lift, rule)
        assert lost.state is State.LOST, lost.reason  # the other's mail filled no number of its proof
        for one, ids in ((prober, [*ours, lost.id]), (other, theirs)):
            await one.check()
            assert sorted(each.id for each in one.canaries()) == sorted(ids)
            assert one.total("duplicates") == 0
            assert one.total("arrivals") == 3
            assert one.total("foreign") == 0
    finally:
        await other.close()
