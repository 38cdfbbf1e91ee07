"""The independent checker: what must hold of every history, proved from what the world saw and from the ledger's rows.

(a) each canary has one outcome, or is in flight; none is forgotten   (e) no canary is sent a second time
(b) sent = outcomes + in flight, in the ledger and as exported        (f) no window holds more than its cap
(c) no ``lost`` where the message was in the mailbox                  (g) incidents open and close once, for a cause
(d) no ``lost`` without its proof                                     (h) what is said of a canary did happen
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from tests.nemesis.evidence import Evidence, gather
from tests.nemesis.history import Event
from tests.nemesis.incident_rules import incidents
from tests.nemesis.running import Run
from tests.nemesis.verdict_rules import lost_has_proof, lost_was_lost, truthful

OUTCOMES = {"delivered", "late", "lost", "bounced", "refused", "unsent", "unknown"}
IN_FLIGHT = {"intent", "data_started", "deferred", "accepted", "unsure"}
SLOW = 5.0  # seconds between the decision to send and the network, where commits take their time


@dataclass(frozen=True)
class Violation:
    """``rule``: its letter; ``about``: the canary, or what else it is about."""

    rule: str
    about: str
    says: str

    def __str__(self) -> str:
        return f"({self.rule}) {self.about}: {self.says}"


def check(run: Run) -> list[Violation]:
    """Everything that is violated; empty where all holds."""
    found = [Violation("a", "prober", run.problem)] if run.problem else []
    crashes = [line for line in run.said.splitlines() if "event=task_crashed" in line]
    found += [Violation("a", "prober", f"a loop crashed: {line[:300]}") for line in crashes[:3]]
    evidence = gather(run.history, run.ledger, run.metrics)
    slow = SLOW if any(fault.kind == "slow_commit" for fault in run.plan.faults) else 0.0
    rules = {
        "a": one_outcome(evidence, finished=not run.problem),
        "b": balanced(evidence, exported=bool(run.metrics)),
        "c": lost_was_lost(evidence),
        "d": lost_has_proof(evidence),
        "e": sent_once(evidence),
        "f": within_caps(evidence, slow),
        "g": incidents(evidence),
        "h": truthful(evidence),
    }
    return found + [Violation(rule, about, says) for rule, pairs in rules.items() for about, says in pairs]


Pairs = Iterator[tuple[str, str]]


def one_outcome(evidence: Evidence, *, finished: bool) -> Pairs:
    """(a) By the moves: from outcome to outcome there is none, and the last move is where the row stands."""
    for name, row in evidence.canaries.items():
        state = "planned"
        ends = 0
        for move in evidence.moves[name]:
            if move["before"] != state:
                yield name, f"a move from {move['before']} where it was {state}"
            if move["before"] in OUTCOMES and move["after"] != move["before"]:
                yield name, f"it left its outcome {move['before']} for {move['after']}"
            ends += move["after"] in OUTCOMES and move["before"] not in OUTCOMES
            state = move["after"]
        if state != row["state"]:
            yield name, f"its row says {row['state']}, its moves end at {state}"
        if row["state"] not in OUTCOMES | IN_FLIGHT:
            yield name, f"{row['state']} is neither an outcome nor in flight"
        if ends != (row["state"] in OUTCOMES):
            yield name, f"it has {ends} outcomes and is {row['state']}"
        if finished and row["state"] in IN_FLIGHT:
            yield name, f"forgotten: still {row['state']} long after its watch"
    for name in evidence.attempts:
        if name not in evidence.canaries:
            yield name, "it was handed to the sender and is not in the ledger"


def balanced(evidence: Evidence, *, exported: bool) -> Pairs:
    """(b) By labels, in the totals and in what a scrape shows; and in the file whenever the process was down."""
    rows = evidence.canaries.values()
    places = {
        name: (row["route"], row["mx"], row["mailbox"], row["variant"]) for name, row in evidence.canaries.items()
    }
    sent = Counter(places.values())
    ended = Counter((*places[row["id"]], row["state"]) for row in rows if row["state"] in OUTCOMES)
    for what, counted in (("sent", sent), ("outcomes", ended)):
        kept = {labels: value for (name, labels), value in evidence.totals.items() if name == what and value}
        if kept != {labels: float(count) for labels, count in counted.items()}:
            yield what, f"the totals say {kept}, the rows say {dict(counted)}"
        if exported:
            yield from _exported(evidence, what, kept)
    flying = sum(row["state"] in IN_FLIGHT for row in rows)
    shown = sum(evidence.metrics.get("mailcanary_in_flight", {}).values())
    if exported and shown != flying:
        yield "in flight", f"a scrape shows {shown:g}, the rows are {flying}"
    for event in evidence.history.of("down"):
        flying = sum(count for state, count in event["states"].items() if state in IN_FLIGHT)
        if event["sent"] != event["outcomes"] + flying or event["sent"] != sum(event["states"].values()):
            yield f"at {event.at:.1f} s", f"the books are off: {event.facts}"


def _exported(evidence: Evidence, what: str, kept: dict[tuple[str, ...], float]) -> Pairs:
    """Each series that a scrape shows says what the ledger says, and none of a configured leg is missing (those of a
    route that was removed end with it)."""
    names = ("route", "mx", "mailbox", "variant", "outcome")
    shown = {
        tuple(dict(labels)[name] for name in names if name in dict(labels)): value
        for labels, value in evidence.metrics[f"mailcanary_{what}_total"].items()
    }
    routes = evidence.configs[-1]["routes"]
    legs = {(route["name"], mx, route["mailbox"]) for route in routes.values() for mx in route["mxs"]}
    for labels in sorted({*shown, *(labels for labels in kept if labels[:3] in legs)}):
        if shown.get(labels, 0.0) != kept.get(labels, 0.0):
            yield what, f"{labels}: a scrape shows {shown.get(labels)}, the ledger has {kept.get(labels)}"


def sent_once(evidence: Evidence) -> Pairs:
    """(e) A further attempt follows a 4xx, or a retry that stopped before its content; each under its own number."""
    for name, attempts in evidence.attempts.items():
        for count, (earlier, later) in enumerate(pairwise(attempts)):
            if later.attempt <= earlier.attempt:
                yield name, f"attempt {later.attempt} after attempt {earlier.attempt}"
            again = earlier.result == "deferred" or (count > 0 and earlier.content is None)
            if not again:
                yield name, f"sent again after attempt {earlier.attempt} ended as {earlier.result or 'nobody knows'}"
            if earlier.took:
                yield name, "sent again although the server had taken it"


def within_caps(evidence: Evidence, slow: float, *, excuse: bool = True) -> Pairs:
    """(f) Attempts that were handed over, in every window that ends with one of them, by the limits in force then.

    Excused, until it is mended: what was sent before the wall clock was set forward is forgotten by a start after that
    (the ledger keeps an attempt's wall time only), so windows that hold both are left out. ``excuse=False`` shows it.
    """
    times = evidence.times
    sends: list[tuple[float, float, str, str]] = []
    for name, attempts in evidence.attempts.items():
        row = evidence.canaries.get(name)
        for attempt in attempts:
            at = attempt.at
            if row is not None and attempt.attempt == 1:
                at = min(at, times.of(row["facts"]["sent"]))
            sends.append((times.boot(at), at, row["route"] if row else "", attempt.rcpt))
    sends.sort()
    configs = evidence.configs
    windows: dict[tuple[str, str], list[float]] = defaultdict(list)
    gaps = _forgotten(evidence) if excuse else []
    for boot, at, route, rcpt in sends:
        limits = [one["limits"] for one in in_force(configs, at)]
        domain = rcpt.rpartition("@")[2]
        for key in (("per_recipient", rcpt), ("per_route", route), ("per_domain", domain), ("total", "")):
            window = windows[key]
            window.append(boot)
            for number, (_, per) in enumerate(limits[0][key[0]]):
                if any(boot - per < stepped and started <= at for stepped, started in gaps):
                    continue
                most = max(one[key[0]][number][0] for one in limits)
                inside = sum(one > boot - per + slow + 1e-6 for one in window[-int(most) - 1 :])
                if inside > most:
                    yield f"{key[0]} {key[1]}", f"{inside} within {per:g} s at {at:.3f} s, {most} are allowed"


def _forgotten(evidence: Evidence) -> list[tuple[float, float]]:
    """When the wall clock was set forward (seconds of BOOTTIME), and the next start (virtual seconds)."""
    gaps = []
    clocks = list(evidence.history.of("clocks"))
    for earlier, later in pairwise(clocks):
        moved = (later["wall"] - earlier["wall"]) / 1e9 - (later["boot"] - earlier["boot"]) / 1e9
        start = next((one.at for one in evidence.history.of("started") if one.at >= later.at), None)
        if moved > 1 and start is not None:
            gaps.append((later["boot"] / 1e9, start))
    return gaps


def in_force(configs: list[Event], at: float) -> list[Event]:
    """The configurations that may be in force at a moment: more than one while it is being changed."""
    known = [one for one in configs if one.at <= at + 1e-6]
    later = next((one for one in configs if one.at > at + 1e-6), None)
    last = next(index for index in range(len(known) - 1, -1, -1) if known[index]["when"] == "now" or index == 0)
    some = known[last:]
    if later is not None and later["when"] == "now":
        some = [*some, later]
    return some
