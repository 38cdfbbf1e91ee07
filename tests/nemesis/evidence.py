"""What the checker looks at: the history as tables, and the ledger read by SQL alone. No code of the prober's."""

from __future__ import annotations

import bisect
import json
import re
import sqlite3
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.nemesis.history import NANOSECONDS, Event, History, Times

FOREVER = float("inf")
_SAMPLE = re.compile(r"(?P<name>[a-z_]+)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)")
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


@dataclass
class Stay:
    """A copy of a canary in a folder, from ``since`` until it was gone (``by``: who took it away)."""

    box: str
    folder: str
    epoch: int
    uid: int
    since: float
    until: float = FOREVER
    by: str = ""
    hidden: bool = False  # listed, and nobody was given its header


@dataclass
class Attempt:
    """One attempt as the sender saw it."""

    at: float
    number: int
    attempt: int
    mx: str
    rcpt: str
    content: float | None = None
    took: bool = False
    result: str = ""


@dataclass(frozen=True)
class Look:
    """A complete read or a search: the virtual second of what it saw; when it began in seconds of BOOTTIME, and as the
    prober's wall ns."""

    at: float
    began: float
    wall: int


@dataclass
class Looks:
    """The complete reads of one folder, in order."""

    every: list[Look] = field(default_factory=list)
    fresh: list[Look] = field(default_factory=list)

    def judging(self, before: float) -> Look | None:
        """The last fresh one that a verdict at this virtual second can rest on."""
        return last(self.fresh, before)

    def first_after(self, deadline: float) -> Look | None:
        """The first that began after a second of BOOTTIME."""
        index = bisect.bisect_right(self.every, deadline, key=lambda look: look.began)
        return self.every[index] if index < len(self.every) else None


def last(looks: list[Look], before: float) -> Look | None:
    """The last one not after this virtual second."""
    index = bisect.bisect_right(looks, before + 1e-6, key=lambda look: look.at)
    return looks[index - 1] if index else None


@dataclass
class Evidence:
    """All of it, by canary where it is about one."""

    history: History
    times: Times
    stays: dict[str, list[Stay]]
    attempts: dict[str, list[Attempt]]
    reads: dict[tuple[str, str], Looks]
    sweeps: dict[tuple[str, str], list[Look]]  # by mailbox and canary
    canaries: dict[str, dict[str, Any]]
    moves: dict[str, list[dict[str, Any]]]
    incidents: list[dict[str, Any]]
    totals: dict[tuple[str, tuple[str, ...]], float]
    kept_reads: set[tuple[str, str, int, bool, bool]]
    trail: list[tuple[str, str, str]]  # every write of an incident: id, route, state
    configs: list[Event]
    metrics: dict[str, dict[tuple[tuple[str, str], ...], float]] = field(default_factory=dict)

    def settled(self, row: dict[str, Any]) -> float:
        """When a canary got its outcome, in virtual seconds."""
        return self.times.of(row["facts"]["settled"])

    def due(self, row: dict[str, Any], deadline: int) -> float:
        """When its first (overdue) or second (lost) deadline was, in seconds of BOOTTIME: deadlines go on in sleep."""
        facts = row["facts"]
        zero = facts.get("clock_started") or facts["sent"]
        return float(zero[1] / NANOSECONDS + facts["deadlines"][deadline] / 1e6)

    def zero(self, row: dict[str, Any]) -> float:
        """What its deadlines count from, in virtual seconds."""
        facts = row["facts"]
        return self.times.of(facts.get("clock_started") or facts["sent"])


TRAIL = """
CREATE TABLE IF NOT EXISTS trail (n INTEGER PRIMARY KEY, id TEXT, route TEXT, state TEXT);
CREATE TRIGGER IF NOT EXISTS trail_new AFTER INSERT ON incidents
    BEGIN INSERT INTO trail (id, route, state) VALUES (new.id, new.route, new.state); END;
CREATE TRIGGER IF NOT EXISTS trail_more AFTER UPDATE ON incidents
    BEGIN INSERT INTO trail (id, route, state) VALUES (new.id, new.route, new.state); END;
"""


