"""A booted systemd for the tests of the unit, with the unit in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.systemd.installed import UNIT, install
from tests.worlds.systemd import Systemd, why_not


@pytest.fixture(scope="session")
def systemd_machine() -> Iterator[Systemd]:
    """The session's systemd; tests ask for ``service``."""
    if reason := why_not():
        pytest.skip(reason)
    machine = Systemd(UNIT)
    try:
        machine.start()
        yield machine
    finally:
        machine.close()


@pytest.fixture
def service(systemd_machine: Systemd) -> Systemd:
    """The unit as docs/install.md sets it up, not started, on an empty state directory."""
    install(systemd_machine)
    return systemd_machine
