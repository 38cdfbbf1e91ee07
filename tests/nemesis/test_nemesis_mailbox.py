"""The mailbox of the histories keeps the contract: what they prove holds for real kinds only if it does."""

from __future__ import annotations

from typing import Any

import pytest

from probe.clock import SystemClock
from probe.mailboxes import imap
from probe.mailboxes.base import Hinting, Mailbox
from tests.jumping import JumpingClock, JumpingLoop
from tests.mailboxes import conformance_account, conformance_placing  # noqa: F401 - they join those of conformance
from tests.mailboxes.conformance import BEHAVIOURS, run
from tests.mailboxes.conformance_worlds import DELETE, FakeWorld
from tests.nemesis.history import Recorder
from tests.nemesis.mail import ASTRAY, Box, Reading


class BoxWorld(FakeWorld):
    """An account of a history without any trouble."""

    def __init__(self, loop: JumpingLoop) -> None:
        self.record = Recorder(JumpingClock(loop, SystemClock().now().utc), loop)
        self.box = Box("one", self.record, ["INBOX"], 0)
        self.box.folders.pop(ASTRAY)
        self.account = self.box

    def open(self, *, exclusive: bool = True, cleanup: Any = DELETE) -> Mailbox:
        return Reading(self.box, imap.Cleanup(mode=imap.CleanupMode(cleanup.mode.value)), lambda: False, True)


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_it_is_a_mailbox_like_any_other(name: str) -> None:
    loop = JumpingLoop()
    try:
        world = BoxWorld(loop)
        run(name, world)
        assert isinstance(world.open(), Hinting)
    finally:
        loop.close()


def test_a_dead_process_touches_nothing() -> None:
    loop = JumpingLoop()
    try:
        box = Box("one", Recorder(JumpingClock(loop), loop), ["INBOX"], 0)
        dead = False
        mailbox = Reading(box, DELETE, lambda: dead, False)
        mailbox.connect()
        uid = box.put(b"Subject: x\r\n\r\n")
        dead = True
        with pytest.raises(Exception, match="no more"):
            mailbox.remove("INBOX", 1, [uid])
        assert list(box.folders["INBOX"].messages) == [uid]
    finally:
        loop.close()
