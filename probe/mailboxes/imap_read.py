"""Reading an IMAP folder by its UID window: what is new, what is a gap, and how little has to be asked.

A poll costs one NOOP, a look at a folder that is not selected one STATUS; a fresh read is a SELECT of its own and a
list of the window. What it remembers is only an economy (the cursor at which the selected folder had nothing more to
tell): a request with any other cursor is answered from the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from probe.canary.coverage import Cursor, Span
from probe.clock import Clock, Instant
from probe.errors import MailboxHostile
from probe.mailboxes.base import FolderRead, FolderRequest, Message
from probe.mailboxes.imap_parse import search_date
from probe.mailboxes.imap_session import SEARCH_SLICE, Selected, Session
from probe.mailboxes.imap_window import gaps_after, wanted

LOOKED_AT_PER_READ = 500
_DAY = timedelta(days=1)


class Reader:
    """Reads folders over one session. ``primary``: the folder, as configured, that is kept selected; ``examine``: never
    open a folder for writing."""

    def __init__(self, session: Session, clock: Clock, primary: str, *, examine: bool) -> None:
        self._session = session
        self._clock = clock
        self._primary = primary
        self._examine = examine
        self._read_only: set[str] = set()
        self._quiet_at: tuple[Selected, Cursor] | None = None
        self._primary_name = ""

    @property
    def at_rest(self) -> bool:
        """Whether the primary folder is the one selected, and all of it was told: what comes now is news."""
        quiet, selected = self._quiet_at, self._session.selected
        return quiet is not None and quiet[0] is selected and quiet[0].name == self._primary_name

    def read(self, request: FolderRequest) -> FolderRead:
        """One read; the contract is base.FolderRead's. Raises MailboxError, FolderMissing."""
        began = self._clock.now()
        name = self._session.server_name(request.folder)
        since = request.since
        if request.folder == self._primary:
            self._primary_name = name
        if since is not None and not request.fresh:
            total = self._total_if_quiet(request.folder, name, since)
            if total is not None:
                return self._made(request, name, began, (since, request.gaps, (), True), total)
        selected, uidnext, at_most = self._open(name, None if request.fresh else since)
        wire = self._session.wire
        wire.news = 0
        reset = since is not None and since.epoch != selected.epoch
        if since is None or reset:
            found = self._begin(request, selected, self._uidnext(selected))
        else:
            found = self._look(request, since, uidnext, at_most)
        cursor, _, _, complete = found
        self._quiet_at = (selected, cursor) if complete else None
        return self._made(request, name, began, found, wire.exists, reset=reset)

    def _made(
        self,
        request: FolderRequest,
        name: str,
        began: Instant,
        found: tuple[Cursor, tuple[Span, ...], tuple[Message, ...], bool],
        total: int,
        *,
        reset: bool = False,
    ) -> FolderRead:
        cursor, gaps, messages, complete = found
        return FolderRead(
            folder=request.folder,
            name=name,
            began=began,
            ended=self._clock.now(),
            fresh=request.fresh,
            complete=complete,
            cursor=cursor,
            gaps=gaps,
            messages=messages,
            total=total,
            read_only=name in self._read_only,
            reset=reset,
        )

    def _total_if_quiet(self, folder: str, name: str, since: Cursor) -> int | None:
        """The message count where nothing can have come since; None where it takes a look to know."""
        session = self._session
        selected = session.selected
        if selected is not None and selected.name == name:
            if not session.wire.news:  # else it was told already, by IDLE or with another answer
                session.noop()
            return session.wire.exists if self._all_told(selected, since) and not session.wire.news else None
        if folder == self._primary:
            return None
        status = session.status(name)
        if (status.epoch, status.uidnext) == (since.epoch, since.position):
            return status.total or 0
        return None

    def _all_told(self, selected: Selected, since: Cursor) -> bool:
        """Whether everything below ``since`` was told, and nothing after it, when the folder was last looked at."""
        return self._quiet_at is not None and self._quiet_at[0] is selected and self._quiet_at[1] == since

    def _open(self, name: str, since: Cursor | None) -> tuple[Selected, int | None, int]:
        """The folder selected; UIDNEXT where a SELECT told it just now; how many messages ``since`` there can be.

        It stays selected as it is only where the search can be bounded without UIDNEXT, and never for a fresh read
        (``since`` None).
        """
        session = self._session
        wire, selected = session.wire, session.selected
        if since is not None and selected is not None and (selected.name, selected.epoch) == (name, since.epoch):
            at_most = wire.news if self._all_told(selected, since) else wire.exists
            if at_most <= SEARCH_SLICE:
                return selected, None, at_most
        selected = session.select(name, examine=self._examine)
        (self._read_only.add if selected.read_only else self._read_only.discard)(name)
        return selected, self._uidnext(selected), wire.exists

    def _uidnext(self, selected: Selected) -> int:
        """UIDNEXT, asked for by STATUS where SELECT left it out (RFC 3501 6.3.1 allows that)."""
        uidnext = selected.uidnext
        if uidnext is None:
            uidnext = self._session.status(selected.name).uidnext
        if uidnext is None:
            raise MailboxHostile("protocol", f"{selected.name}: the server tells no UIDNEXT")
        return uidnext

    def _begin(
        self, request: FolderRequest, selected: Selected, uidnext: int
    ) -> tuple[Cursor, tuple[Span, ...], tuple[Message, ...], bool]:
        """A first read, or the first after the epoch changed: from the end of the folder, and what came by date."""
        if request.since is None or request.rescan_since is None:
            return Cursor(selected.epoch, uidnext), (), (), True
        # SINCE compares days of the server's own time zone (RFC 3501 6.4.4), so it begins a day early.
        listed = self._session.uids_since(search_date(request.rescan_since - _DAY))
        chosen = listed[:LOOKED_AT_PER_READ]
        messages, _ = self._session.look(chosen)
        if len(chosen) < len(listed):
            return Cursor(selected.epoch, chosen[-1] + 1), (), tuple(messages), False
        position = max(uidnext, listed[-1] + 1 if listed else 0)
        return Cursor(selected.epoch, position), (), tuple(messages), True

    def _look(
        self, request: FolderRequest, since: Cursor, uidnext: int | None, at_most: int
    ) -> tuple[Cursor, tuple[Span, ...], tuple[Message, ...], bool]:
        """The window from the cursor (``fresh``: from ``relist_from``) to the folder's end."""
        first = since.position
        if request.fresh and request.relist_from is not None:
            first = min(first, max(1, request.relist_from))
        listed: Sequence[int] = ()
        if request.fresh or uidnext != since.position:
            listed = self._session.uids_from(first, at_most if uidnext is None else max(0, uidnext - first))
        candidates = wanted(listed, since.position, request.gaps if request.fresh else ())
        chosen = candidates[:LOOKED_AT_PER_READ]
        messages, _ = self._session.look(chosen)
        complete = len(chosen) == len(candidates)
        if complete:
            position = max(since.position if uidnext is None else uidnext, listed[-1] + 1 if listed else 0)
        else:
            position = max(since.position, chosen[-1] + 1)
        gaps = gaps_after(request.gaps, since.position, position, [message.uid for message in messages])
        return Cursor(since.epoch, position), gaps, tuple(messages), complete
