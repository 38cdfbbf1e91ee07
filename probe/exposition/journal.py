"""The journal: what happened, in the words of the field. logfmt on a pipe, aligned text on a terminal.

It never holds up the loop: a line is put in a bounded queue and a daemon thread writes it. A sink that blocks or breaks
costs lines, never time; how many were dropped is counted and said once it takes lines again. It is not the ledger: what
must not be forgotten is there. Nothing from outside reaches the sink unescaped, and no token in full.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TextIO

from probe.canary.record import Canary, State
from probe.clock import Clock, Instant
from probe.exposition.present import clean, duration_text, without_tokens

CAPACITY = 10_000
LONGEST_VALUE = 1_000
_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/@+,[]()%")


class Level(StrEnum):
    """How much a line matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


_COLOURS = {Level.INFO: "", Level.WARNING: "\x1b[33m", Level.ERROR: "\x1b[31m"}
_GOOD, _PLAIN = "\x1b[32m", "\x1b[0m"
_BAD = frozenset({State.LOST, State.BOUNCED, State.REFUSED})


class Sink:
    """Lines to a stream by a daemon thread."""

    def __init__(self, stream: TextIO, capacity: int = CAPACITY) -> None:
        self._stream = stream
        self._capacity = capacity
        self._lines: deque[str] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._unsaid = 0
        self.dropped = 0
        self._thread = threading.Thread(target=self._drain, name="journal", daemon=True)
        self._thread.start()

    def put(self, line: str, dropped: Callable[[int], str]) -> None:
        """Queue a line, or count it as dropped; never waits for the stream. ``dropped`` makes the line that says how
        many were dropped before this one."""
        with self._changed:
            if self._closing or len(self._lines) >= self._capacity:
                self.dropped += 1
                self._unsaid += 1
                return
            if self._unsaid:
                self._lines.append(dropped(self._unsaid))
                self._unsaid = 0
            self._lines.append(line)
            self._changed.notify()

    def close(self, timeout: float) -> bool:
        """Write what is queued, for at most ``timeout`` seconds; False when the stream would not take it all."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _drain(self) -> None:
        while True:
            with self._changed:
                while not self._lines and not self._closing:
                    self._changed.wait()
                if not self._lines:
                    return
                batch = list(self._lines)
                self._lines.clear()
            try:
                self._stream.write("".join(f"{line}\n" for line in batch))
                self._stream.flush()
            except (OSError, ValueError):  # a broken pipe, a full disk, or a stream that was closed
                with self._changed:
                    self.dropped += len(batch)
                    self._unsaid += len(batch)


class Journal:
    """Every event of the daemon that a person may want to read. Safe from any thread."""

    def __init__(self, stream: TextIO, clock: Clock, *, terminal: bool | None = None, capacity: int = CAPACITY) -> None:
        self._clock = clock
        self._terminal = stream.isatty() if terminal is None else terminal
        self._sink = Sink(stream, capacity)

    @property
    def dropped(self) -> int:
        """Lines that the sink did not take, since the start."""
        return self._sink.dropped

    def close(self, timeout: float = 2.0) -> bool:
        """Write what is queued; False where the sink would not take it within ``timeout`` seconds."""
        return self._sink.close(timeout)

    # the daemon

    def starting(self, version: str, prober: str, routes: int) -> None:
        self.say("starting", version=version, prober=prober, routes=routes)

    def listening(self, address: str) -> None:
        self.say("listening", address=address)

    def ready(self) -> None:
        self.say("ready")

    def stopping(self, why: str) -> None:
        self.say("stopping", reason=why)

    def stopped(self) -> None:
        self.say("stopped", journal_dropped=self.dropped)

    def reloaded(self) -> None:
        self.say("reloaded")

    def reload_refused(self, why: str) -> None:
        self.say("reload_refused", Level.ERROR, reason=why)

    def crashed(self, task: str, why: str, again_after: float) -> None:
        self.say("task_crashed", Level.ERROR, task=task, reason=why, again_after=duration_text(again_after))

    def ledger_reset(self, set_aside: str, why: str) -> None:
        self.say("ledger_reset", Level.ERROR, set_aside=set_aside, reason=why)

    def ledger_unwritable(self, why: str) -> None:
        self.say("ledger_unwritable", Level.ERROR, reason=why)

    def ledger_writable(self) -> None:
        self.say("ledger_writable")

    def clock_stepped(self, by: float) -> None:
        self.say("clock_stepped", Level.WARNING, by=f"{by:+.3f}s")

    def warning(self, text: str) -> None:
        self.say("warning", Level.WARNING, reason=text)

    def leg_added(self, route: str, mx: str) -> None:
        self.say("leg_added", route=route, mx=mx)

    def leg_gone(self, route: str, mx: str) -> None:
        self.say("leg_gone", Level.WARNING, route=route, mx=mx, reason="its host is no longer in DNS")

    def paused(self, sentence: str) -> None:
        self.say("paused", Level.WARNING, reason=sentence)

    def resumed(self, route: str) -> None:
        self.say("resumed", route=route)

    def drill(self, sentence: str) -> None:
        self.say("drill", Level.WARNING, reason=sentence)

    # sending

    def canary_sent(self, canary: Canary) -> None:
        self._canary("canary_sent", Level.INFO, canary, queued_as=canary.queued_as)

    def canary_deferred(self, canary: Canary, reason: str) -> None:
        self._canary("canary_deferred", Level.INFO, canary, reason=reason)

    def capped(self, route: str, mx: str, limit: str) -> None:
        self.say("capped", Level.WARNING, route=route, mx=mx, limit=limit)

    # judging

    def canary_overdue(self, canary: Canary) -> None:
        self._canary("canary_overdue", Level.WARNING, canary, reason=canary.reason)

    def canary_settled(self, canary: Canary, reason: str) -> None:
        level = Level.ERROR if canary.state in _BAD else Level.WARNING
        if canary.state is State.DELIVERED:
            level = Level.INFO
        latency = "" if canary.latency is None else duration_text(canary.latency)
        self._canary("canary_settled", level, canary, outcome=canary.state.value, latency=latency, reason=reason)

    def canary_recovered(self, canary: Canary, reason: str = "") -> None:
        self._canary("canary_recovered", Level.WARNING, canary, was=canary.state.value, reason=reason or canary.reason)

    def canary_delayed(self, canary: Canary, reason: str) -> None:
        """A report says that it is late and still tried."""
        self._canary("canary_delayed", Level.WARNING, canary, reason=reason)

    def canary_copy(self, canary: Canary, kind: str, folder: str) -> None:
        level = Level.WARNING if kind == "duplicate" else Level.INFO
        self._canary(f"canary_{kind}", level, canary, folder=folder)

    def share_suspected(self, route: str, mx: str, score: float, threshold: float) -> None:
        """A new leg's share: a ticket, no page."""
        reason = f"{score:.1f} overdue runs more than the noise explains, {threshold:.1f} are enough; it is still new"
        self.say("share_suspected", Level.WARNING, route=route, mx=mx, reason=reason)

    def incident_paged(self, route: str, mx: str, incident: str, reason: str) -> None:
        self.say("incident_paged", Level.ERROR, route=route, mx=mx, incident=incident, reason=reason)

    def incident_changed(self, route: str, incident: str, state: str, reason: str) -> None:
        self.say("incident", Level.WARNING, route=route, incident=incident, state=state, reason=reason)

    def not_believed(self, mailbox: str, kind: str, detail: str) -> None:
        self.say("not_believed", Level.WARNING, mailbox=mailbox, kind=kind, reason=detail)

    # reading

    def blind(self, mailbox: str, why: str) -> None:
        self.say("blind", Level.ERROR, mailbox=mailbox, reason=why)

    def seeing_again(self, mailbox: str, gap: float) -> None:
        self.say("seeing_again", mailbox=mailbox, after=duration_text(gap))

    def heartbeat(self, what: str, why: str) -> None:
        """``what``: sent, silent (for a reason of ours) or failed; said when it changes."""
        self.say(f"heartbeat_{what}", Level.INFO if what == "sent" else Level.WARNING, reason=why)

    def control_missed(self, mailbox: str, why: str) -> None:
        self.say("control_missed", Level.ERROR, mailbox=mailbox, reason=f"{why}: nothing is judged until one is seen")

    def control_seen(self, mailbox: str, gap: float) -> None:
        """After one was missed."""
        self.say("control_seen_again", mailbox=mailbox, after=duration_text(gap))

    def control_refused(self, mailbox: str, why: str) -> None:
        self.say(
            "control_refused", Level.WARNING, mailbox=mailbox, reason=f"no control canary could be put there: {why}"
        )

    def _canary(self, event: str, level: Level, canary: Canary, **more: str) -> None:
        leg = canary.leg
        self.say(event, level, canary=canary.id, route=leg.route, mx=leg.mx, mailbox=leg.mailbox, **more)

    def say(self, event: str, level: Level = Level.INFO, **fields: str | int | float) -> None:
        """One line: an event's name and its fields, in order; empty ones are left out."""
        now = self._clock.now()
        line = self._line(now, event, level, {key: str(value) for key, value in fields.items() if value != ""})
        self._sink.put(line, lambda lines: self._line(now, "journal_dropped", Level.WARNING, {"lines": str(lines)}))

    def _line(self, now: Instant, event: str, level: Level, fields: Mapping[str, str]) -> str:
        safe = {key: clean(without_tokens(value), LONGEST_VALUE) for key, value in fields.items()}
        if self._terminal:
            return _plain(now, event, level, safe)
        pairs = {"ts": now.isoformat(), "level": level.value, "event": event, **safe}
        return " ".join(f"{key}={quote(value)}" for key, value in pairs.items())


def quote(value: str) -> str:
    """A logfmt value: bare where it can be, otherwise in double quotes with ``\\`` and ``"`` escaped."""
    if value and _BARE.issuperset(value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _plain(now: Instant, event: str, level: Level, fields: Mapping[str, str]) -> str:
    rest = dict(fields)
    reason = rest.pop("reason", "")
    where = "/".join(filter(None, (rest.pop("route", ""), rest.pop("mx", "")))) or rest.get("mailbox", "")
    rest.pop("mailbox", None)
    canary = rest.pop("canary", "")
    what = rest.pop("outcome", "") or event.removeprefix("canary_").replace("_", " ")
    colour = _GOOD if what == "delivered" else _COLOURS[level]
    word = f"{colour}{what:<14}{_PLAIN}" if colour else f"{what:<14}"
    more = "  ".join(f"{key} {value}" for key, value in rest.items())
    parts = [now.utc.strftime("%H:%M:%S.%f")[:-3], word, f"{where:<24}", f"{canary:<13}", more, reason]
    return "  ".join(part for part in parts if part.strip())
