"""One leg's detector: suspect, hunt, page.

* **Suspect**: a canary older than the leg's p98 latency makes the leg send an extra one every 5 s.
* **Hunt**: an overdue canary scores a point and makes the leg send one a second, until the score is back at 0. A
  punctual canary takes back 1/m. Runs are counted, not canaries: an overdue one sent right after an overdue one adds
  nothing, for a relay that defers a handful of mail is one event.
* **Page**: the score reaches its threshold (threshold.py), or the leg is dark (detector_blackout.py).

Being blind postpones judgement and clears nothing. A canary whose time was partly blind is judged by the first complete
read that began ``overdue_after`` and the stall limit after it was sent; unseen there it is overdue. Seen, it counts as
punctual only where it is known to have been; else it is left out.

Pure: time is an argument, in seconds (detector_time.py). Every event costs O(1), amortised; memory is what waits, at
most what was sent in ``overdue_after`` and while blind. The state is plain data; after ``restore`` the same events end
in the same state.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from probe.detection.detector_blackout import RUN, Blackout
from probe.detection.detector_findings import Extra, Finding, Grade, Kind, Why, found
from probe.detection.detector_gaps import Gaps
from probe.detection.detector_pending import Pending, Waiting, head
from probe.detection.threshold import Tuning

__all__ = ["Detector", "Extra", "Finding", "Grade", "Kind", "Tuning", "Why"]

VERSION = 1
SUSPECT_GAP = 5.0
HUNT_GAP = 1.0
_NOUGHT = 1e-9


class Detector:
    """The detector of one leg. Feed it every canary that was accepted at the first attempt: ``sent``, then
    ``arrived``, ``overdue`` or ``left_out``; and every ``complete_read`` of its mailbox, after what that read saw."""

    def __init__(self, tuning: Tuning) -> None:
        self.tuning = tuning
        self.score = 0.0
        self.judged = 0  # running totals, in health and in incidents alike: canaries, and overdue runs among them
        self.runs = 0
        self.open: Finding | None = None  # what it paged; latched until ``closed``
        self.ticket: Finding | None = None  # the last share that raised a ticket; until ``closed``
        self.paused = False  # no extras meanwhile; what is under way is judged
        self._gaps = Gaps()
        self._pending = Pending()
        self._blackout = Blackout()
        self._newest_punctual: float | None = None
        self._last_send: float | None = None
        self._excursion: tuple[str, float] | None = None
        self._dark_told = False

    def attempted(self, at: float) -> None:
        """A canary of this leg, whichever it is, is about to be sent: extras keep their distance from it."""
        if self._last_send is None or at > self._last_send:
            self._last_send = at

    def sent(self, canary_id: str, sent: float) -> None:
        """It was accepted; its clocks run from ``sent``. One that was deferred before is not told: that is a known
        failure with an alert of its own, and would be a blackout by every measure."""
        self.attempted(sent)
        self._pending.add(canary_id, sent)
        self._blackout.sent(canary_id, sent, self.tuning)

    def arrived(self, canary_id: str, age: float | None, at: float) -> None:
        """It was seen at ``at``. ``age``: its latency in seconds, None where nobody can tell on which side of
        ``overdue_after`` it lies. A canary that was judged already changes nothing but what is still missing."""
        one = self._pending.get(canary_id)
        if one is None:
            self._blackout.seen(canary_id)
        elif age is not None and age <= self.tuning.overdue_after:
            self._punctual(one)
        elif age is None or self._partly_blind(one):
            self.left_out(canary_id)
        else:
            self._overdue(one, at)
            self._blackout.seen(canary_id)

    def overdue(self, canary_id: str, at: float) -> None:
        """A complete read begun after its deadline did not show it: for a replay that has no reads."""
        one = self._pending.get(canary_id)
        if one is not None and not self._partly_blind(one):
            self._overdue(one, at)

    def left_out(self, canary_id: str) -> None:
        """Nothing will be known of it: it ended as unknown, bounced or anything else that is neither late nor lost."""
        one = self._pending.get(canary_id)
        if one is not None:
            self._pending.leave_out(one)
        self._blackout.left_out(canary_id)

    def went_blind(self, at: float) -> None:
        """A read of the mailbox failed or was cut short at ``at``; from here to the next complete read it is blind."""
        if self._gaps.since is None:
            self._gaps.since = at

    def complete_read(self, began: float, at: float) -> Finding | None:
        """Every folder was read by reads begun at or after ``began``; the last ended at ``at``. What they saw must have
        been told before. The only event that finds anything."""
        since, self._gaps.since = self._gaps.since, None
        if since is not None:
            self.down(since, at)
        self._judge(began, at)
        return self._look(at)

    def quiet(self, now: float) -> bool:
        """Whether no complete read that ends at ``now`` or before could find anything, or change anything here."""
        if self._gaps.any or (self.open is None and self.score >= self.tuning.score - _NOUGHT):
            return False
        soonest = self.next_check()
        return soonest is None or soonest > now

    def down(self, begin: float, end: float) -> None:
        """Nothing was seen from ``begin`` to ``end``: the program was not running, say. A short gap is none."""
        if self._gaps.add(begin, end):
            self._blackout.gap(begin, end, self.tuning)

    def opened(self, finding: Finding) -> None:
        """An incident of this leg is open, whoever found it: the score rests and no second page is made."""
        self.open = finding

    def closed(self) -> None:
        """The all-clear, or it was called false: the score starts anew. A leg that is still dark pages again."""
        self.open = self.ticket = self._excursion = None
        self.score = 0.0
        self._dark_told = False

    def retune(self, tuning: Tuning) -> None:
        """Other figures from here on. The score stays."""
        self.tuning = tuning

    def next_extra(self, now: float) -> Extra | None:
        """When the next extra canary is due, or None. Ask again after every event, and every second (allowance.py)."""
        if self.paused or self.open is not None or self._gaps.blind_at(now):
            return None
        last = now if self._last_send is None else self._last_send
        exempt = self.score > 1 + _NOUGHT
        oldest = self._pending.oldest()
        # By the time it is overdue there must be witnesses: canaries sent when it was older than the stall limit.
        stalled = math.inf if oldest is None else oldest.sent + self.tuning.stall_limit
        if now >= stalled:
            return Extra(max(last + HUNT_GAP, stalled), Why.WITNESS, exempt)
        if self.score > 0:
            return Extra(last + HUNT_GAP, Why.HUNT, exempt)
        if oldest is None:
            return None
        due = max(last + SUSPECT_GAP, oldest.sent + self.tuning.suspect_after)
        return Extra(min(due, max(last + HUNT_GAP, stalled)), Why.SUSPICION, False)

    def next_check(self) -> float | None:
        """When a complete read, begun then or later, could find something new; None: not before something is sent."""
        moments = []
        held, queued = head(self._pending.held), head(self._pending.queue)
        if held is not None:
            moments.append(held.sent + self.tuning.overdue_after + self.tuning.stall_limit)
        if queued is not None:
            moments.append(queued.sent + self.tuning.overdue_after)
        if not self._dark_told and (due := self._blackout.due(self.tuning)) is not None:
            moments.append(due)
        return min(moments, default=None)

    @property
    def waiting(self) -> int:
        """Canaries that are not judged yet."""
        return len(self._pending)

    @property
    def oldest(self) -> float | None:
        """When the oldest unjudged canary was sent."""
        return None if (one := self._pending.oldest()) is None else one.sent

    @property
    def dark_since(self) -> float | None:
        """When the first canary was sent of which nothing came, None while mail arrives."""
        return self._blackout.dark and self._blackout.dark[0]

    @property
    def blackout_run(self) -> int:
        """Canaries without a trace since it went dark: 7 once it is found to be a blackout, at most 6 before."""
        return RUN if self._dark_told else min(self._blackout.run, RUN - 1)

    @property
    def idle(self) -> bool:
        """Whether a punctual canary, sent from now on, would change nothing: no score, no dark, nothing waits."""
        return self.score == 0 and self._blackout.dark is None and not len(self._pending) and self.open is None

    def _judge(self, began: float, at: float) -> None:
        deadline = self.tuning.overdue_after
        patience = deadline + self.tuning.stall_limit
        pending = self._pending
        while (one := head(pending.held)) is not None and one.sent + patience <= began:
            self._overdue(one, at)
        while (one := head(pending.queue)) is not None and one.sent + deadline <= began:
            if one.sent + patience > began and self._partly_blind(one):
                pending.held.append(pending.queue.popleft())
            else:
                self._overdue(one, at)
        oldest = pending.oldest()
        self._gaps.forget(at if oldest is None else oldest.sent)

    def _overdue(self, one: Waiting, at: float) -> None:
        before = one.before  # one that still waits beyond its deadline is as good as bad
        run_goes_on = one.before_bad if before is None else before.sent + self.tuning.overdue_after < at
        self._pending.settle(one, bad=True)
        self.judged += 1
        if not run_goes_on:
            self.runs += 1
            if self.open is None:
                self.score += 1
                self._excursion = self._excursion or (one.id, one.sent)
        newest = self._newest_punctual
        if self._blackout.dark is None and (newest is None or newest < one.sent):
            self._blackout.begin(one, self._sent_after(one.sent), self.tuning)

    def _punctual(self, one: Waiting) -> None:
        self._pending.settle(one, bad=False)
        self.judged += 1
        if self.open is None and self.score > 0:
            self.score -= 1 / self.tuning.per_point
            if self.score < _NOUGHT:
                self.score, self._excursion = 0.0, None
        if self._newest_punctual is None or one.sent > self._newest_punctual:
            self._newest_punctual = one.sent
        self._blackout.punctual(one.id, self._newest_punctual)
        if self._blackout.dark is None:
            self._dark_told = False

    def _look(self, at: float) -> Finding | None:
        due = self._blackout.due(self.tuning)
        if due is not None and due <= at and not self._dark_told:
            self._dark_told = True
            return self._found(Kind.BLACKOUT, Grade.UPDATE if self.open else Grade.PAGE, at)
        if self.open is not None or self.score < self.tuning.score - _NOUGHT:
            return None
        if self.tuning.share_pages:
            return self._found(Kind.SHARE, Grade.PAGE, at)
        finding = self._found(Kind.SHARE, Grade.TICKET, at)
        self.score, self._excursion = 0.0, None  # or a noisy new leg would hunt for ever
        return finding

    def _found(self, kind: Kind, grade: Grade, at: float) -> Finding:
        dark = self._blackout.dark
        first_id, first_sent = self._excursion or ((dark[1], dark[0]) if dark is not None else ("", at))
        finding = Finding(kind, grade, at, self.score, self.tuning.score, first_id, first_sent, self.dark_since)
        if grade is Grade.PAGE:
            self.open = finding
        elif grade is Grade.TICKET:
            self.ticket = finding
        return finding

    def _partly_blind(self, one: Waiting) -> bool:
        return self._gaps.touch(one.sent, one.sent + self.tuning.overdue_after)

    def _sent_after(self, sent: float) -> Iterator[Waiting]:
        for queue in (self._pending.held, self._pending.queue):
            yield from (each for each in queue if each.sent > sent)

    def state(self) -> dict[str, Any]:
        """All it knows, as plain data for JSON."""
        return {
            "version": VERSION,
            "tuning": asdict(self.tuning),
            "score": self.score,
            "judged": self.judged,
            "runs": self.runs,
            "open": None if self.open is None else asdict(self.open),
            "ticket": None if self.ticket is None else asdict(self.ticket),
            "paused": self.paused,
            "gaps": self._gaps.state(),
            "pending": self._pending.state(),
            "blackout": self._blackout.state(),
            "newest_punctual": self._newest_punctual,
            "last_send": self._last_send,
            "excursion": None if self._excursion is None else list(self._excursion),
            "dark_told": self._dark_told,
        }

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Detector:
        """From ``state``. Raises ``ValueError`` for a version it does not know: then replay from the beginning."""
        if state.get("version") != VERSION:
            raise ValueError(f"a detector's state of version {state.get('version')!r}, not {VERSION}")
        detector = cls(Tuning(**state["tuning"]))
        for name in ("score", "judged", "runs", "paused"):
            setattr(detector, name, state[name])
        detector.open, detector.ticket = found(state["open"]), found(state["ticket"])
        detector._gaps = Gaps.restore(state["gaps"])
        detector._pending = Pending.restore(state["pending"])
        detector._blackout = Blackout.restore(state["blackout"])
        detector._newest_punctual = state["newest_punctual"]
        detector._last_send = state["last_send"]
        detector._excursion = state["excursion"] and (state["excursion"][0], state["excursion"][1])
        detector._dark_told = state["dark_told"]
        return detector
