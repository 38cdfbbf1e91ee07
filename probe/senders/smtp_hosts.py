"""Which MX host an attempt goes to: a leg is a host, and a few legs are more or less than one.

It never goes from one host to another within an attempt: that would hide the sick one.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from probe.senders.base import OTHER, UNRESOLVED, NoHosts
from probe.senders.resolve import ResolveError

OWN_LEGS = 16  # hosts of a domain that have a leg of their own: a label's values are bounded


class Looks(Protocol):
    """What is needed of mx.Resolver."""

    async def hosts(self, domain: str) -> list[str]: ...


class MxHosts:
    """The legs of domains by their MX records. Every question to DNS is asked anew; only the turns are remembered."""

    def __init__(self, resolver: Looks) -> None:
        self._resolver = resolver
        self._beyond: dict[str, list[str]] = {}
        self._turns: Counter[str] = Counter()

    async def legs(self, domain: str) -> tuple[str, ...]:
        """The first 16 hosts of ``domain``, and ``OTHER`` where it has more. Raises NoHosts."""
        try:
            hosts = await self._look_up(domain)
        except ResolveError as error:
            raise NoHosts(error.reason, str(error)) from error
        return (*hosts[:OWN_LEGS], OTHER) if len(hosts) > OWN_LEGS else tuple(hosts)

    async def of_leg(self, mx: str, domain: str) -> str:
        """The host that the next attempt on a leg without one host goes to. Raises ResolveError where it can go to
        none, as ever for ``UNRESOLVED``."""
        hosts = await self._look_up(domain)
        if mx != OTHER:
            shown = ", ".join(hosts[:3]) + (" and more" if len(hosts) > 3 else "")
            what = f"the MX hosts of {domain} are known now, {shown}: the next canary goes to them"
            raise ResolveError("dns_temp", what)
        if len(hosts) <= OWN_LEGS:
            raise ResolveError("dns_temp", f"{domain} has {len(hosts)} MX hosts now, and each has a leg of its own")
        return self._next(domain, hosts[OWN_LEGS:])

    async def for_probe(self, mx: str) -> str:
        """As ``of_leg``, of the domain whose legs were asked for last and have such a leg; a probe knows no domain."""
        if mx == OTHER and self._beyond:
            domain = next(reversed(self._beyond))
            return self._next(domain, self._beyond[domain])
        raise ResolveError("dns_temp", f"the leg {mx} is no host")

    async def _look_up(self, domain: str) -> list[str]:
        hosts = await self._resolver.hosts(domain)
        self._beyond.pop(domain, None)
        if len(hosts) > OWN_LEGS:
            self._beyond[domain] = hosts[OWN_LEGS:]
        return hosts

    def _next(self, domain: str, hosts: list[str]) -> str:
        turn = self._turns[domain]
        self._turns[domain] += 1
        return hosts[turn % len(hosts)]


def is_host(mx: str) -> bool:
    """Whether the leg ``mx`` is one host. ``any`` is not: what is left of a relay that the sender was before."""
    return mx not in ("any", OTHER, UNRESOLVED)
