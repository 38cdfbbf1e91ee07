"""A mailbox kind that another distribution brings: mail in a table, as a help desk keeps it.

How absence is proven: numbers are AUTOINCREMENT, so they rise and none is used twice; one that is not listed was
deleted, or its insertion was rolled back: a gap.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from probe.canary.coverage import Cursor, Span, missing_between, subtract
from probe.clock import Clock
from probe.errors import FolderMissing, MailboxError
from probe.mailboxes.base import FolderRead, FolderRequest, Found, Mailbox, Message, Removal
from probe.mailboxes.cleanup import Cleanup, CleanupMode
from probe.options import Rate, option

KIND = "shelf"
MOST = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class ShelfOptions:
    """The keys of a mailbox of kind ``shelf``."""

    path: Path = option("The file.")
    folders: tuple[str, ...] = option("Folders to watch.", default=("INBOX",))
    exclusive: bool = option("Nobody else deletes here.", default=False)
    cleanup: Cleanup = option("Removal of old canaries.", default=Cleanup())
    idle_poll: timedelta = option("The longest time between two reads.", default=timedelta(seconds=30))
    poll_rate: Rate = option("Most polls of the first folder.", default=Rate(10, timedelta(seconds=1)))
    insecure: bool = option("Never.", default=False)

    def open(self, name: str, clock: Clock) -> Mailbox:
        return Shelf(self, clock)


OPTIONS = ShelfOptions


class Shelf:
    """probe.mailboxes.base.Mailbox over tables ``folders`` (name, epoch) and ``mails`` (n, folder, raw, at)."""

    def __init__(self, options: ShelfOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._open = False

    def connect(self) -> None:
        if not self._options.path.exists():
            raise MailboxError("connect", f"{self._options.path}: no such file")
        self._open = True

    def _ask(self, query: str, *values: object) -> list[Any]:
        if not self._open:
            raise MailboxError("disconnected", "not connected")
        with closing(sqlite3.connect(self._options.path)) as file, file:
            return file.execute(query, values).fetchall()

    def _epoch(self, folder: str) -> int | None:
        rows = self._ask("SELECT epoch FROM folders WHERE name = ?", folder)
        return rows[0][0] if rows else None

    def read(self, request: FolderRequest) -> FolderRead:
        began = self._clock.now()
        epoch = self._epoch(request.folder)
        if epoch is None:
            raise FolderMissing("folder", f"{request.folder}: no such folder")
        # The end first: what comes between the two questions has a number beyond it.
        end = (self._ask("SELECT seq FROM sqlite_sequence WHERE name = 'mails'") or [(0,)])[0][0] + 1
        since, gaps = request.since, list(request.gaps)
        reset = since is not None and since.epoch != epoch
        oldest = 0.0
        if since is None or reset:
            gaps = []
            oldest = request.rescan_since.timestamp() if reset and request.rescan_since is not None else float("inf")
        position = since.position if since is not None and not reset else (1 if reset and oldest else end)
        rows = self._ask(
            "SELECT n, raw, at FROM mails WHERE folder = ? AND n >= ? AND n < ? AND at >= ? ORDER BY n LIMIT ?",
            *(request.folder, position, end, oldest, MOST + 1),
        )
        complete = len(rows) <= MOST
        rows = rows[:MOST]
        if not complete:
            end = rows[-1][0] + 1
        if not reset and since is not None:
            others = [n for n, *_ in self._ask("SELECT n FROM mails WHERE n >= ? AND n < ?", position, end)]
            gaps += missing_between(position, end, others)  # a number in another folder was used there
        total = self._ask("SELECT count(*) FROM mails WHERE folder = ?", request.folder)[0][0]
        return FolderRead(
            folder=request.folder,
            name=request.folder,
            began=began,
            ended=self._clock.now(),
            fresh=request.fresh,
            complete=complete,
            cursor=Cursor(epoch, max(position, end)),
            gaps=tuple(_joined(gaps)),
            messages=tuple(_message(*row) for row in rows),
            total=total,
            reset=reset,
        )

    def body(self, folder: str, epoch: int, uid: int, limit: int) -> bytes:
        rows = self._ask("SELECT n, raw, at FROM mails WHERE folder = ? AND n = ?", folder, uid)
        return rows[0][1][:limit] if rows and self._epoch(folder) == epoch else b""

    def present(self, folder: str, epoch: int, uids: Sequence[int]) -> frozenset[int]:
        if self._epoch(folder) != epoch:
            return frozenset()
        return frozenset(uids) & {n for n, *_ in self._ask("SELECT n FROM mails WHERE folder = ?", folder)}

    def sweep(self, tokens: Sequence[str], folders: Sequence[str] = ()) -> tuple[Found, ...]:
        found = []
        for name, epoch in self._ask("SELECT name, epoch FROM folders"):
            if name not in folders:
                for row in self._ask("SELECT n, raw, at FROM mails WHERE folder = ? ORDER BY n", name):
                    if any(token.encode() in row[1] for token in tokens):
                        found.append(Found(str(name), int(epoch), _message(*row)))
        return tuple(found)

    def remove(self, folder: str, epoch: int, uids: Sequence[int]) -> Removal:
        if self._options.cleanup.mode is CleanupMode.OFF:
            return Removal(frozenset(), "cleanup is off")
        if self._epoch(folder) != epoch:
            return Removal(frozenset(), "UIDVALIDITY changed")
        for uid in uids:
            self._ask("DELETE FROM mails WHERE folder = ? AND n = ?", folder, uid)
        return Removal(frozenset(uids))

    def close(self) -> None:
        self._open = False

    def interrupt(self) -> None:
        self._open = False


def _joined(gaps: Sequence[Span]) -> tuple[Span, ...]:
    return subtract(sorted(gaps), ())


def _message(number: int, raw: bytes, at: float) -> Message:
    return Message(number, len(raw), datetime.fromtimestamp(at, UTC), raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
