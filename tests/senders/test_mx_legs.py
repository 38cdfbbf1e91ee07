"""``via: mx`` whole: legs out of a real zone, and attempts at hosts on several addresses of loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trustme

from probe.senders.base import OTHER, UNRESOLVED, Exchange, NoHosts, Result, Stage, Submission, SubmissionLabel
from probe.senders.resolve import Family
from probe.senders.smtp import SmtpSender, Via
from probe.senders.smtp_plan import TlsPolicy
from tests.senders.scripted_server import ENVELOPE, MESSAGE, ScriptedServer, nothing, sender
from tests.worlds.zone import Zone

DOMAIN = "example.org"  # of ENVELOPE's recipient
GOOD, DEAD = "127.0.0.2", "127.0.0.3"


def to_mx(zone: Zone, port: int = 25, *, short: float | None = 5, **given: object) -> SmtpSender:
    return sender(port, short=short, via=Via.MX, resolver=(zone.resolver,), **given)


async def send(made: SmtpSender, mx: str) -> Submission:
    return await made.submit(ENVELOPE, MESSAGE, mx=mx, before_data=nothing)


def asked(submission: Submission, stage: Stage) -> list[tuple[str, str]]:
    return [(line.sent, line.reply) for line in submission.dialogue if line.stage is stage]


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer(address=GOOD) as listening:
        yield listening


@pytest.fixture
def crowd(zone: Zone) -> list[str]:
    """Twenty hosts of the domain, in order; the address of all of them is a good one."""
    names = [f"mx{number:02}.{DOMAIN}" for number in range(20)]
    zone.mx(DOMAIN, *((10, name) for name in names))
    for name in names:
        zone.addresses(name, GOOD)
    return names


@contextlib.contextmanager
def black_hole(address: str, port: int) -> Iterator[None]:
    """``address``:``port`` listens with a full queue: the kernel drops each further SYN."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(0)
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex((address, port))
    try:
        yield
    finally:
        for sock in (*fillers, listener):
            sock.close()


async def test_the_hosts_are_the_legs(zone: Zone) -> None:
    zone.mx(DOMAIN, (20, "b.test"), (10, "C.test"), (20, "a.test"))
    assert await to_mx(zone).legs(DOMAIN) == ("c.test", "a.test", "b.test")


async def test_sixteen_hosts_have_a_leg_each_and_more_share_one(zone: Zone, crowd: list[str]) -> None:
    assert await to_mx(zone).legs(DOMAIN) == (*crowd[:16], OTHER)
    zone.mx(DOMAIN, *((10, name) for name in crowd[:16]))
    assert await to_mx(zone).legs(DOMAIN) == tuple(crowd[:16])


@pytest.mark.fault("S01", "S02", "S03")
@pytest.mark.parametrize("reason", ["dns_temp", "dns_perm", "null_mx"])
async def test_a_domain_without_hosts(zone: Zone, reason: str) -> None:
    spoil(zone, reason)
    with pytest.raises(NoHosts, match=DOMAIN) as raised:
        await to_mx(zone).legs(DOMAIN)
    assert raised.value.reason == reason
    ended = await send(to_mx(zone), UNRESOLVED)
    assert (ended.result, ended.reason, ended.stage) == (Result.UNSENT, reason, Stage.DNS)
    assert ended.label is SubmissionLabel.DNS_ERROR
    assert ended.detail == f"{DOMAIN} (dns): {raised.value}"
    assert asked(ended, Stage.DNS) == [(f"MX {DOMAIN}", str(raised.value))]
    assert (ended.host, ended.address, set(ended.phases)) == ("", "", {Stage.DNS})


def spoil(zone: Zone, reason: str) -> None:
    if reason == "dns_temp":
        zone.fail(DOMAIN)
    if reason == "null_mx":
        zone.null_mx(DOMAIN)


async def test_an_unresolved_leg_sends_nothing_once_the_hosts_are_known(zone: Zone, server: ScriptedServer) -> None:
    zone.mx(DOMAIN, (10, "mx.test"))
    zone.addresses("mx.test", GOOD)
    ended = await send(to_mx(zone, server.port), UNRESOLVED)
    assert (ended.result, ended.reason) == (Result.UNSENT, "dns_temp")
    assert "are known now, mx.test: the next canary goes to them" in ended.detail
    assert server.connections == 0


