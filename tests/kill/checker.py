"""The independent checker: the ledger's rows against what the receiving servers say. It reads SQL and bytes, and shares
no judging code with the daemon; only the token in a Message-ID is verified by the daemon's own keyring.

Two moments are judged: the ledger as a killed daemon left it (was every mail in it before it was accepted?), and the
ledger after the restart (did every canary get exactly one outcome, the right one?).
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copyfile
from typing import Any

from probe.canary.identity import Identity, Keyring
from tests.kill.receiving import Mail

OUTCOMES = {"delivered", "late", "lost", "bounced", "refused", "unsent", "unknown"}
ARRIVED = {"delivered", "late"}
IN_FLIGHT = {"intent", "data_started", "deferred", "accepted", "unsure"}

Row = dict[str, Any]


@dataclass(slots=True)
class Rows:
    """A ledger's rows, read from a copy so that looking changes nothing."""

    integrity: str
    canaries: dict[str, Row]
    moves: dict[str, list[Row]]
    attempts: dict[tuple[str, int], Row]
    copies: list[Row]
    totals: dict[tuple[str, tuple[str, ...]], float]


@dataclass(slots=True)
class Finding:
    """What was wrong, and how the canaries ended: outcome with its label, by number."""

    violations: list[str] = field(default_factory=list)
    ended: Counter[str] = field(default_factory=Counter)


def read_rows(ledger: Path, scratch: Path) -> Rows | None:
    """The rows; None where no ledger was made yet (no file, or no table in it)."""
    if not ledger.exists():
        return None
    scratch.mkdir(exist_ok=True)
    for suffix in ("", "-wal"):
        if (source := ledger.with_name(ledger.name + suffix)).exists():
            copyfile(source, scratch / source.name)
        else:
            (scratch / source.name).unlink(missing_ok=True)
    with closing(sqlite3.connect(scratch / ledger.name)) as connection:
        connection.row_factory = sqlite3.Row
        integrity = str(connection.execute("PRAGMA integrity_check").fetchone()[0])
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'canaries'").fetchone():
            return None

        def table(query: str) -> list[Row]:
            return [dict(row) for row in connection.execute(query)]

        moves: dict[str, list[Row]] = defaultdict(list)
        for row in table("SELECT * FROM moves ORDER BY n"):
            moves[row["canary"]].append(row)
        return Rows(
            integrity,
            {row["id"]: row for row in table("SELECT * FROM canaries")},
            dict(moves),
            {(row["canary"], row["attempt"]): row for row in table("SELECT * FROM attempts")},
            table("SELECT * FROM copies"),
            {(row["name"], tuple(json.loads(row["labels"]))): row["value"] for row in table("SELECT * FROM totals")},
        )


