"""The campaign: every point once, each with its verdict, on as many rigs as wanted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

from probe.canary.identity import Keyring, SigningKey
from tests.kill.checker import Checker, read_rows
from tests.kill.driver import CRASHED
from tests.kill.points import Mode, Point, points_of
from tests.kill.receiving import Servers
from tests.kill.rig import SECRET, Hung, Rig, Run, World

KEYRING = Keyring([SigningKey("k1", SECRET.encode())])
UNTRACED_LIVES, TRACED_LIVES = 3, 2


@dataclass(slots=True)
class Verdict:
    """What became of one point. ``code``: how the struck daemon ended (its exit code, -9 when it was killed)."""

    point: Point
    reached: bool
    code: int
    violations: list[str]
    ended: Counter[str]
    seconds: float

    @property
    def unknown(self) -> bool:
        """A canary of it ended as unknown: nobody could say more, and it was said."""
        return any(state.startswith("unknown") for state in self.ended)


@dataclass(slots=True)
class Survey:
    """The points, and what else was seen while they were counted."""

    points: list[Point]
    threads: list[str]
    others: Counter[str] = field(default_factory=Counter)


def survey(rig: Rig, modes: Sequence[Mode] = tuple(Mode)) -> Survey:
    """Trace whole lives. Raises AssertionError where one does not end as it should: the points would mean nothing."""
    threads: list[str] = []
    for _ in range(UNTRACED_LIVES):  # some threads are not there in every life
        world = rig.world()
        threads += [each for each in rig.trace(world, [])[0].threads if each not in threads]
        rig.forget(world)
    seen: dict[str, list[Counter[str]]] = {name: [] for name in threads}
    others: Counter[str] = Counter()
    for _ in range(TRACED_LIVES):
        world = rig.world()
        run, counts, more = rig.trace(world, threads)
        assert run.code == 0, (world.folder / "life.log").read_text()
        others += more
        for name, count in counts.items():
            seen[name].append(count)
        rig.forget(world)
    return Survey(points_of(seen, modes), threads, others)


def judge(rig: Rig, point: Point) -> Verdict:
    """Strike one point, look at the ledger, restart, look again."""
    began = time.monotonic()
    world = rig.world()
    checker = Checker([], KEYRING)
    run, reached = Run(), False
    try:
        run, reached = rig.strike(world, point)
        checker = Checker(world.account.mails, KEYRING)
        if run.code == CRASHED or (run.code < 0 and point.mode is not Mode.KILL):
            checker.finding.violations.append(f"the daemon crashed: {_tail(world, 'life')}")
        checker.before_restart(read_rows(world.folder / "ledger.sqlite", world.folder / "copy"))
        found = checker.finding.violations
        again = rig.restart(world)
        checker = Checker(world.account.mails, KEYRING)
        checker.finding.violations += found
        if again.code != 0:
            checker.finding.violations.append(f"the restart ended with {again.code}: {_tail(world, 'restart')}")
        checker.after_restart(read_rows(world.folder / "ledger.sqlite", world.folder / "copy"))
    except Hung as problem:
        checker.finding.violations.append(f"{problem}: {_tail(world, 'life')}")
    checker.finding.violations += _said(world)
    rig.forget(world)
    violations = list(dict.fromkeys(checker.finding.violations))
    return Verdict(point, reached, run.code, violations, checker.finding.ended, time.monotonic() - began)


def _said(world: World) -> list[str]:
    """What no journal may say, and no file name."""
    found = []
    for log in sorted(world.folder.glob("*.log")):
        text = log.read_text(errors="replace")
        for sign in ("Traceback", "event=crashed", "Exception ignored", "never retrieved"):
            if sign in text:
                found.append(f"{log.name} says {sign}: {text[text.index(sign) :][:1500]}")
    found += [f"a ledger was set aside: {path.name}" for path in world.folder.glob("*.damaged-*")]
    return found


def _tail(world: World, act: str) -> str:
    log = world.folder / f"{act}.log"
    return log.read_text(errors="replace")[-1500:] if log.exists() else "(no log)"


def campaign(
    folder: Path, choose: Callable[[Survey], Sequence[Point]], *, jobs: int, tell: Callable[[Verdict], None]
) -> tuple[Survey, list[Verdict]]:
    """Survey the points, then judge those that ``choose`` takes; ``tell`` hears of each."""
    servers = Servers()
    rigs = [Rig(servers, folder / f"rig{number}") for number in range(jobs)]
    free: SimpleQueue[Rig] = SimpleQueue()

    def one(point: Point) -> Verdict:
        rig = free.get()
        try:
            verdict = judge(rig, point)
        finally:
            free.put(rig)
        tell(verdict)
        return verdict

    try:
        seen = survey(rigs[0])
        for rig in rigs:
            free.put(rig)
        with ThreadPoolExecutor(jobs) as pool:
            return seen, list(pool.map(one, choose(seen)))
    finally:
        for rig in rigs:
            rig.__exit__(None, None, None)
        servers.close()