async def test_each_leg_goes_to_its_own_host(zone: Zone, server: ScriptedServer) -> None:
    zone.mx(DOMAIN, (10, "dead.test"), (20, "good.test"))
    zone.addresses("dead.test", DEAD)
    zone.addresses("good.test", GOOD)
    made = to_mx(zone, server.port)
    good, dead = await send(made, "good.test"), await send(made, "dead.test")
    assert (good.result, good.host, good.address) == (Result.ACCEPTED, "good.test", GOOD)
    assert good.phases[Stage.DNS] > 0
    assert asked(good, Stage.DNS) == []
    assert (dead.result, dead.reason, dead.host, dead.address) == (Result.UNSENT, "connect", "dead.test", DEAD)
    assert dead.detail == f"dead.test [{DEAD}]:{server.port} (connect): connection refused (ECONNREFUSED)"
    assert server.connections == 1  # the good host took nothing for the dead one


async def test_a_domain_without_mx_is_its_own_host(zone: Zone, server: ScriptedServer) -> None:
    zone.addresses(DOMAIN, GOOD)
    made = to_mx(zone, server.port)
    assert await made.legs(DOMAIN) == (DOMAIN,)
    assert (await send(made, DOMAIN)).result is Result.ACCEPTED


async def test_a_dead_address_is_named_and_the_next_one_tried(zone: Zone, server: ScriptedServer) -> None:
    hole = "127.0.0.4"
    zone.addresses("mx.test", hole, DEAD, GOOD)
    with black_hole(hole, server.port):
        ended = await send(to_mx(zone, server.port, short=0.5), "mx.test")
    assert ended.result is Result.ACCEPTED
    assert asked(ended, Stage.CONNECT) == [
        (f"connect [{hole}]:{server.port}", "timed out"),
        (f"connect [{DEAD}]:{server.port}", "connection refused (ECONNREFUSED)"),
        (f"connect [{GOOD}]:{server.port}", "connected"),
    ]


async def test_a_host_that_left_dns_is_unsent_on_its_own_leg(zone: Zone, server: ScriptedServer) -> None:
    zone.mx(DOMAIN, (10, "mx.test"))
    ended = await send(to_mx(zone, server.port), "mx.test")
    assert (ended.result, ended.reason, ended.detail) == (
        Result.UNSENT, "dns_perm", "mx.test (dns): there is no domain mx.test",
    )  # fmt: skip


async def test_a_host_without_an_address_is_not_replaced_by_the_domain_s(zone: Zone, server: ScriptedServer) -> None:
    zone.mx(DOMAIN, (10, "mx.test"))
    zone.addresses(DOMAIN, GOOD)
    zone.exists("mx.test")
    ended = await send(to_mx(zone, server.port), "mx.test")
    assert (ended.result, ended.reason, ended.detail) == (Result.UNSENT, "dns_perm", "mx.test (dns): no address")
    assert server.connections == 0


async def test_a_resolver_that_is_silent_about_the_host(zone: Zone) -> None:
    zone.silence("mx.test")
    ended = await send(to_mx(zone, short=0.2), "mx.test")
    assert (ended.result, ended.reason, ended.stage) == (Result.UNSENT, "dns_temp", Stage.DNS)
    assert ended.detail == "mx.test (dns): no answer from the resolver within 0.2 s"
    assert 0.2 <= ended.phases[Stage.DNS] < 5


async def test_an_attempt_can_be_cancelled_while_it_asks_dns(zone: Zone) -> None:
    zone.silence("mx.test")
    going = asyncio.create_task(send(to_mx(zone, short=60), "mx.test"))
    while not zone.questions:
        await asyncio.sleep(0.005)
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(going, 5)


async def test_the_hosts_beyond_the_sixteenth_take_turns(zone: Zone, crowd: list[str], server: ScriptedServer) -> None:
    made = to_mx(zone, server.port)
    ended = [await send(made, OTHER) for _ in range(6)]
    assert [each.result for each in ended] == [Result.ACCEPTED] * 6
    assert [each.host for each in ended] == [*crowd[16:], *crowd[16:18]]
    assert ended[0].dialogue[0] == Exchange(Stage.DNS, f"MX {DOMAIN}", None, f"going to {crowd[16]}")


async def test_a_sick_host_of_those_is_named(zone: Zone, crowd: list[str], server: ScriptedServer) -> None:
    zone.addresses(crowd[16], DEAD)
    ended = await send(to_mx(zone, server.port), OTHER)
    assert (ended.result, ended.reason, ended.host) == (Result.UNSENT, "connect", crowd[16])
    assert ended.detail.startswith(f"{crowd[16]} [{DEAD}]:")


