"""A mail system without a network: an account that is read as IMAP would let it be read, and a sender with a script."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from probe.canary.coverage import Cursor
from probe.clock import Clock, Instant
from probe.errors import FolderMissing, MailboxError
from probe.mailboxes.base import FolderRead, FolderRequest, Found, Message, Removal
from probe.mailboxes.imap import Cleanup, CleanupMode
from probe.mailboxes.imap_window import gaps_after, wanted
from probe.options import Rate
from probe.senders.base import BeforeData, ContentSent, Envelope, NoHosts, Result, Stage, Submission, SubmissionLabel
from tests.engine.accounts import Account, Folder

__all__ = ["Account", "Folder"]

SLICE = 500
TEN_A_SECOND = Rate(10, timedelta(seconds=1))
NO_CLEANUP = Cleanup(mode=CleanupMode.OFF)


class FakeMailbox:
    """probe.mailboxes.base.Mailbox over an Account."""

    def __init__(self, account: Account, cleanup: Cleanup = NO_CLEANUP) -> None:
        self._account = account
        self._cleanup = cleanup
        self._open = False

    def connect(self) -> None:
        self._account.connects.append(self._account.clock.now())
        if self._account.trouble is not None:
            raise self._account.trouble
        self._account.drop_connections = False
        self._open = True

    def _check(self) -> None:
        if self._account.trouble is not None:
            raise self._account.trouble
        if self._account.drop_connections or not self._open:
            self._open = False
            raise MailboxError("disconnected", "the connection is gone")

    def read(self, request: FolderRequest) -> FolderRead:
        self._check()
        account = self._account
        now = account.clock.now()
        account.reads.append((now, request))
        folder = account.folders.get(request.folder)
        if folder is None:
            raise FolderMissing("folder", f"{request.folder}: there is no such folder")
        since = request.since
        reset = since is not None and since.epoch != folder.epoch
        gaps = request.gaps
        if since is None or reset:
            first = folder.uidnext
            if since is not None and request.rescan_since is not None:
                first = 1
            since, gaps = Cursor(folder.epoch, first), ()
        first = since.position
        if request.fresh and request.relist_from is not None:
            first = min(first, request.relist_from)
        listed = [uid for uid in folder.messages if uid >= first]
        candidates = wanted(listed, since.position, gaps if request.fresh else ())
        chosen = candidates[:SLICE]
        complete = len(chosen) == len(candidates)
        position = folder.uidnext if complete else max(since.position, chosen[-1] + 1)
        return FolderRead(
            folder=request.folder,
            name=request.folder,
            began=now,
            ended=account.clock.now(),
            fresh=request.fresh,
            complete=complete,
            cursor=Cursor(folder.epoch, position),
            gaps=() if reset else gaps_after(gaps, since.position, position, chosen),
            messages=tuple(self._message(folder, uid) for uid in chosen),
            total=len(folder.messages),
            reset=reset,
        )

    def _message(self, folder: Folder, uid: int) -> Message:
        raw, at = folder.messages[uid]
        header = b"" if uid in self._account.hidden else raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        return Message(uid, len(raw), at, header)

    def _at(self, folder: str, epoch: int) -> Folder | None:
        self._check()
        there = self._account.folders.get(folder)
        return there if there is not None and there.epoch == epoch else None

    def body(self, folder: str, epoch: int, uid: int, limit: int) -> bytes:
        there = self._at(folder, epoch)
        return b"" if there is None or uid not in there.messages else there.messages[uid][0][:limit]

    def present(self, folder: str, epoch: int, uids: Sequence[int]) -> frozenset[int]:
        there = self._at(folder, epoch)
        return frozenset() if there is None else frozenset(uids) & frozenset(there.messages)

    def sweep(self, tokens: Sequence[str], folders: Sequence[str] = ()) -> tuple[Found, ...]:
        self._check()
        self._account.sweeps.append((self._account.clock.now(), tuple(tokens)))
        return tuple(
            Found(name, folder.epoch, self._message(folder, uid))
            for name, folder in self._account.folders.items()
            if name not in folders
            for uid, (raw, _) in folder.messages.items()
            if any(token.encode() in raw for token in tokens)
        )

    def remove(self, folder: str, epoch: int, uids: Sequence[int]) -> Removal:
        if self._cleanup.mode is CleanupMode.OFF:
            return Removal(frozenset(), "cleanup is off")
        there = self._at(folder, epoch)
        if there is None:
            return Removal(frozenset(), f"{folder}: gone, or its UIDVALIDITY is not {epoch} any more")
        self._account.removed += [(folder, uid) for uid in uids if there.messages.pop(uid, None) is not None]
        return Removal(frozenset(uids))

    def place(self, message: bytes) -> str:
        self._check()
        account = self._account
        if account.refuses:
            return account.refuses
        account.placed.append(message)
        if not account.swallows:
            account.put(message)
        return ""

    def close(self) -> None:
        self._open = False

    interrupt = close  # what comes after it fails, as on a socket that was shut down


@dataclass(frozen=True)
class MailboxOptions:
    """Options of the fake kind."""

    account: Account
    folders: tuple[str, ...] = ("INBOX",)
    exclusive: bool = True
    idle_poll: timedelta = timedelta(seconds=30)
    poll_rate: Rate = TEN_A_SECOND
    cleanup: Cleanup = NO_CLEANUP
    insecure: bool = False
    control_canary: timedelta | None = None

    def open(self, name: str, clock: Clock) -> FakeMailbox:
        return FakeMailbox(self.account, self.cleanup)


@dataclass
class Handed:
    """One attempt as the sender saw it."""

    at: Instant
    envelope: Envelope
    message: bytes
    mx: str


Way = Callable[["FakeSender", Handed, BeforeData, ContentSent], Awaitable[Submission]]


@dataclass
class FakeSender:
    """Handles each attempt by ``way``; the legs and the waits are the test's."""

    clock: Clock
    account: Account
    way: Way
    retry: Sequence[timedelta] = ()
    mxs: tuple[str, ...] | NoHosts = ("any",)
    insecure: bool = False
    handed: list[Handed] = field(default_factory=list)

    def open(self, name: str, clock: Clock) -> FakeSender:
        return self

    async def legs(self, recipient_domain: str) -> Sequence[str]:
        if isinstance(self.mxs, NoHosts):
            raise self.mxs
        return self.mxs

    async def submit(
        self,
        envelope: Envelope,
        message: bytes,
        *,
        mx: str,
        before_data: BeforeData,
        content_sent: ContentSent | None = None,
    ) -> Submission:
        one = Handed(self.clock.now(), envelope, message, mx)
        self.handed.append(one)
        assert content_sent is not None
        return await self.way(self, one, before_data, content_sent)

    async def probe(self, mx: str) -> Submission:
        raise NotImplementedError("the engine never asks")


