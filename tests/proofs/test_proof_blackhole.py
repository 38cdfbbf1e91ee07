"""An address that swallows packets: it costs its time-out, hides no good address and holds up no other host.

Everything runs in a network of its own (tests/worlds/blackhole.py): Postfix, Dovecot, the zone and the daemon.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner

from probe.cli.main import main
from tests.proofs.rig import Prober, away
from tests.worlds.blackhole import BlackHole, why_not
from tests.worlds.certificates import Certificates
from tests.worlds.dovecot import DOMAIN, Account, Dovecot
from tests.worlds.postfix import Postfix
from tests.worlds.zone import Zone

Fresh = Callable[[], Account]
ONE, TWO = "mx1.lab.test", "mx2.lab.test"
CONNECT = timedelta(seconds=1)
NEVER = "60s"  # a connect time-out that no test waits for


@pytest.fixture(scope="module")
def hole() -> Iterator[BlackHole]:
    if reason := why_not():
        pytest.skip(reason)
    with BlackHole() as hole:
        yield hole


# The servers of this module in place of the session's, which live in another network.


@pytest.fixture(scope="module")
def dovecot_server(hole: BlackHole, certificates: Certificates) -> Iterator[Dovecot]:
    server = Dovecot(certificates)
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def postfix_server(dovecot_server: Dovecot) -> Iterator[Postfix]:
    server = Postfix(dovecot_server)
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def zone(hole: BlackHole, prober: Prober, postfix: Postfix) -> Iterator[Zone]:
    """``mx1`` is the one host of the domain, and its IPv6 address is the hole."""
    zone = Zone()
    try:
        zone.mx(DOMAIN, (10, ONE))
        zone.addresses(ONE, hole.ipv6, postfix.host)
        prober.tree["senders"]["internet"] = {
            "kind": "smtp",
            "via": "mx",
            "port": postfix.port,
            "tls": "none",
            "resolver": [zone.resolver],
            "helo": "prober.example.net",
            "retry": ["1s"],
            "timeouts": {"connect": f"{CONNECT.total_seconds():g}s"},
        }
        yield zone
    finally:
        zone.close()


def inbound(prober: Prober, account: Account, **knobs: Any) -> None:
    prober.mailbox("support", account)
    prober.route("inbound", "support", account.address, sender="internet", **knobs)


async def explained(prober: Prober, canary_id: str) -> dict[str, Any]:
    """What ``mailcanary explain`` says of the canary's one attempt."""
    words = ["explain", "-c", str(prober.write()), "--json", canary_id]
    told = await away(CliRunner().invoke, main, words)
    assert told.exit_code == 0, told.output
    (attempt,) = json.loads(told.stdout)["smtp"]
    assert isinstance(attempt, dict)
    return attempt


def connects(attempt: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each["sent"], each["reply"]) for each in attempt["dialogue"] if each["stage"] == "connect"]


@pytest.mark.fault("S05")
async def test_the_good_address_is_reached_after_the_time_out(
    prober: Prober, zone: Zone, hole: BlackHole, postfix: Postfix, fresh_user: Fresh
) -> None:
    taken = len(postfix.accepted())
    inbound(prober, fresh_user())
    await prober.start()
    canaries = [await prober.settled(await prober.send("inbound")) for _ in range(3)]
    assert prober.outcomes() == {"delivered": 3}
    assert len(postfix.accepted()) == taken + 3
    for canary in canaries:
        attempt = await explained(prober, canary.id)
        assert connects(attempt) == [
            (f"connect [{hole.ipv6}]:{postfix.port}", "timed out"),
            (f"connect [{postfix.host}]:{postfix.port}", "connected"),
        ]
        assert (canary.attempts, attempt["result"], attempt["address"]) == (1, "accepted", postfix.host)
        assert attempt["phases"]["connect"] >= CONNECT.total_seconds()
        # Rule 10: the clock runs from the final dot, so what the hole has cost is no part of the latency.
        assert canary.clock_started is not None
        assert canary.arrived is not None
        assert canary.clock_started.since(canary.sent) >= CONNECT
        assert canary.latency == canary.arrived.since(canary.clock_started)
    scrape = await prober.metrics()
    assert scrape.sum("outcomes_total", outcome="unsent") == scrape.sum("outcomes_total", outcome="lost") == 0


