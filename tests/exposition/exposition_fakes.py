"""An engine that stands still: a real ledger with a few lives in it, and a snapshot to match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from probe.canary import observations as seen
from probe.canary.counters import counts_of
from probe.canary.coverage import Cursor
from probe.canary.life import apply
from probe.canary.record import Canary, Deadlines, Leg, State
from probe.clock import Instant
from probe.exposition.live import DetectorView, Exemplars, LegView, MailboxView, Peer, Snapshot, WindowView
from probe.ledger.batch import Attempt, Batch, Copy
from probe.ledger.queries import Queries
from probe.ledger.store import Ledger
from probe.ledger.totals import Totals

START = Instant(1_764_000_000_000_000_000, 5_000_000_000, "boot")
LEG = Leg("inbound", "mx1.example.org", "support")
EVIL = '<script>alert("x")</script>\x1b[31m\u202e'
DEADLINES = Deadlines(timedelta(seconds=45), timedelta(minutes=10), timedelta(hours=72))
TOKEN = "abcdefgh" * 7 + "abcdefg"
IDS = ("aaaaaaaaaaaa2", "aaaaaaaaaaab2", "bbbbbbbbbbbb2", "cccccccccccc2")


def at(seconds: float) -> Instant:
    return START + timedelta(seconds=seconds)


class StillClock:
    """A clock that a test sets."""

    def __init__(self, instant: Instant = START) -> None:
        self.instant = instant

    def now(self) -> Instant:
        return self.instant

    async def sleep(self, duration: timedelta) -> None:
        self.instant += duration


def leg_view(leg: Leg = LEG, *, in_flight: int = 0, overdue_now: int = 0) -> LegView:
    return LegView(
        leg=leg,
        variants=("plain",),
        every=timedelta(seconds=60),
        overdue_after=DEADLINES.overdue_after,
        lost_after=DEADLINES.lost_after,
        in_flight=in_flight,
        overdue_now=overdue_now,
        oldest_outstanding=0.0,
        last_sent=0.0,
        last_delivery=0.0,
        last_slot=1_764_000_000.0,
        latency_uncertainty=0.0,
        detector=DetectorView((0.0, 5.0), (0.0, 7.0), 20.0, 0.002, 0.01, 0.01, False, ((3, 0), (6, 0))),
        windows=(WindowView("1h", 60, 2, 1, 3, 50, 0.0005, 0.1065), WindowView("6h", 0, 0, 0, 0, 0, 0.0, 1.0)),
    )


def snapshot(*legs: LegView, blind: bool = False) -> Snapshot:
    return Snapshot(
        taken=at(900),
        started=START,
        prober="prober-1",
        legs=legs or (leg_view(),),
        mailboxes=[
            MailboxView(
                *("support", ("INBOX",), blind, 1_764_000_100.0 if blind else 0.0, EVIL, 1_764_000_000.0, 7),
                control_seen=1_764_000_050.0,
            )
        ],
        peers=[Peer("relay", "any", True, 1_800_000_000.0), Peer("support", "", False, 0.0)],
        not_ready=(),
        stalled=(),
        ledger_writable=True,
        scheduler_lag=0.0,
        clock_offset=0.0,
        tasks=("schedule", "watch"),
    )


class Story:
    """Writes lives into a ledger as the engine does: every move by ``apply``, every count by ``counts_of``."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.batch = Batch()

    def step(self, canary: Canary, observation: seen.Observation, when: Instant) -> Canary:
        move = apply(canary, observation)
        self.batch.move(canary, move, type(observation).__name__, when)
        for name, labels, by in counts_of(canary, move):
            self.batch.count(name, labels, by)
        return move.canary

    def accepted(self, canary_id: str, second: float, leg: Leg = LEG) -> Canary:
        new = Canary(canary_id, leg, "prober-1", "plain", DEADLINES, at(second))
        canary = self.step(new, seen.Intended(at(second)), at(second))
        self.batch.attempt(
            Attempt(
                canary=canary_id,
                attempt=1,
                started=at(second),
                route=leg.route,
                mx=leg.mx,
                recipient="canary@example.org",
                result="accepted",
                stage="dot",
                code=250,
                detail="250 to the final dot",
                address="192.0.2.1:25",
                tls="TLSv1.3",
                phases={"connect": 0.01, "dot": 0.2},
                dialogue=[
                    ["mail", f"MAIL FROM:<c+{TOKEN}@example.org>", 250, EVIL],
                    ["dot", ".", 250, "queued as 4XYZ"],
                ],
            )
        )
        canary = self.step(canary, seen.DataStarted(at(second)), at(second))
        accepted = seen.SendAccepted(at(second + 0.2), at(second + 0.1), at(second + 0.1), "4XYZ", "250 queued as 4XYZ")
        return self.step(canary, accepted, at(second + 0.2))

    def arrived(self, canary: Canary, second: float) -> Canary:
        done = self.step(canary, seen.Arrived(at(second - 0.01), at(second), "INBOX"), at(second))
        self.batch.copy(
            Copy(
                canary=canary.id,
                mailbox="support",
                folder="INBOX",
                name="INBOX",
                cursor=Cursor(1, int(second) + 1),
                seen=at(second),
                mailbox_time=None,
                kind="first",
                carriers=("header", "body"),
                received=[f"from {EVIL} by mx1.example.org; Mon, 24 Nov 2025 16:00:00 +0000"],
            )
        )
        return done

    async def write(self) -> None:
        await self._ledger.commit(self.batch)
        self.batch = Batch()


class StillLive:
    """``Live`` over a ledger; the snapshot is whatever a test puts there."""

    def __init__(self, ledger: Ledger, view: Snapshot) -> None:
        self.ledger = ledger
        self.view = view
        self.canaries: Sequence[Canary] = ()
        self.shown: Exemplars = {}

    @property
    def queries(self) -> Queries:
        return self.ledger.queries

    @property
    def totals(self) -> Totals:
        return self.ledger.totals

    @property
    def created_at(self) -> int:
        return self.ledger.created_at

    def snapshot(self) -> Snapshot:
        return self.view

    def in_flight(self) -> Sequence[Canary]:
        return self.canaries

    def exemplars(self) -> Exemplars:
        return self.shown


async def four_lives(path: Path) -> StillLive:
    """Delivered, lost then recovered, late, and one in flight and overdue; two ids share a beginning."""
    ledger = Ledger(path, StillClock())
    story = Story(ledger)
    story.arrived(story.accepted(IDS[0], 0), 3.2)
    lost = story.accepted(IDS[1], 60)
    lost = story.step(lost, seen.ProvenAbsent(at(700), "every folder read; no gap"), at(700))
    assert lost.state is State.LOST
    story.arrived(lost, 800)
    story.arrived(story.accepted(IDS[2], 120), 200)
    waiting = story.accepted(IDS[3], 800)
    story.step(waiting, seen.WentOverdue(at(850)), at(850))
    await story.write()
    view = replace(snapshot(leg_view(in_flight=1, overdue_now=1)), notes=(f"a note {EVIL}",))
    return StillLive(ledger, view)
