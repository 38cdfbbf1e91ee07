"""What ends a wait in another thread: whoever sets it writes a ledger or sends a canary, and must not fail by it."""

from __future__ import annotations

import errno
import os
from typing import NoReturn

import pytest

from probe.mailboxes.imap_idle import Wake


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EIO, errno.ENOSPC])
def test_setting_never_raises(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(*_: int) -> NoReturn:
        raise OSError(number, os.strerror(number))

    wake = Wake()
    monkeypatch.setattr(os, "eventfd_write", fail)
    wake.set()
    assert not wake.take()
    monkeypatch.undo()
    wake.set()
    assert (wake.take(), wake.take()) == (True, False)
