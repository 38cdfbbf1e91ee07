"""``python -m tests.page [--only ACT] [--runs N] [--jobs N] [--json] [--short]``: the incident of 2015, end to end.

Everything in real time, on a real Prometheus and Alertmanager with the shipped rules and routes. Each act stands on a
stage of its own, in a process of its own; progress goes to standard error. Exit 0 when every bar is met, 1 otherwise.
MAILCANARY_PAGE_KEEP=FOLDER keeps each daemon's journal and ledger there.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

from tests.page.acts import ACTS, RUNS, SHORT_ONLY, play
from tests.page.outcome import lines
from tests.page.scale import FULL, SHORT


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    scale = SHORT if options.short else FULL
    names = options.only or [name for name in ACTS if options.short or name not in SHORT_ONLY]
    parts = [(name, run) for name in names for run in range(1, 1 + (options.runs if name == "share" else 1))]
    context = multiprocessing.get_context("spawn")
    # One process an act: a worker that has played one still holds its loop's threads.
    with ProcessPoolExecutor(options.jobs, mp_context=context, max_tasks_per_child=1) as pool:
        playing = [pool.submit(play, name, run, scale) for name, run in parts]
        rows = [row for one in playing for row in one.result()]
    missed = sum(row.met is False for row in rows)
    if options.json:
        print(json.dumps({"scale": scale.factor, "missed": missed, "rows": [row.to_json() for row in rows]}, indent=1))
    else:
        print("\n".join([*lines(rows), f"{missed} bars missed"]))
    return 1 if missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.page", description="The incident of 2015, end to end.")
    parser.add_argument("--only", action="append", choices=list(ACTS), help="this act (may be repeated)")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"seeded runs of the partial loss (default {RUNS})")
    parser.add_argument("--jobs", type=int, default=6, help="acts at the same time (default 6)")
    parser.add_argument(
        "--short", action="store_true", help="all times divided by twelve; only order and content count"
    )
    parser.add_argument("--json", action="store_true", help="the rows as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
