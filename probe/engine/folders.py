"""What a watcher knows of one folder: how far it was looked at, what was never seen, and when it was last read."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from probe.canary.coverage import Cursor, FolderRecord, Span
from probe.clock import Instant
from probe.mailboxes.base import FolderRead, FolderRequest


@dataclass(slots=True)
class FolderState:
    """Memory of one folder; the ledger's watermark is its durable half."""

    folder: str
    cursor: Cursor | None = None
    gaps: tuple[Span, ...] = ()
    last_look: Instant | None = None  # begin of the last complete read: what it did not show came later
    last_fresh: Instant | None = None
    fresh_ended: Instant | None = None
    relisted_from: int | None = None
    missing: bool = False
    total: int = 0
    unreadable: set[int] = field(default_factory=set)  # numbers that may be a canary: nobody could look, or tell
    unnamed: set[int] = field(default_factory=set)  # those of them from us that name no canary; until a restart

    @property
    def known(self) -> bool:
        """Read once, or known not to be there."""
        return self.missing or (self.cursor is not None and self.last_look is not None)

    def request(self, *, fresh: bool, relist_from: int | None, rescan_since: datetime | None) -> FolderRequest:
        """What to ask of the mailbox."""
        return FolderRequest(
            folder=self.folder,
            since=self.cursor,
            gaps=self.gaps,
            fresh=fresh,
            relist_from=relist_from if fresh else None,
            rescan_since=rescan_since,
        )

    def take(self, request: FolderRequest, read: FolderRead) -> None:
        """A read whose findings are in the ledger."""
        self.missing = False
        self.total = read.total
        if read.reset:
            self.unreadable.clear()
            self.unnamed.clear()
        self.cursor, self.gaps = read.cursor, read.gaps
        self.unreadable |= {message.uid for message in read.messages if not message.header}
        if not read.complete:
            return
        self.last_look = read.began
        if read.fresh:
            self.last_fresh, self.fresh_ended = read.began, read.ended
            since = request.since.position if request.since is not None else read.cursor.position
            self.relisted_from = min(since, request.relist_from if request.relist_from is not None else since)

    def lose(self) -> None:
        """The folder is not there."""
        self.missing = True

    def record(self) -> FolderRecord:
        """For the proof of loss."""
        return FolderRecord(
            self.folder,
            self.last_fresh,
            self.fresh_ended,
            self.cursor,
            self.relisted_from,
            self.gaps,
            self.missing,
        )
