"""A login that is refused again and again is left alone for a while, so that no server locks the account.

Canaries go on being counted meanwhile: each is unsent, for the reason that the login is refused.
"""

from __future__ import annotations

from datetime import timedelta

from probe.clock import Clock, Instant
from probe.senders.base import Result, Stage, Submission, SubmissionLabel

IN_A_ROW = 3
FIRST, LONGEST = timedelta(seconds=30), timedelta(minutes=15)


class LoginPause:
    """The logins of one sender, whose legs share an account. After ``IN_A_ROW`` refusals for good (5xx) each further
    one is followed by a pause, doubling from ``FIRST`` to ``LONGEST``; whatever gets past the login ends that."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._refused = 0
        self._until: Instant | None = None

    def held(self, host: str) -> Submission | None:
        """How an attempt ends that is not made now; None where it may be made."""
        if self._until is None:
            return None
        left = self._until.since(self._clock.now())
        if left <= timedelta(0):
            return None
        times = f"the login was refused {self._refused} times in a row"
        detail = f"{host} (auth): {times}; it is not tried again for {left.total_seconds():.0f} s"
        return Submission(
            Result.UNSENT, SubmissionLabel.AUTH_ERROR, Stage.AUTH, reason="auth", detail=detail, host=host
        )

    def note(self, ended: Submission | None) -> None:
        """How the attempt stood when the way to its content was free (None), or ended before."""
        if ended is None or ended.stage in (Stage.MAIL, Stage.RCPT):
            self._refused, self._until = 0, None
        elif ended.reason == "auth" and ended.code is not None:
            self._refused += 1
            if self._refused >= IN_A_ROW:
                doublings = min(self._refused - IN_A_ROW, 10)
                self._until = self._clock.now() + min(LONGEST, FIRST * 2**doublings)
