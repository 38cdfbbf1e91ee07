"""Kill the daemon at every durable or visible act of a life, fail every write, restart, and check.

    python -m tests.kill [--only kill|enospc|eio] [--sample N --seed S] [--jobs 2] [--json]

Needs strace and the right to trace. Exit code 1 where a violation was found.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.kill.campaign import Survey, Verdict, campaign
from tests.kill.points import Mode, Point, sample


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.kill", description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=[mode.value for mode in Mode], help="one kind of points")
    parser.add_argument("--sample", type=int, help="so many points, drawn by chance")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--jobs", type=int, default=2, help="lives at once")
    parser.add_argument("--json", action="store_true", help="the summary as JSON, on standard output")
    return parser.parse_args()


def summary(seen: Survey, verdicts: Sequence[Verdict], seconds: float) -> dict[str, Any]:
    """The figures, by kind of point."""
    kinds: dict[str, Any] = {}
    for mode in Mode:
        some = [each for each in verdicts if each.point.mode is mode]
        if not some:
            continue
        ended: Counter[str] = Counter()
        for each in some:
            ended.update(each.ended)
        kinds[mode.value] = {
            "points": len(some),
            "reached": sum(each.reached for each in some),
            "violated": sum(bool(each.violations) for each in some),
            "unknown": sum(each.unknown for each in some),
            "exits": dict(sorted(Counter(str(each.code) for each in some).items())),
            "ended": dict(sorted(ended.items())),
            "calls": dict(sorted(Counter(f"{each.point.thread} {each.point.call}" for each in some).items())),
        }
    return {
        "points_of_a_life": len(seen.points),
        "threads": seen.threads,
        "other_calls": dict(seen.others),
        "kinds": kinds,
        "seconds": round(seconds, 1),
        "seconds_a_point": round(sum(each.seconds for each in verdicts) / max(1, len(verdicts)), 3),
        "not_reached": [str(each.point) for each in verdicts if not each.reached],
        "violations": {str(each.point): each.violations for each in verdicts if each.violations},
    }


def shown(figures: dict[str, Any]) -> str:
    """For people."""
    lines = [f"{figures['points_of_a_life']} points in a life, {figures['seconds']} s, "]
    lines[0] += f"{figures['seconds_a_point']} s a point"
    for name, kind in figures["kinds"].items():
        lines.append(
            f"{name:7} {kind['points']} points, {kind['reached']} reached, {kind['violated']} with violations, "
            f"{kind['unknown']} honestly unknown; exit codes {kind['exits']}; canaries {kind['ended']}"
        )
    if figures["not_reached"]:
        lines.append("not reached: " + ", ".join(figures["not_reached"]))
    for point, violations in figures["violations"].items():
        lines += [f"VIOLATION at {point}", *(f"    {each}" for each in violations)]
    return "\n".join(lines)


def main() -> int:
    chosen = arguments()
    lock, done, began = threading.Lock(), 0, time.monotonic()
    total = 0

    def choose(seen: Survey) -> list[Point]:
        nonlocal total
        points = [point for point in seen.points if chosen.only in (None, point.mode.value)]
        points = sample(points, chosen.sample, chosen.seed) if chosen.sample else points
        total = len(points)
        return points

    def tell(verdict: Verdict) -> None:
        nonlocal done
        with lock:
            done += 1
            for violation in verdict.violations:
                print(f"\n{verdict.point}: {violation}", file=sys.stderr, flush=True)
            if done % 25 == 0 or done == total:
                print(f"{done} of {total}, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="kill-") as folder:
        seen, verdicts = campaign(Path(folder), choose, jobs=chosen.jobs, tell=tell)
    figures = summary(seen, verdicts, time.monotonic() - began)
    print(json.dumps(figures, indent=1) if chosen.json else shown(figures))
    return 1 if figures["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
