"""The rarer work on a Maildir: a look into every folder, and the removal of our own old canaries.

Mail that is not ours is never touched: a file is removed by its number, and only while its name and inode are those
that the number was given to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress

from probe.errors import FolderMissing, MailboxError
from probe.mailboxes.base import Found, Message, Removal
from probe.mailboxes.maildir_files import Files, Look
from probe.mailboxes.maildir_store import Entered, Store

SWEEP_FOLDERS = 200
SWEEP_MESSAGES = 64
_TOKEN = re.compile(r"[a-z2-7]{29,64}")
_RUN = re.compile(rb"[a-z2-7]{29}")


class Sweeper:
    """Looks for identities in whole folders. It remembers which files hold nothing that looks like one, so that a file
    is read once and not at every verdict."""

    def __init__(self, store: Store, check: Callable[[], None]) -> None:
        self._store = store
        self._check = check
        self._plain: dict[str, set[str]] = {}

    def sweep(self, tokens: Sequence[str], skipped: Collection[str]) -> tuple[Found, ...]:
        """Every message whose header holds one of the tokens, in every folder but ``skipped``.

        Raises MailboxError where a limit or an unreadable folder left something unseen: then nothing found proves
        nothing. A message that cannot be read is passed over, as a server's search does.
        """
        for token in tokens:
            if not _TOKEN.fullmatch(token):
                raise ValueError(f"not a canary token: {token[:8]!r}")
        names = [name for name in self._store.names() if name not in skipped]
        if len(names) > SWEEP_FOLDERS:
            raise MailboxError("limit", f"{len(names)} folders to search; the limit is {SWEEP_FOLDERS}")
        wanted = [token.encode() for token in tokens]
        found: list[Found] = []
        for name in names if wanted else ():
            with suppress(FolderMissing), self._store.entered(name) as folder:  # removed just now
                found += self._search(folder, wanted)
            if len(found) > SWEEP_MESSAGES:
                raise MailboxError("limit", f"more than {SWEEP_MESSAGES} messages carry the identities")
        return tuple(found)

    def _search(self, folder: Entered, wanted: Sequence[bytes]) -> list[Found]:
        folder.listing.update(folder.files, fresh=False)
        plain = self._plain.setdefault(folder.name, set())
        plain.intersection_update(folder.listing.places.keys())
        carriers: list[tuple[str, Look]] = []
        for key in folder.listing.places.keys() - plain:
            self._check()
            look = folder.at(key, folder.files.look)
            if look is None:
                continue
            header = look.header.lower()
            if any(token in header for token in wanted):
                carriers.append((key, look))
            elif header and not _RUN.search(header):
                plain.add(key)
        if not carriers:
            return []
        numbering = self._store.numbering(folder)
        found = [
            Found(folder.name, numbering.epoch, Message(numbering.add(key), look.size, look.arrived, look.header))
            for key, look in carriers
        ]
        self._store.save(folder, numbering)
        return found


def remove(folder: Entered, keys: Mapping[int, str], target: Files | None) -> Removal:
    """Delete the files (``keys`` by uid), or move them into ``target``; the uids that are not there any more."""
    problem = ""
    folder.listing.update(folder.files, fresh=True)
    for key in keys.values():
        try:
            if target is None:
                folder.at(key, lambda where, name, key=key: folder.files.unlink(where, name, key))  # type: ignore[misc]
            else:
                folder.at(key, lambda where, name, key=key: folder.files.move(where, name, key, target))  # type: ignore[misc]
        except OSError as error:
            problem = problem or f"{folder.name}: {error.strerror or error}"
    folder.listing.update(folder.files, fresh=True)
    left = frozenset(uid for uid, key in keys.items() if key in folder.listing.places)
    if left and not problem:
        problem = f"{folder.name}: {len(left)} of {len(keys)} messages are still there"
    return Removal(frozenset(keys) - left, problem)
