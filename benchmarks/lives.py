"""Whole lives of canaries as rows of the ledger, made by the code that makes them in the daemon, and no mail sent.

Steps go through ``life.apply``, counts through ``counters``, attempts through ``engine.submissions``: what comes out is
what a run would have written, for measurements that need a full ledger and not the way there.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta

from probe.canary import counters, life
from probe.canary import observations as seen
from probe.canary.coverage import Cursor
from probe.canary.identity import new_canary_id
from probe.canary.record import Canary, Deadlines, Leg
from probe.clock import Instant
from probe.engine.submissions import attempt_row, book, observation_of
from probe.ledger.batch import Batch, Copy
from probe.senders.base import Exchange, Result, Stage, Submission, SubmissionLabel

DEADLINES = Deadlines(timedelta(minutes=15), timedelta(hours=2), timedelta(days=1))
ANSWERED = timedelta(milliseconds=40)
_ADDRESS = "127.0.0.1:25"
_RECEIVED = (
    "from relay.lab.test (relay.lab.test [192.0.2.25]) by mx1.example.net (Postfix) with ESMTPS id 4XYZ0123 "
    "for <canary@example.net>; Tue, 24 Nov 2026 05:52:00 +0000 (UTC)",
    "from prober.lab.test (prober.lab.test [192.0.2.7]) by relay.lab.test (Postfix) with ESMTP id 4XYZ0122; "
    "Tue, 24 Nov 2026 05:51:59 +0000 (UTC)",
)
_PHASES = {
    Stage.CONNECT: 0.0004,
    Stage.BANNER: 0.0006,
    Stage.EHLO: 0.0007,
    Stage.MAIL: 0.0011,
    Stage.RCPT: 0.0021,
    Stage.DATA: 0.0009,
    Stage.DOT: 0.0187,
}


def leg_of(number: int, mailboxes: int) -> Leg:
    """The leg of route ``number``, as the sites of the measurements name it."""
    return Leg(f"route-{number:04}", "any", f"box{number % mailboxes}")


class Author:
    """Writes lives into ``batch``; ``uid`` numbers the copies of one mailbox."""

    def __init__(self, chance: random.Random, key: str = "k1") -> None:
        self.batch = Batch()
        self._chance = chance
        self._key = key
        self._uids: dict[str, int] = {}

    def take(self) -> Batch:
        """What was written since the last time."""
        batch, self.batch = self.batch, Batch()
        return batch

    def _step(self, before: Canary, observation: seen.Observation, at: Instant) -> Canary:
        move = life.apply(before, observation)
        self.batch.move(before, move, type(observation).__name__, at)
        for name, labels, by in counters.counts_of(before, move):
            self.batch.count(name, labels, by)
        return move.canary

    def intended(self, leg: Leg, sent: Instant) -> Canary:
        """An intent with its attempt."""
        canary = Canary(
            id=new_canary_id(self._chance.randbytes(8)),
            leg=leg,
            prober="bench",
            variant="plain",
            deadlines=DEADLINES,
            sent=sent,
            floors={"INBOX": Cursor(7, self._uids.get(leg.mailbox, 0) + 1)},
            key=self._key,
            mail_from="canary-probe@lab.test",
        )
        self.batch.attempt(attempt_row(canary, sent, f"{leg.mailbox}+{leg.route}@lab.test"))
        return self._step(canary, seen.Intended(sent), sent)

    def accepted(self, leg: Leg, sent: Instant) -> Canary:
        """Taken by the server, and in flight."""
        canary = self.intended(leg, sent)
        canary = self._step(canary, seen.DataStarted(sent), sent)
        return self._ended(canary, sent, accepted(sent + ANSWERED / 2))

    def _ended(self, canary: Canary, sent: Instant, submission: Submission) -> Canary:
        now = sent + ANSWERED
        book(self.batch, canary, submission, attempt_row(canary, sent, f"{canary.leg.mailbox}+r@lab.test"))
        return self._step(canary, observation_of(canary, submission, now, ()), now)

    def delivered(self, leg: Leg, sent: Instant, after: timedelta = timedelta(seconds=1)) -> Canary:
        """Arrived ``after`` its dot, with its copy."""
        canary = self.accepted(leg, sent)
        when = canary.zero + after
        self._uids[leg.mailbox] = uid = self._uids.get(leg.mailbox, 0) + 1
        place = Cursor(7, uid)
        carriers = ("header", "message_id", "subject")
        self.batch.copy(
            Copy(canary.id, leg.mailbox, "INBOX", "INBOX", place, when, when.utc, "first", carriers, _RECEIVED)
        )
        for carrier in carriers:
            self.batch.count(counters.CARRIERS, (*counters.leg_labels(leg), carrier))
        return self._step(canary, seen.Arrived(when + timedelta(milliseconds=-10), when, "INBOX"), when)

    def late(self, leg: Leg, sent: Instant) -> Canary:
        """After a quarter of an hour."""
        return self.delivered(leg, sent, timedelta(minutes=20))

    def overdue(self, canary: Canary) -> Canary:
        """Not there at its ``overdue_after``, and still in flight."""
        when = canary.overdue_at + timedelta(seconds=1)
        return self._step(canary, seen.WentOverdue(when), when)

    def lost(self, leg: Leg, sent: Instant) -> Canary:
        """Overdue, then proven to be absent."""
        canary = self.overdue(self.accepted(leg, sent))
        when = canary.lost_at + timedelta(seconds=1)
        return self._step(canary, seen.ProvenAbsent(when, "every number in INBOX was looked at and none was it"), when)

    def refused(self, leg: Leg, sent: Instant) -> Canary:
        """550 to RCPT."""
        line = Exchange(Stage.RCPT, "RCPT TO:<canary@lab.test>", 550, "5.1.1 no such user")
        label = SubmissionLabel.REFUSED_5XX
        return self._ended(
            self.intended(leg, sent),
            sent,
            Submission(Result.REFUSED, label, Stage.RCPT, code=550, reply=line.reply, dialogue=[line]),
        )

    def any_end(self) -> Callable[[Leg, Instant], Canary]:
        """One of them by chance: of 1,000, some 990 delivered."""
        drawn = self._chance.random()
        if drawn < 0.99:
            return self.delivered
        return self.late if drawn < 0.995 else self.lost if drawn < 0.998 else self.refused


def accepted(dot: Instant) -> Submission:
    """A submission of the healthy path with its dialogue, some 400 bytes of it as in real ones."""
    dialogue = [
        Exchange(Stage.BANNER, "", 220, "relay.lab.test ESMTP Postfix"),
        Exchange(Stage.EHLO, "EHLO prober.lab.test", 250, "relay.lab.test PIPELINING SIZE 10240000 8BITMIME DSN"),
        Exchange(Stage.MAIL, "MAIL FROM:<canary-probe@lab.test> SIZE=1234", 250, "2.1.0 Ok"),
        Exchange(Stage.RCPT, "RCPT TO:<canary@lab.test>", 250, "2.1.5 Ok"),
        Exchange(Stage.DATA, "DATA", 354, "End data with <CR><LF>.<CR><LF>"),
        Exchange(Stage.DOT, ".", 250, "2.0.0 Ok: queued as 4XYZ0123"),
    ]
    return Submission(
        Result.ACCEPTED,
        SubmissionLabel.ACCEPTED,
        Stage.DOT,
        code=250,
        enhanced="2.0.0",
        reply="2.0.0 Ok: queued as 4XYZ0123",
        queued_as="4XYZ0123",
        clock_started=dot,
        dot_at=dot,
        address=_ADDRESS,
        phases=_PHASES,
        dialogue=dialogue,
    )
