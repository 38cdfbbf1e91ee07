"""Stand-ins for what ``check --connect`` opens: a sender and a mailbox that answer what they were given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from probe.canary.coverage import Cursor
from probe.clock import Clock, SystemClock
from probe.config.model import Config, Route
from probe.mailboxes.base import FolderRead, FolderRequest
from probe.senders.base import Result, Stage, Submission, SubmissionLabel

ACCEPTED = Submission(Result.ACCEPTED, SubmissionLabel.ACCEPTED, Stage.EHLO, address="192.0.2.1", tls="TLSv1.3")


@dataclass
class Sends:
    """A sender's options and the sender in one: answers ``probe`` with what it was given."""

    answer: Submission
    probed: list[str] = field(default_factory=list)
    insecure: bool = False

    def open(self, name: str, clock: Clock) -> Sends:
        return self

    async def legs(self, recipient_domain: str) -> Sequence[str]:
        return (f"mx1.{recipient_domain}", f"mx2.{recipient_domain}")

    async def probe(self, mx: str) -> Submission:
        self.probed.append(mx)
        return self.answer


@dataclass
class Account:
    """A mailbox's options and the mailbox in one; ``trouble`` maps what fails to its exception."""

    trouble: dict[str, Exception] = field(default_factory=dict)
    folders: tuple[str, ...] = ("INBOX", "junk", "Archive")
    requests: list[FolderRequest] = field(default_factory=list)
    closed: int = 0
    exclusive: bool = True

    def open(self, name: str, clock: Clock) -> Account:
        return self

    def connect(self) -> None:
        if "connect" in self.trouble:
            raise self.trouble["connect"]

    def read(self, request: FolderRequest) -> FolderRead:
        self.requests.append(request)
        if request.folder in self.trouble:
            raise self.trouble[request.folder]
        now = SystemClock().now()
        return FolderRead(request.folder, request.folder, now, now, True, True, Cursor(1, 8), (), (), 7)

    def close(self) -> None:
        self.closed += 1


def world(sender: Any, account: Any) -> Config:
    route = Route("in", sender="relay", mail_from="a@b.example", rcpt_to="c@d.example", mailbox="inbox")
    return Config(keys=(), senders={"relay": sender}, mailboxes={"inbox": account}, routes={"in": route}, prober="p1")
