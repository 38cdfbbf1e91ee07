"""``mailcanary trace`` as an operator calls it: a process of its own, with and without a daemon, on real servers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.proofs.rig import Prober, away
from tests.worlds.dovecot import DOMAIN, Account, Dovecot
from tests.worlds.policy import Stage
from tests.worlds.ports import free_ports
from tests.worlds.postfix import Postfix
from tests.worlds.zone import Zone

ROOT = Path(__file__).parents[2]
Fresh = Callable[[], Account]
PATIENT = {"overdue_after": "20s", "lost_after": "40s"}
ONE, TWO = "mx1.lab.test", "mx2.lab.test"


@dataclass
class Done:
    """How a call of the command ended."""

    code: int
    out: str
    err: str

    @property
    def canary(self) -> dict[str, Any]:
        """Of ``--json``: exactly one object on one line."""
        (line,) = self.out.splitlines()
        found: dict[str, Any] = json.loads(line)
        return found


async def begun(prober: Prober, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "probe.cli.main", "trace", "-c", str(prober.write()), *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


async def ended(process: asyncio.subprocess.Process) -> Done:
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    assert b"Traceback" not in err, err.decode()
    return Done(process.returncode, out.decode(), err.decode())


async def trace(prober: Prober, *arguments: str) -> Done:
    return await ended(await begun(prober, *arguments))


def inbound(prober: Prober, account: Account, **knobs: Any) -> None:
    prober.mailbox("support", account)
    prober.route("inbound", "support", account.address, **{**PATIENT, **knobs})


@pytest.mark.parametrize("daemon", [True, False], ids=["daemon", "alone"])
async def test_a_canary_is_sent_followed_and_booked(daemon: bool, prober: Prober, fresh_user: Fresh) -> None:
    account = fresh_user()
    inbound(prober, account)
    if daemon:
        await prober.start()
    done = await trace(prober, "inbound", "--json")
    assert (done.code, done.err) == (0, "")
    (canary,) = prober.canaries()  # one was sent, and by whom it was is no matter
    assert done.canary["id"] == canary.id
    assert (done.canary["outcome"], done.canary["folder"], done.canary["route"]) == ("delivered", "INBOX", "inbound")
    assert done.canary["latency_seconds"] == pytest.approx(canary.latency.total_seconds() if canary.latency else None)
    assert set(done.canary) == {
        *("id", "route", "mx", "variant", "prober", "state", "outcome", "sent_at", "arrived_at", "recovered_at"),
        *("latency_seconds", "latency_uncertainty_seconds", "transit_seconds", "folder", "attempts", "duplicates"),
        *("queued_as", "reason", "smtp", "received", "hops"),
    }
    (attempt,) = done.canary["smtp"]
    assert {"connect", "banner", "ehlo", "mail", "rcpt", "data", "dot"} <= attempt["phases"].keys()
    assert any(f"id {canary.queued_as}" in line for line in done.canary["received"])
    assert prober.tag(canary.id).decode() not in done.out
    assert len(prober.postfix.deliveries(account.address)) == 1

    done = await trace(prober, "inbound")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    told = [line.split()[0] for line in lines if line.startswith("  ")]
    told = [word for word in told if word in attempt["phases"]]
    assert told == ["dns", "connect", "banner", "ehlo", "mail", "rcpt", "data", "dot"]
    assert any(line.startswith("  data ") and "354 " in line for line in lines)
    assert "waiting for it in mailbox support" in done.out
    assert any(line.startswith("delivered: arrived ") for line in lines)
    assert "  folder   INBOX" in lines
    assert any(line.startswith("  latency  ") and "(within " in line for line in lines)
    assert lines[-1].startswith("  ")
    assert "Received" in lines
    assert "\x1b" not in done.out
    assert prober.total("sent") == prober.total("outcomes", "delivered") == 2


@pytest.mark.parametrize("daemon", [True, False], ids=["daemon", "alone"])
async def test_a_refused_recipient_is_told_with_the_servers_words(
    daemon: bool, prober: Prober, fresh_user: Fresh
) -> None:
    account = fresh_user()
    inbound(prober, account)
    prober.postfix.reject(Stage.RCPT, "550 5.1.1 mailbox is retired", recipient=account.address)
    if daemon:
        await prober.start()
    done = await trace(prober, "inbound")
    assert done.code == 1
    (rcpt,) = [line for line in done.out.splitlines() if line.startswith("  rcpt ")]
    assert "mailbox is retired" in rcpt
    assert "\nrefused: " in done.out
    assert "waiting" not in done.out
    assert (await trace(prober, "inbound", "--json")).canary["outcome"] == "refused"
    assert prober.outcomes() == {"refused": 2}


@pytest.mark.parametrize("daemon", [True, False], ids=["daemon", "alone"])
async def test_a_canary_that_a_rule_files_elsewhere_is_found_within_seconds(
    daemon: bool, prober: Prober, fresh_user: Fresh
) -> None:
    account = fresh_user()
    inbound(prober, account)
    await away(prober.dovecot.file_into, account.address, "Filed")
    if daemon:
        await prober.start()
    done = await trace(prober, "inbound", "--json")
    assert done.code == 0, done.err
    assert (done.canary["folder"], done.canary["outcome"]) == ("Filed", "delivered")
    assert "not watched" in done.canary["reason"]
    assert done.canary["latency_seconds"] < 15
    assert len(done.canary["received"]) > 0


async def test_greylisting_is_followed_try_by_try(prober: Prober, fresh_user: Fresh) -> None:
    account = fresh_user()
    inbound(prober, account)
    prober.postfix.greylist(account.address)
    await prober.start()
    done = await trace(prober, "inbound")
    assert done.code == 0, done.err
    order = [done.out.index(text) for text in ("attempt 1: ", "deferred", "next try in", "attempt 2: ", "accepted")]
    assert order == sorted(order)
    assert prober.canaries()[0].attempts == 2
    assert [status for _, status in _statuses(prober, account)] == ["sent"]


def _statuses(prober: Prober, account: Account) -> list[tuple[str, str]]:
    return [(each.message_id, each.status) for each in prober.postfix.deliveries(account.address)]


async def test_after_the_time_out_the_daemon_follows_it_to_its_end(prober: Prober, fresh_user: Fresh) -> None:
    account = fresh_user()
    inbound(prober, account)
    await prober.start()
    prober.postfix.hold(account.address, times=1)
    done = await trace(prober, "inbound", "--timeout", "1s", "--json")
    canary = prober.canaries()[0]
    assert done.code == 1
    assert (done.canary["id"], done.canary["state"], done.canary["outcome"]) == (canary.id, "accepted", None)
    assert f"the daemon goes on following it: `mailcanary explain {canary.id}`" in done.err
    prober.postfix.release_held()
    assert (await prober.settled(canary.id)).state.value == "delivered"


async def test_ctrl_c_without_a_daemon_leaves_it_to_the_next_start(prober: Prober, fresh_user: Fresh) -> None:
    account = fresh_user()
    inbound(prober, account)
    prober.postfix.hold(account.address, times=1)
    process = await begun(prober, "inbound")
    assert process.stdout is not None
    said = await asyncio.wait_for(process.stdout.readuntil(b"waiting for it"), 30)
    process.send_signal(signal.SIGINT)
    done = await ended(process)
    assert done.code == 1
    (canary,) = prober.canaries()
    assert canary.id in said.decode()
    assert canary.state.value == "accepted"
    assert (
        f"stopped; no daemon runs, so it is followed once one is started: `mailcanary explain {canary.id}`" in done.err
    )
    await prober.start()
    prober.postfix.release_held()
    assert (await prober.settled(canary.id)).state.value == "delivered"
    taken = prober.postfix.accepted()
    (sent,) = [message_id for queue_id, message_id in taken if queue_id == canary.queued_as]
    assert [message_id for _, message_id in taken].count(sent) == 1


async def test_limits_pauses_and_wrong_names_are_told(prober: Prober, fresh_user: Fresh) -> None:
    account = fresh_user()
    inbound(prober, account)
    prober.tree["limits"]["per_route"] = ["1/h"]
    done = await trace(prober, "nowhere")
    assert (done.code, done.out) == (2, "")
    await prober.start()
    assert (await trace(prober, "inbound")).code == 0
    done = await trace(prober, "inbound", "--json")
    assert (done.code, done.out) == (1, "")
    assert "the limit per_route (1/h) has no room" in done.err
    for arguments in (["nowhere"], ["inbound", "--mx", "mx9.example"]):
        done = await trace(prober, *arguments)
        assert done.code == 2
        assert "there is inbound" in done.err or "it goes to any" in done.err
    await prober.stop()
    done = await trace(prober, "inbound")  # the ledger knows of the limit as well
    assert done.code == 1
    assert "has no room" in done.err
    assert len(prober.canaries()) == 1


async def test_a_daemon_that_does_not_answer_holds_the_ledger(prober: Prober, fresh_user: Fresh) -> None:
    inbound(prober, fresh_user())
    await prober.start()
    Path(prober.tree["control"]).unlink()
    done = await trace(prober, "inbound")
    assert done.code == 4
    assert "another mailcanary holds this ledger" in done.err
    assert "No daemon answers on" in done.err
    assert prober.canaries() == []


async def test_a_mailbox_that_cannot_be_read_forbids_it(prober: Prober, fresh_user: Fresh) -> None:
    inbound(prober, fresh_user())
    prober.tree["mailboxes"]["support"]["port"] = free_ports(1)[0]
    done = await trace(prober, "inbound")
    assert done.code == 3
    assert "nothing was sent: mailbox support could not be read" in done.err
    await prober.start(seeing=False)
    done = await trace(prober, "inbound")
    assert done.code == 1
    assert "nothing was sent: mailbox support was not read yet" in done.err
    assert prober.canaries() == []


@pytest.fixture(scope="module")
def second(dovecot_server: Dovecot) -> Iterator[tuple[Postfix, Postfix, Zone]]:
    (port,) = free_ports(1)
    zone = Zone()
    one, two = (Postfix(dovecot_server, host=host, port=port) for host in ("127.0.0.2", "127.0.0.3"))
    try:
        one.start()
        two.start()
        yield one, two, zone
    finally:
        one.close()
        two.close()
        zone.close()


@pytest.mark.parametrize("daemon", [True, False], ids=["daemon", "alone"])
async def test_a_trace_goes_to_the_host_that_is_named(
    daemon: bool, prober: Prober, fresh_user: Fresh, second: tuple[Postfix, Postfix, Zone]
) -> None:
    one, two, zone = second
    zone.reset()
    zone.mx(DOMAIN, (10, ONE), (20, TWO))
    zone.addresses(ONE, one.host)
    zone.addresses(TWO, two.host)
    prober.tree["senders"]["internet"] = {
        "kind": "smtp",
        "via": "mx",
        "port": one.port,
        "tls": "opportunistic",
        "resolver": [zone.resolver],
        "helo": "prober.example.net",
    }
    account = fresh_user()
    inbound(prober, account, sender="internet")
    if daemon:
        await prober.start()
    assert (await trace(prober, "inbound", "--json", "--mx", TWO)).canary["mx"] == TWO
    done = await trace(prober, "inbound")
    assert done.code == 0, done.err
    assert f"mx {ONE}, to mailbox support" in done.out.splitlines()[0]
    assert any(line.startswith("attempt 1: 127.0.0.2, TLSv1") for line in done.out.splitlines())
    assert [len(each.deliveries(account.address)) for each in (one, two)] == [1, 1]
    done = await trace(prober, "inbound", "--mx", "mx3.lab.test")
    assert done.code == 2
    assert f"does not go to 'mx3.lab.test'; it goes to {ONE}, {TWO}" in done.err
