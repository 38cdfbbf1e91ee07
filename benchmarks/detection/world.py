"""One leg on virtual time, watched by the real detector. Nothing happens between events, so time jumps.

The mailbox is read every second and at each deadline, as the engine does: what arrives is seen by the next read. Where
nothing waits and the score is nought, the next canary that will be slower than the detector's suspicion is drawn, and
those before it are skipped but for the last: a punctual canary changes nothing then (``Detector.idle``).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from benchmarks.detection.noise import DAY, NEVER, Draw, Noise, Spells, random_spells
from probe.detection.allowance import Allowance, Room
from probe.detection.detector import Detector, Finding, Grade, Tuning
from probe.detection.pace import Cap


@dataclass(frozen=True, slots=True)
class Fault:
    """From ``onset`` on, ``share`` of what is sent is lost."""

    onset: float = NEVER
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class Setting:
    """A leg: its schedule (canaries a minute), its figures, its caps, and what its route can save."""

    per_minute: float
    tuning: Tuning
    caps: tuple[Cap, ...]
    saved: float | None = None  # extras saved at the start; None: those of a new route
    route_per_minute: float | None = None  # of all its legs; None: it is the only one


@dataclass(slots=True)
class Weather:
    """What happens to a leg beside its latency, and when."""

    fault: Fault = field(default_factory=Fault)
    stalls: Spells = field(default_factory=Spells)
    deferred: frozenset[float] = frozenset()  # the stalls, by their begin, whose mail is retried 5-15 minutes later
    deferred_for: tuple[float, float] = (300.0, 900.0)
    blind: Spells = field(default_factory=Spells)

    @classmethod
    def of(cls, noise: Noise, rng: random.Random, until: float, fault: Fault | None = None) -> Weather:
        """The stalls and gaps of ``noise`` up to ``until``."""
        stalls = random_spells(rng, until, noise.stalls_a_day, noise.stall)
        deferred = frozenset(begin for begin in stalls.begins if noise.deferring and rng.random() < noise.deferring)
        blind = random_spells(rng, until, noise.gaps_a_day, noise.gap)
        return cls(fault or Fault(), stalls, deferred, blind=blind)


class World:
    """``findings``: all that the detector said. ``base``, ``extras``: canaries sent. ``sends``: when, if wanted."""

    def __init__(
        self,
        noise: Noise,
        setting: Setting,
        weather: Weather,
        rng: random.Random,
        *,
        skip: bool = True,
        keep_sends: bool = False,
    ) -> None:
        self.detector = Detector(setting.tuning)
        self.findings: list[Finding] = []
        self.base = self.extras = 0
        self.sends: list[float] | None = [] if keep_sends else None
        self.now = 0.0
        self._every = 60.0 / setting.per_minute
        per_minute = setting.route_per_minute or setting.per_minute
        self.allowance = Allowance(0.5, per_minute * DAY / 60, setting.saved)
        self._earned = per_minute / setting.per_minute  # the legs beside this one earn for it
        self._room = Room(setting.caps, setting.per_minute / 60)
        self._weather = weather
        self._rng = rng
        # A second less: what is seen at the next whole second must not be suspected before.
        self._margin = setting.tuning.suspect_after
        self._draw = Draw(noise, rng, max(0.5, setting.tuning.suspect_after - 1))
        self._skips = skip
        self._next_base = rng.random() * self._every
        self._rare: float | None = None  # the latency of the next canary of the schedule, where it was drawn ahead
        self._arrivals: list[tuple[float, str, float]] = []  # there at, id, sent
        self._unseen: list[tuple[str, float]] = []  # arrived while blind: id, age
        self._blind = False
        self._gap = weather.blind.next_begin(0.0)  # when the blindness begins, or ends

    def run(self, until: float, *, stop_at_page: bool = False) -> Finding | None:
        """Go on to ``until``; the first page, if it is to stop there."""
        while True:
            if self._skips and self.detector.idle and not self._arrivals and not self._blind:
                self._skip(until)
            extra = self._extra_at()
            arrival = float(math.ceil(self._arrivals[0][0])) if self._arrivals else NEVER
            check = self._check_at()
            then = min(self._next_base, extra, arrival, check, self._gap)
            if then >= until:
                self.now = until
                return None
            self.now = then
            finding = self._happen(then, arrival, check, extra)
            if finding is not None:
                self.findings.append(finding)
                if stop_at_page and finding.grade is Grade.PAGE:
                    return finding
            if self.detector.open is not None and self.detector.dark_since is None:
                self.detector.closed()  # a false page: it goes on, as after the all-clear

    def _happen(self, then: float, arrival: float, check: float, extra: float) -> Finding | None:
        if then == arrival:
            self._see(then)
        elif then == self._gap:
            return self._turn_blind(then)
        elif then == check:
            self._see(then)
            return self.detector.complete_read(then, then)
        elif then == self._next_base:
            self._send_base(then)
        else:
            assert then == extra
            self.extras += 1
            self.allowance.spend()
            self._room.spend(then)
            self._send(then, self._latency(then))
        return None

    def _extra_at(self) -> float:
        extra = self.detector.next_extra(self.now)
        if extra is None or not self.allowance.allows(extra):
            return NEVER
        return max(extra.due, self._room.free_at(self.now, extra), self.now)

    def _check_at(self) -> float:
        if self._blind:
            return NEVER
        check = self.detector.next_check()
        return NEVER if check is None else max(check, self.now)

    def _send_base(self, then: float) -> None:
        self.base += 1
        self.allowance.earn(self._earned)
        self._next_base = then + self._every
        if self._rare is None:
            self._send(then, self._latency(then))
        else:
            latency, self._rare = self._rare, None
            self._send(then, latency)

    def _latency(self, then: float) -> float:
        fault = self._weather.fault
        if then >= fault.onset and self._rng.random() < fault.share:
            return NEVER
        return self._draw.latency(then)

    def _send(self, then: float, latency: float) -> None:
        if self.sends is not None:
            self.sends.append(then)
        canary_id = str(self.base + self.extras)
        self.detector.sent(canary_id, then)
        if latency == NEVER:
            return
        there = then + latency
        stall = self._weather.stalls.at(there)
        if stall is not None:
            there = stall[1]
            if stall[0] in self._weather.deferred:
                there += self._rng.uniform(*self._weather.deferred_for)
        heappush(self._arrivals, (there, canary_id, then))

    def _see(self, now: float) -> None:
        """A read: all that has arrived, unless blind; its age counts to the read."""
        arrivals = self._arrivals
        while arrivals and arrivals[0][0] <= now:
            there, canary_id, sent = heappop(arrivals)
            if self._blind:
                self._unseen.append((canary_id, there - sent))
            else:
                self.detector.arrived(canary_id, now - sent, now)

    def _turn_blind(self, then: float) -> Finding | None:
        """A gap begins, or ends with a read: what came in the meantime bears the mailbox's own time."""
        if not self._blind:
            self._blind = True
            self.detector.went_blind(then)
            spell = self._weather.blind.at(then)
            self._gap = spell[1] if spell is not None else NEVER
            return None
        self._blind = False
        self._gap = self._weather.blind.next_begin(then)
        for canary_id, age in self._unseen:
            self.detector.arrived(canary_id, age, then)
        self._unseen.clear()
        return self.detector.complete_read(then, then)

    def _skip(self, until: float) -> None:
        """Over the canaries that change nothing, up to the next that may, or to where something begins."""
        fault = self._weather.fault
        lost = fault.share if self._next_base >= fault.onset else 0.0
        limits: Sequence[float] = (
            until,
            self._gap,
            self._weather.stalls.next_begin(self._next_base - self._margin),
            fault.onset if lost == 0 else NEVER,
        )
        fit = int(max(0.0, min(limits) - self._margin - self._next_base) / self._every)
        if fit < 1 or self._draw.clump or self._rare is not None:
            return
        common = self._draw.common(lost)
        skipped = min(common, fit)
        if common <= fit:
            self._rare = self._draw.rare(lost, self._next_base + skipped * self._every)
        if skipped:
            self._pass_over(skipped)

    def _pass_over(self, skipped: int) -> None:
        last = self._next_base + (skipped - 1) * self._every
        if self.sends is not None:
            self.sends.extend(self._next_base + k * self._every for k in range(skipped))
        self.base += skipped
        self.allowance.earn(skipped * self._earned)
        self._next_base = last + self._every
        canary_id = str(self.base + self.extras)
        self.detector.sent(canary_id, last)
        self.detector.arrived(canary_id, 0.0, last)
        self.now = last
