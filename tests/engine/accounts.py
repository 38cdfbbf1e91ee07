"""A mail account in memory: folders with numbers as IMAP keeps them, and its troubles."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from probe.clock import Clock, Instant
from probe.errors import LoginRefused, MailboxError
from probe.mailboxes.base import FolderRequest


@dataclass
class Folder:
    """Messages by number, as a server keeps them."""

    epoch: int = 1
    uidnext: int = 1
    messages: dict[int, tuple[bytes, datetime]] = field(default_factory=dict)

    def put(self, raw: bytes, at: datetime) -> int:
        uid = self.uidnext
        self.uidnext += 1
        self.messages[uid] = (raw, at)
        return uid

    def renumber(self) -> None:
        """UIDVALIDITY changes: the same mail under new numbers."""
        kept = list(self.messages.values())
        self.epoch, self.uidnext, self.messages = self.epoch + 1, 1, {}
        for raw, at in kept:
            self.put(raw, at)


@dataclass
class Account:
    """One account: its folders, its troubles, and the looks it was given."""

    clock: Clock
    folders: dict[str, Folder] = field(default_factory=dict)
    trouble: MailboxError | None = None
    drop_connections: bool = False  # the next command of an open connection fails, a new connection works
    hidden: set[int] = field(default_factory=set)
    refuses: str = ""  # what is said to a message that we would put there
    swallows: bool = False  # what we put there is taken, and shown to nobody
    placed: list[bytes] = field(default_factory=list)
    connects: list[Instant] = field(default_factory=list)
    reads: list[tuple[Instant, FolderRequest]] = field(default_factory=list)
    sweeps: list[tuple[Instant, tuple[str, ...]]] = field(default_factory=list)
    removed: list[tuple[str, int]] = field(default_factory=list)

    def put(self, raw: bytes, folder: str = "INBOX") -> int:
        return self.folders[folder].put(raw, self.clock.now().utc.replace(microsecond=0))

    def move(self, uid: int, source: str, target: str) -> None:
        raw, at = self.folders[source].messages.pop(uid)
        self.folders[target].put(raw, at)

    def reads_of(self, folder: str, *, fresh: bool | None = None) -> list[Instant]:
        return [at for at, one in self.reads if one.folder == folder and (fresh is None or one.fresh is fresh)]

    def went_down(self, reason: str = "disconnected") -> None:
        self.trouble = MailboxError(reason, f"the server is away ({reason})")

    def refuse_login(self) -> None:
        self.trouble = LoginRefused("auth", "the password was refused")
