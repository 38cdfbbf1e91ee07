"""What may be asked of a prober in a proof: its ledger, its HTTP side, and whether both keep to the rules.

Read-only, by the same ways as the commands and a scraper; nothing here looks into the daemon's memory.
"""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from probe.canary.identity import Keyring
from probe.canary.record import Canary
from probe.config.load import load
from probe.engine.daemon import Daemon
from probe.ledger.opening import open_for_reading
from probe.ledger.queries import Filter, Life, Queries
from tests.worlds.dovecot import Dovecot
from tests.worlds.postfix import Postfix

PATIENCE = 25.0  # seconds: an upper bound for a hang, never a statement about time
ALL = Filter(limit=100_000)


async def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Poll ``condition`` (plain or async) until it gives something true, and return that; AssertionError otherwise."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:g} s")
        await asyncio.sleep(0.02)


class Asking:
    """The questions; ``Prober`` is what they are asked of."""

    tree: dict[str, Any]
    postfix: Postfix
    dovecot: Dovecot
    excused: set[str]
    stream: io.StringIO
    daemon: Daemon | None
    _queries: Queries | None = None

    async def until(self, condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
        """As the module's ``until``; a failure shows the canaries and the end of the journal."""
        try:
            return await until(condition, what, seconds)
        except AssertionError as failure:
            lines = self.stream.getvalue().splitlines()[-40:]
            known = [f"{each.leg.route} {each.id} {each.state}: {each.reason}" for each in self.canaries()]
            raise AssertionError("\n".join([str(failure), *known, *lines])) from None

    @property
    def queries(self) -> Queries:
        """The ledger's questions, read-only as the commands ask them: daemon up or down, once it has run."""
        if self._queries is None:
            self._queries = Queries(open_for_reading(Path(self.tree["ledger"])))
        return self._queries

    def _close_queries(self) -> None:
        if self._queries is not None:
            self._queries.close()
            self._queries = None

    def canaries(self, route: str | None = None) -> list[Canary]:
        """Oldest first."""
        found = self.queries.canaries(ALL)
        return [canary for canary in reversed(found) if route in (None, canary.leg.route)]

    def canary(self, canary_id: str) -> Canary:
        found = self.queries.canary(canary_id)
        assert found is not None, canary_id
        return found

    def life(self, canary_id: str) -> Life:
        found = self.queries.life(canary_id)
        assert found is not None, canary_id
        return found

    def tag(self, canary_id: str) -> bytes:
        """What every message of the canary carries in its subject."""
        return Keyring(load(self.write()).keys).tag(canary_id).encode()

    def outcomes(self, route: str | None = None) -> Counter[str]:
        """How many canaries are in which state, those in flight too."""
        return Counter(canary.state.value for canary in self.canaries(route))

    def total(self, name: str, *labels: str) -> float:
        """A running total of the ledger over all series whose labels hold every one of ``labels``."""
        totals = self.queries.totals()
        return sum(value for (key, values), value in totals.items() if key == name and set(labels) <= set(values))

    # The HTTP side.

    async def get(self, path: str) -> str:
        url = f"http://{self.tree['listen']}{path}"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            assert answer.status == 200, f"{path}: {answer.status}"
            return await answer.text()

    async def api(self, path: str) -> Any:
        """JSON under /api."""
        return json.loads(await self.get(f"/api{path}"))

    async def metrics(self) -> Metrics:
        """A scrape."""
        return Metrics(await self.get("/metrics"))

    # What must be true after every story.

    async def check(self) -> None:
        """The books balance, ``/metrics`` says the same, no loop crashed, and nothing that the mail server delivered
        before the verdict is called lost."""
        if self.daemon is not None:
            await self._check_metrics()
        else:
            self._check_ledger()
        assert self.queries.balance() == 0
        assert self.total("task_crashes") == 0, self.stream.getvalue()
        assert self.false_losses() == []

    def _check_ledger(self) -> None:
        """sent = outcomes + in flight, counted from the rows and from the totals."""
        canaries = self.canaries()
        ended = Counter(canary.state.value for canary in canaries if canary.state.terminal)
        assert sum(ended.values()) + sum(canary.state.in_flight for canary in canaries) == len(canaries)
        assert self.total("sent") == len(canaries)
        assert self.total("outcomes") == sum(ended.values())
        assert all(self.total("outcomes", outcome) == count for outcome, count in ended.items())

    async def _check_metrics(self) -> None:
        async def same() -> bool:
            scrape, canaries = await self.metrics(), self.canaries()
            states = Counter((each.leg.route, each.state.value) for each in canaries if each.state.terminal)
            flying = Counter(each.leg.route for each in canaries if each.state.in_flight)
            return (
                scrape.sum("sent_total") == len(canaries)
                and scrape.sum("ledger_imbalance") == 0
                and scrape.sum("outcomes_total") == sum(states.values())
                and all(scrape.sum("outcomes_total", route=r, outcome=o) == n for (r, o), n in states.items())
                and all(scrape.sum("in_flight", route=route) == flying[route] for route in self.tree["routes"])
            )

        await self.until(same, "/metrics says what the ledger says")

    def false_losses(self) -> list[str]:
        """Lost canaries that lay in the mailbox before the verdict, by the mail servers' own logs."""
        found = [each for each in self.canaries() if each.state.value == "lost" and each.id not in self.excused]
        lost = {canary.queued_as: canary for canary in found}
        if not lost:
            return []
        ids = {each.message_id: lost[each.queue_id] for each in self.postfix.deliveries() if each.queue_id in lost}
        return [
            f"{ids[each.message_id].id}: stored {each.at}, judged {ids[each.message_id].settled}"
            for each in self.dovecot.saved()
            if each.message_id in ids and each.at <= _settled(ids[each.message_id])
        ]

    def stored_at(self, canary_id: str) -> datetime | None:
        """When Dovecot stored the canary, by its own log; None where it did not."""
        queued = self.canary(canary_id).queued_as
        ids = {each.message_id for each in self.postfix.deliveries() if each.queue_id == queued}
        return next((each.at for each in self.dovecot.saved() if each.message_id in ids), None)


def _settled(canary: Canary) -> datetime:
    assert canary.settled is not None
    return canary.settled.utc


class Metrics:
    """One scrape, by sample name without the prefix."""

    def __init__(self, text: str) -> None:
        self.samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def sum(self, name: str, **labels: str) -> float:
        """Over every series of ``mailcanary_<name>`` with these labels; it must exist."""
        found = [each for each in self.samples if each.name == f"mailcanary_{name}"]
        assert found, f"no metric {name}"
        return sum(each.value for each in found if labels.items() <= each.labels.items())
