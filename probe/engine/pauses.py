"""Pauses: routes that send nothing for a while, by an operator's word. Durable, so that a restart does not end them.

Watching and judging go on: what was sent before a pause has its outcome as ever.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from probe.clock import Instant
from probe.engine.books import Books
from probe.errors import LedgerError
from probe.ledger.batch import Batch

KEY = "pauses"  # of the ledger's ``meta``
EVERY = "*"  # as a route: all of them, those of later configurations too


@dataclass(frozen=True, slots=True)
class Pause:
    """``until``: wall ns, or None for until it is resumed."""

    route: str
    since: int
    until: int | None
    reason: str

    def sentence(self) -> str:
        """For people."""
        what = "every route" if self.route == EVERY else f"route {self.route}"
        end = "until it is resumed" if self.until is None else f"until {Instant(self.until, 0, '').isoformat()}"
        return f"{what} is paused {end}" + (f": {self.reason}" if self.reason else "")


class Pauses:
    """The pauses in force, by route."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._by_route = _parsed(books.ledger.queries.meta(KEY))

    def of(self, route: str, now: Instant) -> Pause | None:
        """The pause that holds ``route`` back, if any."""
        for name in (EVERY, route):
            pause = self._by_route.get(name)
            if pause is not None and (pause.until is None or now.wall < pause.until):
                return pause
        return None

    def all(self, now: Instant) -> list[Pause]:
        """Those in force."""
        return [pause for name, pause in sorted(self._by_route.items()) if self.of(name, now) is not None]

    async def begin(self, pause: Pause) -> None:
        """Durable when it returns. Raises LedgerUnwritable: then nothing is paused."""
        await self._write({**self._by_route, pause.route: pause}, pause.since, "paused", pause.sentence())

    async def end(self, route: str, now: Instant) -> bool:
        """Whether there was a pause of ``route`` (EVERY: of any) to end."""
        left = {name: pause for name, pause in self._by_route.items() if route not in (EVERY, name)}
        if len(left) == len(self._by_route):
            return False
        await self._write(left, now.wall, "resumed", "every route" if route == EVERY else f"route {route}")
        return True

    async def _write(self, pauses: Mapping[str, Pause], at: int, kind: str, detail: str) -> None:
        batch = Batch()
        batch.note(KEY, json.dumps([asdict(pause) for pause in pauses.values()]))
        batch.event(Instant(at, 0, ""), kind, detail)
        await self._books.commit(batch)
        self._by_route = dict(pauses)


def _parsed(text: str | None) -> dict[str, Pause]:
    try:
        return {one["route"]: Pause(**one) for one in json.loads(text or "[]")}
    except (ValueError, TypeError, KeyError) as problem:
        # To send although somebody stopped the sending would be worse than not to start.
        raise LedgerError(f"the ledger's pauses cannot be read: {problem}") from problem
