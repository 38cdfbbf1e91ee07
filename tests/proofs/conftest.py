"""The prober of a proof: configured by the test, checked and stopped after it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.proofs.rig import Prober
from tests.worlds.dovecot import Dovecot
from tests.worlds.postfix import Postfix


@pytest.fixture
async def prober(tmp_path: Path, short_tmp: Path, postfix: Postfix, dovecot: Dovecot) -> AsyncIterator[Prober]:
    """Not started yet. Whatever the test told, ``Prober.check`` must hold at its end, and the daemon must stop."""
    prober = Prober(tmp_path, short_tmp, postfix, dovecot)
    try:
        yield prober
        await prober.check()
        if prober.daemon is not None:
            await prober.stop()
            await prober.check()
    finally:
        await prober.close()
