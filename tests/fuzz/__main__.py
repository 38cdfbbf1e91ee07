"""``python -m tests.fuzz --inputs 1000000``: hostile bytes into every parser, and what came of it."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict

from tests.fuzz.fuzzing import Fuzzed, fuzz_named
from tests.fuzz.targets import TARGETS

_HEAD = f"{'target':<12}{'inputs':>10}{'per s':>9}{'uncaught':>10}{'forged':>8}{'slowest ms':>12}{'peak MiB':>10}"


def main() -> int:
    """0: nothing uncaught, and no forgery believed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="only this; may be repeated")
    parser.add_argument("--inputs", type=int, default=100_000, help="at least so many for each target")
    parser.add_argument("--seconds", type=float, help="so long for each target, instead of --inputs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args()
    inputs = 0 if given.seconds else given.inputs
    done: list[Fuzzed] = []
    if not given.json:
        print(_HEAD, flush=True)
    # A process for each target, so that the peak of its memory is its own.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(given.jobs, mp_context=context, max_tasks_per_child=1) as pool:
        names = given.target or list(TARGETS)
        futures = [pool.submit(fuzz_named, name, given.seed, inputs, given.seconds or 0.0) for name in names]
        for future in as_completed(futures):
            done.append(future.result())
            if not given.json:
                _say(done[-1])
    if given.json:
        rows = [asdict(one) | {"per_second": round(one.rate)} for one in done]
        print(json.dumps({"seed": given.seed, "targets": rows}, indent=1))
    return 0 if all(one.sound for one in done) else 1


def _say(one: Fuzzed) -> None:
    uncaught = sum(one.faults.values())
    print(
        f"{one.target:<12}{one.inputs:>10}{one.rate:>9.0f}{uncaught:>10}{one.forgeries:>8}"
        f"{one.slowest * 1000:>12.1f}{one.peak:>10.1f}",
        flush=True,
    )
    for fault, times in sorted(one.faults.items()):
        print(f"  {fault}: {times}")
    for name in one.saved:
        print(f"  saved: tests/corpus/regressions/{name}")


if __name__ == "__main__":
    sys.exit(main())
