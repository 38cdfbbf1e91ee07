"""The all-clear: when is a fault over? A sequential test of "the old share is still lost" against "only noise is left".

"n good ones in a row" is no proof: each lost canary starts a new try, so a fault that goes on passes sooner or later
(a 5 % loss in 9 of 10 runs within 8 h). Here each good canary adds ln((1 - q) / (1 - p)) to the proof, each run of bad
ones takes ln(p / q) from it, never below 0, and the level to reach is ln(100 · (1 + k)): it pays for the k tries
before. p is a cautious low estimate of the old share, q the leg's own noise. Only what is settled in send order counts.

Measuring comes first: p must be known before anything can be proven, so the first canaries after the page (600, or as
many as it takes to see 20 bad ones) are no proof. After the proof a hold of 5 minutes keeps a flapping fault open.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from probe.clock import Instant
from probe.detection.pace import Cap, in_words, seconds_to_send
from probe.detection.prefix import Settled, SettledPrefix, Verdict, instant_from_json, instant_to_json

MEASURE_CANARIES = 600
MEASURE_BAD = 20
SMALLEST_SHARE, LARGEST_SHARE = 0.003, 0.30
NOISIEST = 0.149  # of a leg with more noise only a total loss can be told, and proven to be over
CERTAINTY = 100.0  # one false all-clear in so many, over all tries
SPEED_UP = 0.30  # of the level
FAST_GAP, SLOW_GAP = 1.0, 5.0  # seconds between canaries
HOLD = timedelta(minutes=5)
FORGIVE = timedelta(minutes=15)


class Phase(StrEnum):
    """How far the proof is."""

    MEASURING = "measuring"
    PROVING = "proving"
    HOLDING = "holding"
    CLEAR = "clear"


@dataclass(frozen=True, slots=True)
class Tally:
    """``bad`` canaries of ``judged``."""

    bad: int
    judged: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the all-clear stands. ``needed``: clean canaries that are still to come, in the best case.

    ``seen``: clean ones settled since the last bad one. ``share``: the old share that is to be excluded, ``tries``: bad
    runs since the page. ``seconds``: about how long the needed ones and the hold take under the caps in force.
    ``measured``: canaries sent after the page, ``old``: those of the whole incident up to the last bad one.
    """

    phase: Phase
    needed: int
    seen: int
    seconds: float
    share: float
    proof: float
    level: float
    tries: int
    measured: Tally
    old: Tally
    proven_at: Instant | None = None
    clear_at: Instant | None = None

    @property
    def sentence(self) -> str:
        """For people: what is still needed."""
        if self.phase is Phase.CLEAR:
            return f"all clear: a loss of {self.share:.2%} or more is excluded, and nothing was bad for 5 min since"
        about = f"about {in_words(self.seconds)}"
        if self.phase is Phase.HOLDING:
            return f"a loss of {self.share:.2%} or more is excluded; held open for {about} more against flapping"
        first = "still measuring what is lost; at best " if self.phase is Phase.MEASURING else ""
        return f"{first}{self.needed:,} more clean canaries, {about} with the hold of 5 min"


