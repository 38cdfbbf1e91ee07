"""What the reading of a Maildir and its clean-up share: folders by name, their listings and their numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from probe.canary.coverage import Cursor
from probe.clock import NANOSECONDS, Clock
from probe.errors import FolderMissing
from probe.mailboxes.maildir_files import Files, Listing, opened, subfolders
from probe.mailboxes.maildir_index import Index, Numbering

INBOX, JUNK = "INBOX", "junk"
_JUNK_NAMES = ("junk", "spam", "junk e-mail", "junk email", "junk mail", "bulk mail")

T = TypeVar("T")


def canonical(folder: str) -> str:
    """The one spelling of a folder's name: INBOX has no case, and both separators mean the same."""
    return INBOX if folder.upper() == INBOX else folder.replace("/", ".")


def is_name(folder: str) -> bool:
    """Whether it can name a Maildir++ folder: no empty part, so that it never leads out of the Maildir."""
    return all(canonical(folder).split(".")) and "\0" not in folder


@dataclass(frozen=True, slots=True)
class Entered:
    """A folder open for one call. ``name``: without the dot of its directory."""

    name: str
    files: Files
    listing: Listing

    def at(self, key: str, do: Callable[[str, str], T]) -> T | None:
        """``do`` at the place of a file, wherever it was renamed to meanwhile; None where it is gone."""
        for _ in range(3):
            place = self.listing.places.get(key)
            if place is None:
                return None
            with suppress(FileNotFoundError):
                return do(*place)
            self.listing.update(self.files, fresh=False)
        return None


class Store:
    """The folders of the Maildir ``root``; ``index`` is opened when first needed. Raises MailboxError, OSError."""

    def __init__(self, root: Path, index: Path, clock: Clock) -> None:
        self._root = root
        self._index_path = index
        self._clock = clock
        self._index: Index | None = None
        self._numberings: dict[str, Numbering] = {}
        self._listings: dict[str, Listing] = {}

    def close(self) -> None:
        """Forget everything that is not in the index; never raises."""
        if self._index is not None:
            self._index.close()
        self._index = None
        self._numberings.clear()
        self._listings.clear()

    def names(self) -> list[str]:
        """Every folder of the Maildir."""
        return [INBOX, *subfolders(self._root)]

    def name(self, folder: str) -> str:
        """The name that a configured folder stands for. Raises FolderMissing."""
        if not is_name(folder):
            raise FolderMissing("folder", f"{folder!r} is no name of a Maildir++ folder")
        if folder != JUNK:
            return canonical(folder)
        there = sorted(subfolders(self._root), key=lambda each: each != JUNK)
        for wanted in _JUNK_NAMES:
            for each in there:
                if each.lower() == wanted:
                    return each
        raise FolderMissing("folder", f"{self._root}: no subfolder is named like one for junk")

    @contextmanager
    def entered(self, folder: str) -> Iterator[Entered]:
        """A folder, open. Raises FolderMissing."""
        name = self.name(folder)
        with opened(self._root, "." if name == INBOX else f".{name}") as files:
            yield Entered(name, files, self._listings.setdefault(name, Listing()))

    def numbering(self, folder: Entered, since: Cursor | None = None, *, keep: bool = True) -> Numbering:
        """The numbers of a folder's files; begun anew where they are lost, older than the cursor ``since``, or of other
        directories. ``keep`` False: a first look by somebody who may never come back (``mailcanary check``, by another
        user perhaps) makes no index."""
        known = self._numberings.get(folder.name)
        if known is None and (keep or self._index is not None):
            known = self._opened().load(folder.name)
        identity = folder.files.identity
        if known is None or known.identity != identity or _went_back(known, since):
            earlier = max(since.epoch if since is not None else 0, known.epoch if known is not None else 0)
            # Milliseconds since 1970, so that no epoch that was ever used comes again.
            known = Numbering(max(self._clock.now().wall * 1000 // NANOSECONDS, earlier + 1), identity)
        self._numberings[folder.name] = known
        return known

    def save(self, folder: Entered, numbering: Numbering, *, keep: bool = True) -> None:
        """Make the numbers durable, before anybody counts on them."""
        if keep or self._index is not None:
            self._opened().save(folder.name, numbering)

    def _opened(self) -> Index:
        if self._index is None:
            self._index = Index(self._index_path)
        return self._index


def _went_back(known: Numbering, since: Cursor | None) -> bool:
    """Whether the ledger has seen numbers that the index does not know of: it is an older copy."""
    return since is not None and since.epoch == known.epoch and since.position > known.next
