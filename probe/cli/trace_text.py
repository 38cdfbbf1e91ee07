"""A trace as lines for people: each attempt phase by phase, then the waiting, then where it arrived. No I/O but stdout.

On a terminal one line at the bottom says what is waited for and is written over; in a pipe it is said when it changes
and every ten seconds.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click

from probe.cli.output import say, table
from probe.exposition.present import clean, duration_text, without_tokens
from probe.senders.base import Stage

SAID_AGAIN = 10.0  # seconds
_LONGEST = 160
_COLOURS = {"delivered": "green", "accepted": "green", "lost": "red", "bounced": "red", "refused": "red"}
_ERASE = "\r\x1b[K"


def shown(value: object, limit: int = 2000) -> str:
    """Text from outside, fit for a terminal and without secrets."""
    return clean(without_tokens(str(value)), limit)


class Teller:
    """Tells what is new in each answer of the engine. ``quiet``: nothing at all (JSON)."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live = not quiet and sys.stdout.isatty()
        self._told = 0  # attempts
        self._phase = ""
        self._said_at = 0.0
        self._status = False  # one stands at the bottom of the terminal

    def begin(self, route: str, begun: Mapping[str, Any]) -> None:
        """The canary is on its way."""
        where = f"route {route}, mx {begun['mx']}, to mailbox {begun['mailbox']}"
        self._say(f"canary {begun['id']}: {shown(where)}", bold=True)

    def tell(self, answer: Mapping[str, Any]) -> None:
        """Attempts that have ended since, and what it is at now."""
        if self._quiet:
            return
        for attempt in answer["canary"]["smtp"][self._told :]:
            if attempt["result"] == "started":
                break
            self._attempt(attempt)
            self._told += 1
        if answer["phase"] != "ended":
            self._at(answer)

    def end(self, answer: Mapping[str, Any]) -> None:
        """How it ended, or how it stands; and the Received lines."""
        if self._quiet:
            return
        self._wipe()
        canary = answer["canary"]
        say()
        state = canary["state"]
        say(f"{state.replace('_', ' ')}: {shown(canary['reason'])}", bold=True, colour=_COLOURS.get(state, "yellow"))
        if canary["arrived_at"]:
            rows: list[tuple[str, ...]] = [
                ("  folder", shown(canary["folder"])),
                ("  latency", _latency(canary)),
                ("  transit", duration_text(canary["transit_seconds"])),
            ]
            for line in table(rows):
                say(line)
        if canary["received"]:
            say()
            say("Received", bold=True)
            for line in canary["received"]:
                say(f"  {shown(line)}")

    # Lines.

    def _attempt(self, attempt: Mapping[str, Any]) -> None:
        self._say()
        tls = shown(attempt["tls"]) or "in clear"
        where = f"{shown(attempt['address'])}, {tls}" if attempt["address"] else "no server reached"
        self._say(f"attempt {attempt['attempt']}: {where}", bold=True)
        for name, seconds, text in _phases(attempt):
            self._say(f"  {name:<8}{'' if seconds is None else duration_text(seconds):>8}  {text}".rstrip())
        detail = f": {shown(attempt['detail'])}" if attempt["detail"] else ""
        self._say(f"  {shown(attempt['result'])}{detail}", colour=_COLOURS.get(attempt["result"], "yellow"))

    def _at(self, answer: Mapping[str, Any]) -> None:
        seconds = answer["seconds"] or 0.0
        text = _waiting(answer)
        phase = answer["attempt"]["stage"] if answer["attempt"] else answer["phase"]
        if self._live:
            self._wipe()
            width = shutil.get_terminal_size().columns - 1
            click.echo(click.style(clean(text, max(1, width - 1)), dim=True), nl=False)
            self._status = True
        elif phase != self._phase or abs(seconds - self._said_at) >= SAID_AGAIN:
            self._said_at = seconds
            say(text)
        self._phase = phase

    def _say(self, text: str = "", *, bold: bool = False, colour: str | None = None) -> None:
        if not self._quiet:
            self._wipe()
            say(text, bold=bold, colour=colour)

    def _wipe(self) -> None:
        if self._status:
            click.echo(_ERASE, nl=False)
            self._status = False


def _phases(attempt: Mapping[str, Any]) -> Iterator[tuple[str, float | None, str]]:
    """(name, seconds, text): a line a phase with its first reply, and one for each further reply in it."""
    for stage in Stage:
        said = [_exchange(one) for one in attempt["dialogue"] if one["stage"] == stage.value]
        seconds = attempt["phases"].get(stage.value)
        if seconds is None and not said:
            continue
        yield stage.value, seconds, said[0] if said else ""
        for text in said[1:]:
            yield "", None, text


def _exchange(exchange: Mapping[str, Any]) -> str:
    reply = shown(f"{exchange['code'] or ''} {exchange['reply']}".strip(), _LONGEST)
    if exchange["stage"] == Stage.CONNECT.value:
        return f"{shown(exchange['sent'], _LONGEST).removeprefix('connect ')}: {reply}"
    return reply


def _waiting(answer: Mapping[str, Any]) -> str:
    """What is waited for, in one line."""
    mailbox, canary = answer["mailbox"], answer["canary"]
    age = duration_text(answer["seconds"])
    match answer["phase"]:
        case "smtp" | "content" | "answer" if answer["attempt"]:
            return _talking(answer["attempt"], canary["attempts"])
        case "smtp":
            return f"attempt {canary['attempts']}: talking to the server, no content yet: {age}"
        case "content":
            return f"attempt {canary['attempts']}: sending the content: {age}"
        case "answer":
            return f"attempt {canary['attempts']}: the final dot is sent, waiting for the answer to it: {age}"
        case "retry":
            return f"next try in {age}"
    parts = [f"waiting for it in mailbox {mailbox['name']}: {age}"]
    if answer["overdue"]:
        parts.append("overdue")
    if mailbox["blind"]:
        parts.append(f"the mailbox cannot be read: {shown(mailbox['blind'], _LONGEST)}")
    elif mailbox["problem"]:
        parts.append(f"the other folders cannot be searched: {shown(mailbox['problem'], _LONGEST)}")
    elif mailbox["searches"]:
        parts.append("every folder of the account was searched")
    return ", ".join(parts)


def _talking(attempt: Mapping[str, Any], number: int) -> str:
    """The phase under way first, then those before it: a terminal cuts the end off."""
    phases = dict(attempt["phases"])
    now = duration_text(phases.pop(attempt["stage"], 0.0))
    before = ", ".join(f"{name} {duration_text(seconds)}" for name, seconds in phases.items())
    where = f" with {shown(attempt['address'])}" if attempt["address"] else ""
    return f"attempt {number}{where}: {attempt['stage']} {now}" + (f" (after {before})" if before else "")


def _latency(canary: Mapping[str, Any]) -> str:
    if canary["latency_seconds"] is None:
        return "not known: the mailbox was not read in time to tell"
    return f"{duration_text(canary['latency_seconds'])} (within {duration_text(canary['latency_uncertainty_seconds'])})"
