"""DNS as mail asks it, and the one door to dnspython: the MX hosts of a domain, and the addresses of a host.

RFC 5321 section 5.1: where a domain has MX records only their hosts take its mail, and never the domain's own address
in their place; where it has none, the domain itself does. RFC 7505: a lone ``MX 0 .`` says that it takes none.

Answers come from anybody. What is no host name is dropped, what is too much is cut; neither length nor content of an
answer can make a look-up longer than its time or a label longer than a host name. Nothing is kept between look-ups:
to remember is the resolver's part, which knows how long.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver

from probe.senders.base import OTHER, UNRESOLVED
from probe.senders.resolve import Address, Family, ResolveError, literal, server

RESOLV_CONF = Path("/etc/resolv.conf")
MAX_HOSTS = 100  # of a domain
MAX_ADDRESSES = 8  # of a host and a family

# Postfix and others go to hosts with an underscore in their name too, so a prober has to.
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_LONGEST_NAME = 253
_RESERVED = frozenset({"any", OTHER, UNRESOLVED})  # as a leg they mean something else

_FOR_ONE_TRY = 2.0  # seconds; a datagram that was lost is sent again after them
_FOR_THE_OTHER_FAMILY = 5.0  # seconds, once one family's addresses are known
# Time is kept by our own time-outs: dnspython measures its own by the wall clock, which may be set meanwhile.
_NO_LIMIT = 86_400.0
_MOST_CAUSES = 3

_RECORDS = {Family.IPV6: dns.rdatatype.AAAA, Family.IPV4: dns.rdatatype.A}


class Resolver:
    """Asks ``servers`` (as resolve.server reads them) in order, or those of ``resolv_conf`` where there are none.

    ``seconds``: the most that ``hosts`` takes. ``addresses`` is cut by whoever calls it.
    """

    def __init__(self, servers: Sequence[str], seconds: float, resolv_conf: Path = RESOLV_CONF) -> None:
        self._seconds = seconds
        self._resolv_conf = resolv_conf
        self._stamp: tuple[int, ...] | None = None
        self._asking: dns.asyncresolver.Resolver | None = None
        self._own = bool(servers)
        if servers:
            self._asking = dns.asyncresolver.Resolver(configure=False)
            self._asking.nameservers = [dns.nameserver.Do53Nameserver(*server(text)) for text in servers]
            self._asking.timeout = min(_FOR_ONE_TRY, seconds / (2 * len(servers)))

    async def hosts(self, domain: str) -> list[str]:
        """The hosts that take the mail of ``domain``, by preference and then by name, at most 100: lower case, without
        a trailing dot, each once. Raises ResolveError: dns_temp, dns_perm, null_mx."""
        domain = domain.lower().rstrip(".")
        try:
            async with asyncio.timeout(self._seconds):
                records = await self._ask(domain, dns.rdatatype.MX)
        except TimeoutError as error:
            raise ResolveError("dns_temp", f"no answer from the resolver within {self._seconds:g} s") from error
        if not records:
            return [domain]
        best: dict[str, int] = {}
        for record in records:
            name = _host_name(record.exchange)
            if name is not None:
                best[name] = min(record.preference, best.get(name, record.preference))
        if best:
            return sorted(best, key=lambda name: (best[name], name))[:MAX_HOSTS]
        if all(record.exchange == dns.name.root for record in records):
            raise ResolveError("null_mx", f"{domain} takes no mail: it has a null MX (RFC 7505)")
        raise ResolveError("dns_perm", f"no MX record of {domain} names a host")

    async def addresses(self, host: str, port: int, family: Family) -> list[Address]:
        """The addresses of ``host``, those of IPv6 first, else in the order of the answers; at most 8 a family. Raises
        ResolveError."""
        known = literal(host, port, family)
        if known is not None:
            return [known]
        families = [each for each in _RECORDS if family in (each, Family.ANY)]
        lookups = [asyncio.ensure_future(self._family(host, port, each)) for each in families]
        try:
            await _first_and_soon_the_rest(lookups)
        finally:
            for lookup in lookups:
                if not lookup.cancel() and not lookup.cancelled():
                    lookup.exception()  # looked at, so that asyncio does not complain when we are cut here
        answered = [lookup for lookup in lookups if lookup.done() and not lookup.cancelled()]
        found = [address for lookup in answered if lookup.exception() is None for address in lookup.result()]
        if found:
            return found
        errors = [error for lookup in answered if isinstance(error := lookup.exception(), ResolveError)]
        if errors:
            raise next((error for error in errors if error.reason == "dns_temp"), errors[0])
        raise ResolveError("dns_perm", "no address" if family is Family.ANY else f"no {family} address")

    async def _family(self, host: str, port: int, family: Family) -> list[Address]:
        records = (await self._ask(host, _RECORDS[family]))[:MAX_ADDRESSES]
        if family is Family.IPV6:
            return [Address(socket.AF_INET6, (record.address, port, 0, 0)) for record in records]
        return [Address(socket.AF_INET, (record.address, port)) for record in records]

    async def _ask(self, name: str, kind: dns.rdatatype.RdataType) -> list[Any]:
        """The records of ``name``, aliases followed; none where it has none of this kind. Raises ResolveError."""
        if not _is_host_name(name):
            raise ResolveError("dns_perm", f"{name!r} is not a domain name")
        try:
            answer = await self._resolver().resolve(
                dns.name.from_text(name), kind, raise_on_no_answer=False, search=False, lifetime=_NO_LIMIT
            )
        except dns.resolver.NXDOMAIN as error:
            raise ResolveError("dns_perm", f"there is no domain {name}") from error
        except dns.resolver.NoNameservers as error:
            raise ResolveError("dns_temp", f"no resolver could answer for {name}{_causes(error)}") from error
        except dns.resolver.LifetimeTimeout as error:  # the wall clock was set
            raise ResolveError("dns_temp", "no answer from the resolver") from error
        except (dns.exception.DNSException, OSError, ValueError) as error:
            raise ResolveError("dns_temp", f"cannot look up {name}: {error or type(error).__name__}") from error
        return list(answer.rrset or ())

    def _resolver(self) -> dns.asyncresolver.Resolver:
        """The configured resolver, or the system's: its file is read again when it has changed."""
        if self._own and self._asking is not None:
            return self._asking
        state = self._resolv_conf.stat()
        stamp = (state.st_mtime_ns, state.st_ino, state.st_size)
        if self._asking is None or stamp != self._stamp:
            self._asking = dns.asyncresolver.Resolver(filename=str(self._resolv_conf))
            self._stamp = stamp
        return self._asking


