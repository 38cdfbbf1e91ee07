"""How many extra canaries a route may send, and whose turn it is.

Three things hold an extra canary back, and it needs all three:

* the **allowance** of the route, shared by its legs: each canary of the schedule earns a part of one (half, by
  default), saved up for at most three days. A second overdue run is exempt from it, never starved, and paid for
  later where the savings do not reach (three days' worth at most); so are suspicion and witnesses, by a day's worth:
  they are few, and without them a total loss takes minutes longer;
* the **room** under the caps: what the schedule will need of each cap in its window is kept free for it, so extras
  never make a canary of the schedule wait. The caps themselves are kept by the engine;
* its **turn**: the legs that hunt at the same time go round.

Pure; time is an argument, in seconds on the detector's line. Every call is O(1), or O(legs of the route).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from probe.detection.detector_findings import Extra, Why
from probe.detection.pace import Cap

DAY = 86_400.0
SAVED_DAYS = 3.0
FIRST_DAYS = 0.25  # what a new route begins with
HALVED_FOR = 3_600.0
ANSWERED_WITHIN = 660.0  # seconds: an answer to an extra one is no later (RFC 5321 4.5.3.2.6, and the way to the dot)
KEPT = 5  # what the hunt for a first run leaves of a cap: three witnesses, and the suspicion before them


class Allowance:
    """The savings of one route. ``share``: extra canaries to each one of the schedule (0.5); ``a_day``: canaries of the
    schedule, of all its legs, in a day."""

    __slots__ = ("_most", "_share", "saved")

    def __init__(self, share: float, a_day: float, saved: float | None = None) -> None:
        self._share = share
        self._most = SAVED_DAYS * share * a_day
        self.saved = min(self._most, FIRST_DAYS * share * a_day if saved is None else saved)

    def earn(self, canaries: float = 1) -> None:
        """So many canaries of the schedule were sent."""
        self.saved = min(self._most, self.saved + self._share * canaries)

    def allows(self, extra: Extra) -> bool:
        least = 1.0 if extra.why is Why.HUNT else 1.0 - self._most / SAVED_DAYS
        return extra.exempt or self.saved >= least

    def spend(self) -> None:
        """An extra one was sent; an exempt one may make debts."""
        self.saved = max(-self._most, self.saved - 1)


class Room:
    """What the caps leave for extras, in sliding windows. ``base``: canaries of the schedule a second under the same
    caps. Keep one for each recipient (legs and routes that share it share its caps) and one for each route
    (``max_rate``)."""

    __slots__ = ("_caps", "_halved_until", "_sent")

    def __init__(self, caps: Sequence[Cap], base: float) -> None:
        # One more than the schedule's share: its jitter can bring one more into a window than belongs there.
        self._caps = [(max(0, most - math.ceil(per * base) - 1), per) for most, per in caps]
        self._sent: deque[float] = deque(maxlen=max((most for most, _ in self._caps), default=0))
        self._halved_until = -math.inf

    def free_at(self, now: float, extra: Extra) -> float:
        """When ``extra`` fits, ``now`` if it does already; infinite where the schedule needs all of a cap. The hunt for
        a first run leaves room for the witnesses of a blackout that may begin meanwhile."""
        free = now
        left = KEPT if extra.why is Why.HUNT and not extra.exempt else 0
        for most, per in self._caps:
            count = max(min(most, 1), most // 2) if now < self._halved_until else most
            count = max(min(count, 1), count - left)
            if count == 0:
                return math.inf
            if len(self._sent) >= count:
                free = max(free, self._sent[-count] + per)
        return free

    def spend(self, at: float) -> None:
        """An extra one is sent."""
        self._sent.append(at)

    def halve(self, now: float) -> bool:
        """The receiver says that it is too much (4.2.1, 4.7.x, 5.2.12x): half of it for an hour, where an extra one was
        sent lately; without extras it is no word about them (greylisting, say). True where that is new."""
        if not self._sent or now - self._sent[-1] > ANSWERED_WITHIN:
            return False
        new = now >= self._halved_until
        self._halved_until = now + HALVED_FOR
        return new

    @property
    def used(self) -> bool:
        """Whether it knows anything that a new one does not."""
        return bool(self._sent) or not math.isinf(self._halved_until)

    def go_on(self, before: Room) -> None:
        """What ``before`` knew: this one takes its place."""
        self._sent.extend(before._sent)
        self._halved_until = before._halved_until

    def state(self) -> dict[str, Any]:
        """What must survive a restart: until when it is halved, and when extras were sent, oldest first."""
        halved = None if math.isinf(self._halved_until) else self._halved_until
        return {"halved_until": halved, "sent": [round(at, 1) for at in self._sent]}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Raises KeyError, TypeError or ValueError for what another version wrote."""
        self._halved_until = -math.inf if state["halved_until"] is None else float(state["halved_until"])
        self._sent.clear()
        self._sent.extend(float(at) for at in state["sent"])


class Turns:
    """Round robin: of the legs of a route whose extra is due, the one that waits longest since its last turn."""

    __slots__ = ("_last", "_turn")

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._turn = 0

    def next(self, now: float, wanted: Mapping[str, Extra], allowance: Allowance) -> str | None:
        """The leg that may send now, or None. Those that are exempt or hunt do not go before those that only suspect:
        a suspicion is an outage not yet overdue."""
        ready = [leg for leg, extra in wanted.items() if extra.due <= now and allowance.allows(extra)]
        if not ready:
            return None
        leg = min(ready, key=lambda name: self._last.get(name, -1))
        self._turn += 1
        self._last[leg] = self._turn
        return leg