def taken(dot: Instant) -> Submission:
    return Submission(
        Result.ACCEPTED,
        SubmissionLabel.ACCEPTED,
        Stage.DOT,
        code=250,
        reply="2.0.0 Ok: queued as Q1",
        queued_as="Q1",
        clock_started=dot,
        dot_at=dot,
    )


def delivers(after: timedelta = timedelta(milliseconds=50), folder: str = "INBOX", copies: int = 1) -> Way:
    """250 at once; in the mailbox ``after``."""

    async def way(sender: FakeSender, one: Handed, before: BeforeData, sent: ContentSent) -> Submission:
        await before()
        dot = sender.clock.now()
        sent(dot)
        for _ in range(copies):
            if after <= timedelta(0):
                sender.account.put(one.message, folder)
            else:
                asyncio.get_running_loop().call_later(after.total_seconds(), sender.account.put, one.message, folder)
        return taken(dot)

    return way


async def drops(sender: FakeSender, one: Handed, before: BeforeData, sent: ContentSent) -> Submission:
    """250, and nothing more."""
    await before()
    dot = sender.clock.now()
    sent(dot)
    return taken(dot)


def answers_late(answer_after: timedelta, mail_after: timedelta) -> Way:
    """The mail is in the mailbox before the server answers to the dot."""

    async def way(sender: FakeSender, one: Handed, before: BeforeData, sent: ContentSent) -> Submission:
        await before()
        dot = sender.clock.now()
        sent(dot)
        await sender.clock.sleep(mail_after)
        sender.account.put(one.message)
        await sender.clock.sleep(answer_after - mail_after)
        return taken(dot)

    return way


async def hangs_after_data(sender: FakeSender, one: Handed, before: BeforeData, sent: ContentSent) -> Submission:
    """Nothing comes back after the content."""
    await before()
    sent(sender.clock.now())
    await sender.clock.sleep(timedelta(days=1))
    raise AssertionError("nobody waits for a day")


async def hangs_before_data(sender: FakeSender, one: Handed, before: BeforeData, sent: ContentSent) -> Submission:
    """Nothing comes back before any content."""
    await sender.clock.sleep(timedelta(days=1))
    raise AssertionError("nobody waits for a day")


async def defers(sender: FakeSender, one: Handed, before: BeforeData, sent: ContentSent) -> Submission:
    """451 to RCPT."""
    now = sender.clock.now()
    return Submission(
        Result.DEFERRED, SubmissionLabel.REFUSED_4XX, Stage.RCPT, code=451, reply="try later", clock_started=now
    )


async def refuses(sender: FakeSender, one: Handed, before: BeforeData, sent: ContentSent) -> Submission:
    """550 to RCPT."""
    return Submission(Result.REFUSED, SubmissionLabel.REFUSED_5XX, Stage.RCPT, code=550, reply="no such user")


async def fails(sender: FakeSender, one: Handed, before: BeforeData, sent: ContentSent) -> Submission:
    """No connection."""
    return Submission(
        Result.UNSENT, SubmissionLabel.CONNECT_ERROR, Stage.CONNECT, reason="connect", detail="connection refused"
    )


async def breaks(sender: FakeSender, one: Handed, before: BeforeData, sent: ContentSent) -> Submission:
    """The connection breaks after the dot."""
    await before()
    dot = sender.clock.now()
    sent(dot)
    return Submission(
        Result.UNSURE, SubmissionLabel.UNSURE, Stage.DOT, detail="closed after the dot", clock_started=dot, dot_at=dot
    )


def in_turn(*ways: Way) -> Way:
    """The first attempt goes the first way, and so on; the last way stays."""
    left = list(ways)

    async def way(sender: FakeSender, one: Handed, before: BeforeData, sent: ContentSent) -> Submission:
        return await (left.pop(0) if len(left) > 1 else left[0])(sender, one, before, sent)

    return way
