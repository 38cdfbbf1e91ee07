"""Removal of our own old canaries, as the kinds of mailbox that can do it declare it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from probe.options import option


class CleanupMode(StrEnum):
    """What becomes of our own canaries once judged."""

    DELETE = "delete"
    MOVE = "move"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Cleanup:
    """Removal of our own canaries from the mailbox."""

    mode: CleanupMode = option("What becomes of old canaries.", default=CleanupMode.DELETE)
    after: timedelta = option("How old a canary is when it is removed.", default=timedelta(hours=24))
    folder: str | None = option("Where mode move puts them; not a watched folder.", default=None)


def cleanup_breaches(
    cleanup: Cleanup, watched: Collection[str], same: Callable[[str], str]
) -> Iterator[tuple[str, str]]:
    """Rules between ``cleanup`` and the watched folders that are broken. ``same``: the spelling by which two names of
    a folder are compared."""
    target = cleanup.folder
    if cleanup.mode is not CleanupMode.MOVE:
        if target is not None:
            yield "cleanup.folder", "only mode move has a folder"
    elif not target:
        yield "cleanup.folder", "mode move needs a folder"
    elif same(target) in set(map(same, watched)):
        yield "cleanup.folder", "canaries cannot be moved into a watched folder"
