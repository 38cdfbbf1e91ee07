"""A seed from its plan to what was found: for the command, and for the tests."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.nemesis.checker import Violation, check
from tests.nemesis.faults import Plan, plan
from tests.nemesis.running import Patch, Run, run
from tests.nemesis.shrink import Shrinker

_FAST = Path("/dev/shm")  # a ledger that is forced to a real disk thousands of times would only wait for it


@dataclass(frozen=True)
class Judged:
    """What a history came to."""

    seed: int
    canaries: int
    outcomes: Mapping[str, int]
    faults: Mapping[str, int]
    incidents: Mapping[str, int]
    violations: tuple[str, ...] = ()
    rules: frozenset[str] = field(default_factory=frozenset)

    def line(self) -> str:
        """One JSON object."""
        return json.dumps({**asdict(self), "rules": sorted(self.rules)}, sort_keys=True)


def room() -> tempfile.TemporaryDirectory[str]:
    """Where a history's ledger lies."""
    return tempfile.TemporaryDirectory(prefix="nemesis-", dir=_FAST if _FAST.is_dir() else None)


def judge(made: Plan, patch: Patch | None = None) -> Judged:
    """Live through a plan and check it."""
    with room() as folder:
        lived = run(made, Path(folder), patch)
        return judged(lived, check(lived))


def judged(lived: Run, violations: list[Violation]) -> Judged:
    """The figures of a history."""
    with closing(sqlite3.connect(lived.ledger)) as file:
        outcomes = dict(file.execute("SELECT state, COUNT(*) FROM canaries GROUP BY state").fetchall())
        incidents = dict(file.execute("SELECT state, COUNT(*) FROM incidents GROUP BY state").fetchall())
    return Judged(
        lived.plan.seed,
        sum(outcomes.values()),
        outcomes,
        dict(Counter(event["what"] for event in lived.history.of("fault"))),
        incidents,
        tuple(map(str, violations)),
        frozenset(one.rule for one in violations),
    )


def smallest(made: Plan, rules: frozenset[str], patch: Patch | None = None, most: int = 120) -> Plan:
    """The smallest plan found that violates one of the same rules."""
    return Shrinker(lambda one: bool(judge(one, patch).rules & rules), most).shrink(made)


def judge_seed(job: tuple[int, int]) -> Judged:
    """(seed, canaries); what a worker does."""
    return judge(plan(*job))
