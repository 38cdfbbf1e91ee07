"""A batch: all that one step changes in the ledger, written in one transaction or not at all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from probe.canary.coverage import Cursor, Span, spans_of
from probe.canary.life import Move
from probe.canary.record import Canary
from probe.clock import NANOSECONDS, Instant
from probe.ledger import statements
from probe.ledger.rows import canary_row, compact, gaps_text, labels_text
from probe.ledger.statements import DriverCursor

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt as the ledger keeps it; ``result`` is "started" until it ended."""

    canary: str
    attempt: int
    started: Instant
    route: str
    mx: str
    recipient: str
    result: str = "started"
    stage: str = ""
    reason: str = ""
    code: int | None = None
    enhanced: str | None = None
    detail: str = ""
    address: str = ""
    tls: str = ""
    phases: Mapping[str, float] | None = None
    dialogue: Sequence[Sequence[Any]] = ()


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy of a canary in a folder. ``name``: the server's name of the folder ``folder`` stands for."""

    canary: str
    mailbox: str
    folder: str
    name: str
    cursor: Cursor  # epoch and uid
    seen: Instant
    mailbox_time: datetime | None
    kind: str  # first, duplicate, moved, copied, reread; or report: no copy, but a notification about it
    carriers: Sequence[str] = ()
    received: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Read:
    """One look at one folder, worth keeping."""

    mailbox: str
    folder: str
    began: Instant
    ended: Instant
    fresh: bool
    complete: bool
    cursor: Cursor | None
    found: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """An incident as the ledger keeps it; wall ns. ``record``: JSON of detection/record.py; ``work``: of the engine."""

    id: str
    route: str
    state: str
    opened_at: int
    updated_at: int
    record: str
    work: str = "{}"