async def test_without_another_address_it_is_unsent_and_named(
    prober: Prober, zone: Zone, hole: BlackHole, postfix: Postfix, fresh_user: Fresh
) -> None:
    """IPv6 alone: the IPv4 address is there, is good, and is not asked for."""
    taken = len(postfix.accepted())
    inbound(prober, fresh_user(), overdue_after="1s", lost_after="2s")
    prober.tree["senders"]["internet"]["family"] = "ipv6"
    await prober.start()
    canary = await prober.settled(await prober.send("inbound"))
    assert (canary.state.value, canary.label, canary.leg.mx) == ("unsent", "timeout", ONE)
    assert f"{ONE} [{hole.ipv6}]:{postfix.port} (connect): timed out after 1 s" in canary.reason
    attempt = await explained(prober, canary.id)
    assert connects(attempt) == [(f"connect [{hole.ipv6}]:{postfix.port}", "timed out")]
    assert attempt["phases"]["connect"] >= CONNECT.total_seconds()
    assert canary.clock_started is None  # nothing that a deadline could run from
    assert len(postfix.accepted()) == taken
    scrape = await prober.metrics()
    assert scrape.sum("attempts_total", result="timeout") == 1
    assert scrape.sum("outcomes_total", outcome="lost") == 0


async def test_with_both_addresses_swallowed_both_are_named(
    prober: Prober, zone: Zone, hole: BlackHole, postfix: Postfix, fresh_user: Fresh
) -> None:
    zone.addresses(ONE, hole.ipv6, hole.ipv4)
    inbound(prober, fresh_user(), overdue_after="1s", lost_after="2s")
    await prober.start()
    canary = await prober.settled(await prober.send("inbound"))
    assert (canary.state.value, canary.label, canary.leg.mx) == ("unsent", "timeout", ONE)
    places = [f"[{address}]:{postfix.port}" for address in (hole.ipv6, hole.ipv4)]
    assert "; ".join(f"{place} timed out after 1 s" for place in places) in canary.reason
    attempt = await explained(prober, canary.id)
    assert connects(attempt) == [(f"connect {place}", "timed out") for place in places]
    assert attempt["phases"]["connect"] >= 2 * CONNECT.total_seconds()


async def test_the_other_host_is_not_held_up(
    prober: Prober, zone: Zone, hole: BlackHole, postfix: Postfix, fresh_user: Fresh
) -> None:
    """While every attempt at mx1 still waits for the hole, mx2 delivers slot after slot; then the hole speaks."""
    zone.mx(DOMAIN, (10, ONE), (20, TWO))
    zone.addresses(TWO, postfix.host)
    inbound(prober, fresh_user(), every="500ms")
    prober.tree["senders"]["internet"]["timeouts"]["connect"] = NEVER
    await prober.start()

    def states(mx: str) -> list[str]:
        return [canary.state.value for canary in prober.canaries() if canary.leg.mx == mx]

    await prober.until(lambda: states(TWO).count("delivered") >= 5 and len(states(ONE)) >= 5, "five slots of each")
    assert set(states(ONE)) == {"intent"}
    assert set(states(TWO)) <= {"intent", "data_started", "accepted", "delivered"}
    waiting = [canary.id for canary in prober.canaries() if canary.leg.mx == ONE]
    with hole.refusing():  # an answer at last, to the packets that the kernel sends again: each goes on at once
        await prober.until(lambda: all(prober.canary(each).state.terminal for each in waiting), "mx1 delivers")
        assert {prober.canary(each).state.value for each in waiting} == {"delivered"}
        await prober.stop()
    attempt = await explained(prober, waiting[0])
    assert connects(attempt) == [
        (f"connect [{hole.ipv6}]:{postfix.port}", "connection refused (ECONNREFUSED)"),
        (f"connect [{postfix.host}]:{postfix.port}", "connected"),
    ]
