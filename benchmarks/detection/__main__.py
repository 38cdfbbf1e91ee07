"""``python -m benchmarks.detection [--quick] [--only PART] [--seed TEXT] [--jobs N]``: the detector's table.

Minutes are from the onset of a fault to the detector's decision: mean ± standard error / median / 95th percentile. Add
25 s for the way to the pager. QUICK=1 in the environment is ``--quick``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import starmap
from typing import Any

from benchmarks.detection.rows import FULL, PARTS, QUICK, Row

_NARROW = 72


def main(arguments: list[str] | None = None) -> int:
    """Exit 0 when every bar is met, 1 otherwise; figures of ``--quick`` are too rough to be judged, and exit 0."""
    options = _parser().parse_args(arguments)
    sizes = QUICK if options.quick else FULL
    missed = 0
    with multiprocessing.Pool(options.jobs) if options.jobs > 1 else _Alone() as pool:
        play = partial(_play, pool)
        for name in options.only or PARTS:
            began = time.perf_counter()
            for row in PARTS[name](play, sizes, options.seed):
                print(line(row), flush=True)
                missed += row[3] is False
            print(f"  {name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    print(f"{missed} bars missed" + (" (rough: too few runs to judge by)" if options.quick else ""))
    return 1 if missed and not options.quick else 0


def line(row: Row) -> str:
    """One row of the table."""
    what, measured, bar, met = row
    verdict = "" if met is None else "met" if met else "MISSED"
    return f"{what:<{_NARROW}} {measured:<48} {bar:<18} {verdict}".rstrip()


class _Alone:
    """A pool of one: this process."""

    def __enter__(self) -> _Alone:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def starmap(self, function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]]) -> list[Any]:
        return list(starmap(function, jobs))


def _play(pool: Any, function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]]) -> list[Any]:
    return list(pool.starmap(function, jobs))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection", description="How soon the detector pages.")
    quick = os.environ.get("QUICK", "") not in ("", "0")
    parser.add_argument("--quick", action="store_true", default=quick, help="few runs, rough figures")
    parser.add_argument("--only", action="append", choices=list(PARTS), help="this part (may be repeated)")
    parser.add_argument("--seed", default="1", help="another text plays other runs")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    return parser


if __name__ == "__main__":
    sys.exit(main())
