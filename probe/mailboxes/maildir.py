"""Mailbox kind ``maildir``: a Maildir on this machine, with Maildir++ subfolders, read so that absence is a proof.

**How absence is proven.** A Maildir has no UIDs. Each file gets a number when it is first listed, kept over restarts in
an index of our own (maildir_index.py); position is the number that the next file will get. A read lists the whole
folder, not only what came last, so after a fresh read begun past the deadline every file that was there by then has a
number and was looked at, or is a gap: numbered, and gone before it could be looked at. A file that is there and cannot
be read as mail (no right, a bad disk, compressed, encrypted) comes with an empty header, and no proof passes over it.

What a directory cannot show is a file that came and went between two listings: it leaves no number unused. Where
``exclusive`` is not declared that is possible at any time. There each fresh read uses up one number for "whatever
came and went" and reports it as a gap, so that absence is unknown (uid_gap) and never loss. One such gap, the newest,
stands for all before it. Where ``exclusive`` is declared nothing can have gone, and the listing is the proof. Delivery
into ``new`` and a reader's moves to ``cur`` keep that promise.

The epoch changes where the index is lost or older than the cursor, or where ``new`` or ``cur`` is another directory.

Nothing is written into the Maildir but control messages of our own (``control_canary``); clean-up removes or moves
our own files, each by its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from probe.clock import Clock
from probe.errors import FolderMissing, MailboxError
from probe.mailboxes import maildir_care
from probe.mailboxes import maildir_place as placing
from probe.mailboxes.base import FolderRead, FolderRequest, Found, Mailbox, Removal
from probe.mailboxes.cleanup import Cleanup, CleanupMode, cleanup_breaches
from probe.mailboxes.control import CONTROL_DEFAULT, CONTROL_DOC, control_rule
from probe.mailboxes.maildir_files import opened
from probe.mailboxes.maildir_read import Reader
from probe.mailboxes.maildir_store import INBOX, Entered, Store, canonical, is_name
from probe.options import Rate, option

KIND = "maildir"
_STATE = Path("/var/lib/mailcanary")


@dataclass(frozen=True, slots=True, kw_only=True)
class MaildirOptions:
    """The keys of a mailbox of kind ``maildir``."""

    path: Path = option("The Maildir: the directory that holds new and cur.")
    folders: tuple[str, ...] = option(
        "Folders to watch: INBOX is the Maildir itself, any other a Maildir++ subfolder without its dot (Archive/2026 "
        "is .Archive.2026); the first is polled fast; junk stands for .Junk or .Spam.",
        default=(INBOX,),
    )
    exclusive: bool = option("Nobody else deletes mail here or moves it out of a folder.", default=False)
    index: Path = option("Directory for the numbering of the files, which must outlive a restart.", default=_STATE)
    cleanup: Cleanup = option("Removal of old canaries.", default=Cleanup())
    idle_poll: timedelta = option("The longest time between two reads.", default=timedelta(seconds=30))
    poll_rate: Rate = option("Most polls of the first folder.", default=Rate(10, timedelta(seconds=1)))
    control_canary: timedelta | None = option(CONTROL_DOC, default=CONTROL_DEFAULT, check=control_rule)

    @property
    def insecure(self) -> bool:
        """A Maildir has no connection that could be read by others."""
        return False

    def breaches(self) -> Iterable[tuple[str, str]]:
        """Rules between keys that are broken."""
        if not self.folders:
            yield "folders", "at least one folder must be watched"
        for folder in self.folders:
            if not is_name(folder):
                yield "folders", f"{folder!r} is no name of a Maildir++ folder"
        if len(set(map(canonical, self.folders))) != len(self.folders):
            yield "folders", "a folder is named twice"
        yield from cleanup_breaches(self.cleanup, self.folders, canonical)
        target = self.cleanup.folder
        if target and not is_name(target):
            yield "cleanup.folder", f"{target!r} is no name of a Maildir++ folder"

    def open(self, name: str, clock: Clock) -> Mailbox:
        """The mailbox ``name`` with these options, not yet connected."""
        return MaildirMailbox(name, self, clock)


OPTIONS = MaildirOptions


class MaildirMailbox:
    """One Maildir. Between two calls nothing is open but its index; ``connect`` again after a MailboxError."""

    def __init__(self, name: str, options: MaildirOptions, clock: Clock) -> None:
        self.name = name
        self._options = options
        self._clock = clock
        self._connected = False
        self._interrupted = False
        self._store = Store(options.path, options.index / f"{name}.maildir.sqlite", clock)
        self._reader = Reader(self._store, clock, self._check, exclusive=options.exclusive)
        self._sweeper = maildir_care.Sweeper(self._store, self._check)

    # The connection.

    def connect(self) -> None:
        """See that the Maildir is there. Raises MailboxError: connect, folder."""
        self.close()
        self._interrupted = False
        with self._door("opening the Maildir"):
            try:
                with opened(self._options.path, "."):
                    self._connected = True
            except FolderMissing as missing:
                raise MailboxError("folder", f"{self._options.path}: no Maildir, for it lacks new or cur") from missing

    def close(self) -> None:
        """Let go of the index; never raises."""
        self._connected = False
        self._store.close()

    def interrupt(self) -> None:
        """From another thread: the call that is at work ends at its next message."""
        self._interrupted = True

    def _check(self) -> None:
        if not self._connected or self._interrupted:
            why = "interrupted" if self._interrupted else "not connected"
            raise MailboxError("disconnected", f"{self.name}: {why}")

    @contextmanager
    def _door(self, doing: str) -> Iterator[None]:
        """The one door: trouble with files closes the mailbox and leaves as MailboxError."""
        try:
            yield
        except FolderMissing:
            raise
        except MailboxError:
            self.close()
            raise
        except (OSError, ValueError) as error:
            self.close()
            raise MailboxError("other", f"{doing}: {error}") from error

    # The account.

    def read(self, request: FolderRequest) -> FolderRead:
        """One look at one folder; see Reader."""
        with self._door(f"reading {request.folder}"):
            self._check()
            return self._reader.read(request)

    def body(self, folder: str, epoch: int, uid: int, limit: int) -> bytes:
        """The first ``limit`` bytes of a message; b"" where it, its folder or its epoch is gone, or nobody may read
        it."""
        with self._door(f"reading a message of {folder}"), suppress(FolderMissing):
            self._check()
            with self._store.entered(folder) as there:
                numbering = self._store.numbering(there)
                key = numbering.keys.get(uid, "") if numbering.epoch == epoch else ""
                if key and key not in there.listing.places:
                    there.listing.update(there.files, fresh=False)
                return there.at(key, lambda where, name: there.files.text(where, name, limit)) or b""
        return b""

    def present(self, folder: str, epoch: int, uids: Sequence[int]) -> frozenset[int]:
        """Which of ``uids`` the folder still holds."""
        with self._door(f"looking for messages in {folder}"), suppress(FolderMissing):
            self._check()
            with self._store.entered(folder) as there:
                numbering = self._store.numbering(there)
                if numbering.epoch == epoch and uids:
                    there.listing.update(there.files, fresh=True)
                    return frozenset(uid for uid in uids if numbering.keys.get(uid) in there.listing.places)
        return frozenset()

    def sweep(self, tokens: Sequence[str], folders: Sequence[str] = ()) -> tuple[Found, ...]:
        """Look for the identities everywhere but in ``folders``; see Sweeper."""
        with self._door("searching every folder"):
            self._check()
            skipped: set[str] = set()
            for folder in folders:
                with suppress(FolderMissing):
                    skipped.add(self._store.name(folder))
            return self._sweeper.sweep(tokens, skipped)

    def remove(self, folder: str, epoch: int, uids: Sequence[int]) -> Removal:
        """Delete or move exactly these, as ``cleanup`` says; see maildir_care."""
        cleanup = self._options.cleanup
        if cleanup.mode is CleanupMode.OFF:
            return Removal(frozenset(), "cleanup is off")
        with self._door(f"cleaning up {folder}"):
            self._check()
            try:
                with self._store.entered(folder) as there:
                    return self._remove(there, epoch, uids, cleanup.folder)
            except FolderMissing as missing:
                return Removal(frozenset(), str(missing))

    def place(self, message: bytes) -> str:
        """Deliver into the first folder; see base.Placing."""
        with self._door("putting a message there"):
            self._check()
            try:
                name = self._store.name(self._options.folders[0])
            except FolderMissing as missing:
                return str(missing)
            directory = "." if name == INBOX else f".{name}"
            return placing.place(self._options.path, directory, message, self._clock.now())

    def _remove(self, there: Entered, epoch: int, uids: Sequence[int], target: str | None) -> Removal:
        numbering = self._store.numbering(there)
        if numbering.epoch != epoch:
            changed = f"the numbering (UIDVALIDITY) changed from {epoch} to {numbering.epoch}"
            return Removal(frozenset(), f"{there.name}: {changed}")
        keys = {uid: numbering.keys.get(uid, "") for uid in uids}
        if target is None or not uids:
            return maildir_care.remove(there, keys, None)
        with self._store.entered(target) as goal:
            return maildir_care.remove(there, keys, goal.files)
