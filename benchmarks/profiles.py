"""Reading the profiles of a daemon's threads: which part of the program the CPU goes to.

A function of the standard library, or one written in C, has no home: its cost goes to whoever called it, in proportion,
until a package with a name is reached. Time in waits (epoll, locks, queues) is left out. cProfile doubles the cost of a
call, so these are shares; scaled to the CPU that the same thread used without a profiler, they become milliseconds.
"""

from __future__ import annotations

import pstats
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.setup import thread_group

Function = tuple[str, int, str]

# The first that a file's path holds names its part.
_PARTS = (
    ("/probe/ledger/", "ledger (with SQLAlchemy, SQLite)"),
    ("/sqlalchemy/", "ledger (with SQLAlchemy, SQLite)"),
    ("/probe/senders/", "SMTP session (with aiosmtplib)"),
    ("/aiosmtplib/", "SMTP session (with aiosmtplib)"),
    ("/probe/mailboxes/", "IMAP (with imapclient, imaplib)"),
    ("/imapclient/", "IMAP (with imapclient, imaplib)"),
    ("imaplib.py", "IMAP (with imapclient, imaplib)"),
    ("/probe/message/", "message: compose and recognise"),
    ("/probe/canary/identity", "identity: sign and verify"),
    ("/probe/canary/", "life: states and moves"),
    ("/probe/engine/", "engine"),
    ("/probe/exposition/journal", "journal"),
    ("/probe/exposition/present", "journal"),
    ("/probe/exposition/", "metrics and pages"),
    ("/aiohttp/", "metrics and pages"),
    ("/prometheus_client/", "metrics and pages"),
    ("/probe/clock.py", "clock"),
    ("/asyncio/", "asyncio (with socket calls)"),
    ("/benchmarks/", "the benchmark's own"),
)
_WAITS = ("'poll' of 'select.epoll'", "'acquire' of '_thread", "SimpleQueue", "lock.acquire", "_thread.RLock")
_LEVELS = 12


def part_of(function: Function) -> str:
    """The part a function belongs to by its file; "" for helpers that work for their callers."""
    path = function[0]
    return next((part for mark, part in _PARTS if mark in path), "")


def costs(stats: Mapping[Function, Any]) -> dict[str, float]:
    """Own seconds by part, of one thread's statistics (``pstats.Stats.stats``)."""
    total: dict[str, float] = defaultdict(float)
    waiting: dict[Function, float] = defaultdict(float)
    for function, (_, _, own, _, callers) in stats.items():
        if any(mark in function[2] for mark in _WAITS):
            continue
        part = part_of(function)
        if part or not callers:
            total[part or "other"] += own
        else:
            _share(own, {caller: numbers[2] for caller, numbers in callers.items()}, waiting)
    for _ in range(_LEVELS):
        nearer: dict[Function, float] = defaultdict(float)
        for function, cost in waiting.items():
            callers = stats[function][4] if function in stats else {}
            part = part_of(function)
            if part or not callers:
                total[part or "other"] += cost
            else:
                _share(cost, {caller: numbers[3] for caller, numbers in callers.items()}, nearer)
        waiting = nearer
    total["other"] += sum(waiting.values())
    return dict(total)


def _share(cost: float, weights: Mapping[Function, float], into: dict[Function, float]) -> None:
    whole = sum(weights.values())
    for caller, weight in weights.items():
        into[caller] += cost * (weight / whole if whole > 0 else 1 / len(weights))


def functions(stats: Mapping[Function, Any]) -> dict[str, float]:
    """Own seconds by function, waits left out."""
    found: dict[str, float] = defaultdict(float)
    for function, (_, _, own, _, _) in stats.items():
        if not any(mark in function[2] for mark in _WAITS):
            found[_name(function)] += own
    return dict(found)


def _name(function: Function) -> str:
    path, line, name = function
    if path == "~":
        return name.strip("<>")
    short = "/".join(Path(path).parts[-2:]).removesuffix(".py").replace("/", ".")
    return f"{short}:{name}:{line}"


def read(files: Iterable[Path]) -> dict[str, Mapping[Function, Any]]:
    """The statistics by thread; files are named ``profile.<thread>``."""
    return {path.name.partition(".")[2]: pstats.Stats(str(path)).stats for path in files}  # type: ignore[attr-defined]


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for the files of one profiled run."""
    path = Path(tempfile.mkdtemp(prefix="mailcanary-profile-"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def explained(folder: Path, plain: Mapping[str, float]) -> dict[str, Any]:
    """The profiles in ``folder`` as parts and functions; ``plain``: milliseconds a canary by thread of the same load
    without a profiler."""
    parts: dict[tuple[str, str], float] = {}
    single: dict[tuple[str, str], float] = {}
    for thread, stats in read(folder.glob("profile.*")).items():
        group = thread_group(thread)
        for target, found in ((parts, costs(stats)), (single, functions(stats))):
            whole = sum(found.values()) or 1.0
            for what, cost in found.items():
                target[group, what] = target.get((group, what), 0.0) + plain.get(group, 0.0) * cost / whole
    return {"threads": dict(plain), "parts": ranked(parts), "functions": ranked(single)}


def ranked(found: Mapping[tuple[str, str], float], count: int = 12) -> list[dict[str, Any]]:
    """The dearest, as rows: thread, what, milliseconds a canary and percent of the whole."""
    whole = sum(found.values()) or 1.0
    rows = sorted(found.items(), key=lambda item: -item[1])[:count]
    return [
        {"thread": thread, "what": what, "ms_per_canary": round(cost, 3), "percent": round(100 * cost / whole, 1)}
        for (thread, what), cost in rows
    ]