class Recovery:
    """The proof for one leg from the page on. O(1) amortised a call.

    ``noise``: q, the chance that a healthy canary starts a bad run. ``before``: what was judged from the first overdue
    canary to the page. ``forgive``: zero judges at ``overdue_after``. With 15 min a canary that comes within them is
    good after all and the noise is far smaller: faster for small losses, and wrong for a delay. ``tries``: bad runs of
    an incident that was closed and is open again.
    """

    def __init__(
        self,
        noise: float,
        before: Tally = Tally(0, 0),
        *,
        forgive: timedelta = timedelta(0),
        tries: int = 0,
    ) -> None:
        if not 0 < noise < LARGEST_SHARE / 2:
            raise ValueError(f"the noise must lie between 0 and {LARGEST_SHARE / 2}")
        self._noise, self._forgive = noise, forgive
        self._prefix = SettledPrefix()
        self._bad, self._judged, self._judged_at_last_bad = before.bad, before.judged, before.judged
        self._since_page = self._bad_since_page = self._to_last_bad = self._seen = self._forgiven = 0
        self._tries, self._previous_bad, self._proof = tries, False, 0.0
        self._proven: Instant | None = None
        self._held: Instant | None = None
        self._clear: Instant | None = None
        self._overdue: set[str] = set()
        self._weigh()

    def sent(self, canary: str, at: Instant) -> None:
        """A canary of this leg was sent, after the page and after those told of before."""
        self._prefix.sent(canary, at)

    def punctual(self, canary: str) -> None:
        """It arrived in time."""
        self._settle(self._prefix.judge(canary, Verdict.GOOD))

    def overdue(self, canary: str) -> None:
        """It is overdue. With ``forgive`` the verdict waits."""
        if self._forgive and self._prefix.knows(canary):
            self._overdue.add(canary)
        else:
            self._settle(self._prefix.judge(canary, Verdict.BAD))

    def late(self, canary: str) -> None:
        """It arrived after it was overdue: good when that is forgiven, else the verdict stands."""
        forgiven = canary in self._overdue
        self._overdue.discard(canary)
        self._forgiven += forgiven
        self._settle(self._prefix.judge(canary, Verdict.GOOD if forgiven else Verdict.BAD))

    def lost(self, canary: str) -> None:
        """It is proven lost: nothing more is to be waited for."""
        self._overdue.discard(canary)
        self._settle(self._prefix.judge(canary, Verdict.BAD))

    def left_out(self, canary: str) -> None:
        """Nobody can judge it."""
        self._overdue.discard(canary)
        self._settle(self._prefix.judge(canary, Verdict.LEFT_OUT))

    def tick(self, now: Instant) -> None:
        """Time has passed: what was to be forgiven and did not come is bad."""
        while (oldest := self._prefix.oldest) and oldest[0] in self._overdue:
            if now.since(oldest[1]) < self._forgive:
                return
            self.lost(oldest[0])

    def judge_overdue(self, noise: float) -> None:
        """The fault is a delay: from here on late is bad, and so is each that was forgiven; the proof starts anew."""
        self._noise, self._forgive, self._proof = noise, timedelta(0), 0.0
        self._bad, self._tries = self._bad + self._forgiven, self._tries + self._forgiven
        self._bad_since_page += self._forgiven
        if self._forgiven:
            self._judged_at_last_bad, self._to_last_bad = self._judged, self._since_page
        self._forgiven, self._seen, self._proven, self._clear = 0, 0, None, None
        self._weigh()
        for canary in sorted(self._overdue):
            self._settle(self._prefix.judge(canary, Verdict.BAD))
        self._overdue.clear()

    @property
    def phase(self) -> Phase:
        if self._clear is not None:
            return Phase.CLEAR
        if self._proven is not None:
            return Phase.HOLDING
        return Phase.MEASURING if self._measuring() else Phase.PROVING

    @property
    def share(self) -> float:
        """p: the share of the old fault that must be excluded; low on purpose, so that a smaller rest counts too."""
        return self._share

    @property
    def measured(self) -> Tally:
        """Canaries sent after the page, up to the last settled one."""
        return Tally(self._bad_since_page, self._since_page)

    @property
    def fault(self) -> Tally:
        """Canaries sent after the page, up to the last bad one: the clean ones of the proof are no part of the fault,
        and would make its share smaller and the re-queue window longer the longer the proof goes on."""
        return Tally(self._bad_since_page, self._to_last_bad) if self._bad_since_page else self.measured

    @property
    def gap(self) -> float:
        """Seconds from this canary to the next one that the proof asks for; the caps may make it longer.

        Good canaries that still wait for an older one's verdict count here: they steer, they prove nothing yet. Where
        they are enough already, no more are needed soon.
        """
        phase = self.phase
        if phase is Phase.MEASURING:
            return FAST_GAP
        hoped = self._proof + self._step * self._prefix.good_waiting
        near = SPEED_UP * self._level < hoped < self._level
        return FAST_GAP if phase is Phase.PROVING and near else SLOW_GAP

    def progress(self, caps: Sequence[Cap] = ()) -> Progress:
        """Where it stands; ``caps``: the limits in force, each so many canaries in so many seconds."""
        needed, seconds = self._outlook(caps)
        return Progress(
            self.phase,
            needed,
            self._seen,
            seconds,
            self._share,
            self._proof,
            self._level,
            self._tries,
            self.measured,
            Tally(self._bad, self._judged_at_last_bad),
            self._proven,
            self._clear,
        )

    def to_json(self) -> dict[str, Any]:
        """All of it, for a restart."""
        marks = {name: (at := getattr(self, f"_{name}")) and instant_to_json(at) for name in _MARKS}
        plain = {name: getattr(self, f"_{name}") for name in _PLAIN}
        seconds = self._forgive.total_seconds()
        return {**plain, **marks, "forgive": seconds, "overdue": sorted(self._overdue), "open": self._prefix.to_json()}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Recovery:
        """The inverse of ``to_json``. Raises ValueError, KeyError or TypeError on anything else."""
        made = cls(float(stored["noise"]), forgive=timedelta(seconds=stored["forgive"]))
        for name in _PLAIN:
            setattr(made, f"_{name}", stored[name])
        for name in _MARKS:
            setattr(made, f"_{name}", stored[name] and instant_from_json(stored[name]))
        made._overdue, made._prefix = set(stored["overdue"]), SettledPrefix.from_json(stored["open"])
        made._weigh()
        return made

    def _measuring(self) -> bool:
        return self._since_page < MEASURE_CANARIES and self._bad_since_page < MEASURE_BAD

    def _weigh(self) -> None:
        """p, and what one good canary adds; both change with a bad one only."""
        raw = (self._bad - math.sqrt(self._bad)) / self._judged_at_last_bad if self._judged_at_last_bad else 0.0
        self._share = min(LARGEST_SHARE, max(SMALLEST_SHARE, 2 * self._noise, raw))
        self._step = math.log((1 - self._noise) / (1 - self._share))
        self._level = math.log(CERTAINTY * (1 + self._tries))

    def _settle(self, settled: Iterable[Settled]) -> None:
        for canary in settled:
            if canary.verdict is not Verdict.LEFT_OUT and self._clear is None:
                proving = not self._measuring()
                self._judged += 1
                self._since_page += 1
                self._take(canary, proving)

    def _take(self, canary: Settled, proving: bool) -> None:
        bad = canary.verdict is Verdict.BAD
        if bad:
            self._bad += 1
            self._bad_since_page += 1
            self._to_last_bad = self._since_page
            self._judged_at_last_bad, self._seen = self._judged, 0
            self._tries += not self._previous_bad
            self._weigh()
            if proving and not self._previous_bad:
                self._proof = max(0.0, self._proof - math.log(self._share / self._noise))
        else:
            self._seen += 1
            if proving:
                self._proof += self._step
        self._previous_bad = bad
        if bad or self._proof < self._level:
            self._proven = None  # also where the proof would bear it: a fault that flaps is not over
            return
        self._proven, self._held = (self._proven or canary.sent), canary.sent
        if self._held.since(self._proven) >= HOLD:
            self._clear = canary.sent

    def _outlook(self, caps: Sequence[Cap]) -> tuple[int, float]:
        """Clean canaries still needed, and about how many seconds they and the hold take."""
        if self._clear is not None:
            return 0, 0.0
        if self._proven is not None and self._held is not None:
            return 0, (HOLD - self._held.since(self._proven)).total_seconds()
        hold = HOLD.total_seconds()
        rest = max(0, MEASURE_CANARIES - self._since_page) if self._measuring() else 0
        # A bad one last: the level may be reached, but a clean one must show that the hold can begin.
        clean = max(1, math.ceil(max(0.0, self._level - self._proof) / self._step))
        slow = min(clean, math.ceil(max(0.0, SPEED_UP * self._level - self._proof) / self._step))
        needed = rest + clean
        paced = seconds_to_send(slow, SLOW_GAP, caps) + seconds_to_send(needed - slow, FAST_GAP, caps)
        return needed, max(paced, seconds_to_send(needed, 0, caps)) + hold


_MARKS = ("proven", "held", "clear")
_PLAIN = (
    *(
        "noise",
        "bad",
        "judged",
        "judged_at_last_bad",
        "since_page",
        "bad_since_page",
        "to_last_bad",
        "seen",
        "forgiven",
    ),
    *("tries", "previous_bad", "proof"),
)
