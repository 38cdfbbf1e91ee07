"""What the tests of the maildir kind share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from probe.canary.coverage import Cursor
from probe.clock import SystemClock
from probe.mailboxes.base import FolderRead, FolderRequest, Mailbox
from probe.mailboxes.maildir import MaildirMailbox, MaildirOptions
from tests.mailboxes.conformance_worlds import subject_of
from tests.worlds.maildir import Maildir

Open = Callable[..., MaildirMailbox]


def options(maildir: Maildir, **changes: Any) -> MaildirOptions:
    """Options for a Maildir, with the index beside it."""
    state = maildir.root.parent / "state"
    state.mkdir(exist_ok=True)
    given: dict[str, Any] = {"path": maildir.root, "index": state, "exclusive": True}
    return MaildirOptions(**(given | changes))


def connected(maildir: Maildir, **changes: Any) -> MaildirMailbox:
    mailbox = MaildirMailbox("local", options(maildir, **changes), SystemClock())
    mailbox.connect()
    return mailbox


def index_of(maildir: Maildir) -> Path:
    return maildir.root.parent / "state" / "local.maildir.sqlite"


@pytest.fixture
def maildir(tmp_path: Path) -> Maildir:
    return Maildir(tmp_path / "Maildir")


@pytest.fixture
def open_maildir(maildir: Maildir) -> Iterator[Open]:
    """A factory of connected mailboxes on ``maildir``, closed after the test."""
    with ExitStack() as stack:

        def make(**changes: Any) -> MaildirMailbox:
            mailbox = connected(maildir, **changes)
            stack.callback(mailbox.close)
            return mailbox

        yield make


def read(mailbox: Mailbox, since: Cursor | None, folder: str = "INBOX", **more: Any) -> FolderRead:
    return mailbox.read(FolderRequest(folder, since, **{"fresh": True, **more}))


def found(one: FolderRead) -> list[str]:
    return [subject_of(message.header) for message in one.messages]
