"""``python -m benchmarks [--quick] [--only NAME] [--json FILE] [--write]``: measure, print a table and JSON."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import cpu, fleet, idle, imap, latency, month, report, restart, rows, throughput

MEASUREMENTS = {
    "cpu": cpu.measure,
    "throughput": throughput.measure,
    "latency": latency.measure,
    "idle": idle.measure,
    "imap": imap.measure,
    "fleet": fleet.measure,
    "restart": restart.measure,
    "rows": rows.measure,
    "month": month.measure,
}
DOCUMENT = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def main(arguments: list[str] | None = None) -> int:
    """Exit 0 whatever the figures are: they are reported, not judged."""
    options = _parser().parse_args(arguments)
    if options.write and options.only:
        _parser().error("--write needs all measurements: leave out --only")
    results: dict[str, Any] = {"machine": report.machine(), "quick": options.quick}
    for name in options.only or MEASUREMENTS:
        print(f"{name} …", end="", file=sys.stderr, flush=True)
        begin = time.monotonic()
        results[name] = MEASUREMENTS[name](quick=options.quick)
        print(f" {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    results["load_after"] = round(os.getloadavg()[0], 2)
    text = json.dumps(results, indent=2, ensure_ascii=False)
    print(report.table(results), text, sep="\n\n")
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    if options.write:
        DOCUMENT.write_text(report.document(results), encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the daemon; needs root.")
    parser.add_argument("--quick", action="store_true", help="short windows, rougher figures")
    parser.add_argument("--only", action="append", choices=sorted(MEASUREMENTS), help="this one (may be repeated)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the JSON to FILE as well")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
