"""Reading a Maildir folder: everything is listed, what has no number yet gets one, and that is looked at.

What a read remembers is only an economy: a fresh one lists all anew and trusts nothing of it. Any other lists nothing
where the directories' own times say that nothing can have changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from probe.canary.coverage import Cursor, Span
from probe.clock import NANOSECONDS, Clock
from probe.mailboxes.base import FolderRead, FolderRequest, Message
from probe.mailboxes.imap_window import gaps_after
from probe.mailboxes.maildir_index import Numbering
from probe.mailboxes.maildir_store import Entered, Store

LOOKED_AT_PER_READ = 500

Outcome = tuple[Cursor, tuple[Span, ...], tuple[Message, ...], bool]


class Reader:
    """Reads folders of a store. ``check`` is called before each message and raises where the reading must end."""

    def __init__(self, store: Store, clock: Clock, check: Callable[[], None], *, exclusive: bool) -> None:
        self._store = store
        self._clock = clock
        self._check = check
        self._exclusive = exclusive

    def read(self, request: FolderRequest) -> FolderRead:
        """One read; the contract is base.FolderRead's. Raises MailboxError, FolderMissing, OSError."""
        began = self._clock.now()
        since = request.since
        with self._store.entered(request.folder) as folder:
            keep = request.fresh or since is not None
            numbering = self._store.numbering(folder, since, keep=keep)
            if request.fresh or not folder.listing.quiet(folder.files, began):
                folder.listing.update(folder.files, fresh=request.fresh)
            _number(folder, numbering, fresh=request.fresh)
            reset = since is not None and since.epoch != numbering.epoch
            if since is None or reset:
                cursor, gaps, messages, complete = self._begin(request, folder, numbering)
            else:
                cursor, gaps, messages, complete = self._look(request, since, folder, numbering)
            ended = self._clock.now()  # before the disk is waited for: what was seen was there by now
            self._store.save(folder, numbering, keep=keep)
            return FolderRead(
                folder=request.folder,
                name=folder.name,
                began=began,
                ended=ended,
                fresh=request.fresh,
                complete=complete,
                cursor=cursor,
                gaps=gaps,
                messages=messages,
                total=len(folder.listing.places),
                read_only=not folder.files.writable,
                reset=reset,
            )

    def _begin(self, request: FolderRequest, folder: Entered, numbering: Numbering) -> Outcome:
        """A first read, or the first after the epoch changed: from the end, and what came since ``rescan_since``."""
        if request.since is None or request.rescan_since is None:
            return Cursor(numbering.epoch, numbering.next), (), (), True
        oldest = request.rescan_since.timestamp() * NANOSECONDS
        recent: list[tuple[int, str]] = []
        for number, key in numbering.since(1):
            status = folder.at(key, folder.files.status)
            # Put there or renamed since (ctime) is enough: the time of writing may be anybody's.
            if status is not None and max(status.st_mtime_ns, status.st_ctime_ns) >= oldest:
                recent.append((number, key))
        chosen = recent[:LOOKED_AT_PER_READ]
        messages = self._messages(chosen, folder, numbering)
        complete = len(chosen) == len(recent)
        position = numbering.next if complete else chosen[-1][0] + 1
        return Cursor(numbering.epoch, position), (), messages, complete

    def _look(self, request: FolderRequest, since: Cursor, folder: Entered, numbering: Numbering) -> Outcome:
        """What has a number from the cursor on."""
        candidates = numbering.since(since.position)
        chosen = candidates[:LOOKED_AT_PER_READ]
        messages = self._messages(chosen, folder, numbering)
        complete = len(chosen) == len(candidates)
        position = numbering.next if complete else chosen[-1][0] + 1
        gaps = gaps_after(request.gaps, since.position, position, [message.uid for message in messages])
        if request.fresh and complete and not self._exclusive:
            unseen = numbering.skip()
            position, gaps = unseen + 1, (Span(unseen, unseen),)
        return Cursor(since.epoch, position), gaps, messages, complete

    def _messages(
        self, chosen: Iterable[tuple[int, str]], folder: Entered, numbering: Numbering
    ) -> tuple[Message, ...]:
        """The messages looked at; the others are gone, and would have another number should they come back."""
        messages = []
        for number, key in chosen:
            self._check()
            look = folder.at(key, folder.files.look)
            if look is None:
                numbering.drop(key)
            else:
                messages.append(Message(number, look.size, look.arrived, look.header))
        return tuple(messages)


def _number(folder: Entered, numbering: Numbering, *, fresh: bool) -> None:
    """A number for each file that has none, what was written first before the others; ``fresh``: none any more for
    what is gone, which an ordinary listing cannot tell for sure."""
    places = folder.listing.places
    if fresh:
        for key in numbering.numbers.keys() - places.keys():
            numbering.drop(key)
    written: list[tuple[int, str]] = []
    for key in places.keys() - numbering.numbers.keys():
        status = folder.at(key, folder.files.status)
        written.append((status.st_mtime_ns if status is not None else 0, key))
    for _, key in sorted(written):
        numbering.add(key)
