"""What must hold of incidents, by the trail that a trigger in the ledger's file keeps of every write of theirs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from tests.nemesis.evidence import FOREVER, Evidence
from tests.nemesis.verdict_rules import watched

ACTIVE = {"suspected", "open", "identified", "recovering", "drained"}
Pairs = Iterator[tuple[str, str]]


def incidents(evidence: Evidence) -> Pairs:
    """(g) Each opens and closes once (again only as its record says), one of a route at a time, and for a canary that
    was truly not there in time."""
    states: dict[str, str] = {}
    opened: dict[str, int] = defaultdict(int)
    closed: dict[str, int] = defaultdict(int)
    active: dict[str, set[str]] = defaultdict(set)
    for name, route, state in evidence.trail:
        was, is_now = states.get(name, "") in ACTIVE, state in ACTIVE
        states[name] = state
        opened[name] += is_now and not was
        closed[name] += was and not is_now
        (active[route].add if is_now else active[route].discard)(name)
        if len(active[route]) > 1:
            yield route, f"several incidents at once: {sorted(active[route])}"
    wrong = {(row["route"], row["mx"], _second(row)) for row in evidence.canaries.values() if _wrong(evidence, row)}
    for row in evidence.incidents:
        record = json.loads(row["record"])
        times = 1 + len(record["reopened"])
        if opened[row["id"]] != times:
            yield row["id"], f"it was opened {opened[row['id']]} times, its record says {times}"
        if closed[row["id"]] != times - (row["state"] in ACTIVE):
            yield row["id"], f"it was closed {closed[row['id']]} times in {times} openings and is {row['state']}"
        if row["state"] != states[row["id"]] or record["state"] != row["state"]:
            yield (
                row["id"],
                f"row {row['state']}, record {record['state']}, trail {states[row['id']]}",
            )
        for page in record["pages"]:
            if (row["route"], page["mx"], page["first_bad_sent"][:19]) not in wrong:
                yield (
                    row["id"],
                    f"{page['mx']} paged for the canary sent {page['first_bad_sent']}, which was there in time",
                )


def _second(row: dict[str, Any]) -> str:
    """The wall second of its intent, as a record shows it."""
    return datetime.fromtimestamp(row["sent_at"] // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _wrong(evidence: Evidence, row: dict[str, Any]) -> bool:
    """Taken by the server, and not in a watched folder at its deadline and at the first complete read after it."""
    name = row["id"]
    if not any(one.content is not None for one in evidence.attempts.get(name, ())):
        return False
    deadline = evidence.due(row, 0)
    for folder in watched(evidence, row["mailbox"]):
        look = evidence.reads[(row["mailbox"], folder)].first_after(deadline)
        for stay in evidence.stays.get(name, ()):
            elsewhere = stay.box != row["mailbox"] or stay.folder != folder or stay.hidden
            if elsewhere or evidence.times.boot(stay.since) > deadline:
                continue
            if stay.by == "prober" or stay.until > (look.at if look is not None else FOREVER):
                return False
    return True
