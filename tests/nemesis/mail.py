"""The mailboxes of a history: the engine's fake account, recorded, and with the troubles that the nemesis makes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from probe.clock import Clock
from probe.errors import FolderMissing, MailboxError
from probe.mailboxes.base import FolderRead, FolderRequest, Found, Removal
from probe.mailboxes.imap import Cleanup
from probe.options import Rate
from tests.engine import fakes
from tests.engine.accounts import Account, Folder
from tests.nemesis.history import Recorder, identity

ASTRAY = "Archive"  # a folder of every account that nobody watches
LONGEST_LISTEN = 90.0


class Box(Account):
    """One account. ``troubles``: those at work now, by kind."""

    def __init__(self, name: str, recorder: Recorder, folders: Sequence[str], seed: int) -> None:
        super().__init__(recorder.clock, {folder: Folder() for folder in (*folders, ASTRAY)})
        self.name = name
        self.record = recorder
        self.chance = random.Random(f"{seed} mailbox {name}")
        self.troubles: dict[str, Any] = {}
        self.latency = 0.0
        self.pieces = fakes.SLICE
        self.away: set[str] = set()  # folders that are not there for now
        self.stirred = asyncio.Event()

    def put(self, raw: bytes, folder: str = "INBOX", what: str = "mail") -> int:
        folder = folder if folder in self.folders else "INBOX"
        uid = super().put(raw, folder)
        named = identity(raw)
        hidden = "hidden" in self.troubles and folder == "INBOX"
        self.record(
            "put",
            box=self.name,
            folder=folder,
            epoch=self.folders[folder].epoch,
            uid=uid,
            what=what,
            hidden=hidden,
            canary=named[0] if named and what == "canary" else "",
        )
        if hidden:
            self.hidden.add(uid)
        if "deaf" not in self.troubles and folder == "INBOX":
            self.stirred.set()
        return uid

    def lose(self, folder: str, uid: int, by: str) -> None:
        """A message is removed."""
        self.folders[folder].messages.pop(uid)
        self.record("gone", box=self.name, folder=folder, epoch=self.folders[folder].epoch, uid=uid, by=by)

    def shift(self, uid: int, source: str, target: str) -> None:
        """Another client moves a message."""
        raw, _ = self.folders[source].messages[uid]
        named = identity(raw)
        self.put(raw, target, what="canary" if named else "mail")
        self.lose(source, uid, "others")

    def renumber(self, folder: str) -> None:
        """UIDVALIDITY changes."""
        there = self.folders[folder]
        before = list(there.messages)
        there.renumber()
        numbers = dict(zip(before, there.messages, strict=True))
        self.hidden = {numbers[uid] for uid in self.hidden if uid in numbers} if folder == "INBOX" else self.hidden
        self.record("renumber", box=self.name, folder=folder, epoch=there.epoch, numbers=list(numbers.items()))


class Reading(fakes.FakeMailbox):
    """The engine's fake mailbox over a Box: records each look, and listens as IDLE does."""

    def __init__(self, box: Box, cleanup: Cleanup, dead: Callable[[], bool], idle: bool) -> None:
        super().__init__(box, cleanup)
        self._box = box
        self._dead = dead
        self._idle = idle
        self._woken = asyncio.Event()
        self.lag = 0.0  # seconds that the command under way has taken before it looked
        self.no_hints = ""

    def _check(self) -> None:
        if self._dead():
            raise MailboxError("other", "the process is no more")
        if "flapping" in self._box.troubles and self._box.chance.random() < 0.05:
            self._box.drop_connections = True
        super()._check()

    def connect(self) -> None:
        if self._dead():
            raise MailboxError("other", "the process is no more")
        super().connect()

    def read(self, request: FolderRequest) -> FolderRead:
        box = self._box
        if request.folder in box.away:
            self._check()
            box.record("read", box=box.name, folder=request.folder, missing=True)
            raise FolderMissing("folder", f"{request.folder}: there is no such folder")
        before, fakes.SLICE = fakes.SLICE, box.pieces
        try:
            read = super().read(request)
        finally:
            fakes.SLICE = before
        if not read.complete and "cut" in box.troubles and box.chance.random() < 0.3:
            box.drop_connections = True
        read = replace(read, began=read.began + -timedelta(seconds=self.lag))
        box.record(
            "read",
            box=box.name,
            folder=read.folder,
            missing=False,
            began=read.began.wall,
            lag=self.lag,
            fresh=read.fresh,
            complete=read.complete,
            epoch=read.cursor.epoch,
            position=read.cursor.position,
        )
        return read

    def sweep(self, tokens: Sequence[str], folders: Sequence[str] = ()) -> tuple[Found, ...]:
        found = super().sweep(tokens, folders)
        named = sorted({one[0] for token in tokens if (one := identity(token.encode())) is not None})
        self._box.record("sweep", box=self._box.name, canaries=named, but=list(folders))
        return found

    def remove(self, folder: str, epoch: int, uids: Sequence[int]) -> Removal:
        there = self._at(folder, epoch)
        known = [uid for uid in uids if there is not None and uid in there.messages]
        removal = super().remove(folder, epoch, uids)
        for uid in known:
            if there is not None and uid not in there.messages:
                self._box.record("gone", box=self._box.name, folder=folder, epoch=epoch, uid=uid, by="prober")
        return removal

    # IDLE.

    @property
    def hints(self) -> bool:
        return self._idle

    def wait(self, longest: timedelta) -> bool:
        """Nothing to hear; in virtual time the world calls ``listen`` instead."""
        return False

    def wake(self) -> None:
        self._woken.set()

    async def listen(self, longest: timedelta) -> bool:
        """Until mail comes, ``wake``, the connection breaks, or the time is over."""
        box = self._box
        self._check()
        box.stirred.clear()
        left = min(longest.total_seconds(), LONGEST_LISTEN)
        if "noisy" in box.troubles:
            left = min(left, box.chance.uniform(0.1, 3.0))
        waits = [asyncio.ensure_future(one.wait()) for one in (self._woken, box.stirred)]
        try:
            await asyncio.wait(waits, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
        self._woken.clear()
        self._check()
        return box.stirred.is_set() or "noisy" in box.troubles


@dataclass(frozen=True)
class BoxOptions:
    """Options of the kind that a history's mailboxes are."""

    box: Box
    folders: tuple[str, ...]
    exclusive: bool
    idle_poll: timedelta
    poll_rate: Rate
    cleanup: Cleanup
    control_canary: timedelta | None
    idle: bool
    dead: Callable[[], bool] = field(compare=False)
    insecure: bool = False

    def open(self, name: str, clock: Clock) -> Reading:
        return Reading(self.box, self.cleanup, self.dead, self.idle)
