"""What must hold of verdicts: ``lost`` above all, and that each says what truly happened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.nemesis.evidence import FOREVER, Evidence, Look, Stay, last

TOLERANCE = 0.002
Pairs = Iterator[tuple[str, str]]
Row = dict[str, Any]


def watched(evidence: Evidence, mailbox: str) -> list[str]:
    """The folders of a mailbox, by any configuration that has it: none changes them."""
    return next(one["boxes"][mailbox]["folders"] for one in evidence.configs if mailbox in one["boxes"])


def lost_was_lost(evidence: Evidence) -> Pairs:
    """(c) Not in a watched folder at any moment up to the judging read, nor in another one at the search. (Mail that
    came and was taken away by others before anybody looked is not lost either.)"""
    for name, row in _lost(evidence):
        at = evidence.settled(row)
        folders = watched(evidence, row["mailbox"])
        for stay in evidence.stays.get(name, ()):
            if stay.box != row["mailbox"]:
                continue
            if stay.folder in folders:
                look = evidence.reads[(stay.box, stay.folder)].judging(at)
                if look is not None and stay.since < look.at - 1e-6:
                    yield (
                        name,
                        f"lost at {at:.3f} s, and it was {_span(stay)}, read at {look.at:.3f} s",
                    )
                continue
            sweep = _sweep(evidence, name, row, at)
            if sweep is not None and stay.since < sweep.at - 1e-6 and stay.until > sweep.at + 1e-6:
                yield name, f"lost at {at:.3f} s, and the search at {sweep.at:.3f} s had it in {stay.folder}"


def lost_has_proof(evidence: Evidence) -> Pairs:
    """(d) The server's 250; after the deadline a fresh, complete read of each folder that is in the ledger too, a
    search everywhere else, and a complete read where its bounces arrive."""
    for name, row in _lost(evidence):
        at, deadline = evidence.settled(row), evidence.due(row, 1)
        attempts = evidence.attempts.get(name, [])
        if not attempts or attempts[-1].result != "accepted":
            yield name, "lost without a 250 to its last attempt"
        if row["facts"]["settled"][1] / 1e9 <= deadline:
            yield name, f"lost at {at:.3f} s, before its deadline"
        for folder in watched(evidence, row["mailbox"]):
            look = evidence.reads[(row["mailbox"], folder)].judging(at)
            if look is None or look.began <= deadline:
                yield name, f"lost at {at:.3f} s without a fresh, complete read of {folder} after its deadline"
            elif (row["mailbox"], folder, look.wall, True, True) not in evidence.kept_reads:
                yield name, f"lost by the read of {folder} at {look.at:.3f} s, which the ledger does not have"
        sweep = _sweep(evidence, name, row, at)
        if sweep is None or sweep.began <= deadline:
            yield name, "lost without a search of the other folders after its deadline"
        if not _bounces_read(evidence, row, deadline, at):
            yield name, "lost without a read of the mailbox where its bounces arrive"


def _bounces_read(evidence: Evidence, row: Row, deadline: float, at: float) -> bool:
    """By one of the configurations that were in force in between, where they differ."""
    configs = [one for one in evidence.configs if one.at <= at + 1e-6][-3:]
    for config in configs:
        route = config["routes"].get(row["route"])
        reports = None if route is None else route["bounces"]
        if reports in (None, row["mailbox"]):
            return True
        folders = [evidence.reads[(reports, folder)] for folder in config["boxes"][reports]["folders"]]
        looks = [(look := folder.first_after(deadline)) is not None and look.at <= at + 1e-6 for folder in folders]
        if all(looks):
            return True
    return False


def truthful(evidence: Evidence) -> Pairs:
    """(h) What arrived was there, what was not sent had no content, what was refused was not taken, and the latency's
    interval holds the truth."""
    for name, row in evidence.canaries.items():
        stays = [stay for stay in evidence.stays.get(name, ()) if stay.box == row["mailbox"]]
        attempts = evidence.attempts.get(name, [])
        if row["state"] == "unsent" and any(one.content is not None for one in attempts):
            yield name, "unsent, and its content went out"
        if row["state"] == "refused" and any(one.took for one in attempts):
            yield name, "refused, and the server had taken it"
        arrived = row["facts"].get("arrived")
        if row["state"] in ("delivered", "late") and arrived is None:
            yield name, f"{row['state']} and never seen"
        if arrived is None:
            continue
        seen = evidence.times.of(arrived)
        first = min((stay.since for stay in stays), default=FOREVER)
        if first > seen + 1e-6:
            yield name, f"seen at {seen:.3f} s, and it came at {first:.3f} s"
        elif row["state"] in ("delivered", "late") and row["latency_us"] is not None:
            yield from _latency(evidence, name, row, stays)


def _latency(evidence: Evidence, name: str, row: Row, stays: list[Stay]) -> Pairs:
    """Where others moved it before it was seen, its first arrival is not what was measured."""
    if any(stay.by == "others" for stay in stays):
        return
    truth = evidence.times.between(evidence.zero(row), min(stay.since for stay in stays))
    latency, width = row["latency_us"] / 1e6, row["uncertainty_us"] / 1e6
    # By the mailbox's own time, which is cut to seconds, and on the side of the deadline that it was put on.
    blur = TOLERANCE + 2.0 * ("by the mailbox's own time" in row["reason"])
    if not latency - width - blur <= max(0.0, truth) <= latency + blur:
        yield name, f"latency {latency:.3f} s, wide {width:.3f} s; it took {truth:.3f} s; {row['reason'][:160]}"


def _lost(evidence: Evidence) -> list[tuple[str, Row]]:
    return [(name, row) for name, row in evidence.canaries.items() if row["state"] == "lost"]


def _sweep(evidence: Evidence, name: str, row: Row, before: float) -> Look | None:
    return last(evidence.sweeps[(row["mailbox"], name)], before)


def _span(stay: Stay) -> str:
    return f"in {stay.folder} from {stay.since:.3f} s" + (
        f" to {stay.until:.3f} s ({stay.by})" if stay.until < FOREVER else " on"
    )
