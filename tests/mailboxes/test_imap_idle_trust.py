"""When IDLE is worth nothing on a server it is not used again until the restart, and that is said."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta

import pytest

from probe.canary.coverage import Cursor
from probe.clock import Instant
from probe.errors import MailboxError
from probe.mailboxes import imap_idle
from probe.mailboxes.base import FolderRequest
from probe.mailboxes.imap import ImapMailbox
from tests.mailboxes.scripted_imap import EPOCH, SINCE, Script, ScriptedImap, fetched

OFFERED = "IMAP4rev1 UIDPLUS MOVE IDLE"
LONG = timedelta(minutes=1)


class SteppingClock:
    """Each look at it finds ``step`` gone by."""

    def __init__(self) -> None:
        self.step = timedelta(milliseconds=1)
        self._now = Instant(0, 0, "boot")

    def now(self) -> Instant:
        self._now += self.step
        return self._now

    def pass_by(self, duration: timedelta) -> None:
        self._now += duration

    async def sleep(self, duration: timedelta) -> None:
        raise AssertionError("a mailbox does not wait")


class Idler:
    """A mailbox on a scripted server, read up to where the last read came."""

    def __init__(self, server: ScriptedImap) -> None:
        self.server = server
        self.clock = SteppingClock()
        self.mailbox = ImapMailbox("scripted", server.options(), self.clock)
        self.begin()

    def begin(self) -> None:
        self.mailbox.connect()
        self.cursor = SINCE
        self.read()

    def read(self) -> int:
        """How many messages the next read of INBOX finds."""
        found = self.mailbox.read(FolderRequest("INBOX", self.cursor))
        self.cursor = found.cursor
        return len(found.messages)

    def wait(self, seconds: float) -> bool:
        """One wait to its end, in which the clock goes on by more than that."""
        self.clock.step = timedelta(seconds=seconds)
        try:
            return self.mailbox.wait(timedelta(seconds=seconds))
        finally:
            self.clock.step = timedelta(milliseconds=1)


Start = Callable[..., Idler]


@pytest.fixture
def start(scripted: Callable[..., ScriptedImap]) -> Iterator[Start]:
    """A factory of idlers, closed after the test."""
    with ExitStack() as stack:

        def make(idle: Script = b"+ idling\r\n", **scripts: Script) -> Idler:
            named = {name.replace("_", " "): script for name, script in scripts.items()}
            idler = Idler(scripted({"IDLE": idle, **named}, capabilities=OFFERED))
            stack.callback(idler.mailbox.close)
            return idler

        yield make


@pytest.mark.parametrize(
    ("idle", "done", "why"),
    [
        (b"%TAG% NO not today\r\n", b"", "refuses IDLE"),
        (b"%TAG% BAD what\r\n", b"", "refuses IDLE"),
        (b"%TAG% OK idled\r\n", b"", "refuses IDLE"),
        (b"+ idling\r\n%TAG% OK idled\r\n", b"", "ends IDLE by itself"),
        (b"+ idling\r\n", b"%TAG% NO not idling\r\n", "refuses DONE"),
        (b"+ idling\r\n* 1 EXISTS\r\n", b"%TAG% BAD what\r\n", "refuses DONE"),
    ],
)
def test_a_server_that_refuses_is_not_asked_again(start: Start, idle: bytes, done: bytes, why: str) -> None:
    idler = start(idle, DONE=done)
    assert idler.wait(1) is (b"EXISTS" in idle)
    assert why in idler.mailbox.no_hints
    assert not idler.mailbox.hints
    # The connection is as good as before, and a new one makes no difference.
    assert idler.read() == 0
    idler.begin()
    assert not idler.mailbox.hints
    assert idler.server.received.count("IDLE") == 1


@pytest.mark.fault("R05")
def test_two_breaks_in_a_row_are_enough(start: Start) -> None:
    bye = b"+ idling\r\n* BYE enough\r\n"
    idler = start([bye, b"+ idling\r\n", bye, bye])
    for broken in (True, False, True, True):
        assert idler.mailbox.no_hints == ""
        assert idler.mailbox.hints
        if broken:
            with pytest.raises(MailboxError):
                idler.wait(1)
            idler.begin()
        else:
            assert idler.wait(1) is False
    assert idler.mailbox.no_hints == "the connection broke in IDLE 2 times in a row"
    assert not idler.mailbox.hints


def arriving(number: int) -> dict[str, Script]:
    """Each NOOP brings one message more."""
    return {
        "NOOP": [b"* %d EXISTS\r\n" % count for count in range(1, number + 1)],
        "UID_SEARCH": [b"* SEARCH %d\r\n" % uid for uid in range(10, 10 + number)],
        "UID_FETCH": [fetched(uid, b"Subject: x\r\n\r\n") for uid in range(10, 10 + number)],
    }


@pytest.mark.fault("R08")
def test_a_server_that_never_tells_is_not_asked_again(start: Start) -> None:
    idler = start(**arriving(3))
    for _ in range(3):
        assert idler.mailbox.hints
        assert idler.wait(5) is False
        assert idler.read() == 1
    assert idler.mailbox.no_hints == "reads found mail 3 times of which IDLE had not told"
    assert not idler.mailbox.hints
    assert idler.cursor == Cursor(EPOCH, 13)


def test_mail_that_an_idle_could_not_tell_of_counts_for_nothing(start: Start) -> None:
    idler = start(**arriving(8))
    for _ in range(4):
        assert idler.wait(0.1) is False  # too short for a server that is a little late
        assert idler.read() == 1
    for _ in range(4):
        assert idler.read() == 1  # not idled at all
    assert idler.mailbox.no_hints == ""


def test_one_word_of_mail_makes_good_for_silence(start: Start) -> None:
    idler = start([b"+\r\n", b"+\r\n", b"+\r\n* 3 EXISTS\r\n", b"+\r\n"], **arriving(5))
    heard = []
    for _ in range(5):
        heard.append(idler.wait(5))
        assert idler.read() == 1
    assert heard == [False, False, True, False, False]
    assert idler.mailbox.no_hints == ""
    assert idler.mailbox.hints


def test_word_of_what_is_not_there_is_heard_more_and_more_rarely(start: Start) -> None:
    idler = start(b"+ idling\r\n* 4 EXISTS\r\n")
    for rest in (1, 2, 4, 8, 16, 32, 60, 60):
        assert idler.wait(1) is True
        assert idler.read() == 0
        assert not idler.mailbox.hints
        idler.clock.pass_by(timedelta(seconds=rest - 0.5))
        assert not idler.mailbox.hints
        idler.clock.pass_by(timedelta(seconds=1))
        assert idler.mailbox.hints
    assert idler.mailbox.no_hints == ""


@pytest.mark.fault("R04")
def test_an_idle_is_ended_before_paths_forget_it(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imap_idle, "_GLANCE", timedelta(milliseconds=1))
    idler = start()
    began = idler.clock.now()
    idler.clock.step = timedelta(seconds=5)
    assert idler.mailbox.wait(timedelta(hours=1)) is False
    assert timedelta(seconds=90) <= idler.clock.now().since(began) < timedelta(minutes=2)
    assert idler.server.received[-1] == "DONE"
