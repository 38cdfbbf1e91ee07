"""One route's engine in the process of a command, for where no daemon runs: it sends what it is told and nothing else.

It holds the ledger's lock and keeps to the same limits. No schedule, no web side, no control socket. What others left
behind stays for the daemon's next start (rule 4); only the mailboxes of the route are read, and whatever is found there
is booked as ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

from probe.canary.record import Canary
from probe.clock import Clock, Instant, wait_for_event
from probe.config.model import Config, Heartbeat
from probe.engine.daemon import Daemon
from probe.engine.generation import Generation
from probe.engine.legs import Legs, Means
from probe.engine.notify import Notifier
from probe.engine.watching import Watcher
from probe.errors import MailCanaryError, UnreachableError
from probe.exposition.journal import Journal

TICK = timedelta(milliseconds=50)
NOT_READ = "not read yet"

Ask = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


class LoneGeneration(Generation):
    """The legs of one route and the watchers of its mailboxes; recognises the canaries of every route."""

    def __init__(self, config: Config, means: Means, dots: Callable[[Canary], Instant | None], route: str) -> None:
        super().__init__(config, means, dots)
        self._route = config.routes[route]
        alone = replace(config, routes={route: self._route})
        self._legs = Legs(alone, means, self._keyring, self.senders, self.watchers, self.ending)

    async def take_over(self, under_way: Iterable[str] = ()) -> None:
        """What the mailboxes are watched for; nothing is settled."""
        in_flight = self._means.books.in_flight.outlines()
        for watcher in self.watchers.values():
            watcher.load(self._means.books.ledger.queries, in_flight)

    def start(self, group: asyncio.TaskGroup) -> None:
        """Watch the route's mailboxes. No schedule, and deferred canaries wait for the daemon."""
        run = self._means.supervisor.run
        names = dict.fromkeys(filter(None, (self._route.mailbox, self._route.bounces)))
        self._tasks = [group.create_task(run(f"watch:{name}", self.watchers[name].run)) for name in names]


class LoneEngine(Daemon):
    """A daemon for one route, without any door of its own."""

    def __init__(self, config: Config, route: str, clock: Clock, journal: Journal, *, inline: bool = False) -> None:
        config = replace(config, heartbeat=Heartbeat())  # the daemon's business
        super().__init__(config, clock, journal=journal, notifier=Notifier({}), inline=inline)
        self._route = route

    def _open(self, config: Config) -> Generation:
        return LoneGeneration(config, self._means, self._dot_of, self._route)

    async def _serve(self, stop: asyncio.Event) -> None:
        try:
            await self._loops(stop)
        except ExceptionGroup as group:
            raise group.exceptions[0] from group

    async def ask(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """As the control socket would answer. Raises MailCanaryError."""
        return await self.tracing.handlers[request["command"]](request)

    @asynccontextmanager
    async def running(self, told: asyncio.Event, patience: timedelta) -> AsyncIterator[Ask]:
        """Run until the block ends; begins once the mailboxes were read. ``told``: somebody wants it to end.

        Raises LedgerError, ConfigError, UnreachableError where a mailbox cannot be read within ``patience``.
        """
        stop = asyncio.Event()
        task = asyncio.create_task(self.run(stop))
        try:
            await self._readable(task, told, patience)
            yield self.ask
        finally:
            stop.set()
            await task

    async def _readable(self, task: asyncio.Task[None], told: asyncio.Event, patience: timedelta) -> None:
        began = self._clock.now()
        while not (self.started.is_set() and all(one.seen_once.is_set() for one in self._watched())):
            if task.done():
                task.result()
                return
            if await wait_for_event(self._clock, told, TICK):
                raise MailCanaryError("stopped before anything was sent")
            for one in self._watched() if self.started.is_set() else ():
                waited = self._clock.now().since(began)
                if not one.seen_once.is_set() and (one.problem not in ("", NOT_READ) or waited > patience):
                    raise UnreachableError(
                        f"nothing was sent: mailbox {one.name} could not be read: {one.problem}; "
                        "`mailcanary check --connect` tries every server"
                    )

    def _watched(self) -> list[Watcher]:
        route = self.config.routes[self._route]
        return [self.watchers[name] for name in dict.fromkeys(filter(None, (route.mailbox, route.bounces)))]