class Checker:
    """Judges one life by its mails. ``mails``: the receiving servers' log."""

    def __init__(self, mails: Sequence[Mail], keyring: Keyring) -> None:
        self.finding = Finding()
        self._mails: list[tuple[Mail, Identity]] = []
        for mail in mails:
            identity = keyring.verify_token(mail.token)
            if isinstance(identity, Identity):
                self._mails.append((mail, identity))
            else:
                self._wrong(f"the server was sent what is no canary: {mail}")
        self._whole = {who.canary_id for mail, who in self._mails if mail.whole}
        self._stored = {who.canary_id for mail, who in self._mails if mail.stored}

    def _wrong(self, what: str) -> None:
        self.finding.violations.append(what)

    def _expect(self, holds: bool, what: str) -> None:
        if not holds:
            self._wrong(what)

    def before_restart(self, rows: Rows | None) -> None:
        """As the daemon left it: no content went out before its ledger entry."""
        if rows is None:
            self._expect(not self._mails, "mail was sent, and there is no ledger")
            return
        self._expect(rows.integrity == "ok", f"the ledger is damaged: {rows.integrity}")
        for mail, who in self._mails:
            self._entered(rows, mail, who)
        self._chains(rows)
        self._counters(rows)

    def _entered(self, rows: Rows, mail: Mail, who: Identity) -> None:
        name = f"{who.canary_id}, attempt {who.attempt}"
        attempt = rows.attempts.get((who.canary_id, who.attempt))
        if attempt is None or who.canary_id not in rows.canaries:
            self._wrong(f"{name}: content went out that the ledger does not know")
            return
        self._expect(attempt["started_at"] <= mail.at, f"{name}: its attempt was entered after its content")
        started = [move["at"] for move in rows.moves[who.canary_id] if move["after"] == "data_started"]
        allowed = any(attempt["started_at"] <= at <= mail.at for at in started)
        self._expect(allowed, f"{name}: content went out before data_started was entered")

    def after_restart(self, rows: Rows | None) -> None:
        """After a restart that had the time to settle everything."""
        if rows is None:
            self._wrong("there is no ledger after the restart")
            return
        self.before_restart(rows)
        handed = Counter(who.canary_id for _, who in self._mails)
        for canary_id, times in handed.items():
            self._expect(times == 1, f"{canary_id}: its content was sent {times} times")
        for canary in rows.canaries.values():
            self._outcome(canary, rows.moves.get(canary["id"], []))
        places = Counter((row["mailbox"], row["name"], row["epoch"], row["uid"]) for row in rows.copies)
        self._expect(not places or max(places.values()) == 1, "a copy is in the ledger twice")
        seen = {row["canary"] for row in rows.copies if row["kind"] == "first"}
        self._expect(seen == self._stored, f"seen copies {sorted(seen)} are not those stored {sorted(self._stored)}")

    def _outcome(self, canary: Row, moves: Sequence[Row]) -> None:
        name, state, arrived = canary["id"], canary["state"], canary["arrived_at"] is not None
        self.finding.ended[state + (f"({canary['label']})" if canary["label"] else "")] += 1
        self._expect(state in OUTCOMES, f"{name}: still {state} after the restart")
        stored, whole = name in self._stored, name in self._whole
        self._expect(arrived == stored, f"{name}: arrived is {arrived}, in the mailbox is {stored}")
        self._expect(state not in ARRIVED or stored, f"{name}: {state}, and it is not in the mailbox")
        through = {move["after"] for move in moves}
        if state == "lost":
            self._expect(not stored, f"{name}: lost, and it is in the mailbox")
            self._expect(whole and "accepted" in through, f"{name}: lost, and its 250 was never heard")
            self._expect("unsure" not in through, f"{name}: lost, although it was unsure")
        if state in ("unsent", "refused"):
            self._expect(not whole, f"{name}: {state}, and the server accepted it")
        if "unsure" in through:
            allowed = ARRIVED if stored else {"unknown"}
            self._expect(state in allowed or (state == "unknown" and arrived), f"{name}: was unsure, ended as {state}")
        if whole and "unsure" not in through and not stored:
            self._expect(state in ("lost", "unknown"), f"{name}: swallowed, ended as {state}")

    def _chains(self, rows: Rows) -> None:
        for canary_id in rows.moves.keys() - rows.canaries.keys():
            self._wrong(f"{canary_id}: has moves and no row")
        for canary in rows.canaries.values():
            name, moves = canary["id"], rows.moves.get(canary["id"], [])
            states = ["planned", *(move["after"] for move in moves)]
            linked = all(move["before"] == state for move, state in zip(moves, states, strict=False))
            self._expect(linked, f"{name}: its moves do not follow from each other: {states}")
            self._expect(states[-1] == canary["state"], f"{name}: {canary['state']}, its last move says {states[-1]}")
            self._expect(canary["state"] in OUTCOMES | IN_FLIGHT, f"{name}: {canary['state']} is no state")
            ends = sum(move["after"] in OUTCOMES and move["before"] not in OUTCOMES for move in moves)
            over = canary["state"] in OUTCOMES
            self._expect(ends == over, f"{name}: {ends} outcomes, and it is {canary['state']}")
            self._expect(
                (canary["settled_at"] is not None) == over, f"{name}: settled_at does not fit {canary['state']}"
            )
            tried = sorted(attempt for who, attempt in rows.attempts if who == name)
            expected = list(range(1, canary["attempts"] + 1))
            self._expect(tried == expected, f"{name}: attempts {tried}, its row says {canary['attempts']}")

    def _counters(self, rows: Rows) -> None:
        """Each total is the number of its rows, to the one."""
        canaries = rows.canaries.values()
        ended = [row for row in rows.attempts.values() if row["result"] != "started"]
        leg = ("route", "mx", "mailbox")
        kinds = (*leg, "variant")
        facts = {row["id"]: json.loads(row["facts"]) for row in canaries}
        self._total(rows, "sent", _by(canaries, kinds))
        self._total(rows, "outcomes", _by((row for row in canaries if row["state"] in OUTCOMES), (*kinds, "state")))
        self._total(rows, "overdue", _by((row for row in canaries if row["overdue"]), kinds))
        self._total(rows, "judged", _by((row for row in canaries if facts[row["id"]]["judged"]), kinds))
        arrived = (dict(row, folder="inbox") for row in canaries if row["arrived_at"] is not None)
        self._total(rows, "arrivals", _by(arrived, (*leg, "folder")))
        for name, column in (("recovered", "recovered_at"), ("duplicates", "duplicates")):
            expected = sum(int(row[column]) if name == "duplicates" else row[column] is not None for row in canaries)
            self._sum(rows, name, expected)
        self._sum(rows, "attempts", len(ended))
        self._sum(rows, "submissions", sum(row["attempt"] == 1 for row in ended))
        for name in ("task_crashes", "ledger_resets", "foreign"):
            self._sum(rows, name, 0)

    def _total(self, rows: Rows, name: str, expected: Counter[tuple[str, ...]]) -> None:
        counted = {labels: value for (total, labels), value in rows.totals.items() if total == name}
        self._expect(counted == dict(expected), f"total {name}: {counted}, the rows say {dict(expected)}")

    def _sum(self, rows: Rows, name: str, expected: int) -> None:
        counted = sum(value for (total, _), value in rows.totals.items() if total == name)
        self._expect(counted == expected, f"total {name}: {counted}, the rows say {expected}")


def _by(rows: Iterable[Row], columns: Sequence[str]) -> Counter[tuple[str, ...]]:
    return Counter(tuple(row[column] for column in columns) for row in rows)
