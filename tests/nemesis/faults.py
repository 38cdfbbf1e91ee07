"""The nemesis: which faults strike what, when and for how long. All of it follows from one seed.

A plan is plain data, so that it can be printed, replayed and shrunk: each fault stands for itself, and what chance
decides within one (which mail of a share is lost) hangs on the seed and the mail, not on the other faults.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

# Of the path, for as long as they last; each hits a share of the attempts of one sender (or of one of its hosts).
PATH = (
    "connect",  # connection refused
    "dns",  # no answer for now
    "stall",  # nothing comes back before any content
    "defer",  # 4xx to RCPT
    "defer_dot",  # 4xx to the final dot
    "refuse",  # 5xx to RCPT
    "refuse_dot",  # 5xx to the final dot
    "break_taken",  # the connection breaks after the dot, and the server has the mail
    "break_lost",  # the same, and it has not
    "slow_answer",  # 250 long after the mail has arrived
    "lose",  # 250, and nothing more
    "delay",  # late, some of it past every deadline
    "duplicate",  # two or three copies
    "junk",  # into the Junk folder
    "astray",  # into a folder that nobody watches
    "bounce",  # 250, then a delivery report that says failed
    "delayed",  # a report that says delayed, then the mail
    "strip",  # Message-ID replaced, X- headers gone
)
# Of one mailbox.
MAILBOX = (
    "down",  # no connection
    "login",  # the password is refused
    "flapping",  # the connection breaks again and again
    "cut",  # reads come in small pieces, and some end in the middle
    "slow",  # each command takes seconds
    "deaf",  # IDLE never tells
    "noisy",  # IDLE tells of what is not there
    "hidden",  # new messages are listed and their headers not given
    "folder_gone",  # a folder that is watched is not there
)
# Of one moment.
STRIKES = (
    "renumber",  # UIDVALIDITY changes
    "delete",  # somebody deletes canaries, seen or not
    "move",  # somebody moves them into another folder
    "drop",  # the connection breaks
    "forge",  # forged, replayed and answered canaries arrive
    "alien",  # mail that is none of our business arrives
    "step",  # the wall clock is set
    "suspend",  # the machine sleeps
    "reload",  # the configuration changes
    "restart",  # stopped and started
    "crash",  # torn down at this moment
    "crash_commit",  # torn down at one of the next commits, before or after it is durable
    "pause",  # an operator pauses a route for a while
)
# Of the ledger, for as long as they last.
LEDGER = (
    "unwritable",  # commits fail
    "choppy",  # a share of the commits fails
    "slow_commit",  # commits take their time
    "fsync",  # commits are durable and said not to be, until the process dies
)
KINDS = (*PATH, *MAILBOX, *STRIKES, *LEDGER)

_OFTEN = ("lose", "delay", "crash_commit", "crash", "reload", "down", "break_taken", "delete", "renumber")
FEWEST = 5


@dataclass(frozen=True)
class Fault:
    """``at``: seconds; ``lasts``: seconds, 0 for what is of one moment; ``share`` of what it hits; ``of``: a draw in
    [0, 1) that picks its object among those there are; ``draw``: one for the rest."""

    kind: str
    at: float
    lasts: float = 0.0
    share: float = 1.0
    of: float = 0.0
    draw: float = 0.0


@dataclass(frozen=True)
class Plan:
    """One history. ``canaries``: how many are sent at least. ``setup``: what the configuration is made of
    (setup.py). ``calm``: seconds without a fault before the sending ends."""

    seed: int
    canaries: int
    setup: Mapping[str, Any]
    faults: tuple[Fault, ...]
    calm: float = 60.0

    @property
    def rate(self) -> float:
        """Canaries a second, by schedule."""
        return float(sum(len(route["mxs"]) / route["every"] for route in self.setup["routes"]))

    @property
    def horizon(self) -> float:
        """Seconds in which faults strike: what the schedule needs for its canaries."""
        return self.canaries / self.rate

    def lines(self) -> list[str]:
        """For people, and to compare two plans."""
        said = [f"seed {self.seed}: {self.canaries} canaries in {self.horizon:.0f} s, then {self.calm:.0f} s of calm"]
        said += [f"  {one}" for one in self.setup["routes"]]
        said += [f"  {name}: {one}" for name, one in self.setup["mailboxes"].items()]
        said.append(f"  limits {self.setup['limits']}")
        for fault in self.faults:
            lasts = f" for {fault.lasts:.1f} s" if fault.lasts else ""
            said.append(f"  {fault.at:8.1f} s {fault.kind}{lasts}, share {fault.share:.2f}, of {fault.of:.2f}")
        return said


def plan(seed: int, canaries: int) -> Plan:
    """The plan of a seed."""
    chance = random.Random(f"nemesis {seed}")
    setup = _setup(chance, canaries)
    made = Plan(seed, canaries, setup, (), calm=chance.choice((30.0, 120.0, 120.0, 900.0)) if canaries >= 200 else 30.0)
    count = FEWEST + canaries // 16
    faults = [_fault(chance, made.horizon) for _ in range(count)]
    return replace(made, faults=tuple(sorted(faults, key=lambda fault: fault.at)))


def _fault(chance: random.Random, horizon: float) -> Fault:
    kind = chance.choice(_OFTEN) if chance.random() < 0.3 else chance.choice(KINDS)
    at = chance.uniform(0.02, 1.0) * horizon
    lasts = 0.0
    if kind not in STRIKES or kind == "pause":
        most = 20.0 if kind in ("fsync", "unwritable", "choppy") else min(400.0, horizon / 2)
        lasts = min(most, 2.0 * (most / 2.0) ** chance.random())
    share = 1.0 if chance.random() < 0.4 else chance.choice((0.05, 0.2, 0.5))
    return Fault(kind, round(at, 3), round(lasts, 3), share, chance.random(), chance.random())


# What the configuration is made of.


def _setup(chance: random.Random, canaries: int) -> dict[str, Any]:
    small = canaries < 100
    boxes: dict[str, Any] = {name: _mailbox(chance, name) for name in (("one",) if small else ("one", "two"))}
    reports = chance.choice((None, "own", "same"))
    if reports == "own":
        boxes["reports"] = {**_mailbox(chance, "reports"), "folders": ["INBOX"]}
    names = ("alpha",) if small else ("alpha", "beta", "gamma")
    routes = []
    for name in names[: 1 if small else chance.choice((2, 3))]:
        routes.append(_route(chance, name, [box for box in boxes if box != "reports"], reports, small))
    return {
        "routes": routes,
        "mailboxes": boxes,
        "limits": _limits(chance, routes),
        "retry": chance.choice(([], [5.0], [5.0, 15.0], [10.0, 30.0, 60.0])),
        "pace": {"sweeps_apart": chance.choice((1.0, 5.0)), "hosts_apart": 20.0},
    }


def _mailbox(chance: random.Random, name: str) -> dict[str, Any]:
    return {
        "folders": chance.choice((["INBOX"], ["INBOX", "Junk"])),
        "exclusive": chance.random() < 0.5,
        "idle_poll": chance.choice((5.0, 15.0, 30.0)),
        "poll_rate": chance.choice((0.2, 0.5, 1.0)),
        "idle": chance.random() < 0.6,
        "cleanup": chance.choice((None, 20.0, 60.0)),
        "control": chance.choice((None, 60.0, 120.0)),
        "latency": chance.choice((0.0, 0.002, 0.05)),
    }


def _route(chance: random.Random, name: str, boxes: list[str], reports: str | None, small: bool) -> dict[str, Any]:
    mailbox = chance.choice(boxes)
    overdue = chance.choice((5.0, 10.0, 20.0))
    lost = overdue + chance.choice((20.0, 60.0, 120.0))
    return {
        "name": name,
        "mailbox": mailbox,
        "bounces": {None: None, "own": "reports", "same": mailbox}[reports],
        "mxs": chance.choice((["any"], ["mx1", "mx2"], ["mx1", "mx2", "mx3"])),
        "every": chance.choice((5.0, 8.0, 12.0)) if small else chance.choice((10.0, 15.0, 25.0)),
        "overdue_after": overdue,
        "lost_after": lost,
        "watch_for": lost + chance.choice((60.0, 200.0)),
        "paging": chance.random() < 0.6,
    }


def _limits(chance: random.Random, routes: list[dict[str, Any]]) -> dict[str, list[list[float]]]:
    """Mostly wide; now and then so tight that the schedule runs into them."""
    rate = max(len(route["mxs"]) / route["every"] for route in routes)
    tight = chance.random() < 0.3
    factor = 0.7 if tight else 2.5
    a_minute = max(2, int(rate * 60 * factor))
    return {
        "per_recipient": [[a_minute, 60.0], [a_minute * 20, 3600.0]],
        "per_route": [[a_minute, 60.0]],
        "per_domain": [[a_minute * 3, 60.0]],
        "total": [[a_minute * 3, 60.0]],
    }
