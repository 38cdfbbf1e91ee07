"""What one configuration brings to life: its senders, watchers and legs. A reload makes the next generation.

The books, the caps and the ledger outlive generations. Attempts that are under way when a generation retires go on to
their end in the same books; whatever they leave deferred goes to the next generation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Any

from probe.canary import observations as seen
from probe.canary.identity import Keyring
from probe.canary.record import Canary, State
from probe.clock import Instant
from probe.config.model import Config
from probe.engine.arrivals import Arrivals
from probe.engine.control_record import Scheme
from probe.engine.controlling import Control
from probe.engine.expecting import expectations
from probe.engine.flying import Outline
from probe.engine.legs import Legs, Means
from probe.engine.reports import BounceReads, Reports
from probe.engine.sending import LegSender
from probe.engine.waiting import WAITED_FOR
from probe.engine.watching import Watcher
from probe.errors import Breach, ConfigError, IllegalMove, LedgerUnwritable
from probe.ledger.batch import Batch
from probe.senders.base import Sender, SoFar


class Generation:
    """Opens what ``config`` names. Raises ConfigError where an option cannot be used (a certificate is unreadable)."""

    def __init__(self, config: Config, means: Means, dots: Callable[[Canary], Instant | None]) -> None:
        self.config = config
        self._means = means
        self._dots = dots
        self._keyring = Keyring(config.keys)
        self._threads: dict[str, ThreadPoolExecutor] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._tail: set[asyncio.Task[None]] = set()
        self.ending = asyncio.Event()
        self.senders: dict[str, Sender] = {
            name: options.open(name, means.clock) for name, options in config.senders.items()
        }
        self._known = dict(expectations(config.prober, config.routes.values(), means.books.in_flight.outlines()))
        self.watchers: dict[str, Watcher] = {}
        self._bounce_reads = BounceReads(config.routes, self.watchers.get)
        self.watchers |= {name: self._make_watcher(name) for name in config.mailboxes}
        for route in config.routes.values():
            if route.bounces is not None and route.bounces != route.mailbox:
                self.watchers[route.bounces].readers.append(self.watchers[route.mailbox].rouse)
        self._legs = Legs(config, means, self._keyring, self.senders, self.watchers, self.ending)
        self.legs: list[LegSender] = []

    def _make_watcher(self, name: str) -> Watcher:
        means = self._means
        control = Control(
            Scheme.of(self.config.prober, name, self.config.mailboxes[name]),
            books=means.books,
            clock=means.clock,
            journal=means.journal,
            keyring=self._keyring,
            chance=means.chance,
        )
        arrivals = Arrivals(
            name,
            keyring=self._keyring,
            known=self._known,
            books=means.books,
            clock=means.clock,
            journal=means.journal,
            dots=self._dots,
            control=control,
        )
        reports = Reports(
            name,
            keyring=self._keyring,
            known=self._known,
            books=means.books,
            clock=means.clock,
            journal=means.journal,
            arrivals=arrivals,
        )
        receives = any(route.bounces == name for route in self.config.routes.values())
        return Watcher(
            name,
            self.config.mailboxes[name],
            books=means.books,
            arrivals=arrivals,
            reports=reports if receives else None,
            bounce_reads=self._bounce_reads,
            clock=means.clock,
            journal=means.journal,
            call=self._caller(name),
            stopping=self.ending,
            chance=means.chance,
            pace=means.pace,
            keyring=self._keyring,
            control=control,
        )

    def _caller(self, name: str) -> Callable[..., Awaitable[Any]]:
        """Runs a mailbox's blocking calls: one thread a mailbox, so that its calls never overlap."""
        if self._means.inline:

            async def inline(function: Callable[..., Any], *arguments: Any) -> Any:
                return function(*arguments)

            return inline
        threads = self._threads[name] = ThreadPoolExecutor(1, thread_name_prefix=f"mailbox-{name}")

        async def call(function: Callable[..., Any], *arguments: Any) -> Any:
            return await asyncio.get_running_loop().run_in_executor(threads, function, *arguments)

        return call

    # Start.

    def check_keys(self) -> None:
        """Rule 4: without the key that signed them, canaries in flight could not be recognised. Raises ConfigError."""
        configured = {key.id for key in self.config.keys}
        missing = sorted({canary.key for canary in self._means.books.in_flight.outlines()} - configured - {""})
        if missing:
            names = ", ".join(missing)
            rule = f"key {names} has signed canaries that are in flight: keep it in the list until they have ended"
            raise ConfigError("configuration", [Breach("keys", 0, rule)])

    async def make_legs(self) -> None:
        """One leg for each MX host of each route. Nothing is sent yet."""
        self.legs = await self._legs.make()

    async def take_over(self, under_way: Iterable[str] = ()) -> None:
        """What was there before: canaries in flight (rule 4) and watermarks.
        ``under_way``: canaries that an earlier generation is still handing over."""
        means = self._means
        await self._settle_left_behind(means.clock.now(), frozenset(under_way))
        queries = means.books.ledger.queries
        in_flight: dict[str, list[Outline]] = {name: [] for name in self.watchers}
        for canary in means.books.in_flight.outlines():
            if canary.leg.mailbox in in_flight:
                in_flight[canary.leg.mailbox].append(canary)
        for name, watcher in self.watchers.items():
            watcher.load(queries, in_flight[name])

    async def _settle_left_behind(self, now: Instant, under_way: frozenset[str]) -> None:
        books, legs = self._means.books, {one.leg for one in self.legs}
        batch = Batch()
        steps = []
        for outline in list(books.in_flight.outlines()):
            homeless = outline.leg.mailbox not in self.config.mailboxes
            if outline.id in under_way or (outline.state in WAITED_FOR and not homeless):
                continue
            canary = books.in_flight[outline.id]
            if homeless:
                steps.append(books.step(canary, seen.MailboxRemoved(now), batch))
                continue
            if canary.state in (State.INTENT, State.DATA_STARTED):
                step = books.step(canary, seen.Restarted(now), batch)
                steps.append(step)
                canary = step.move.canary
            if canary.state is State.DEFERRED and canary.leg not in legs:
                steps.append(books.step(canary, seen.SenderRemoved(now), batch))
        if steps:
            await books.commit(batch, steps)

    def start(self, group: asyncio.TaskGroup) -> None:
        """Run the loops, and go on with what is deferred."""
        run = self._means.supervisor.run
        loops = [(f"watch:{name}", one.run) for name, one in self.watchers.items()]
        loops.append(("dns", self._legs.follow))
        for watcher in self.watchers.values():
            watcher.control.begin()
        self._tasks = [group.create_task(run(name, loop)) for name, loop in loops]
        self._legs.start(group)
        for outline in list(self._means.books.in_flight.outlines()):
            if outline.state is State.DEFERRED:
                self.resume(self._means.books.in_flight[outline.id])

    def resume(self, canary: Canary) -> None:
        """Go on with a canary where it is deferred; its leg may be gone."""
        if canary.state is not State.DEFERRED:
            return
        leg = next((one for one in self.legs if one.leg == canary.leg), None)
        if leg is not None:
            leg.resume(canary)
            return
        task = asyncio.get_running_loop().create_task(self._sender_gone(canary.id))
        self._tail.add(task)
        task.add_done_callback(self._tail.discard)

    async def _sender_gone(self, canary_id: str) -> None:
        """Rule 4, for a canary that came back deferred to an earlier generation."""
        while True:
            try:
                await self._means.books.observe(canary_id, seen.SenderRemoved(self._means.clock.now()))
            except LedgerUnwritable:
                await self._means.clock.sleep(timedelta(seconds=1))
            except IllegalMove:
                return  # it arrived meanwhile
            else:
                return

    async def settle_homeless(self, busy: frozenset[str]) -> None:
        """Rule 4, for canaries that were under way when their mailbox was reloaded away, once they are not ``busy`` any
        more: nobody watches for them. Raises LedgerUnwritable."""
        books, now = self._means.books, self._means.clock.now()
        for canary in list(books.in_flight.outlines()):
            if canary.leg.mailbox not in self.config.mailboxes and canary.id not in busy:
                with suppress(IllegalMove):  # it has ended meanwhile
                    await books.observe(canary.id, seen.MailboxRemoved(now))

    # End.

    @property
    def under_way(self) -> frozenset[str]:
        """Canaries with an attempt of this generation under way."""
        return frozenset(canary_id for one in self.legs for canary_id in one.attempts.in_hand)

    async def retire(self) -> None:
        """End the schedule and the watching; attempts under way go on."""
        await asyncio.wait(self._end())
        self.close_watchers()

    def _end(self) -> list[asyncio.Task[None]]:
        """Tell every loop; those to wait for."""
        self.ending.set()
        for one in self.legs:
            one.retire()
        return [*self._tasks, *self._legs.tasks]

    def close_watchers(self) -> None:
        for watcher in self.watchers.values():
            watcher.unfollow()
        for threads in self._threads.values():
            threads.shutdown(wait=False, cancel_futures=True)

    async def stop(self, patience: timedelta) -> None:
        """The second step of a stop: attempts under way get ``patience`` to hear the server's answer."""
        loops = self._end()
        await asyncio.gather(*(one.drain(patience) for one in self.legs))
        if loops:
            await asyncio.wait(loops, timeout=patience.total_seconds())
        for task in loops:
            task.cancel()

    def dot_of(self, canary: Canary) -> Instant | None:
        """When the last dot of a canary's attempt went out, while its answer is awaited."""
        if canary.state is not State.DATA_STARTED:  # a look at every leg costs as much as the rest of an arrival
            return None
        return next((one.attempts.dots[canary.id] for one in self.legs if canary.id in one.attempts.dots), None)

    def so_far(self, canary: Canary) -> SoFar | None:
        """Where an attempt under way stands."""
        return next((one.attempts.so_far(canary.id) for one in self.legs if canary.id in one.attempts.in_hand), None)


def apart(old: Config, new: Config) -> tuple[str, ...]:
    """Names of the options that only a restart can change and that differ."""
    fixed: Mapping[str, Callable[[Config], Any]] = {
        "ledger": lambda config: config.ledger,
        "listen": lambda config: config.listen,
        "control": lambda config: config.control,
        "prober": lambda config: config.prober,
        "web": lambda config: config.web,
    }
    return tuple(name for name, value in fixed.items() if value(old) != value(new))
