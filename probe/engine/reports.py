"""Delivery reports in the mailboxes that ``bounces:`` names: whose they are, what they mean, and whether all were read.

A report may lie in another mailbox than its canary's. Only a canary's own watcher holds it for long; here it is held
alone, for one commit of its own, with no question to a mailbox meanwhile: two watchers that held each other's canaries
would wait for ever. That commit comes before the one that moves the cursor. A crash between them means that the report
is found again, and its place is in the ledger already.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from probe.canary import counters
from probe.canary import observations as seen
from probe.canary.coverage import Cursor
from probe.canary.identity import Keyring
from probe.canary.record import Canary
from probe.clock import Clock, Instant
from probe.config.model import Route
from probe.engine.arrivals import Arrivals, Body, Place
from probe.engine.books import Books, Step
from probe.errors import IllegalMove
from probe.exposition.journal import Journal
from probe.ledger.batch import Batch, Copy
from probe.ledger.queries import REPORT
from probe.mailboxes.base import Message
from probe.message.bounce import BOUNCE_CAP, Bounce, BounceKind, may_be_report, recognise_bounce
from probe.message.recognise import Kind, RouteExpectation

STRANGERS_A_READ = 100  # reports that are not about canaries; a flood of them must not cost a fetch each

_FOREIGN = {
    BounceKind.FORGED: "forged",
    BounceKind.EXPIRED: "expired",
    BounceKind.UNPARSABLE: "unparsable",
    BounceKind.OTHER: "reply",
}


@dataclass(frozen=True, slots=True)
class Report:
    """A report and where it lies."""

    place: Place
    message: Message
    bounce: Bounce


class Reports:
    """Takes the reports of one mailbox to the books."""

    def __init__(
        self,
        mailbox: str,
        *,
        keyring: Keyring,
        known: Mapping[bytes, RouteExpectation],
        books: Books,
        clock: Clock,
        journal: Journal,
        arrivals: Arrivals,
    ) -> None:
        self.mailbox = mailbox
        self._keyring = keyring
        self._known = known
        self._books = books
        self._clock = clock
        self._journal = journal
        self._arrivals = arrivals

    async def find(self, place: Place, messages: Sequence[Message], body: Body) -> list[Report]:
        """The reports about canaries among these messages; mail that cannot be one costs no fetch. Raises
        MailboxError."""
        found: list[Report] = []
        strangers = STRANGERS_A_READ
        for message in messages:
            if strangers <= 0 or not may_be_report(message.header):
                continue
            if self._arrivals.recognise(message.header).kind is Kind.ARRIVAL:
                continue  # a canary, however it is dressed up
            raw = await body(place.name, place.epoch, message.uid, BOUNCE_CAP)
            now_ms = self._clock.now().wall // 1_000_000
            bounce = recognise_bounce(raw, keyring=self._keyring, now_ms=now_ms, known=self._known)
            if bounce.kind in (BounceKind.NOT_OURS, BounceKind.OTHER_PROBER):
                strangers -= 1
            else:
                found.append(Report(place, message, bounce))
        return found

    async def take(self, reports: Sequence[Report], arriving: Collection[str], batch: Batch) -> list[Report]:
        """Make what these say durable, each with a commit of its own; what is only counted goes into ``batch``. Gives
        back those about canaries in ``arriving``, for ``join``. Raises LedgerUnwritable."""
        later: list[Report] = []
        for report in reports:
            canary_id = report.bounce.canary_id
            if report.bounce.kind in _FOREIGN or canary_id is None:
                self._disbelieve(batch, _FOREIGN.get(report.bounce.kind, "forged"), report.bounce.sentence)
            elif canary_id in arriving:
                later.append(report)
            else:
                async with self._books.holding([canary_id]):
                    own = Batch()
                    steps = self._steps(report, self._books.find(canary_id), own, batch)
                    if own:
                        await self._books.commit(own, steps)
        return later

    def join(self, reports: Sequence[Report], arrivals: Sequence[Step], batch: Batch) -> list[Step]:
        """The steps of reports about canaries that arrive by the same commit, after their arrival, into ``batch``. The
        caller holds these canaries."""
        steps: list[Step] = []
        for report in reports:
            canary = self._books.find(report.bounce.canary_id or "")
            for step in (*arrivals, *steps):
                if step.move.canary.id == report.bounce.canary_id:
                    canary = step.move.canary
            steps += self._steps(report, canary, batch, batch)
        return steps

    def _steps(self, report: Report, canary: Canary | None, batch: Batch, counts: Batch) -> list[Step]:
        bounce, place = report.bounce, report.place
        if canary is None:
            self._disbelieve(counts, "no_ledger_row", f"{bounce.canary_id}: signed by us, not in this ledger")
            return []
        if canary.state.terminal and self._clock.now().since(canary.watched_until) > timedelta(0):
            self._disbelieve(counts, "expired", f"a report about {canary.id}: its watch is over")
            return []
        known = self._books.ledger.queries.reports(canary.id)
        here = [(r.epoch, r.uid) for r in known if (r.mailbox, r.name) == (self.mailbox, place.name)]
        if (place.epoch, report.message.uid) in here:
            return []  # the same report, read again
        older = [epoch for epoch, _ in here if epoch != place.epoch]
        if len(older) > len(here) - len(older):
            batch.copy(self._row(report, canary))  # the numbers changed, not the mail
            return []
        try:
            step = self._books.step(canary, self._observation(bounce), batch)
        except IllegalMove:
            return []  # planned, not sent: nothing true can have been said of it
        batch.copy(self._row(report, canary))
        return [step]

    def _observation(self, bounce: Bounce) -> seen.Observation:
        now = self._clock.now()
        if bounce.kind is BounceKind.DELAYED:
            return seen.DelayReported(now, bounce.status, bounce.sentence)
        return seen.Bounced(now, bounce.status, bounce.sentence)

    def _row(self, report: Report, canary: Canary) -> Copy:
        bounce, place = report.bounce, report.place
        said = {
            "Action": "" if bounce.action is None else bounce.action.value,
            "Status": bounce.status,
            "Diagnostic-Code": bounce.diagnostic,
            "Reporting-MTA": bounce.reporting_mta,
            "Remote-MTA": bounce.remote_mta,
        }
        return Copy(
            canary=canary.id,
            mailbox=self.mailbox,
            folder=place.folder,
            name=place.name,
            cursor=Cursor(place.epoch, report.message.uid),
            seen=place.seen,
            mailbox_time=report.message.arrived,
            kind=REPORT,
            carriers=sorted(matched.value for matched in bounce.matched),
            received=[f"{name}: {value}" for name, value in said.items() if value],
        )

    def _disbelieve(self, batch: Batch, kind: str, sentence: str) -> None:
        batch.count(counters.FOREIGN, (self.mailbox, kind))
        self._journal.not_believed(self.mailbox, kind, sentence)


class Reader(Protocol):
    """The watcher of a mailbox that receives reports."""

    name: str

    def covered_since(self) -> Instant | None: ...
    def want_read(self) -> None: ...


class BounceReads:
    """Whether the mailbox that receives a canary's reports was read since its deadline (rule 3).

    Which one that is says the configuration of its route; once the route is removed, or names none, the proof does
    without.
    """

    def __init__(self, routes: Mapping[str, Route], reader: Callable[[str], Reader | None]) -> None:
        self._mailboxes = {name: route.bounces for name, route in routes.items() if route.bounces is not None}
        self._reader = reader

    def of(self, canary: Canary) -> Reader | None:
        """The watcher of the other mailbox whose read the proof needs; None where it needs no other."""
        name = self._mailboxes.get(canary.leg.route)
        return None if name is None or name == canary.leg.mailbox else self._reader(name)

    def ask(self, canary: Canary) -> bool:
        """Have that mailbox read where it was not yet; False where nothing is missing."""
        reader = self.of(canary)
        if reader is None or not self.unread(canary):
            return False
        reader.want_read()
        return True

    def unread(self, canary: Canary) -> str:
        """Why its reports may not have been seen yet, or ""."""
        reader = self.of(canary)
        if reader is None:
            return ""
        covered = reader.covered_since()
        if covered is not None and covered.since(canary.lost_at) > timedelta(0):
            return ""
        return f"mailbox {reader.name}, where its bounces arrive, was not read completely since the deadline"
