"""The rules of the house that no linter knows: time in one module, short files, docstrings, a clean tree."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST_FILE = 330

PROBE = sorted((ROOT / "probe").rglob("*.py"))

# What reads a clock or waits. perf_counter and process_time measure the program itself and are clocks all the same.
_CLOCKS = {
    "time": {
        "time",
        "time_ns",
        "monotonic",
        "monotonic_ns",
        "sleep",
        "perf_counter",
        "perf_counter_ns",
        "clock_gettime",
        "clock_gettime_ns",
        "localtime",
        "gmtime",
    },
    "asyncio": {"sleep"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}


def _clock_uses(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
            if node.attr in _CLOCKS.get(owner, ()):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno} {owner}.{node.attr}")
        elif isinstance(node, ast.ImportFrom):
            taken = _CLOCKS.get(node.module or "", set()) & {alias.name for alias in node.names}
            found += [f"{path.relative_to(ROOT)}:{node.lineno} from {node.module} import {name}" for name in taken]
    return found


def test_only_the_clock_reads_time_or_waits() -> None:
    uses = [use for path in PROBE if path != ROOT / "probe" / "clock.py" for use in _clock_uses(path)]
    assert uses == []


def test_the_search_for_clocks_sees_one() -> None:
    assert len(_clock_uses(ROOT / "probe" / "clock.py")) >= 3


@pytest.mark.parametrize("folder", ["probe", "tests", "benchmarks"])
def test_no_file_is_too_long(folder: str) -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / folder).rglob("*.py")}
    assert {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > LONGEST_FILE} == {}


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in PROBE
        if path.read_text(encoding="utf-8").strip()
        and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


def test_nothing_of_the_workshop_is_in_the_tree() -> None:
    """The tree must read the same anywhere: no path of one machine, no package registry by its host name."""
    forbidden = re.compile(
        "|".join((r"(?<![\w.])/wo" + r"rk/", r"\bpypi\.o" + r"rg\b", "pythonho" + "sted", r"registry\.np" + "mjs"))
    )
    hits = []
    for path in _tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue
        hits += [f"{path.relative_to(ROOT)}: {match[0]}" for match in forbidden.finditer(text)]
    assert hits == []


def _tracked() -> list[Path]:
    """Files under version control or about to be; every file where there is no git (an unpacked release)."""
    done = (
        subprocess.run(
            ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            capture_output=True,
            text=True,
            check=False,
        )
        if (ROOT / ".git").exists()
        else None
    )
    if done is not None and done.returncode == 0:
        return [ROOT / name for name in done.stdout.split("\0") if name]
    skipped = {".venv", ".git", "build", "dist"}
    return [path for path in ROOT.rglob("*") if path.is_file() and not skipped & set(path.relative_to(ROOT).parts)]
