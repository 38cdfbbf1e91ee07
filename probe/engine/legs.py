"""The legs of each route: one for each MX host, as DNS has them now.

Hosts come and go while the daemon runs: a new one gets its slots from the next look on, one that has
left sends nothing more, while what it has under way goes to its end. A look-up that fails for the moment changes
nothing: the hosts known before are still the ones whose mail would be lost.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from probe.canary.identity import Keyring
from probe.canary.record import Leg
from probe.clock import Clock
from probe.config.model import Config, Route
from probe.engine.attempts import Prober
from probe.engine.books import Books
from probe.engine.caps import Caps
from probe.engine.pacing import Pace
from probe.engine.pauses import Pauses
from probe.engine.sending import LegSender
from probe.engine.supervisor import Pulse, Supervisor, wait_until
from probe.engine.watching import Watcher
from probe.exposition.journal import Journal
from probe.senders.base import UNRESOLVED, NoHosts, Sender

LONGEST_LOOK = timedelta(minutes=5)
REMEMBERED = timedelta(days=1)  # hosts that were sent to so long ago are tried where DNS does not answer at a start
GONE_FOR = timedelta(hours=1)  # series of a leg stay so long after its last canary


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What every generation uses. ``inline``: blocking calls run in the loop (tests in virtual time)."""

    books: Books
    caps: Caps
    pauses: Pauses
    clock: Clock
    journal: Journal
    chance: random.Random
    pace: Pace
    supervisor: Supervisor
    inline: bool


class Legs:
    """The leg senders of one configuration."""

    def __init__(
        self,
        config: Config,
        means: Means,
        keyring: Keyring,
        senders: Mapping[str, Sender],
        watchers: Mapping[str, Watcher],
        ending: asyncio.Event,
    ) -> None:
        self._routes = tuple(config.routes.values())
        self._means = means
        self._senders = senders
        self._watchers = watchers
        self._ending = ending
        self._prober = Prober(config.prober, socket.gethostname(), keyring, means.chance)
        self._group: asyncio.TaskGroup | None = None
        self._all: list[LegSender] = []
        self.tasks: set[asyncio.Task[None]] = set()

    async def make(self) -> list[LegSender]:
        """The legs at a start, in a list that is kept up from then on."""
        wanted: list[tuple[Route, str]] = []
        for route, answer in await self._look_up():
            hosts = self._remembered(route, answer) if isinstance(answer, NoHosts) else answer
            wanted += [(route, mx) for mx in hosts]
        self._all += self._make(wanted)
        return self._all

    def start(self, group: asyncio.TaskGroup) -> None:
        """Run the schedule of each."""
        self._group = group
        for one in self._all:
            self._run(one)

    async def follow(self, pulse: Pulse) -> None:
        """Look again and again, until the end."""
        clock = self._means.clock
        while not self._ending.is_set():
            await wait_until(clock, clock.now() + self._means.pace.hosts_apart, self._ending, pulse)
            if self._ending.is_set():
                return
            pulse.beat(LONGEST_LOOK)
            answers = await self._look_up()
            here: dict[str, dict[str, LegSender]] = {}
            for one in self._all:
                here.setdefault(one.route.name, {})[one.leg.mx] = one
            for route, answer in answers:
                self._change(route, answer, here.get(route.name, {}))
            self._forget()

    async def _look_up(self) -> list[tuple[Route, Sequence[str] | NoHosts]]:
        """The hosts of each route; each domain is asked for once."""
        wanted = {(route.sender, _domain(route)) for route in self._routes}
        asked = {key: asyncio.ensure_future(self._hosts(*key)) for key in sorted(wanted)}
        try:
            await asyncio.gather(*asked.values())
        finally:
            for look in asked.values():
                look.cancel()
        return [(route, asked[(route.sender, _domain(route))].result()) for route in self._routes]

    async def _hosts(self, sender: str, domain: str) -> Sequence[str] | NoHosts:
        try:
            return await self._senders[sender].legs(domain)
        except NoHosts as nothing:
            return nothing

    def _remembered(self, route: Route, nothing: NoHosts) -> Sequence[str]:
        """What to send to at a start without hosts: those of the last day where DNS only fails for the moment."""
        self._means.journal.warning(f"route {route.name}: {nothing}")
        since = self._means.clock.now() + -REMEMBERED
        known = self._means.books.ledger.queries.hosts_since(route.name, since.wall)
        if nothing.reason == "dns_temp" and set(known) - {UNRESOLVED}:
            return sorted(set(known) - {UNRESOLVED})
        return (UNRESOLVED,)

    def _change(self, route: Route, answer: Sequence[str] | NoHosts, here: Mapping[str, LegSender]) -> None:
        """``here``: the route's legs until now, by host."""
        if isinstance(answer, NoHosts):
            if answer.reason == "dns_temp":
                return
            answer = (UNRESOLVED,)
        for mx, one in here.items():
            if mx not in answer and one.gone_since is None:
                one.gone_since = self._means.clock.now()
                one.retire()
                self._means.journal.leg_gone(route.name, mx)
        for mx in answer:
            old = here.get(mx)
            if old is not None and old.gone_since is None:
                continue
            if old is None:
                (old,) = self._make([(route, mx)])
                self._all.append(old)
            old.revive()
            self._means.journal.leg_added(route.name, mx)
            self._run(old)

    def _make(self, wanted: Sequence[tuple[Route, str]]) -> list[LegSender]:
        books = self._means.books
        last = books.ledger.queries.last_of((route.name, mx) for route, mx in wanted)
        for route, mx in wanted:
            leg, (sent, arrived) = Leg(route.name, mx, route.mailbox), last[route.name, mx]
            books.last_sent[leg], books.last_arrival[leg] = (sent or 0) / 1e9, (arrived or 0) / 1e9
        return [self._make_one(route, mx) for route, mx in wanted]

    def _make_one(self, route: Route, mx: str) -> LegSender:
        means, watcher = self._means, self._watchers[route.mailbox]
        watched = [watcher] if route.bounces is None else [watcher, self._watchers[route.bounces]]
        leg = Leg(route.name, mx, route.mailbox)
        return LegSender(
            route,
            leg,
            self._senders[route.sender],
            books=means.books,
            caps=means.caps,
            pauses=means.pauses,
            clock=means.clock,
            journal=means.journal,
            prober=self._prober,
            floors=watcher.floors,
            ready=lambda: all(one.seen_once.is_set() for one in watched),
            stopping=self._ending,
        )

    def _run(self, one: LegSender) -> None:
        if self._group is not None:
            run = self._means.supervisor.run(f"send:{one.leg.route}/{one.leg.mx}", one.run)
            task = self._group.create_task(run)
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def _forget(self) -> None:
        """Legs that are gone, an hour after nothing of theirs was left in flight."""
        now = self._means.clock.now()
        flying = {canary.leg for canary in self._means.books.in_flight.outlines()}
        for one in [one for one in self._all if one.gone_since is not None]:
            if one.leg in flying:
                one.gone_since = now
            elif one.gone_since is not None and now.since(one.gone_since) > GONE_FOR:
                self._all.remove(one)


def _domain(route: Route) -> str:
    return route.rcpt_to.rpartition("@")[2]
