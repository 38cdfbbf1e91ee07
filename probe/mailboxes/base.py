"""What a mailbox is: an account whose folders can be read so that absence is a proof.

A kind is synchronous and used by one thread at a time. It holds no memory of what it has seen: the engine owns the
cursor, keeps it in the ledger and passes it in. Any trouble is a ``MailboxError``; after one the object is closed
and the engine makes a new connection. A read that raises proves nothing.

Absence (rule 3 of docs/how-it-decides.md): each folder has an ``epoch`` (IMAP: UIDVALIDITY) and a rising ``position``
(IMAP: UIDNEXT). Every number below ``position`` was either *looked at* or is a *gap*: a number that was never listed
when we looked, which may never have been used or may have come and gone. A kind without such numbers makes them by its
own cursor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

from probe.canary.coverage import Cursor, Span
from probe.clock import Instant


@dataclass(frozen=True, slots=True)
class Message:
    """A message looked at for the first time. ``header`` is raw and capped; ``arrived`` is the mailbox's own time of
    arrival (IMAP: INTERNALDATE, one second), aware, or None where the server gave nothing usable."""

    uid: int
    size: int
    arrived: datetime | None
    header: bytes


@dataclass(frozen=True, slots=True)
class FolderRead:
    """One look at one folder.

    ``name`` is the server's name of the folder that ``folder`` stands for. ``fresh``: by a SELECT of its own (or what
    proves as much), begun at ``began``; only such a read is a proof. ``cursor.position``: every number below it is
    now looked at or in ``gaps``. ``gaps``: the numbers of ``[since.position, cursor.position)`` that were not listed,
    and those of the gaps passed in that still are not listed. ``complete`` is False where a cap ended the read early
    (the rest comes with the next read from ``cursor``). ``messages``: all that was looked at here for the first time,
    rising uid. ``reset``: the epoch changed, so the look began anew (by date); older positions mean nothing any more.
    """

    folder: str
    name: str
    began: Instant
    ended: Instant
    fresh: bool
    complete: bool
    cursor: Cursor
    gaps: tuple[Span, ...]
    messages: tuple[Message, ...]
    total: int
    read_only: bool = False
    reset: bool = False


@dataclass(frozen=True, slots=True)
class FolderRequest:
    """What the engine wants of one folder. ``since`` None: first read ever, which begins at the folder's end.
    ``relist_from``: with ``fresh``, list every number from here again and look at those of ``gaps`` that now exist.
    ``rescan_since``: where the epoch changed, look at all mail that arrived since then."""

    folder: str
    since: Cursor | None
    gaps: tuple[Span, ...] = ()
    fresh: bool = False
    relist_from: int | None = None
    rescan_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A message found by ``sweep`` in some folder of the account, watched or not."""

    name: str
    epoch: int
    message: Message


@dataclass(frozen=True, slots=True)
class Removal:
    """What a clean-up did: the uids that are gone now, and why not the others ("" where all went)."""

    removed: frozenset[int]
    problem: str = ""


class Mailbox(Protocol):
    """One connection's worth of an account."""

    def connect(self) -> None:
        """Connect and log in. Raises MailboxError (LoginRefused when the credentials were refused)."""
        ...

    def read(self, request: FolderRequest) -> FolderRead:
        """Read one folder. Costs O(new messages). Raises MailboxError; FolderMissing leaves the connection usable."""
        ...

    def body(self, folder: str, epoch: int, uid: int, limit: int) -> bytes:
        """The first ``limit`` bytes of a whole message, header included; b"" where it is gone."""
        ...

    def present(self, folder: str, epoch: int, uids: Sequence[int]) -> frozenset[int]:
        """Which of ``uids`` still exist; empty where the epoch changed or the folder is gone. ``folder``: its name."""
        ...

    def sweep(self, tokens: Sequence[str], folders: Sequence[str] = ()) -> tuple[Found, ...]:
        """One look for any of the identities in every selectable folder of the account but ``folders`` (configured
        names that were just read), capped. Raises MailboxError where it could not look everywhere."""
        ...

    def remove(self, folder: str, epoch: int, uids: Sequence[int]) -> Removal:
        """Remove exactly these messages, by the kind's configured means; never any other."""
        ...

    def close(self) -> None:
        """Close; never raises."""
        ...

    def interrupt(self) -> None:
        """From another thread: make a blocked call end soon with MailboxError. Never raises."""
        ...


@runtime_checkable
class Hinting(Protocol):
    """What a kind may offer besides: to listen while nothing is due, and to say when a read may be due all the same.

    Only a hint: reads go on without any, and nothing is concluded from one or from its absence.
    """

    @property
    def hints(self) -> bool:
        """Whether a ``wait`` begun now would hear of new mail in the first folder; may change with every call."""
        ...

    @property
    def no_hints(self) -> str:
        """What the server did wrong so that none come until the restart; "" while nothing is wrong."""
        ...

    def wait(self, longest: timedelta) -> bool:
        """Listen, for ``longest`` at most and maybe shorter; True: read the first folder now. Raises MailboxError."""
        ...

    def wake(self) -> None:
        """From another thread: end the ``wait`` under way at once, else the next one. Never raises."""
        ...


@runtime_checkable
class Placing(Protocol):
    """What a kind may offer besides: to put a message of our own into the first folder, past every path of delivery.

    So the watcher can prove that it sees (docs/how-it-decides.md). A kind that offers it has an option
    ``control_canary``. The message gets a number like any other.
    """

    def place(self, message: bytes) -> str:
        """Put it there; "" where it is there now, else why the mailbox took it not, and it is not there.

        ``message``: canonical CRLF, 7-bit. Raises MailboxError where nobody knows; the connection is closed then.
        """
        ...
