"""The mail path of a history: what becomes of each attempt, by the faults that are at work just then."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from datetime import timedelta

from probe.senders.base import BeforeData, ContentSent, Result, Stage, Submission, SubmissionLabel
from tests.engine.bounces import report
from tests.engine.fakes import FakeSender, Handed, taken
from tests.nemesis.faults import Fault
from tests.nemesis.history import Recorder, identity
from tests.nemesis.mail import ASTRAY, Box

STALL = 40.0
ANSWERS = {
    "defer": (Result.DEFERRED, SubmissionLabel.REFUSED_4XX, 451),
    "refuse": (Result.REFUSED, SubmissionLabel.REFUSED_5XX, 550),
}


class Path:
    """One sender's server and what lies behind it. ``active``: the faults at work; ``dead``: the prober is no more."""

    def __init__(self, name: str, seed: int, recorder: Recorder, mxs: tuple[str, ...]) -> None:
        self.name = name
        self.active: list[Fault] = []
        self.dead: Callable[[], bool] = lambda: False
        self.boxes: dict[str, tuple[Box, Box | None]] = {}  # by recipient: where mail goes, and where reports go
        self._seed = seed
        self._record = recorder
        self._mxs = mxs
        self._count = 0

    async def way(self, sender: FakeSender, one: Handed, before: BeforeData, sent: ContentSent) -> Submission:
        """One attempt, recorded; the content is never sent after the prober has died."""
        named = identity(one.message)
        assert named is not None
        self._count += 1
        number, (canary, attempt) = self._count, named
        self._record(
            "handed", n=number, canary=canary, attempt=attempt, mx=one.mx, rcpt=one.envelope.rcpt_to, path=self.name
        )
        chance = random.Random(f"{self._seed} {canary} {attempt}")
        struck = {
            fault.kind: fault
            for fault in self.active
            if (fault.of < 0.4 or self._mxs[int(fault.draw * len(self._mxs))] == one.mx)
            and chance.random() < fault.share
        }
        answer = await self._session(one, before, sent, struck, chance, number)
        self._record("answer", n=number, path=self.name, canary=canary, attempt=attempt, result=answer.result.value)
        return answer

    async def _session(
        self,
        one: Handed,
        before: BeforeData,
        sent: ContentSent,
        struck: Mapping[str, Fault],
        chance: random.Random,
        number: int,
    ) -> Submission:
        clock = self._record.clock
        await clock.sleep(timedelta(seconds=chance.choice((0.0, 0.001, 0.05))))
        if "connect" in struck or "dns" in struck:
            reason, label = ("dns_temp", SubmissionLabel.DNS_ERROR)
            if "connect" in struck:
                reason, label = ("connect", SubmissionLabel.CONNECT_ERROR)
            return Submission(Result.UNSENT, label, Stage.CONNECT, reason=reason, detail="no connection")
        if "stall" in struck:
            await clock.sleep(timedelta(seconds=STALL))
            return Submission(Result.UNSENT, SubmissionLabel.TIMEOUT, Stage.RCPT, reason="timeout", detail="stalled")
        for kind in ANSWERS:
            if kind in struck:
                return self._no(kind, Stage.RCPT)
        await before()
        if self.dead():
            await asyncio.Future()  # cancelled with the process
        self._record("content", n=number, path=self.name)
        dot = clock.now()
        sent(dot)
        for kind in ANSWERS:
            if f"{kind}_dot" in struck:
                return self._no(kind, Stage.DOT)
        if "break_lost" not in struck:
            self._record("took", n=number, path=self.name)
            self._deliver(one, struck, chance)
        if "break_lost" in struck or "break_taken" in struck:
            await clock.sleep(timedelta(seconds=chance.choice((0.0, 0.5, 30.0))))
            return Submission(
                Result.UNSURE, SubmissionLabel.UNSURE, Stage.DOT, detail="broke", clock_started=dot, dot_at=dot
            )
        await clock.sleep(timedelta(seconds=chance.uniform(3, 60) if "slow_answer" in struck else chance.random() / 50))
        return taken(dot)

    def _no(self, kind: str, stage: Stage) -> Submission:
        result, label, code = ANSWERS[kind]
        now = self._record.clock.now()
        return Submission(result, label, stage, code=code, reply="no", clock_started=now if kind == "defer" else None)

    def _deliver(self, one: Handed, struck: Mapping[str, Fault], chance: random.Random) -> None:
        """The server has it; what comes of it comes by itself."""
        local, _, domain = one.envelope.rcpt_to.partition("@")
        box, reports = self.boxes[f"{local.partition('+')[0]}@{domain}"]
        if "lose" in struck:
            return
        after = chance.choice((0.0, 0.02, chance.uniform(0, 2)))
        if "delay" in struck:
            after = chance.choice((6.0, 25.0, 100.0, 300.0, 900.0)) * chance.uniform(0.5, 1.5)
        if "bounce" in struck and reports is not None:
            self._later(after + 1, reports, report(one), "INBOX", "report")
            return
        if "delayed" in struck and reports is not None:
            self._later(after, reports, report(one, action="delayed", status="4.4.1"), "INBOX", "report")
            after += chance.uniform(1, 60)
        folder = ASTRAY if "astray" in struck else "Junk" if "junk" in struck else "INBOX"
        message = _stripped(one.message) if "strip" in struck else one.message
        for number in range(chance.choice((2, 3)) if "duplicate" in struck else 1):
            self._later(after + number * chance.choice((0.0, 0.5, 20.0)), box, message, folder, "canary")

    def _later(self, after: float, box: Box, raw: bytes, folder: str, what: str) -> None:
        asyncio.get_running_loop().call_later(after, box.put, raw, folder, what)


def _stripped(raw: bytes) -> bytes:
    """As some relays leave it: another Message-ID, no X- headers; Subject and body still tell."""
    header, _, body = raw.partition(b"\r\n\r\n")
    lines: list[bytes] = []
    skipping = False
    for line in header.split(b"\r\n"):
        skipping = line.lower().startswith(b"x-") or (skipping and line[:1] in b" \t")
        if not skipping:
            lines.append(b"Message-ID: <new@relay.example.net>" if line.startswith(b"Message-ID:") else line)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