def gather(history: History, ledger: Path, metrics: str) -> Evidence:
    """Read everything once."""
    with closing(sqlite3.connect(ledger)) as file:
        file.row_factory = sqlite3.Row
        rows = [dict(row) for row in file.execute("SELECT * FROM canaries ORDER BY n")]
        for row in rows:
            row["facts"] = json.loads(row["facts"])
        moves: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for move in file.execute("SELECT * FROM moves ORDER BY n"):
            moves[move["canary"]].append(dict(move))
        incidents = [dict(row) for row in file.execute("SELECT * FROM incidents")]
        sums = file.execute("SELECT name, labels, value FROM totals")
        totals = {(name, tuple(json.loads(labels))): value for name, labels, value in sums}
        trail = [(row[0], row[1], row[2]) for row in file.execute("SELECT id, route, state FROM trail ORDER BY n")]
        reads = file.execute("SELECT mailbox, folder, began_at, fresh, complete FROM reads")
        looked = {(row[0], row[1], row[2], bool(row[3]), bool(row[4])) for row in reads}
    times = Times(history)
    return Evidence(
        history,
        times,
        _stays(history),
        _attempts(history),
        _reads(history, times),
        _sweeps(history, times),
        {row["id"]: row for row in rows},
        moves,
        incidents,
        totals,
        looked,
        trail,
        list(history.of("config")),
        parse(metrics),
    )


def _reads(history: History, times: Times) -> dict[tuple[str, str], Looks]:
    reads: dict[tuple[str, str], Looks] = defaultdict(Looks)
    for event in history.of("read"):
        if not event["missing"] and event["complete"]:
            look = Look(event.at, times.boot(event.at) - event["lag"], event["began"])
            folder = reads[(event["box"], event["folder"])]
            folder.every.append(look)
            if event["fresh"]:
                folder.fresh.append(look)
    return reads


def _sweeps(history: History, times: Times) -> dict[tuple[str, str], list[Look]]:
    sweeps: dict[tuple[str, str], list[Look]] = defaultdict(list)
    for event in history.of("sweep"):
        for canary in event["canaries"]:
            sweeps[(event["box"], canary)].append(Look(event.at, times.boot(event.at), 0))
    return sweeps


def _stays(history: History) -> dict[str, list[Stay]]:
    """Where each canary's copies were, and when."""
    here: dict[tuple[str, str, int, int], tuple[str, Stay]] = {}
    stays: dict[str, list[Stay]] = defaultdict(list)
    for event in history.of("put", "gone", "renumber"):
        if event.kind == "put" and event["canary"]:
            stay = Stay(event["box"], event["folder"], event["epoch"], event["uid"], event.at, hidden=event["hidden"])
            stays[event["canary"]].append(stay)
            here[(stay.box, stay.folder, stay.epoch, stay.uid)] = event["canary"], stay
        elif event.kind == "gone":
            found = here.pop((event["box"], event["folder"], event["epoch"], event["uid"]), None)
            if found is not None:
                found[1].until, found[1].by = event.at, event["by"]
        elif event.kind == "renumber":
            numbers = dict(event["numbers"])
            for key in [key for key in here if key[:2] == (event["box"], event["folder"])]:
                canary, stay = here.pop(key)
                stay.until, stay.by = event.at, "renumber"
                again = Stay(stay.box, stay.folder, event["epoch"], numbers[stay.uid], event.at)
                stays[canary].append(again)
                here[(again.box, again.folder, again.epoch, again.uid)] = canary, again
    return stays


def _attempts(history: History) -> dict[str, list[Attempt]]:
    attempts: dict[str, list[Attempt]] = defaultdict(list)
    known: dict[tuple[Any, Any], Attempt] = {}
    for event in history.of("handed", "content", "took", "answer"):
        key = event["path"], event["n"]
        if event.kind == "handed":
            made = Attempt(event.at, event["n"], event["attempt"], event["mx"], event["rcpt"])
            attempts[event["canary"]].append(made)
            known[key] = made
        elif event.kind == "content":
            known[key].content = event.at
        elif event.kind == "took":
            known[key].took = True
        else:
            known[key].result = event["result"]
    return attempts


def parse(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Samples of the text format, by name and sorted labels."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = defaultdict(dict)
    for line in text.splitlines():
        match = _SAMPLE.fullmatch(line)
        if match is not None and not line.startswith("#"):
            labels = tuple(sorted(_LABEL.findall(match["labels"] or "")))
            found[match["name"]][labels] = float(match["value"])
    return found
