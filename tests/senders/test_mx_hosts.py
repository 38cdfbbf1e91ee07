"""MX records as they are read: RFC 5321 section 5.1, RFC 7505, and answers that are late, wrong or hostile."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest
from dns.nameserver import Do53Nameserver

from probe.senders.mx import MAX_HOSTS, Resolver
from probe.senders.resolve import ResolveError, server
from tests.worlds.zone import Zone


def asking(zone: Zone, *others: str, seconds: float = 5.0) -> Resolver:
    """``others`` are asked before the zone."""
    return Resolver((*others, zone.resolver), seconds)


async def trouble(resolver: Resolver, domain: str) -> tuple[str, str]:
    with pytest.raises(ResolveError) as raised:
        await resolver.hosts(domain)
    return raised.value.reason, str(raised.value)


async def test_hosts_by_preference_and_then_by_name(zone: Zone) -> None:
    zone.mx("example.org", (20, "backup.example.org"), (10, "mx2.example.org"), (10, "MX1.Example.ORG"), (5, "z.test"))
    hosts = await asking(zone).hosts("Example.ORG.")
    assert hosts == ["z.test", "mx1.example.org", "mx2.example.org", "backup.example.org"]


async def test_a_host_named_twice_counts_with_its_better_preference(zone: Zone) -> None:
    zone.mx("example.org", (30, "a.test"), (20, "b.test"), (10, "A.test"))
    assert await asking(zone).hosts("example.org") == ["a.test", "b.test"]


async def test_no_mx_record_is_the_domain_itself(zone: Zone) -> None:
    zone.addresses("example.org", "127.0.0.2")
    assert await asking(zone).hosts("Example.org") == ["example.org"]


async def test_a_domain_with_neither_mx_nor_address_is_still_its_own_host(zone: Zone) -> None:
    """Whether it has an address is the next question, and has an answer of its own."""
    zone.exists("example.org")
    assert await asking(zone).hosts("example.org") == ["example.org"]


async def test_an_alias_is_followed(zone: Zone) -> None:
    zone.alias("alias.example", "example.org")
    zone.mx("example.org", (10, "mx.example.org"))
    assert await asking(zone).hosts("alias.example") == ["mx.example.org"]


async def test_a_null_mx_takes_no_mail(zone: Zone) -> None:
    zone.null_mx("example.org")
    zone.addresses("example.org", "127.0.0.2")
    reason, detail = await trouble(asking(zone), "example.org")
    assert (reason, detail) == ("null_mx", "example.org takes no mail: it has a null MX (RFC 7505)")


async def test_a_null_mx_beside_a_host_is_no_host(zone: Zone) -> None:
    zone.mx("example.org", (0, ""), (10, "mx.example.org"))
    assert await asking(zone).hosts("example.org") == ["mx.example.org"]


@pytest.mark.fault("S02")
async def test_a_domain_that_does_not_exist(zone: Zone) -> None:
    reason, detail = await trouble(asking(zone), "nowhere.example")
    assert (reason, detail) == ("dns_perm", "there is no domain nowhere.example")


@pytest.mark.fault("S01")
@pytest.mark.parametrize("code", ["SERVFAIL", "REFUSED", "FORMERR", "NOTIMP"])
async def test_a_server_that_cannot_say_is_temporary(zone: Zone, code: str) -> None:
    zone.fail("example.org", code)
    reason, detail = await trouble(asking(zone), "example.org")
    assert reason == "dns_temp"
    assert detail == f"no resolver could answer for example.org: {zone.resolver} {code}"


async def test_no_server_at_all_is_temporary(zone: Zone) -> None:
    closed = Zone()
    closed.close()
    reason, detail = await trouble(asking(closed, seconds=0.3), "example.org")
    assert (reason, detail) == ("dns_temp", "no answer from the resolver within 0.3 s")


@pytest.mark.fault("S01")
async def test_silence_is_cut(zone: Zone) -> None:
    zone.silence("example.org")
    reason, detail = await trouble(asking(zone, seconds=0.3), "example.org")
    assert (reason, detail) == ("dns_temp", "no answer from the resolver within 0.3 s")
    assert zone.questions  # it was asked


async def test_a_look_up_can_be_cancelled(zone: Zone) -> None:
    zone.silence("example.org")
    looking = asyncio.create_task(asking(zone, seconds=60).hosts("example.org"))
    while not zone.questions:
        await asyncio.sleep(0.005)
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(looking, 5)


async def test_the_next_server_is_asked_where_one_is_silent_or_sick(zone: Zone) -> None:
    zone.mx("example.org", (10, "mx.example.org"))
    silent, sick, gone = Zone(), Zone(), Zone()
    try:
        silent.silence("example.org")
        sick.fail("example.org")
        gone.close()
        resolver = asking(zone, silent.resolver, sick.resolver, gone.resolver, seconds=2)
        assert await resolver.hosts("example.org") == ["mx.example.org"]
        assert silent.questions
        assert sick.questions
    finally:
        silent.close()
        sick.close()


async def test_what_is_truncated_is_asked_again_by_tcp(zone: Zone) -> None:
    zone.truncate("example.org")
    zone.mx("example.org", (10, "mx.example.org"))
    assert await asking(zone).hosts("example.org") == ["mx.example.org"]
    assert zone.questions == [("example.org", "MX", "udp"), ("example.org", "MX", "tcp")]


@pytest.mark.parametrize(("count", "way"), [(20, "udp"), (60, "tcp"), (2400, "tcp")])
async def test_many_hosts_are_bounded(zone: Zone, count: int, way: str) -> None:
    zone.mx("example.org", *((10 + n % 2, f"h{n:04}.example.org") for n in range(count)))
    hosts = await asking(zone).hosts("example.org")
    names = [f"h{n:04}.example.org" for n in (*range(0, count, 2), *range(1, count, 2))]
    assert hosts == names[:MAX_HOSTS]
    assert zone.questions[-1][2] == way


@pytest.mark.parametrize(
    "name",
    [
        "192.0.2.1",
        "\\091::1\\093",
        "a\\032b.test",
        "a\\013\\010.test",
        "a\\000.test",
        "a\\046b.test",
        "m\\252x.test",
        "-a.test",
        "a-.test",
        "any",
        "other",
        "unresolved",
        "a\\047.test",
    ],
)
async def test_what_is_no_host_name_is_dropped(zone: Zone, name: str) -> None:
    zone.mx("example.org", (1, name), (10, "mx.example.org"))
    zone.mx("only.example", (1, name))
    assert await asking(zone).hosts("example.org") == ["mx.example.org"]
    reason, detail = await trouble(asking(zone), "only.example")
    assert (reason, detail) == ("dns_perm", "no MX record of only.example names a host")


@pytest.mark.parametrize("name", ["mx_1.test", "a--b.test", "xn--mx-8ja.test", "1.2.3.test", "mx", "a" * 63 + ".test"])
async def test_what_mail_servers_do_go_to_is_kept(zone: Zone, name: str) -> None:
    zone.mx("example.org", (10, name))
    assert await asking(zone).hosts("example.org") == [name]


@pytest.mark.parametrize(
    "domain", ["", "a b", "a" * 64 + ".test", "192.0.2.1", "[192.0.2.1]", "a..b", "b\u00fc.test", "a." * 128]
)
async def test_what_is_no_domain_is_not_asked_for(zone: Zone, domain: str) -> None:
    reason, _ = await trouble(asking(zone), domain)
    assert reason == "dns_perm"
    assert zone.questions == []


async def test_the_system_s_resolvers_are_read_again_when_their_file_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unreachable(self: Do53Nameserver, *_: object, **__: object) -> None:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(Do53Nameserver, "async_query", unreachable)
    path = tmp_path / "resolv.conf"
    resolver = Resolver((), 5, path)
    assert "resolv.conf" in (await trouble(resolver, "example.org"))[1]
    for number, text, said in [
        (1, "search lab.test\nnameserver 127.0.0.71\n", "127.0.0.71:53"),
        (2, "nameserver 127.0.0.72\nnameserver ::1\n", "127.0.0.72:53"),
        (3, "nameserver not-an-address\n", "cannot look up example.org"),
        (4, "# nothing\n", "cannot look up example.org"),
        (5, "nameserver 127.0.0.71\n", "127.0.0.71:53"),
    ]:
        path.write_text(text)
        os.utime(path, ns=(number, number))  # however coarse the file system's clock is
        reason, detail = await trouble(resolver, "example.org")
        assert reason == "dns_temp"
        assert said in detail


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1", ("127.0.0.1", 53)),
        ("127.0.0.1:5353", ("127.0.0.1", 5353)),
        ("::1", ("::1", 53)),
        ("[::1]:53", ("::1", 53)),
        ("[2001:DB8::1]:5353", ("2001:db8::1", 5353)),
    ],
)
def test_a_resolver_as_it_is_written(text: str, place: tuple[str, int]) -> None:
    assert server(text) == place


@pytest.mark.parametrize(
    "text",
    ["", "dns.example", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "[::1]", "::1]:53", "1.2.3:53", "1.2.3.4:5x"],
)
def test_a_resolver_as_it_is_not_written(text: str) -> None:
    with pytest.raises(ValueError, match="must be an IP address, with a port or without, such as") as raised:
        server(text)
    assert str(raised.value).startswith(repr(text))