class Batch:
    """Collects rows; ``merge`` joins batches in the order of their making (group commit)."""

    def __init__(self) -> None:
        self._canaries: dict[str, Row] = {}
        self._attempts: dict[tuple[str, int], Row] = {}
        self._watermarks: dict[tuple[str, str], Row] = {}
        self._moves: list[Row] = []
        self._copies: list[Row] = []
        self._reads: list[Row] = []
        self._events: list[Row] = []
        self._notes: dict[str, Row] = {}
        self._gone: list[Row] = []
        self._detectors: dict[str, Row] = {}
        self._incidents: dict[str, Row] = {}
        self.counts: dict[tuple[str, tuple[str, ...]], float] = defaultdict(float)

    def __bool__(self) -> bool:
        return bool(
            self._canaries
            or self._attempts
            or self._watermarks
            or self._moves
            or self._copies
            or self._reads
            or self._events
            or self._notes
            or self._gone
            or self._detectors
            or self._incidents
            or self.counts
        )

    def canary(self, canary: Canary) -> None:
        """The canary as it is now."""
        self._canaries[canary.id] = canary_row(canary)

    def move(self, before: Canary, move: Move, observation: str, at: Instant) -> None:
        """A step and its reason, with the canary that it made."""
        self.canary(move.canary)
        self._moves.append(
            {
                "canary": before.id,
                "at": at.wall,
                "before": before.state.value,
                "after": move.canary.state.value,
                "observation": observation,
                "reason": move.reason,
            }
        )

    def attempt(self, attempt: Attempt) -> None:
        """An attempt, begun or ended."""
        self._attempts[(attempt.canary, attempt.attempt)] = {
            "canary": attempt.canary,
            "attempt": attempt.attempt,
            "started_at": attempt.started.wall,
            "route": attempt.route,
            "mx": attempt.mx,
            "recipient": attempt.recipient,
            "result": attempt.result,
            "stage": attempt.stage,
            "reason": attempt.reason,
            "code": attempt.code,
            "enhanced": attempt.enhanced,
            "detail": attempt.detail,
            "address": attempt.address,
            "tls": attempt.tls,
            "phases": compact(dict(attempt.phases or {})),
            "dialogue": compact(list(attempt.dialogue)),
        }

    def copy(self, copy: Copy) -> None:
        """A copy seen; the same place is never recorded twice."""
        stamp = copy.mailbox_time
        self._copies.append(
            {
                "canary": copy.canary,
                "mailbox": copy.mailbox,
                "folder": copy.folder,
                "name": copy.name,
                "epoch": copy.cursor.epoch,
                "uid": copy.cursor.position,
                "seen_at": copy.seen.wall,
                "mailbox_time": None if stamp is None else int(stamp.timestamp()) * NANOSECONDS,
                "kind": copy.kind,
                "carriers": ",".join(copy.carriers),
                "received": compact(list(copy.received)),
                "removed_at": None,
                "gone": False,
            }
        )

    def places_of(self, canary_id: str) -> list[tuple[str, int, int]]:
        """(name, epoch, uid) of the copies of a canary that are in this batch, in the order they were seen."""
        return [(row["name"], row["epoch"], row["uid"]) for row in self._copies if row["canary"] == canary_id]

    def copy_ended(self, number: int, *, removed_at: Instant | None) -> None:
        """Copy number ``number`` is no longer there: removed by us at that instant, or gone by another hand (None)."""
        self._gone.append(
            {"which": number, "at": None if removed_at is None else removed_at.wall, "is_gone": removed_at is None}
        )

    def read(self, read: Read) -> None:
        """A read."""
        self._reads.append(
            {
                "mailbox": read.mailbox,
                "folder": read.folder,
                "began_at": read.began.wall,
                "ended_at": read.ended.wall,
                "fresh": read.fresh,
                "complete": read.complete,
                "epoch": read.cursor and read.cursor.epoch,
                "position": read.cursor and read.cursor.position,
                "found": read.found,
                "problem": read.problem,
            }
        )

    def watermark(
        self,
        mailbox: str,
        folder: str,
        cursor: Cursor,
        gaps: tuple[Span, ...],
        read_at: Instant,
        *,
        unreadable: Iterable[int] = (),
    ) -> None:
        """How far a folder was looked at, which numbers were never seen, and which the server would not show."""
        self._watermarks[(mailbox, folder)] = {
            "mailbox": mailbox,
            "folder": folder,
            "epoch": cursor.epoch,
            "position": cursor.position,
            "gaps": gaps_text(gaps),
            "unreadable": gaps_text(spans_of(unreadable)),
            "read_at": read_at.wall,
        }

    def count(self, name: str, labels: tuple[str, ...] = (), by: float = 1) -> None:
        """Add to a running total."""
        self.counts[(name, labels)] += by

    def event(self, at: Instant, kind: str, detail: str) -> None:
        """Something an operator should find later."""
        self._events.append({"at": at.wall, "kind": kind, "detail": detail})

    def note(self, key: str, value: str) -> None:
        """A value of the ledger as a whole, by name; the last one stands."""
        self._notes[key] = {"key": key, "value": value}

    def detector(self, name: str, at: Instant, state: str) -> None:
        """What a detector knows; the last one stands."""
        self._detectors[name] = {"name": name, "at": at.wall, "state": state}

    def incident(self, row: IncidentRow) -> None:
        """An incident as it is now."""
        self._incidents[row.id] = {
            "id": row.id,
            "route": row.route,
            "state": row.state,
            "opened_at": row.opened_at,
            "updated_at": row.updated_at,
            "record": row.record,
            "work": row.work,
        }

    def merge(self, later: Batch) -> None:
        """Take over ``later``; where both write the same row, the later one stands."""
        self._canaries.update(later._canaries)
        self._attempts.update(later._attempts)
        self._watermarks.update(later._watermarks)
        self._moves += later._moves
        self._copies += later._copies
        self._reads += later._reads
        self._events += later._events
        self._notes.update(later._notes)
        self._gone += later._gone
        self._detectors.update(later._detectors)
        self._incidents.update(later._incidents)
        for key, value in later.counts.items():
            self.counts[key] += value

    def write(self, cursor: DriverCursor) -> None:
        """Execute inside the caller's transaction: one executemany a table."""
        totals = [
            {"name": name, "labels": labels_text(labels), "value": value}
            for (name, labels), value in self.counts.items()
        ]
        for statement, rows in (
            (statements.CANARY, list(self._canaries.values())),
            (statements.ATTEMPT, list(self._attempts.values())),
            (statements.WATERMARK, list(self._watermarks.values())),
            (statements.MOVE, self._moves),
            (statements.COPY, self._copies),
            (statements.READ, self._reads),
            (statements.EVENT, self._events),
            (statements.NOTE, list(self._notes.values())),
            (statements.GONE, self._gone),
            (statements.DETECTOR, list(self._detectors.values())),
            (statements.INCIDENT, list(self._incidents.values())),
            (statements.ADD, totals),
        ):
            statement.run(cursor, rows)
