"""IDLE (RFC 2177) as a hint that a read is due, and never more: what it does not tell proves nothing.

A server may be late with its word (Dovecot: 0.5 s), may never say it, may say it for nothing; a path may die without
a sign. So each idle is short, its end is answered or the connection is closed, and a server that makes it worthless
is not asked again until the restart. Reads go on at their own times whatever is heard.
"""

from __future__ import annotations

import os
import select
import weakref
from contextlib import suppress
from datetime import timedelta
from enum import Enum, StrEnum

from probe.clock import Clock, Instant
from probe.mailboxes.imap_session import Session
from probe.mailboxes.imap_wire import CappedIMAP4, number

REFRESH = timedelta(seconds=90)  # below the NAT time-outs met with; RFC 2177's own limit is 29 minutes
BREAKS_LIMIT = 2  # in a row
UNTOLD_LIMIT = 3  # since it last told of anything
_UNTOLD_FROM = timedelta(seconds=2)  # a shorter idle may end before a server that delays its word has said it
_FIRST_REST, _LONGEST_REST = timedelta(seconds=1), timedelta(minutes=1)
_GLANCE = timedelta(seconds=30)  # poll's timer stops in a suspend, the clock does not


class Idle(StrEnum):
    """Whether IDLE is used."""

    AUTO = "auto"
    OFF = "off"


class Wake:
    """Ends a wait in another thread. Set before the wait, it ends that one; taken once however often it was set."""

    def __init__(self) -> None:
        self._number = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        # Not before the last reference is gone: a number closed earlier may be another file's when a thread sets it.
        weakref.finalize(self, os.close, self._number).atexit = False

    def fileno(self) -> int:
        """For poll: readable while set."""
        return self._number

    def set(self) -> None:
        """From any thread; never raises."""
        with suppress(OSError):  # set 2**64 times is set all the same; and a wait that nobody ends has its own end
            os.eventfd_write(self._number, 1)

    def take(self) -> bool:
        """Whether it was set; not any more."""
        try:
            os.eventfd_read(self._number)
        except BlockingIOError:
            return False
        return True


class _Heard(Enum):
    """What ended an idle."""

    NEWS = "the server told of mail"
    WOKEN = "we were woken"
    NOTHING = "the time is over"
    ENDED = "the server answered before DONE"


class Idling:
    """IDLE on one mailbox over all its connections: the waits, and whether they are worth it.

    ``given_up`` says why it is not tried any more, "" while nothing is wrong. One thread at a time but for ``wake``.
    """

    def __init__(self, setting: Idle, clock: Clock) -> None:
        self.given_up = ""
        self.wake = Wake()
        self._wanted = setting is Idle.AUTO
        self._clock = clock
        self._breaks = 0
        self._untold = 0
        self._rest = _FIRST_REST
        self._rest_until: Instant | None = None
        self._last: tuple[_Heard, timedelta] | None = None

    def possible(self, session: Session) -> bool:
        """Whether a wait may be tried now."""
        if not self._wanted or self.given_up or "IDLE" not in session.capabilities:
            return False
        return self._rest_until is None or self._clock.now().since(self._rest_until) >= timedelta(0)

    def forget(self) -> None:
        """A new connection: what is read next was not missed by an idle."""
        self._last = None

    def wait(self, wire: CappedIMAP4, longest: timedelta) -> bool:
        """Idle in the selected folder, for ``longest`` or ``REFRESH`` at most; True: a read is due now.

        Raises what imap.py translates; then the connection is of no use any more.
        """
        self._last = None
        if wire.news:
            return True  # told with an earlier answer: an idle would not tell it again
        if self.wake.take():
            return False
        before = wire.sock.gettimeout()
        try:
            self._idle(wire, min(longest, REFRESH))
        except Exception:
            self._breaks += 1
            if self._breaks >= BREAKS_LIMIT:
                self._give_up(f"the connection broke in IDLE {self._breaks} times in a row")
            raise
        self._breaks = 0
        wire.sock.settimeout(before)
        return _told(wire)

    def _idle(self, wire: CappedIMAP4, longest: timedelta) -> None:
        began = self._clock.now()
        if not wire.begin_idle(longest):
            self._give_up("the server refuses IDLE, which it offers")
            return
        heard = self._hear(wire, began + longest)
        if heard is _Heard.ENDED:
            self._give_up("the server ends IDLE by itself")
        elif not wire.end_idle():
            self._give_up("the server refuses DONE")
        if heard is _Heard.NEWS or not _told(wire):  # what came with the answer to DONE alone says nothing of IDLE
            self._last = heard, self._clock.now().since(began)

    def _hear(self, wire: CappedIMAP4, until: Instant) -> _Heard:
        """Take up what comes until one of the reasons to stop. Buffers first: what they hold makes nothing readable."""
        poller = select.poll()
        poller.register(wire.sock, select.POLLIN)
        poller.register(self.wake, select.POLLIN)
        while True:
            if wire.idle_ended:
                return _Heard.ENDED
            if _told(wire):
                return _Heard.NEWS
            if self.wake.take():
                return _Heard.WOKEN
            left = until.since(self._clock.now())
            if left <= timedelta(0):
                return _Heard.NOTHING
            if not wire.pump():
                poller.poll(min(left, _GLANCE) / timedelta(milliseconds=1))

    def read(self, found: int) -> None:
        """What the read of the first folder after a wait found: ``found`` new messages."""
        last, self._last = self._last, None
        if last is None:
            return
        heard, length = last
        if heard is _Heard.NEWS:
            self._untold = 0
            self._pause(hollow=not found)
        elif found and heard is _Heard.NOTHING and length >= _UNTOLD_FROM:
            self._untold += 1
            if self._untold >= UNTOLD_LIMIT:
                self._give_up(f"reads found mail {self._untold} times of which IDLE had not told")

    def _pause(self, *, hollow: bool) -> None:
        """A server that tells again and again of what is not there is heard more and more rarely."""
        if not hollow:
            self._rest, self._rest_until = _FIRST_REST, None
            return
        self._rest_until = self._clock.now() + self._rest
        self._rest = min(self._rest * 2, _LONGEST_REST)

    def _give_up(self, why: str) -> None:
        self.given_up = self.given_up or why


def _told(wire: CappedIMAP4) -> bool:
    """Whether EXISTS, or RECENT of anything, came since the folder was last looked at."""
    recent = wire.said("RECENT")
    return wire.news > 0 or (recent is not None and number(recent) > 0)
