"""The fault matrix: each fault by its id, what must happen then, and the tests that prove it.

A test names its rows by ``@pytest.mark.fault("S17")``. ``test_fault_matrix`` fails where a row has neither a test nor a
reason in ``NOT_BUILT``. ``python -m tests.faults > docs/faults.md`` writes the page anew.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.fault_rows import TEXT

TESTS = Path(__file__).parent

# A row stays here until the part is built. Where the row has tests as well, they prove the rest of it.
NOT_BUILT = {
    "S14": "an event for a certificate that changed: its end and whether it was accepted are told",
    "S17": "OAuth: there is no token to renew",
    "S35": "integrity: what was altered on the way is not counted",
    "R09": "quota: the mailbox's own figure is not read",
    "R15": "HTTP mailboxes (JMAP, Graph): there is no Retry-After to honour",
    "R17": "an event for a certificate that changed",
    "R27": "OAuth",
    "P02": "loss of power: it takes a device that forgets what was not synced; proven is that each commit is synced",
    "P08": "PostgreSQL",
    "P16": "a file descriptor in reserve: the page answers those who are connected",
    "P25": "PostgreSQL: one ledger has one prober",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the matrix; ``means`` says how the fault is made."""

    id: str
    fault: str
    outcome: str
    means: str


def rows() -> list[Row]:
    """All rows, in their order."""
    found = []
    lines = TEXT.strip().splitlines()
    for first, second in zip(lines[::2], lines[1::2], strict=True):
        head, _, means = first.rstrip("]").partition(" [")
        number, _, fault = head.partition(" ")
        found.append(Row(number, fault, second.strip(), means))
    return found


def proofs() -> dict[str, list[str]]:
    """The tests by the rows that they name, as ``senders/test_x.py::test_y``."""
    found: dict[str, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if "mark.fault" in text:
            for name, ids in _marked(ast.parse(text)):
                for one in ids:
                    found.setdefault(one, []).append(f"{path.relative_to(TESTS).as_posix()}::{name}")
    return found


def _marked(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.fault":
                    yield node.name, [str(ast.literal_eval(each)) for each in mark.args]


_INTRODUCTION = """\
# The fault matrix

What can go wrong, what must happen then, and the tests that prove it. Common to every row: no false `lost`, no
forgotten canary, no second count; the process stays up, or ends with an exit code that is not 0 and goes on after a
restart; and the next healthy cycle is clean without anybody's help. [How it decides](how-it-decides.md) explains the
outcomes.

Made by: *scripted* a server that says what the test tells it; *zone* a DNS server; *real* Postfix and Dovecot; *proxy*
one that drops, delays or rewrites; *clock* the engine in virtual time; *process* the daemon as a process; *file* a
damaged or locked file; *input* hostile bytes; *limit* a resource limit.

This page is generated from the tests (`python -m tests.faults > docs/faults.md`). One row's tests:
`pytest -k <name of the test>`.
"""
_PARTS = (("S", "The way out"), ("R", "The mailbox"), ("P", "The prober itself"))


def page() -> str:
    """The page, as Markdown."""
    proven = proofs()
    text = [_INTRODUCTION]
    for letter, title in _PARTS:
        text += [f"## {title}", "", "| id | fault | what must happen | made by | proven by |", "|---|---|---|---|---|"]
        for row in rows():
            if row.id.startswith(letter):
                tests = "<br>".join(f"`{one}`" for one in proven.get(row.id, []))
                missing = f"*not built yet: {NOT_BUILT[row.id]}*" if row.id in NOT_BUILT else ""
                proof = "<br>".join(part for part in (tests, missing) if part)
                text.append(f"| {row.id} | {row.fault} | {row.outcome} | {row.means} | {proof} |")
        text.append("")
    return "\n".join(text)


if __name__ == "__main__":
    sys.stdout.write(page())
