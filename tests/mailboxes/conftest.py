"""Fixtures of the mailbox tests: scripted servers, and mailboxes that are closed after the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from probe.clock import SystemClock
from probe.mailboxes.imap import ImapMailbox, ImapOptions, Tls
from probe.options import Secret
from tests.mailboxes.scripted_imap import ScriptedImap
from tests.worlds.dovecot import Account, Dovecot


@pytest.fixture
def scripted() -> Iterator[Callable[..., ScriptedImap]]:
    """A factory of scripted servers."""
    with ExitStack() as stack:

        def make(*args: Any, **options: Any) -> ScriptedImap:
            server = ScriptedImap(*args, **options)
            stack.callback(server.close)
            return server

        yield make


@pytest.fixture
def open_mailbox(dovecot: Dovecot) -> Iterator[Callable[..., ImapMailbox]]:
    """A factory of connected mailboxes on the real Dovecot, by implicit TLS unless told otherwise."""
    with ExitStack() as stack:

        def make(account: Account, **options: Any) -> ImapMailbox:
            mailbox = ImapMailbox("real", real_options(dovecot, account, **options), SystemClock())
            stack.callback(mailbox.close)
            mailbox.connect()
            return mailbox

        yield make


def real_options(dovecot: Dovecot, account: Account, **changes: Any) -> ImapOptions:
    """Options of a mailbox on the real Dovecot."""
    given: dict[str, Any] = {
        "host": "localhost",
        "port": dovecot.imaps_port if changes.get("tls", Tls.IMPLICIT) is Tls.IMPLICIT else dovecot.imap_port,
        "ca_file": dovecot.certificates.ca_file,
        "username": account.address,
        "password": Secret(account.password.encode()),
    }
    return ImapOptions(**(given | changes))