async def test_the_shared_leg_when_no_host_is_left_for_it(zone: Zone) -> None:
    zone.mx(DOMAIN, (10, "mx.test"))
    ended = await send(to_mx(zone), OTHER)
    assert (ended.result, ended.reason) == (Result.UNSENT, "dns_temp")
    assert "has 1 MX hosts now, and each has a leg of its own" in ended.detail


async def test_a_leg_of_a_relay_goes_nowhere_by_mx(zone: Zone) -> None:
    zone.mx(DOMAIN, (10, "mx.test"))
    assert (await send(to_mx(zone), "any")).reason == "dns_temp"


async def test_a_leg_of_mx_goes_to_the_relay_and_nowhere_else(server: ScriptedServer) -> None:
    made = sender(server.port, host=GOOD)
    assert [(await send(made, mx)).host for mx in ("any", "mx.test", OTHER)] == [GOOD] * 3


async def test_a_relay_is_found_by_the_resolver_that_is_configured(zone: Zone, server: ScriptedServer) -> None:
    zone.addresses("relay.test", GOOD)
    ended = await send(sender(server.port, host="relay.test", resolver=(zone.resolver,)), "any")
    assert (ended.result, ended.host, ended.address) == (Result.ACCEPTED, "relay.test", GOOD)


async def test_the_family_that_is_asked_for(zone: Zone, server: ScriptedServer) -> None:
    zone.addresses("mx.test", GOOD, "::1")
    four = await send(to_mx(zone, server.port, family=Family.IPV4), "mx.test")
    assert {kind for _, kind, _ in zone.questions} == {"A"}
    six = await send(to_mx(zone, server.port, family=Family.IPV6), "mx.test")
    both = await send(to_mx(zone, server.port), "mx.test")
    assert (four.result, four.address) == (Result.ACCEPTED, GOOD)
    assert (six.result, six.address) == (Result.UNSENT, "::1")
    assert (both.result, both.address) == (Result.ACCEPTED, GOOD)
    assert len(asked(both, Stage.CONNECT)) == 2
    zone.addresses("mx.test", GOOD)
    assert (await send(to_mx(zone, family=Family.IPV6), "mx.test")).detail == "mx.test (dns): no ipv6 address"


async def test_a_server_that_is_silent_about_one_family_hides_not_the_other(
    zone: Zone, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("probe.senders.mx._FOR_THE_OTHER_FAMILY", 0.1)
    zone.addresses("mx.test", GOOD)
    zone.silence("mx.test", "AAAA")
    assert (await send(to_mx(zone, server.port), "mx.test")).result is Result.ACCEPTED


async def test_one_family_sick_and_the_other_absent_is_temporary(zone: Zone) -> None:
    zone.fail("mx.test")
    assert (await send(to_mx(zone), "mx.test")).reason == "dns_temp"


@pytest.mark.parametrize(("name", "valid"), [("mx.test", True), (DOMAIN, False)])
async def test_the_certificate_is_that_of_the_mx_host(zone: Zone, tmp_path: Path, name: str, valid: bool) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    zone.addresses("mx.test", GOOD)
    offer = b"250-mx\r\n250 STARTTLS\r\n"
    async with ScriptedServer({"EHLO": offer}, tls=context, address=GOOD) as server:
        made = to_mx(zone, server.port, tls=TlsPolicy.OPPORTUNISTIC, ca_file=tmp_path / "ca.pem")
        ended = await send(made, "mx.test")
    assert (ended.result, ended.tls, ended.certificate_valid) == (Result.ACCEPTED, "TLSv1.3", valid)
    assert ended.certificate_expires is not None


async def test_too_many_addresses_are_bounded(zone: Zone) -> None:
    zone.addresses("mx.test", *(f"127.0.1.{number}" for number in range(1, 200)))
    with socket.socket() as free:
        free.bind(("127.0.1.1", 0))
        port = free.getsockname()[1]
    ended = await send(to_mx(zone, port), "mx.test")
    assert len(asked(ended, Stage.CONNECT)) == 8


async def test_a_probe_of_a_host_and_of_those_that_share_a_leg(
    zone: Zone, crowd: list[str], server: ScriptedServer
) -> None:
    made = to_mx(zone, server.port)
    assert (await made.probe(OTHER)).reason == "dns_temp"  # which ones, it was never told
    await made.legs(DOMAIN)
    assert [(await made.probe(OTHER)).host for _ in range(5)] == [*crowd[16:], crowd[16]]
    probed = await made.probe(crowd[3])
    assert (probed.result, probed.host, probed.address) == (Result.ACCEPTED, crowd[3], GOOD)
    assert b"MAIL" not in server.heard
