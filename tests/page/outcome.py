"""What came to the webhook, and what an act found: rows with a bar and a verdict, as a table or as JSON."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """``seconds``: the time where one was taken. ``met`` None: a figure without a bar."""

    act: str
    what: str
    measured: str
    bar: str = ""
    met: bool | None = None
    seconds: float | None = None

    @property
    def verdict(self) -> str:
        return "" if self.met is None else "PASS" if self.met else "MISS"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Told:
    """One alert of one notification: when it came to the webhook (loop time), and to which receiver."""

    at: float
    to: str
    status: str
    labels: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.labels["alertname"]


def within(act: str, what: str, seconds: float | None, most: float) -> Row:
    """A time that must not pass ``most`` seconds; None: it did not happen while somebody looked."""
    measured = "never" if seconds is None else f"{seconds:.1f} s"
    return Row(act, what, measured, f"<= {most:g} s", seconds is not None and seconds <= most, seconds)


def check(act: str, what: str, measured: str, bar: str, met: bool) -> Row:
    """Something that must be so."""
    return Row(act, what, measured, bar, met)


def only(act: str, came: Sequence[str], wanted: Sequence[str]) -> Row:
    """The critical alerts that came, in their order: these and no others."""
    return check(
        act, "critical alerts", ", ".join(came) or "none", ", ".join(wanted) or "none", list(came) == list(wanted)
    )


def lines(rows: Sequence[Row]) -> list[str]:
    """The table, by width."""
    table = [("act", "what", "measured", "bar", ""), *((r.act, r.what, r.measured, r.bar, r.verdict) for r in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(4)]
    return [
        "  ".join((*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[4])).rstrip()
        for line in table
    ]


def progress(act: str, at: float, text: str) -> None:
    """For whoever waits, on standard error. ``at``: seconds since the act began."""
    print(f"{at:7.1f} s  {act:<18} {text}", file=sys.stderr, flush=True)
