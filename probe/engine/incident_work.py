"""What goes on beside the record of one incident: the proofs of recovery and the sweep, fed with canaries; its numbers,
made afresh from the ledger's rows."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from probe.canary.life import Effect, Move
from probe.canary.record import Canary, State
from probe.clock import NANOSECONDS, Instant
from probe.config.model import Config
from probe.detection import incident as life
from probe.detection.incident_observations import Counted, Observation, Proved, Swept, WindowFound
from probe.detection.naming import Sweep
from probe.detection.pace import Cap
from probe.detection.prefix import Verdict
from probe.detection.record import Incident
from probe.detection.recovery import NOISIEST, Phase, Recovery, Tally
from probe.detection.strata import Seen, count
from probe.detection.window import Placed, requeue_window
from probe.engine.watched import WatchedLeg
from probe.ledger.batch import IncidentRow

SWEEP_GAP = 1.0
GONE_FOR = 3_600.0  # seconds without the host in DNS, and nothing of it in flight, until a leg counts as gone
LAST = 60  # of the canaries judged last, to see whether a share has risen
TENFOLD = 10
FEWEST_RUNS = 5  # of overdue ones among them: one stall is no share
_PLACED = (State.DELIVERED, State.LATE, State.LOST, State.ACCEPTED)


class Tracked:
    """An incident and its work. ``told``: the canaries sent since the page that are not judged yet, by id."""

    def __init__(self, incident: Incident) -> None:
        self.incident = incident
        self.recoveries: dict[str, Recovery] = {}
        self.sweep: Sweep | None = None
        self.told: dict[str, str] = {}
        self.last_sent: dict[str, float] = {}
        self.tries: dict[str, int] = {}  # bad runs of each leg before it was opened again
        self.absent: dict[str, float] = {}  # legs that are no host of the route now, and since when
        self.shares: dict[str, float] = {}  # by leg, what it lost when that was said last
        self.counted_at: Instant | None = None
        self.rows = 0  # that were looked at then
        self.dirty = True

    def apply(self, observation: Observation) -> None:
        """The record's next move. Raises IllegalMove."""
        self.incident = life.apply(self.incident, observation)
        self.dirty = True

    def begin_again(self) -> None:
        """It was closed and pages again: the proofs begin anew, and pay for the tries before (the last one failed)."""
        self.tries = {mx: one.progress().tries for mx, one in self.recoveries.items()}
        self.recoveries, self.sweep, self.told, self.shares, self.absent = {}, None, {}, {}, {}

    # Canaries.

    def follow(self, before: Canary, move: Move, caps: Sequence[Cap], at: datetime) -> None:
        """One step of a canary of the route; the record moves where a proof went on."""
        after, mx = move.canary, move.canary.leg.mx
        if after.attempts == 1 and before.state is State.DATA_STARTED and after.state in _PLACED:
            self._sent(after)
        if after.id not in self.told:
            return
        if Effect.ARRIVAL in move.effects:
            self._judged(after, Verdict.BAD if after.state is State.LATE else Verdict.GOOD, done=True)
        elif Effect.OVERDUE in move.effects and after.state is State.ACCEPTED:
            self._judged(after, Verdict.BAD, done=False)
        elif after.state is State.LOST:
            self._judged(after, Verdict.BAD, done=True)
        elif after.state.terminal:
            self._judged(after, Verdict.LEFT_OUT, done=True)
        else:
            return
        self.progress(mx, caps, at)

    def _sent(self, canary: Canary) -> None:
        mx = canary.leg.mx
        recovery = self.recoveries.get(mx)
        if recovery is None and self.sweep is None:
            return
        self.told[canary.id] = mx
        if recovery is not None:
            recovery.sent(canary.id, canary.zero)
        if self.sweep is not None and mx in self.sweep.legs:
            self.sweep.sent(mx, canary.id, canary.zero)
        self.dirty = True

    def _judged(self, canary: Canary, verdict: Verdict, *, done: bool) -> None:
        mx = canary.leg.mx
        recovery = self.recoveries.get(mx)
        if recovery is not None:
            if verdict is Verdict.LEFT_OUT:
                recovery.left_out(canary.id)
            elif verdict is Verdict.GOOD:
                recovery.punctual(canary.id)
            elif done and canary.state is State.LATE:
                recovery.late(canary.id)
            elif done:
                recovery.lost(canary.id)
            else:
                recovery.overdue(canary.id)
        if self.sweep is not None and mx in self.sweep.legs:
            self.sweep.judged(mx, canary.id, verdict, canary.zero)
        if done:
            del self.told[canary.id]

    def progress(self, mx: str, caps: Sequence[Cap], at: datetime) -> None:
        """Tell the record how far the leg's proof and the sweep are."""
        recovery = self.recoveries.get(mx)
        if recovery is not None and life.allows(self.incident.state, Proved):
            self.apply(Proved(at, mx, recovery.progress(caps)))
        if self.sweep is not None and life.allows(self.incident.state, Swept):
            naming, known = self.sweep.naming, self.incident.naming
            if known is None or (naming.bad, naming.clean, naming.untold) != (known.bad, known.clean, known.untold):
                self.apply(Swept(at, naming))
                self._prove_named()

    def _prove_named(self) -> None:
        """A leg that the sweep named has to be proven well too, though it never paged by itself."""
        assert self.sweep is not None
        for other in self.incident.broken:
            if other not in self.recoveries and other in self.sweep.legs:
                self.recoveries[other] = Recovery(
                    min(NOISIEST, self.sweep.noise(other)), Tally(*self.sweep.tally(other))
                )

    def due(self, mx: str, now: float) -> float | None:
        """When this leg should send its next canary for the proof or the sweep; None: it need not."""
        if not self.incident.state.active:
            return None
        last = self.last_sent.get(mx, now)
        recovery = self.recoveries.get(mx)
        if recovery is not None:
            return None if recovery.phase is Phase.CLEAR else last + recovery.gap
        if self.sweep is not None and mx in self.sweep.legs and self.sweep.to_send(mx) > 0:
            return last + SWEEP_GAP
        return None

    def worse(self, mx: str, watched: WatchedLeg) -> tuple[int, int, float] | None:
        """(overdue ones, of so many judged last, the share that was told of it), where a leg loses ten times that."""
        recovery = self.recoveries[mx]
        if recovery.phase is Phase.MEASURING:
            return None
        told = self.shares.setdefault(mx, recovery.share)
        bad, runs = watched.recent_runs(LAST)
        if bad < TENFOLD * told * LAST or runs < FEWEST_RUNS:
            return None
        self.shares[mx] = bad / LAST
        return bad, LAST, told

    def legs_gone(self, here: Container[str], flying: Container[str], now: float) -> tuple[str, ...]:
        """The legs that are gone: not ``here``, and nothing of them ``flying``, for an hour."""
        for mx in self.incident.legs:
            if mx in here:
                self.absent.pop(mx, None)
            elif mx not in self.absent or mx in flying:
                self.absent[mx], self.dirty = now, True
        return tuple(mx for mx in self.incident.legs if now - self.absent.get(mx, now) >= GONE_FOR)

    # Numbers.

    def count(self, rows: Iterable[Canary], at: datetime) -> None:
        """The counts of the route's canaries since the first bad one."""
        incident = self.incident
        if incident.detected_at is None or not life.allows(incident.state, Counted):
            return
        seen = [_seen(row) for row in rows]
        *before, now = incident.bouts
        earlier = [(bout.first_bad, bout.paged_at, bout.until) for bout in before if bout.until is not None]
        counts = count(seen, now.first_bad, now.paged_at, incident.affected, earlier)
        if counts != incident.counts:
            self.apply(Counted(at, counts))

    def place(self, mx: str, rows: Sequence[Canary], at: datetime, smallest: float) -> None:
        """The re-queue window of one leg. ``rows``: its canaries in send order, as far back as is useful."""
        incident = self.incident
        if not life.allows(incident.state, WindowFound):
            return
        bout = incident.bouts[-1]
        page = next((page for page in incident.pages if page.mx == mx and page.at >= bout.paged_at), None)
        bad = [at for row in rows if row.overdue and (at := row.sent.utc) >= bout.first_bad]
        placed = [Placed(row.sent.utc, _lost(row)) for row in rows if row.state in _PLACED]
        if page is None or not bad or page.first_bad not in {one.sent for one in placed}:
            return
        recovery = self.recoveries.get(mx)
        measured = recovery.fault if recovery is not None else Tally(0, 0)
        window = requeue_window(
            placed,
            page.first_bad,
            max(bad[-1], page.first_bad),
            measured,
            all_clear=None if incident.unproven else incident.closed_at,
            at_least=smallest,
        )
        if (mx, window) not in incident.windows:
            self.apply(WindowFound(at, mx, window))

    # What is kept.

    def row(self, now: Instant) -> IncidentRow:
        """The record and its work, for the ledger."""
        incident = self.incident
        work = {
            "recoveries": {mx: one.to_json() for mx, one in self.recoveries.items()},
            "sweep": None if self.sweep is None else self.sweep.to_json(),
            "told": self.told,
            "tries": self.tries,
            "absent": self.absent,
            "shares": self.shares,
        }
        return IncidentRow(
            incident.id,
            incident.route,
            incident.state.value,
            ns_of(incident.detected_at or incident.suspected_at),
            now.wall,
            json.dumps(incident.to_json(), separators=(",", ":")),
            json.dumps(work, separators=(",", ":")),
        )

    @classmethod
    def restore(cls, record: Mapping[str, Any], work: Mapping[str, Any]) -> Tracked:
        """Raises ValueError, KeyError, TypeError or IndexError for what another version wrote."""
        made = cls(Incident.from_json(record))
        made.recoveries = {str(mx): Recovery.from_json(one) for mx, one in work.get("recoveries", {}).items()}
        made.sweep = Sweep.from_json(work["sweep"]) if work.get("sweep") else None
        made.told = {str(name): str(mx) for name, mx in work.get("told", {}).items()}
        made.tries = {str(mx): int(tries) for mx, tries in work.get("tries", {}).items()}
        made.absent = {str(mx): float(at) for mx, at in work.get("absent", {}).items()}
        made.shares = {str(mx): float(share) for mx, share in work.get("shares", {}).items()}
        made.dirty = False
        return made

    def catch_up(self, canary_id: str, canary: Canary | None) -> None:
        """How one that was waiting when the program stopped has ended meanwhile."""
        if canary is None:
            self.told.pop(canary_id)
        elif canary.state is State.ACCEPTED:
            if canary.overdue:
                self._judged(canary, Verdict.BAD, done=False)
        elif canary.state is State.DELIVERED:
            self._judged(canary, Verdict.GOOD, done=True)
        else:
            bad = canary.state in (State.LATE, State.LOST)
            self._judged(canary, Verdict.BAD if bad else Verdict.LEFT_OUT, done=True)


def caps_of(config: Config, route: str) -> list[Cap]:
    """The limits that canaries of a route keep to."""
    if route not in config.routes:
        return []
    limits = config.limits
    rates = (*limits.per_recipient, *limits.per_route, config.detection.max_rate)
    return [(rate.count, rate.per.total_seconds()) for rate in rates]


def ns_of(moment: datetime) -> int:
    """Wall nanoseconds."""
    return int(moment.timestamp() * 1_000_000) * (NANOSECONDS // 1_000_000)


def _lost(canary: Canary) -> bool:
    return canary.state is State.LOST and canary.recovered is None


def _seen(canary: Canary) -> Seen:
    recovered = canary.recovered is not None
    leg = canary.leg
    return Seen(leg.mx, canary.variant, canary.sent.utc, canary.state, canary.overdue, recovered, canary.queued_as)
