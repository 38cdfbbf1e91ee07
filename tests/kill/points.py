"""The points of a life: every call of a thread by which something becomes durable or visible.

``when=N`` of strace counts a system call by its name and by thread, so a point is (thread, name, number). The numbers
come from traces of whole lives; another life may make a call less, and then never comes to its last points.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

KILL_AT = ("write", "pwrite64", "fdatasync", "fsync", "ftruncate", "rename", "unlink", "sendto", "connect", "close")
FAIL_AT = ("write", "pwrite64", "fdatasync", "fsync", "ftruncate", "rename")
# Would be a durable or visible act as well; a life makes none of them (``python -m tests.kill`` says if one does).
OTHERS = (
    *("pwritev", "pwritev2", "writev", "sendmsg", "sendmmsg", "sendfile", "renameat", "renameat2", "unlinkat"),
    *("fallocate", "sync_file_range", "msync", "link", "linkat", "copy_file_range"),
)


class Mode(StrEnum):
    """What happens at a point."""

    KILL = "kill"
    ENOSPC = "enospc"
    EIO = "eio"


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """``call`` number ``number`` (from 1) of ``thread`` is killed, or fails."""

    mode: Mode
    thread: str
    call: str
    number: int

    def __str__(self) -> str:
        return f"{self.mode} {self.thread} {self.call} {self.number}"

    @property
    def injection(self) -> str:
        """For ``strace -e``."""
        what = "signal=KILL" if self.mode is Mode.KILL else f"error={self.mode.name}"
        return f"inject={self.call}:{what}:when={self.number}"


_CALL = re.compile(r"^(?:\d+ +)?([a-z0-9_]+)\(", re.MULTILINE)


def counted(trace: Path) -> Counter[str]:
    """How often each call stands in a trace."""
    return Counter(_CALL.findall(trace.read_text(encoding="utf-8", errors="replace")))


def points_of(seen: Mapping[str, Sequence[Counter[str]]], modes: Iterable[Mode] = Mode) -> list[Point]:
    """Every point, from the counts of some lives by thread: as many of a call as the life with the most made."""
    found = []
    for mode in modes:
        for thread, lives in sorted(seen.items()):
            for call in KILL_AT if mode is Mode.KILL else FAIL_AT:
                most = max((life[call] for life in lives), default=0)
                found += [Point(mode, thread, call, number) for number in range(1, most + 1)]
    return found


def sample(points: Sequence[Point], size: int, seed: int) -> list[Point]:
    """Some of them, drawn by chance and spread over the modes as the whole is."""
    return sorted(random.Random(seed).sample(list(points), min(size, len(points))))
