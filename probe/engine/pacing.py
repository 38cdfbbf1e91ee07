"""How often a mailbox is looked at. Pure: given ages and the last polls, when is the next one due?

Polls follow the age of the youngest canary that is waited for: the first some 10 ms after its dot, then each about a
tenth of its age later. So the error of a latency is a bounded fraction of it, one poll serves every canary of the
mailbox, and a token bucket holds the rate to what the provider bears.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from probe.clock import Instant
from probe.options import Rate

FIRST_LOOK = timedelta(milliseconds=10)
CLOSEST = timedelta(milliseconds=12)  # and the poll itself: together below the 20 ms that a short latency may be off
GROWTH = 0.1
# Polls that one canary needs beyond 10 a second: 22 until its age is 1 s, when a tenth of it is 100 ms. Then none.
BURST = 24.0


@dataclass(frozen=True, slots=True)
class Pace:
    """The waits that no configuration names, of watchers and of look-ups of MX hosts; tests shorten them."""

    other_folders: timedelta = timedelta(seconds=15)
    deadline_reads_apart: timedelta = timedelta(milliseconds=250)
    sweeps_apart: timedelta = timedelta(minutes=1)
    cleanups_apart: timedelta = timedelta(minutes=10)
    blind_from: timedelta = timedelta(seconds=5)
    reconnect_first: timedelta = timedelta(milliseconds=500)
    reconnect_most: timedelta = timedelta(seconds=10)
    login_first: timedelta = timedelta(seconds=30)
    login_most: timedelta = timedelta(minutes=15)
    hosts_apart: timedelta = timedelta(minutes=1)


def next_poll(last_poll: Instant, youngest_dot: Instant | None, idle_poll: timedelta) -> Instant:
    """When the first folder is due again."""
    latest = last_poll + idle_poll
    if youngest_dot is None:
        return latest
    age = last_poll.since(youngest_dot)
    if age <= timedelta(0):
        return _earlier(youngest_dot + FIRST_LOOK, latest)
    return _earlier(last_poll + max(CLOSEST, age * GROWTH), latest)


def _earlier(one: Instant, other: Instant) -> Instant:
    return one if one.since(other) < timedelta(0) else other


def later(one: Instant, other: Instant) -> Instant:
    """The later of two moments of this boot."""
    return one if one.boot > other.boot else other


def earliest(*moments: Instant | None) -> Instant | None:
    """The first of some moments of this boot; None where there is none."""
    return min((one for one in moments if one is not None), key=lambda one: one.boot, default=None)


class TokenBucket:
    """``BURST`` polls at once, then ``rate``."""

    def __init__(self, rate: Rate, now: Instant) -> None:
        self._per_second = rate.count / rate.per.total_seconds()
        self._tokens = BURST
        self._filled = now

    def wait(self, now: Instant) -> timedelta:
        """How long until a token is there; zero when one is."""
        self._fill(now)
        if self._tokens >= 1:
            return timedelta(0)
        return timedelta(seconds=(1 - self._tokens) / self._per_second)

    def take(self, now: Instant) -> None:
        """Use a token; below zero when a poll could not wait (a deadline)."""
        self._fill(now)
        self._tokens -= 1

    def _fill(self, now: Instant) -> None:
        passed = max(0.0, now.since(self._filled).total_seconds())
        self._tokens = min(BURST, self._tokens + passed * self._per_second)
        self._filled = now


class Backoff:
    """Waits that double from ``first`` to ``most``; with ``spread`` (0-1) of each drawn by chance."""

    def __init__(self, first: timedelta, most: timedelta) -> None:
        self._first = first
        self._most = most
        self._next = first

    def next(self, chance: float) -> timedelta:
        """The next wait, between three quarters and the whole of it, so that many watchers do not return together."""
        wait = self._next
        self._next = min(self._most, self._next * 2)
        return wait * (0.75 + 0.25 * chance)

    def reset(self) -> None:
        """After a success."""
        self._next = self._first
