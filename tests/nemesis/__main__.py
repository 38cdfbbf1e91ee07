"""``python -m tests.nemesis --seeds 0-9999 --canaries 500``: many histories; ``--seed N``: one, told in full."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path

from tests.nemesis.checker import check
from tests.nemesis.faults import plan
from tests.nemesis.judged import Judged, judge_seed, judged, room, smallest
from tests.nemesis.running import run

SAID_EVERY = 30.0  # seconds


def main() -> int:
    """0: nothing was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.nemesis", description=__doc__)
    parser.add_argument("--seeds", default="0-99", help="FIRST-LAST")
    parser.add_argument("--seed", type=int, help="replay one, with all that happened")
    parser.add_argument("--canaries", type=int, default=500, help="at least so many a history")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="the summary as one JSON object")
    parser.add_argument("--seconds", type=float, help="begin no history after so long")
    parser.add_argument("--shrink", type=int, default=80, help="histories to try for each failure; 0: none")
    given = parser.parse_args()
    if given.seed is not None:
        return _replay(given.seed, given.canaries, given.shrink)
    first, _, last = given.seeds.partition("-")
    return _many(range(int(first), int(last or first) + 1), given)


def _replay(seed: int, canaries: int, shrink: int) -> int:
    made = plan(seed, canaries)
    print(*made.lines(), sep="\n")
    with room() as folder:
        lived = run(made, Path(folder))
        violations = check(lived)
        figures = judged(lived, violations)
    print(*(event.line() for event in lived.history.events if event.kind != "read"), sep="\n")
    print(f"outcomes {figures.outcomes}, incidents {figures.incidents}")
    print(*violations, sep="\n")
    if violations and shrink:
        print("shrunk to:", *smallest(made, figures.rules, most=shrink).lines(), sep="\n")
    return 1 if violations else 0


def _many(seeds: range, given: argparse.Namespace) -> int:
    began = said = time.monotonic()
    done: list[Judged] = []
    failed: list[Judged] = []
    left = iter(seeds)
    with ProcessPoolExecutor(given.jobs) as pool:
        running = {pool.submit(judge_seed, (seed, given.canaries)) for seed in islice(left, given.jobs * 2)}
        while running:
            ready = {future for future in running if future.done()} or {next(iter(running))}
            for future in ready:
                one = future.result()
                running.discard(future)
                done.append(one)
                if one.violations:
                    failed.append(one)
                    print(f"seed {one.seed}:", *one.violations[:5], sep="\n  ", file=sys.stderr, flush=True)
                over = given.seconds is not None and time.monotonic() - began > given.seconds
                if not over and (seed := next(left, None)) is not None:
                    running.add(pool.submit(judge_seed, (seed, given.canaries)))
            if time.monotonic() - said > SAID_EVERY:
                said = time.monotonic()
                print(f"{len(done)} histories, {len(failed)} failed", file=sys.stderr, flush=True)
    for one in failed[:5] if given.shrink else ():
        made = smallest(plan(one.seed, given.canaries), one.rules, most=given.shrink)
        print(f"seed {one.seed} shrunk to:", *made.lines(), sep="\n", file=sys.stderr)
    _tell(done, failed, time.monotonic() - began, as_json=given.json)
    return 1 if failed else 0


def _tell(done: list[Judged], failed: list[Judged], took: float, *, as_json: bool) -> None:
    summary = {
        "histories": len(done),
        "canaries": sum(one.canaries for one in done),
        "violations": sum(len(one.violations) for one in done),
        "failed_seeds": sorted(one.seed for one in failed),
        "outcomes": dict(sum((Counter(one.outcomes) for one in done), Counter())),
        "faults": dict(sorted(sum((Counter(one.faults) for one in done), Counter()).items())),
        "incidents": dict(sum((Counter(one.incidents) for one in done), Counter())),
        "seconds": round(took, 1),
    }
    if as_json:
        print(json.dumps(summary))
        return
    for name, value in summary.items():
        print(f"{name:13} {value}")


if __name__ == "__main__":
    sys.exit(main())