async def _first_and_soon_the_rest(lookups: Sequence[asyncio.Future[list[Address]]]) -> None:
    """Wait for all; but a resolver that never answers for one family must not hide what is known of the other."""
    done, pending = await asyncio.wait(lookups, return_when=asyncio.FIRST_COMPLETED)
    if pending:
        good = any(lookup.exception() is None and lookup.result() for lookup in done)
        await asyncio.wait(pending, timeout=_FOR_THE_OTHER_FAMILY if good else None)


def _host_name(name: dns.name.Name) -> str | None:
    """``name`` as the host of an MX record; None for what can be no host, or no leg."""
    text = name.to_text(omit_final_dot=True).lower()
    return text if _is_host_name(text) and text not in _RESERVED else None


def _is_host_name(text: str) -> bool:
    """Letters, digits, hyphens and underscores in labels of 1 to 63; not an IP address (RFC 5321 section 2.3.5)."""
    return len(text) <= _LONGEST_NAME and _NAME.fullmatch(text) is not None and not text.rpartition(".")[2].isdigit()


def _causes(error: dns.resolver.NoNameservers) -> str:
    """What each server said, or what went wrong with it, as ``: 127.0.0.1:53 SERVFAIL``."""
    causes = []
    for place, _, _, cause, _ in error.kwargs.get("errors", ())[:_MOST_CAUSES]:
        causes.append(f"{str(place).removeprefix('Do53:').replace('@', ':')} {str(cause) or type(cause).__name__}")
    return ": " + "; ".join(causes) if causes else ""
