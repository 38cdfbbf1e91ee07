"""The daemon: puts the parts together, starts them in order, and stops in two steps.

Start: ledger (lock, check, migrate) → what the last run left behind → web and control sockets → loops → READY.
Stop: no new canaries, attempts under way get a moment to hear the server's answer; then everything else is closed.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from probe import __version__
from probe.canary import counters
from probe.canary import observations as seen
from probe.canary.identity import Keyring
from probe.canary.record import Canary, Leg, State
from probe.clock import Clock, Instant
from probe.config.model import Config, Route
from probe.engine.arrivals import Arrivals
from probe.engine.books import Books
from probe.engine.caps import Caps
from probe.engine.control import ControlSocket
from probe.engine.expecting import expectations
from probe.engine.notify import Notifier
from probe.engine.pacing import Pace
from probe.engine.sending import LegSender, Prober
from probe.engine.supervisor import Supervisor
from probe.engine.upkeep import Upkeep
from probe.engine.view import View
from probe.engine.watching import Watcher
from probe.errors import Breach, ConfigError, LedgerUnwritable
from probe.exposition.guard import Credentials, server_context
from probe.exposition.journal import Journal
from probe.exposition.web import Extension, WebServer, make_app
from probe.ledger.batch import Batch
from probe.ledger.store import Ledger
from probe.message.recognise import RouteExpectation
from probe.senders.base import Sender

DRAIN = timedelta(seconds=20)  # under the unit's TimeoutStopSec

Panel = Callable[[], str]


class Daemon:
    """One prober. ``run`` once."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        *,
        journal: Journal,
        extensions: Sequence[Extension] = (),
        panels: Sequence[Panel] = (),
        notifier: Notifier | None = None,
        pace: Pace | None = None,
        chance: random.Random | None = None,
        inline: bool = False,
    ) -> None:
        self.config = config
        self._clock = clock
        self._journal = journal
        self._extensions = extensions
        self._panels = panels
        self._notifier = notifier or Notifier()
        self._pace = pace or Pace()
        self._chance = chance or random.SystemRandom()
        self._inline = inline
        self._stopping = asyncio.Event()
        self._threads: dict[str, ThreadPoolExecutor] = {}
        self.watchers: dict[str, Watcher] = {}
        self.legs: list[LegSender] = []
        self.web: WebServer | None = None
        self.started = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Until ``stop`` is set (two-step stop) or the task is cancelled (at once). Raises what prevents a start."""
        config = self.config
        self._journal.starting(__version__, config.prober, len(config.routes))
        ledger = Ledger(config.ledger, self._clock, inline=self._inline)
        try:
            await self._assemble(ledger)
            await self._serve(stop)
        finally:
            for threads in self._threads.values():
                threads.shutdown(wait=False, cancel_futures=True)
            ledger.close()
            self._journal.stopped()

    # Start.

    async def _assemble(self, ledger: Ledger) -> None:
        config, clock = self.config, self._clock
        self.books = Books(ledger, clock, self._journal)
        self._supervisor = Supervisor(clock, self._journal, self._crashed)
        self._caps = Caps(config.limits)
        self._keyring = Keyring(config.keys)
        self._senders: dict[str, Sender] = {name: options.open(name, clock) for name, options in config.senders.items()}
        await self._make_legs()
        self.books.load()
        for name in config.mailboxes:
            self.watchers[name] = self._make_watcher(name)
        await self._take_over(ledger)
        self._make_senders()
        self.view = View(
            config=config,
            clock=clock,
            books=self.books,
            legs=self.legs,
            watchers=self.watchers,
            senders=self._senders,
            supervisor=self._supervisor,
            stopping=self._stopping,
        )
        self._upkeep = Upkeep(config.keep, self.books, clock, self._journal, self._notifier, self._supervisor)

    async def _make_legs(self) -> None:
        self._leg_names: list[tuple[Route, Leg]] = []
        for route in self.config.routes.values():
            sender = self._senders[route.sender]
            for mx in await sender.legs(route.rcpt_to.rpartition("@")[2]):
                self._leg_names.append((route, Leg(route.name, mx, route.mailbox)))

    def _make_watcher(self, name: str) -> Watcher:
        arrivals = Arrivals(
            name,
            keyring=self._keyring,
            known=self._expectations(),
            books=self.books,
            clock=self._clock,
            journal=self._journal,
            dots=self._dot_of,
        )
        return Watcher(
            name,
            self.config.mailboxes[name],
            books=self.books,
            arrivals=arrivals,
            clock=self._clock,
            journal=self._journal,
            call=self._caller(name),
            stopping=self._stopping,
            chance=self._chance,
            pace=self._pace,
            keyring=self._keyring,
        )

    def _expectations(self) -> Mapping[bytes, RouteExpectation]:
        return expectations(self.config.prober, self.config.routes.values(), self.books.in_flight.values())

    def _dot_of(self, canary: Canary) -> Instant | None:
        for leg in self.legs:
            if leg.leg == canary.leg:
                return leg.dots.get(canary.id)
        return None

    def _caller(self, name: str) -> Callable[..., Awaitable[Any]]:
        """Runs a mailbox's blocking calls: one thread a mailbox, so that its calls never overlap."""
        if self._inline:

            async def inline(function: Callable[..., Any], *arguments: Any) -> Any:
                return function(*arguments)

            return inline
        threads = self._threads[name] = ThreadPoolExecutor(1, thread_name_prefix=f"mailbox-{name}")

        async def call(function: Callable[..., Any], *arguments: Any) -> Any:
            return await asyncio.get_running_loop().run_in_executor(threads, function, *arguments)

        return call

    async def _take_over(self, ledger: Ledger) -> None:
        """What the last run left: caps, canaries in flight (rule 4), watermarks."""
        now = self._clock.now()
        if ledger.set_aside:
            self._journal.ledger_reset(ledger.set_aside, ledger.damage)
            self._caps.start_full(now, [(route.name, route.rcpt_to) for route in self.config.routes.values()])
            batch = Batch()
            batch.count(counters.LEDGER_RESETS)
            batch.event(now, "ledger_reset", f"{ledger.damage}; set aside as {ledger.set_aside}")
            await self.books.commit(batch)
        since = now.wall - int(self._caps.longest.total_seconds() * 1_000_000_000)
        self._caps.load(now, ledger.queries.attempts_since(since))
        self._check_keys()
        await self._restarted(now)
        in_flight = list(self.books.in_flight.values())
        for watcher in self.watchers.values():
            watcher.load(ledger.queries, in_flight)
        for _, leg in self._leg_names:
            sent = ledger.queries.last_intent(leg.route, leg.mx)
            arrived = ledger.queries.last_arrival(leg.route, leg.mx)
            self.books.last_sent[leg] = (sent or 0) / 1e9
            self.books.last_arrival[leg] = (arrived or 0) / 1e9

    def _check_keys(self) -> None:
        """Rule 4: without the key that signed them, canaries in flight could never be recognised."""
        configured = {key.id for key in self.config.keys}
        missing = sorted({canary.key for canary in self.books.in_flight.values()} - configured - {""})
        if missing:
            names = ", ".join(missing)
            rule = f"key {names} has signed canaries that are in flight: keep it in the list until they have ended"
            raise ConfigError("configuration", [Breach("keys", 0, rule)])

    async def _restarted(self, now: Instant) -> None:
        legs = {leg for _, leg in self._leg_names}
        batch = Batch()
        steps = []
        for canary in list(self.books.in_flight.values()):
            if canary.leg.mailbox not in self.config.mailboxes:
                steps.append(self.books.step(canary, seen.MailboxRemoved(now), batch))
                continue
            if canary.state in (State.INTENT, State.DATA_STARTED):
                step = self.books.step(canary, seen.Restarted(now), batch)
                steps.append(step)
                canary = step.move.canary
            if canary.state is State.DEFERRED and canary.leg not in legs:
                steps.append(self.books.step(canary, seen.SenderRemoved(now), batch))
        if steps:
            await self.books.commit(batch, steps)

    def _make_senders(self) -> None:
        prober = Prober(self.config.prober, socket.gethostname(), self._keyring, self._chance)
        for route, leg in self._leg_names:
            watcher = self.watchers[route.mailbox]
            self.legs.append(
                LegSender(
                    route,
                    leg,
                    self._senders[route.sender],
                    books=self.books,
                    caps=self._caps,
                    clock=self._clock,
                    journal=self._journal,
                    prober=prober,
                    floors=watcher.floors,
                    seen_once=watcher.seen_once,
                    stopping=self._stopping,
                )
            )

    # Run and stop.

    async def _serve(self, stop: asyncio.Event) -> None:
        self.web = self._make_web()
        control = ControlSocket(self.config.control, {"status": self._status})
        try:
            await self.web.start(self.config.listen.host, self.config.listen.port)
            self._journal.listening(self.web.url)
            await control.start()
            try:
                await self._loops(stop)
            except ExceptionGroup as group:  # the task group's wrapping says nothing: show what ended it
                raise group.exceptions[0] from group
        finally:
            await control.stop()
            await self.web.stop()

    def _make_web(self) -> WebServer:
        options = self.config.web
        login = f"{options.username}:".encode() + options.password.reveal() if options.password else None
        credentials = Credentials(login, options.token.reveal() if options.token else None)
        app = make_app(self.view, extensions=self._extensions, panels=self._panels, credentials=credentials)
        context = server_context(options.tls_cert, options.tls_key) if options.tls_cert and options.tls_key else None
        return WebServer(app, context)

    async def _loops(self, stop: asyncio.Event) -> None:
        run = self._supervisor.run
        async with asyncio.TaskGroup() as group:
            loops = [group.create_task(run(f"send:{leg.leg.route}/{leg.leg.mx}", leg.run)) for leg in self.legs]
            watching = [group.create_task(run(f"watch:{name}", one.run)) for name, one in self.watchers.items()]
            loops += [group.create_task(run(name, loop)) for name, loop in self._upkeep.loops(self._stopping)]
            self._resume_deferred()
            self._notifier.ready(f"watching {len(self.watchers)} mailbox(es), {len(self.legs)} leg(s)")
            self._journal.ready()
            self.started.set()
            await stop.wait()
            self._notifier.stopping()
            self._journal.stopping("told to")
            self._stopping.set()
            await asyncio.gather(*(leg.drain(DRAIN) for leg in self.legs))
            await asyncio.wait([*loops, *watching], timeout=DRAIN.total_seconds())
            for task in (*loops, *watching):
                task.cancel()
        try:
            await self.books.settle_debts()
        except LedgerUnwritable as problem:
            self._journal.ledger_unwritable(str(problem))

    def _resume_deferred(self) -> None:
        by_leg = {leg.leg: leg for leg in self.legs}
        for canary in list(self.books.in_flight.values()):
            if canary.state is State.DEFERRED and canary.leg in by_leg:
                by_leg[canary.leg].resume(canary)

    def _crashed(self, task: str) -> None:
        self.books.owe(counters.TASK_CRASHES, (task,))

    async def _status(self, _: Mapping[str, Any]) -> Mapping[str, Any]:
        return self.view.summary()
