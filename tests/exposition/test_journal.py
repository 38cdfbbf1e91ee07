"""The journal: one safe line an event, and never in the way."""

from __future__ import annotations

import io
import os
import threading
from contextlib import suppress

import pytest

from probe.canary.record import Canary, State
from probe.exposition.journal import Journal, quote
from tests.exposition.exposition_fakes import DEADLINES, EVIL, LEG, START, TOKEN, StillClock

CANARY = Canary("aaaaaaaaaaaa2", LEG, "prober-1", "plain", DEADLINES, START, State.LOST)


def written(use: object, *, terminal: bool = False) -> str:
    stream = io.StringIO()
    journal = Journal(stream, StillClock(), terminal=terminal)
    use(journal)  # type: ignore[operator]
    assert journal.close()
    return stream.getvalue()


def test_logfmt_on_a_pipe() -> None:
    line = written(lambda journal: journal.canary_settled(CANARY, 'not there, "proven"'))
    assert line == (
        "ts=2025-11-24T16:00:00.000000Z level=error event=canary_settled canary=aaaaaaaaaaaa2 route=inbound "
        'mx=mx1.example.org mailbox=support outcome=lost reason="not there, \\"proven\\""\n'
    )


def test_plain_on_a_terminal() -> None:
    line = written(lambda journal: journal.canary_settled(CANARY, "proven absent"), terminal=True)
    assert line.startswith("16:00:00.000  \x1b[31mlost")
    assert "inbound/mx1.example.org" in line
    assert line.endswith("proven absent\n")


@pytest.mark.fault("S39")
def test_hostile_text_stays_one_line_without_control_characters() -> None:
    for terminal in (False, True):
        output = written(lambda journal: journal.blind("support", f"{EVIL}\nlevel=info forged\r"), terminal=terminal)
        assert output.count("\n") == 1
        plain = output.replace("\x1b[31m", "", 1).replace("\x1b[0m", "", 1) if terminal else output
        assert plain.rstrip("\n").isprintable()


def test_no_token_in_full() -> None:
    output = written(lambda journal: journal.warning(f"could not parse {TOKEN} and {TOKEN.upper()}"))
    assert TOKEN not in output
    assert TOKEN.upper() not in output
    assert "abcdefgh…" in output


def test_quoting() -> None:
    assert quote("") == '""'
    assert quote("a=b") == '"a=b"'
    assert quote("10.0.0.1:25") == "10.0.0.1:25"
    assert quote('say "x\\y"') == '"say \\"x\\\\y\\""'


class Stuck(io.StringIO):
    """A stream that takes nothing until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self.release = threading.Event()
        self.all_ready = threading.Event()
        self.expected = 4

    def write(self, text: str) -> int:
        self.reached.set()
        self.release.wait()
        done = super().write(text)
        if self.getvalue().count("event=ready") == self.expected:
            self.all_ready.set()
        return done


@pytest.mark.fault("P29")
def test_a_blocked_sink_costs_lines_not_time_and_the_drops_are_said() -> None:
    stream = Stuck()
    journal = Journal(stream, StillClock(), terminal=False, capacity=10)
    journal.ready()
    assert stream.reached.wait(60)
    for _ in range(25):
        journal.ready()
    assert journal.dropped == 15
    assert journal.close(timeout=0) is False
    stream.release.set()
    assert journal.close(timeout=60)
    assert stream.getvalue().count("event=ready") == 11


def test_drops_are_said_once_the_sink_takes_lines_again() -> None:
    stream = Stuck()
    journal = Journal(stream, StillClock(), terminal=False, capacity=3)
    journal.ready()
    assert stream.reached.wait(60)
    for _ in range(5):
        journal.ready()
    assert journal.dropped == 2
    stream.release.set()
    assert stream.all_ready.wait(60)
    journal.stopped()
    assert journal.close(timeout=60)
    assert "event=journal_dropped lines=2" in stream.getvalue()


def test_a_broken_pipe_is_survived() -> None:
    read, write = os.pipe()
    os.close(read)
    stream = os.fdopen(write, "w")
    journal = Journal(stream, StillClock(), terminal=False)
    journal.ready()
    assert journal.close(timeout=60)
    assert journal.dropped == 1
    with suppress(BrokenPipeError):
        stream.close()
