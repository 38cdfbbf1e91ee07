"""The daemon: puts the parts together, starts them in order, reloads, and stops in two steps.

Start: ledger (lock, check, migrate) → what the last run left behind → web and control sockets → loops → READY.
Reload: the new configuration is opened whole before the old one lets go; one that is refused changes nothing.
Stop: no new canaries, attempts under way get a moment to hear the server's answer; then everything else is closed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from probe import __version__
from probe.canary import counters
from probe.canary.record import Canary
from probe.clock import Clock, Instant, wait_for_event
from probe.config.model import Config
from probe.engine.books import Books
from probe.engine.caps import Caps
from probe.engine.control import ControlSocket
from probe.engine.detection import Detection
from probe.engine.drills import Drills
from probe.engine.generation import Generation, apart
from probe.engine.heartbeat import Heart
from probe.engine.legs import Means
from probe.engine.notify import Notifier
from probe.engine.orders import Orders
from probe.engine.pacing import Pace
from probe.engine.pauses import Pauses
from probe.engine.sending import LegSender
from probe.engine.supervisor import Supervisor
from probe.engine.tracing import Tracing
from probe.engine.upkeep import Upkeep
from probe.engine.view import View
from probe.engine.watching import Watcher
from probe.engine.windows import Windowing
from probe.errors import LedgerUnwritable, MailCanaryError
from probe.exposition.guard import Certificate, Credentials
from probe.exposition.journal import Journal
from probe.exposition.web import Extension, WebServer, make_app
from probe.ledger.batch import Batch
from probe.ledger.store import Ledger
from probe.senders.base import SoFar

DRAIN = timedelta(seconds=20)  # under the unit's TimeoutStopSec
WRITE_AGAIN_AFTER = timedelta(seconds=1)

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
        self._reloading = asyncio.Lock()
        self._group: asyncio.TaskGroup | None = None
        self._retired: list[Generation] = []
        self._tidying: asyncio.Task[None] | None = None
        self.web: WebServer | None = None
        self.started = asyncio.Event()

    @property
    def watchers(self) -> Mapping[str, Watcher]:
        return self.generation.watchers

    @property
    def legs(self) -> Sequence[LegSender]:
        return self.generation.legs

    async def run(self, stop: asyncio.Event) -> None:
        """Until ``stop`` is set (two-step stop) or the task is cancelled (at once). Raises what prevents a start."""
        config = self.config
        self._journal.starting(__version__, config.prober, len(config.routes))
        ledger = Ledger(config.ledger, self._clock, inline=self._inline)
        try:
            await self._assemble(ledger)
            await self._serve(stop)
        finally:
            if hasattr(self, "generation"):
                self.generation.close_watchers()
            ledger.close()
            self._journal.stopped()

    # Start.

    async def _assemble(self, ledger: Ledger) -> None:
        config, clock = self.config, self._clock
        self.books = Books(ledger, clock, self._journal)
        self._supervisor = Supervisor(clock, self._journal, self._crashed)
        self._caps = Caps(config.limits)
        await self._mend(ledger)
        self._caps.load(clock.now(), ledger.queries.attempts_since(self._caps.reach(clock.now())))
        self.books.load()
        self._pauses = Pauses(self.books)
        self._means = Means(
            books=self.books,
            caps=self._caps,
            pauses=self._pauses,
            clock=clock,
            journal=self._journal,
            chance=self._chance,
            pace=self._pace,
            supervisor=self._supervisor,
            inline=self._inline,
        )
        self.generation = self._open(config)
        self.generation.check_keys()
        await self.generation.make_legs()
        await self.generation.take_over()
        self.view = View(
            generation=self.generation,
            clock=clock,
            books=self.books,
            pauses=self._pauses,
            supervisor=self._supervisor,
            stopping=self._stopping,
        )
        self._orders = Orders(
            self._pauses,
            clock,
            self._journal,
            routes=lambda: self.config.routes,
            status=self.view.summary,
        )
        self.drills = Drills(clock, self._journal, lambda: self.config.routes)
        self.view.drill = self.drills.now
        self.tracing = Tracing(
            self.books,
            self._pauses,
            clock,
            generation=lambda: self.generation,
            dots=self._dot_of,
            so_far=self._so_far,
            stopping=self._stopping,
        )
        self.detection = Detection(
            lambda: self.generation, self.books, clock, self._journal, self._pauses, inline=self._inline
        )
        self.detection.load()
        self.detection.connect(self.generation)
        self.view.detected = self.detection.view
        self._windows = Windowing(self.books, clock, lambda: self.config.keep, inline=self._inline)
        self.view.windows = self._windows.view
        self.heart = Heart(lambda: self.generation, self.books, self._pauses, clock, self._journal)
        self.view.heartbeat_at = lambda: self.heart.last_success
        self._upkeep = Upkeep(config.keep, self.books, clock, self._journal, self._notifier, self._supervisor)

    def _open(self, config: Config) -> Generation:
        return Generation(config, self._means, self._dot_of)

    async def _mend(self, ledger: Ledger) -> None:
        """After a damaged ledger was set aside: say so, and start with full caps."""
        if not ledger.set_aside:
            return
        now = self._clock.now()
        self._journal.ledger_reset(ledger.set_aside, ledger.damage)
        self._caps.start_full(now, [(route.name, route.rcpt_to) for route in self.config.routes.values()])
        batch = Batch()
        batch.count(counters.LEDGER_RESETS)
        batch.event(now, "ledger_reset", f"{ledger.damage}; set aside as {ledger.set_aside}")
        await self.books.commit(batch)

    def _dot_of(self, canary: Canary) -> Instant | None:
        generations = (self.generation, *self._retired)
        return next((dot for one in generations if (dot := one.dot_of(canary)) is not None), None)

    def _so_far(self, canary: Canary) -> SoFar | None:
        generations = (self.generation, *self._retired)
        return next((found for one in generations if (found := one.so_far(canary)) is not None), None)

    # Reload.

    async def reload(self, load: Callable[[], Config]) -> bool:
        """Take over the configuration that ``load`` returns. Where it is refused (MailCanaryError), the old one stays,
        the journal says why, and mailcanary_config_last_reload_successful is 0."""
        async with self._reloading:
            if self.web is not None:
                await self.web.reload()
            try:
                config = self._keep_fixed(load())
                generation = self._open(config)
                generation.check_keys()
                await generation.make_legs()
            except MailCanaryError as problem:
                self.view.reload_ok = False
                self._journal.reload_refused(str(problem))
                return False
            if self._group is None or self._stopping.is_set():
                return False
            await self._replace(generation, self._group)
            self.view.reload_ok = True
            self._tell_ready()
            self._journal.reloaded()
            return True

    def _keep_fixed(self, config: Config) -> Config:
        """What only a restart can change stays as it is, and is said."""
        fixed = apart(self.config, config)
        for name in fixed:
            self._journal.warning(f"{name} has changed in the configuration: that takes effect at the next restart")
        return replace(config, **{name: getattr(self.config, name) for name in fixed})

    async def _replace(self, generation: Generation, group: asyncio.TaskGroup) -> None:
        old = self.generation
        for leg in old.legs:
            leg.attempts.successor = generation.resume
        await old.retire()
        self.config, self.generation, self.view.generation = generation.config, generation, generation
        self.detection.connect(generation)
        self._retired = [one for one in (*self._retired, old) if one.under_way]
        self._upkeep.keep = generation.config.keep
        attempts_since = self.books.ledger.queries.attempts_since
        self._caps.change(generation.config.limits, self._clock.now(), attempts_since)
        while not self._stopping.is_set():
            try:
                await generation.take_over({canary_id for one in self._retired for canary_id in one.under_way})
            except LedgerUnwritable:  # the books said so; nothing was taken over yet
                await self._clock.sleep(WRITE_AGAIN_AFTER)
            else:
                generation.start(group)
                if self._retired and (self._tidying is None or self._tidying.done()):
                    self._tidying = group.create_task(self._tidy())
                return

    async def _tidy(self) -> None:
        """As long as attempts of earlier generations are under way: what they leave without a mailbox is settled."""
        while not self._stopping.is_set():
            busy = frozenset(canary_id for one in self._retired for canary_id in one.under_way)
            with suppress(LedgerUnwritable):  # the books said so; the next round tries again
                await self.generation.settle_homeless(busy)
                if not busy:
                    return
            await wait_for_event(self._clock, self._stopping, WRITE_AGAIN_AFTER)

    # Run and stop.

    async def _serve(self, stop: asyncio.Event) -> None:
        self.web = self._make_web()
        orders = {**self._orders.handlers, **self.tracing.handlers, **self.drills.handlers}
        orders["mark_false"] = self.detection.mark_false
        control = ControlSocket(self.config.control, orders)
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
        if options.tls_cert and options.tls_key:
            return WebServer(app, Certificate(options.tls_cert, options.tls_key, self._clock, self._journal))
        return WebServer(app)

    async def _loops(self, stop: asyncio.Event) -> None:
        run = self._supervisor.run
        async with asyncio.TaskGroup() as group:
            loops = self._upkeep.loops(self._stopping)
            loops.append(("heartbeat", lambda pulse: self.heart.run(self._stopping, pulse)))
            loops.append(("windows", lambda pulse: self._windows.run(self._stopping, pulse)))
            loops += self.detection.loops(self._stopping)
            upkeep = [group.create_task(run(name, loop)) for name, loop in loops]
            self.generation.start(group)
            self._group = group
            self._tell_ready()
            self._journal.ready()
            self.started.set()
            await stop.wait()
            self._notifier.stopping()
            self._journal.stopping("told to")
            self._stopping.set()
            async with self._reloading:  # one that is under way ends first, so that nothing starts behind our back
                await asyncio.gather(*(one.stop(DRAIN) for one in (self.generation, *self._retired)))
            if upkeep:
                await asyncio.wait(upkeep, timeout=DRAIN.total_seconds())
            for task in upkeep:
                task.cancel()
        try:
            await self.books.settle_debts()
        except LedgerUnwritable as problem:
            self._journal.ledger_unwritable(str(problem))

    def _tell_ready(self) -> None:
        self._notifier.ready(f"watching {len(self.watchers)} mailbox(es), {len(self.legs)} leg(s)")

    def _crashed(self, task: str) -> None:
        self.books.owe(counters.TASK_CRASHES, (task,))
