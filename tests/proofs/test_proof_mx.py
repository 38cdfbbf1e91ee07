"""Every inbound server by name: two Postfix intakes on one domain, in a zone that the test serves."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest

from probe.config.load import load
from probe.senders.base import OTHER, UNRESOLVED
from tests.proofs.rig import Prober, away
from tests.worlds.dovecot import DOMAIN, Account, Dovecot
from tests.worlds.ports import free_ports
from tests.worlds.postfix import Postfix
from tests.worlds.zone import Zone

Fresh = Callable[[], Account]
ONE, TWO = "mx1.lab.test", "mx2.lab.test"


@dataclass
class Intakes:
    """``one`` and ``two`` are the MX hosts of the domain, by ``zone``."""

    zone: Zone
    one: Postfix
    two: Postfix

    def both(self) -> None:
        self.zone.reset()
        self.zone.mx(DOMAIN, (10, ONE), (20, TWO))
        self.zone.addresses(ONE, self.one.host)
        self.zone.addresses(TWO, self.two.host)


@pytest.fixture(scope="module")
def servers(dovecot_server: Dovecot) -> Iterator[Intakes]:
    (port,) = free_ports(1)
    zone = Zone()
    one, two = (Postfix(dovecot_server, host=host, port=port) for host in ("127.0.0.2", "127.0.0.3"))
    try:
        one.start()
        two.start()
        yield Intakes(zone, one, two)
    finally:
        one.close()
        two.close()
        zone.close()


@pytest.fixture
def intakes(servers: Intakes, prober: Prober) -> Iterator[Intakes]:
    servers.both()
    prober.tree["senders"]["internet"] = {
        "kind": "smtp",
        "via": "mx",
        "port": servers.one.port,
        "tls": "none",
        "resolver": [servers.zone.resolver],
        "helo": "prober.example.net",
        "retry": ["1s", "1s", "1s"],
        "timeouts": {"connect": "2s"},
    }
    yield servers
    for each in (servers.one, servers.two):
        each.policy.reset()
        each.start()


def inbound(prober: Prober, account: Account, every: str = "500ms", **knobs: str) -> None:
    prober.mailbox("support", account)
    prober.route("inbound", "support", account.address, sender="internet", every=every, **knobs)


def by_leg(prober: Prober) -> dict[str, set[str]]:
    """States of the canaries that have ended, by MX host."""
    found: dict[str, set[str]] = {}
    for canary in prober.canaries():
        if canary.state.terminal:
            found.setdefault(canary.leg.mx, set()).add(canary.state.value)
    return found


async def test_the_host_that_discards_is_named_and_the_other_stays_clean(
    prober: Prober, intakes: Intakes, fresh_user: Fresh
) -> None:
    account = fresh_user()
    inbound(prober, account)
    intakes.two.discard(account.address)
    await prober.start()
    await prober.until(lambda: "lost" in by_leg(prober).get(TWO, ()), "mx2 loses")
    await prober.until(lambda: "delivered" in by_leg(prober).get(ONE, ()), "mx1 delivers")
    assert by_leg(prober) == {ONE: {"delivered"}, TWO: {"lost"}}
    scrape = await prober.metrics()
    assert scrape.sum("outcomes_total", mx=TWO, outcome="lost") >= 1
    assert scrape.sum("outcomes_total", mx=ONE, outcome="lost") == 0
    assert scrape.sum("outcomes_total", mx=TWO, outcome="delivered") == 0


@pytest.mark.fault("S06")
async def test_the_host_that_refuses_connections_is_unsent_on_its_leg(
    prober: Prober, intakes: Intakes, fresh_user: Fresh
) -> None:
    inbound(prober, fresh_user())
    await away(intakes.one.stop)
    await prober.start()
    await prober.until(lambda: len(by_leg(prober)) == 2, "both legs have ended canaries")
    assert by_leg(prober) == {ONE: {"unsent"}, TWO: {"delivered"}}
    # A listener that is just going may still take a connection and drop it; then nobody listens any more.
    reasons = [canary.reason for canary in prober.canaries() if canary.leg.mx == ONE and canary.state.terminal]
    assert all(ONE in reason for reason in reasons)

    def refused() -> bool:
        return any("connection refused" in canary.reason for canary in prober.canaries() if canary.leg.mx == ONE)

    await prober.until(refused, "nobody listens")
    await away(intakes.one.start)
    await prober.until(lambda: "delivered" in by_leg(prober)[ONE], "mx1 is back")


async def test_greylisting_on_one_leg_is_its_latency(prober: Prober, intakes: Intakes, fresh_user: Fresh) -> None:
    account = fresh_user()
    inbound(prober, account, every="30d", overdue_after="1s", lost_after="20s")
    intakes.one.greylist(account.address)
    await prober.start()
    for leg in prober.running.legs:
        leg._launch(prober.clock.now())
    await prober.until(lambda: len(by_leg(prober)) == 2, "both have arrived")
    grey, plain = sorted(prober.canaries(), key=lambda canary: canary.leg.mx)
    assert (grey.attempts, plain.attempts) == (2, 1)
    assert grey.latency is not None
    assert plain.latency is not None
    assert grey.latency > timedelta(milliseconds=900) > plain.latency


@pytest.mark.fault("S03")
@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        pytest.param(lambda zone: zone.fail(DOMAIN, "NXDOMAIN"), "dns_perm", id="NXDOMAIN"),
        pytest.param(lambda zone: zone.null_mx(DOMAIN), "null_mx", id="null MX"),
    ],
)
async def test_a_domain_that_takes_no_mail_is_unsent_and_its_return_is_noticed(
    break_it: Callable[[Zone], None], reason: str, prober: Prober, intakes: Intakes, fresh_user: Fresh
) -> None:
    inbound(prober, fresh_user())
    break_it(intakes.zone)
    await prober.start()
    await prober.until(lambda: by_leg(prober).get(UNRESOLVED) == {"unsent"}, "unsent")
    assert prober.canaries()[0].label == reason
    intakes.both()
    await prober.until(lambda: by_leg(prober).keys() >= {ONE, TWO}, "the hosts are found")
    assert by_leg(prober) == {UNRESOLVED: {"unsent"}, ONE: {"delivered"}, TWO: {"delivered"}}


@pytest.mark.fault("S01")
async def test_dns_that_fails_while_running_keeps_the_legs(prober: Prober, intakes: Intakes, fresh_user: Fresh) -> None:
    """SERVFAIL: the hosts stay; what cannot be resolved is unsent on its own leg, and nothing is lost."""
    inbound(prober, fresh_user())
    await prober.start()
    await prober.until(lambda: by_leg(prober) == {ONE: {"delivered"}, TWO: {"delivered"}}, "both deliver")
    intakes.zone.fail(DOMAIN)
    intakes.zone.fail(ONE)
    await prober.until(lambda: by_leg(prober)[ONE] == {"delivered", "unsent"}, "mx1 cannot be resolved")
    assert next(c.label for c in prober.canaries() if c.state.value == "unsent") == "dns_temp"
    assert by_leg(prober) == {ONE: {"delivered", "unsent"}, TWO: {"delivered"}}


@pytest.mark.fault("S04")
async def test_a_host_that_leaves_dns_ends_and_one_that_appears_starts(
    prober: Prober, intakes: Intakes, fresh_user: Fresh
) -> None:
    inbound(prober, fresh_user())
    intakes.zone.mx(DOMAIN, (10, ONE))
    await prober.start()
    await prober.until(lambda: by_leg(prober) == {ONE: {"delivered"}}, "mx1 delivers")
    intakes.zone.mx(DOMAIN, (10, TWO))
    await prober.until(lambda: by_leg(prober).get(TWO) == {"delivered"}, "mx2 delivers")
    count = sum(canary.leg.mx == ONE for canary in prober.canaries())
    ended = sum(canary.leg.mx == TWO for canary in prober.canaries())
    await prober.until(lambda: sum(c.leg.mx == TWO for c in prober.canaries()) >= ended + 4, "four more slots")
    assert sum(canary.leg.mx == ONE for canary in prober.canaries()) == count


async def test_twenty_hosts_are_sixteen_legs_and_the_rest(prober: Prober, intakes: Intakes, fresh_user: Fresh) -> None:
    inbound(prober, fresh_user(), every="1s")
    hosts = [f"mx{number:02}.lab.test" for number in range(20)]
    intakes.zone.mx(DOMAIN, *((10, host) for host in hosts))
    for number, host in enumerate(hosts):
        intakes.zone.addresses(host, (intakes.one if number % 2 else intakes.two).host)
    await prober.start()
    await prober.until(lambda: len(by_leg(prober)) == 17, "every leg has delivered")
    assert by_leg(prober) == {mx: {"delivered"} for mx in (*hosts[:16], OTHER)}
    scrape = await prober.metrics()
    assert {sample.labels["mx"] for sample in scrape.samples if sample.labels.get("mx")} == {*hosts[:16], OTHER}


async def test_the_end_of_a_certificate_is_exported_by_host(
    prober: Prober, intakes: Intakes, fresh_user: Fresh
) -> None:
    """Opportunistic TLS, and a name that the certificate does not hold: mail flows, and its end is known."""
    inbound(prober, fresh_user())
    prober.tree["senders"]["internet"]["tls"] = "opportunistic"
    await prober.start()
    await prober.until(lambda: by_leg(prober) == {ONE: {"delivered"}, TWO: {"delivered"}}, "both deliver")
    ends = ssl.cert_time_to_seconds(
        ssl._ssl._test_decode_cert(str(intakes.one.dovecot.certificates.certificate))["notAfter"]  # type: ignore[attr-defined]
    )
    scrape = await prober.metrics()
    for host in (ONE, TWO):
        assert scrape.sum("tls_certificate_expiry_timestamp_seconds", mx=host) == ends


async def test_a_reload_in_the_middle_forgets_nothing(prober: Prober, intakes: Intakes, fresh_user: Fresh) -> None:
    """Held mail, a silent host and a changed schedule: the same outcomes as without the reload."""
    account = fresh_user()
    inbound(prober, account, lost_after="4s")
    intakes.two.discard(account.address)
    await prober.start()
    await prober.until(lambda: len(prober.canaries()) >= 4, "some are under way")
    for every in ("400ms", "700ms", "500ms"):
        prober.tree["routes"]["inbound"]["every"] = every
        path = prober.write()
        assert await prober.running.reload(lambda path=path: load(path))  # type: ignore[misc]
        known = {canary.id for canary in prober.canaries()}
        await prober.until(lambda known=known: len(prober.canaries()) >= len(known) + 4, "four more")  # type: ignore[misc]
    before = {canary.id for canary in prober.canaries()}
    await prober.until(lambda: all(prober.canary(each).state.terminal for each in before), "all have ended")
    assert by_leg(prober) == {ONE: {"delivered"}, TWO: {"lost"}}
    sent = [*intakes.one.accepted(), *intakes.two.accepted()]
    assert len({message_id for _, message_id in sent}) == len(sent)  # nothing went out twice
